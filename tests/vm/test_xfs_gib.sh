#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --pmem 3072 --timeout 2400
# XFS with pages of 1 GiB.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f xfs -b -g gib "$@"
