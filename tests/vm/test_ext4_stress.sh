#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b -n 2500
# vm: --timeout 2400
# ext4 in the guest: the randomized runs, with 4 KiB and 2 MiB pages. -s SEED and -n OPS are
# passed on.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f ext4 -g 'random_*' "$@"
