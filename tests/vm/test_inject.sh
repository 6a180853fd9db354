#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -n 12
# vm: --kernel debug --timeout 2400 --append kmemleak=on
# Calls that fail, on ext4.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g inject,injected "$@"
