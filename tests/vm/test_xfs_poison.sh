#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# XFS in the guest: memory failure. Bad pages stay bad, so nothing else runs after it.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g poison "$@"
