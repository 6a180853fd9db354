#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --numa --timeout 2400
# What distributions switch on and what reaches device pages, on ext4 and on XFS.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f ext4,xfs -g 'options*' "$@"
