#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -n 6
# vm: --kernel debug --smp 1 --timeout 2400 --append kmemleak=on
# Calls that fail, on ext4 and XFS. One task at a time: a second CPU would only spin now and then.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4,xfs -g inject,injected "$@"
