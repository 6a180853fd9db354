#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --smp 1 --timeout 2400
# fsdax-pins and break-waits.bt, which read what the kernel says of ext4: programs, on a kernel that is quick.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g tools "$@"
