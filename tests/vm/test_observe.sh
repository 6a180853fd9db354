#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# What debugfs and tracepoints say of ext4 and XFS; which faults are counted.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4,xfs -g counted,observe "$@"
