#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# The device goes under an XFS mount, with rmapbt and several allocation groups.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f xfs -g removal "$@"
