#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# ext4 in the guest: operations that meet pinned pages, signals meanwhile, races with a break,
# direct I/O in flight, eviction.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f ext4 -g layout,interrupt,races,direct,evict "$@"
