#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --smp 1 --medium
# What a power failure leaves of ext4.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g powerfail,powerfail_removal,crash_points -n 400 "$@"
