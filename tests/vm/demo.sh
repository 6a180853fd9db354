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

# The KUnit suites of the module run elsewhere.
echo no_such_suite >/sys/module/kunit/parameters/filter_glob
insmod "$FSDAX_KO"

device() { # PROVIDER
	case $1 in
	stock) echo /dev/pmem0 ;;
	rust) echo /dev/pmem1 ;;
	esac
}

up() { # PROVIDER BIND
	# Stripes of 2 MiB, for pages of 2 MiB.
	case $fs in
	ext4) mkfs.ext4 -q -F -b 4096 -m 0 \
		-E stripe_width=512,lazy_itable_init=0,lazy_journal_init=0 "$(device "$1")" ;;
	xfs) mkfs.xfs -q -f -m reflink=1,rmapbt=1 -d su=2m,sw=1,agcount=2 -l size=64m,su=4k \
		"$(device "$1")" ;;
	esac
	echo "$2" >/sys/module/rust_fsdax/parameters/bind
	mkdir -p "/mnt/$1"
	mount -t "$fs" -o dax=always "$(device "$1")" "/mnt/$1"
}

providers=
while [ "$1" != -- ]; do
	providers="$providers $1"
	case $1 in
	stock) up stock N ;;
	rust) up rust Y ;;
	esac
	shift
done
shift
for figure in "$@"; do
	for provider in $providers; do
		"$FSDAX_BIN/demo" "$figure" "$provider" "$fs" "$(device "$provider")" "/mnt/$provider"
	done
done
