#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 2400
# DAX devices, which ndctl makes of the namespaces.
modules=$(dirname "${FSDAX_KO:?no module}")
insmod "$modules/dax_pmem.ko"
insmod "$modules/kmem.ko"
exec "$FSDAX_BIN/scenarios" -k "$FSDAX_KO" -f ext4 -g devdax "$@"
