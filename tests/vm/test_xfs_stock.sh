#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --timeout 2400
# What XFS does on stock C in the cases that it survives: controls, which need no debug kernel.
exec "$FSDAX_BIN/scenarios" -c -k "${FSDAX_KO:?no module}" -f xfs \
	-g data,holes,unwritten,dirty,space,layout,interrupt,races,direct,evict,huge,reflink,poison "$@"
