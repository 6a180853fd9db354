#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# ext4 in the guest: pages of 2 MiB; partitions and two devices; the device goes under a mount.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g 'huge*,removal,stack' "$@"
