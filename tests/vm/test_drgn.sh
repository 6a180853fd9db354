#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --kernel kcore --timeout 1200
# fsdax-pins with drgn, on ext4 and XFS: a guest that has it, and a kernel whose memory root may read.
ip link set lo up || exit
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4,xfs -b -g drgn "$@"
