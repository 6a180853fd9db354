#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# What debugfs says, of XFS.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f xfs -g observe "$@"
