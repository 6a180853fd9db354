#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# The module comes and goes; calls that move blocks; erofs.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4 -g module,moves,erofs "$@"
