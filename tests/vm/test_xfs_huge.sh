#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# XFS in the guest: pages of 2 MiB.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g huge "$@"
