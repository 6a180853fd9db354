#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 900
# XFS in the guest: memory failure. Bad pages stay bad, so nothing else runs after it.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g poison "$@"
