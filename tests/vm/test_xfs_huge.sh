#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# XFS in the guest: pages of 2 MiB; partitions and two devices, extents on pieces of both; the
# device goes under a mount.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f xfs -g 'huge*,removal,stack,pieces' "$@"
