#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --kernel gcc
# A kernel and a module that gcc built.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g module,layout "$@"
