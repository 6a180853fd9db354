#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --kernel stock
# A kernel without the series: what insmod says there, and that the kernel is as it was.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g stock "$@"
