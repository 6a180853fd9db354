#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# ext4 in the guest: memory failure. Bad pages stay bad, so nothing else runs after it.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f ext4 -g poison "$@"
