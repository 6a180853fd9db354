#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# ext4 in the guest: pages of 2 MiB.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f ext4 -g huge "$@"
