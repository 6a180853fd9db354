#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b -f ext4 -g 'huge*,removal'
# vm: --nvdimm --timeout 2400 --append page_owner=on
# ext4 and XFS on namespaces of NVDIMMs, whose struct pages are on the device. The short form is
# what differs there: 2 MiB pages and removal, on one file system.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f ext4,xfs -g 'data,huge*,reflink*,removal' "$@"
