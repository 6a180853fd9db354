#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# XFS in the guest: files that share blocks.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g 'reflink*' "$@"
