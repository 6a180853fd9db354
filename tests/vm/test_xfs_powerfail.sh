#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --smp 1 --medium
# What a power failure leaves of XFS.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f xfs -g powerfail,powerfail_removal,crash_points -n 400 "$@"
