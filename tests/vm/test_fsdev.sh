#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# A file system (tests/fsdev) on DAX devices that the driver fsdev has.
modules=$(dirname "${FSDAX_KO:?no module}")
insmod "$modules/dax_pmem.ko"
insmod "$modules/onefile.ko"
"$FSDAX_BIN/scenarios" -k "$FSDAX_KO" -f ext4 -g 'fsdev*' "$@"
status=$?
# Nothing may be left that needs it.
rmmod onefile || exit 1
exit $status
