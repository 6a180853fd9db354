#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b -g removal
# vm: --nvdimm --timeout 2400
# XFS on namespaces of NVDIMMs, whose struct pages are on the device.
exec "$FSDAX_BIN/scenarios" -k "${FSDAX_KO:?no module}" -f xfs -g reflink,removal "$@"
