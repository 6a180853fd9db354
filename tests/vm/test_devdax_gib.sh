#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --pmem 3072 --timeout 2400
# DAX devices of 1 GiB pages.
insmod "$(dirname "${FSDAX_KO:?no module}")/dax_pmem.ko"
exec "$FSDAX_BIN/scenarios" -k "$FSDAX_KO" -f ext4 -g devdax_gib "$@"
