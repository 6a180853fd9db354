#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# ext4 in the guest: races with a break, direct I/O in flight, eviction.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f ext4 -g races,direct,evict "$@"
