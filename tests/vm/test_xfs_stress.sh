#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b -n 900
# vm: --timeout 2400
# XFS in the guest: the randomized runs, with 4 KiB and 2 MiB pages. -s SEED and -n OPS are
# passed on.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g 'random_*' "$@"
