#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --smp 1 --timeout 2400
# Memory after many loads of the module. KASAN keeps what is freed, so not on the debug kernel.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g leaks "$@"
