#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --kernel plain --numa --timeout 2400
# The same as test_options on stock C: controls, which need no debug kernel.
exec "$FSDAX_BIN/scenarios" -c -k "${FSDAX_KO:?no module}" -f ext4,xfs -g 'options*' "$@"
