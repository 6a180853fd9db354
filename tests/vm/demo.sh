#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What scripts/demo runs in the guest: demo.sh [-f xfs] PROVIDER... -- FIGURE...
# fs/dax.c serves /dev/pmem0 (PROVIDER stock), the module /dev/pmem1 (rust).
# Prints "PROVIDER {json}" for each figure.
set -e

fs=ext4
if [ "$1" = -f ]; then
	fs=$2
	shift 2
fi

# shellcheck disable=SC1091
. "$FSDAX_CHECKOUT/tests/vm/mounts.sh"

providers=
while [ "$1" != -- ]; do
	providers="$providers $1"
	shift
done
shift
for figure in "$@"; do
	for provider in $providers; do
		# A figure may leave nothing mounted.
		grep -q " /mnt/$provider " /proc/mounts || up "$fs" "$provider"
		"$FSDAX_BIN/demo" "$figure" "$provider" "$fs" "$(device "$provider")" "/mnt/$provider"
	done
done
