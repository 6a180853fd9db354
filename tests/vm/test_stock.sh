#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --smp 1 --timeout 2400
# What ext4 and XFS do on stock C in the cases that it survives: controls, which need no debug
# kernel and no second CPU.
exec "$FSDAX_BIN/scenarios" -c -k "${FSDAX_KO:?no module}" -f ext4,xfs \
	-g 'data,holes,dirty,layout,interrupt,races,direct,evict,space,huge*,reflink*,unwritten,calls,poison,pieces' "$@"
