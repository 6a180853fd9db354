#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# What debugfs, fsdax-pins and break-waits.bt say of ext4, and debugfs of XFS; which faults are counted.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4,xfs -g counted,observe,tools "$@"
