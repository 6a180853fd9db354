#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --cxl --timeout 2400
# Memory of CXL devices: file systems on what is persistent, a DAX device of what is volatile.
insmod "$(dirname "${FSDAX_KO:?no module}")/dax_cxl.ko"
exec "$FSDAX_BIN/scenarios" -k "$FSDAX_KO" -f ext4 -g 'cxl,data,layout,removal' "$@"
