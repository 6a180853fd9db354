#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# The device goes under an ext4 mount.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g removal "$@"
