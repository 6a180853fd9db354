#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# XFS in the guest: the randomized run. -s SEED and -n OPS are passed on.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g stress "$@"
