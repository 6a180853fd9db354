#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# vm: --timeout 1200
# DAX devices, which ndctl makes of the namespaces.
insmod "$(dirname "${FSDAX_KO:?no module}")/dax_pmem.ko"
exec "$FSDAX_BIN/scenarios" -k "$FSDAX_KO" -f ext4 -g devdax "$@"
