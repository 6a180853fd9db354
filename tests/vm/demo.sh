#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What scripts/demo runs in the guest: demo.sh [-f xfs|-] PROVIDER... -- FIGURE...
# fs/dax.c serves /dev/pmem0 (PROVIDER stock), the module /dev/pmem1 (rust), or without a file
# system (-) the driver of DAX devices serves stock. Prints "PROVIDER {json}" for each figure.
set -e

fs=ext4
if [ "$1" = -f ]; then
	fs=$2
	shift 2
fi

# shellcheck disable=SC1091
. "$FSDAX_CHECKOUT/tests/vm/mounts.sh"

# The kernel's own tests of private memory, without the module and with it; not the benchmark
# among them, which takes longer than the rest.
hmm() { # PROVIDER
	[ ! -d /sys/module/rust_fsdax ] || rmmod rust_fsdax
	[ "$1" = stock ] || insmod "$FSDAX_KO"
	modprobe test_hmm
	"$FSDAX_BIN/hmm-tests" -T benchmark_thp_migration -V hmm_device_coherent \
		-V hmm2_device_coherent >/tmp/hmm || true
	rmmod test_hmm
	[ -d /sys/module/rust_fsdax ] || insmod "$FSDAX_KO"
	# What is skipped has not passed.
	echo "$1 {\"figure\": \"hmm\", \"passed\": $(grep '^ok' /tmp/hmm | grep -vc '# SKIP')," \
		"\"tests\": $(sed -n 's/^1\.\.//p' /tmp/hmm)}"
}

# Stripes of 1 GiB, so that a file has it in one aligned piece: on a device of 3 GiB.
gib_up() { # PROVIDER
	mkfs.xfs -q -f --unsupported -m reflink=1 -d agcount=1,su=1g,sw=1 -l size=64m,su=4k \
		"$(device "$1")" 2>/tmp/mkfs || { cat /tmp/mkfs; return 1; }
	bind_next "$1"
	mkdir -p "/mnt/$1"
	mount -t xfs -o dax=always "$(device "$1")" "/mnt/$1"
}

run() { # FIGURE PROVIDER
	case $fs,$1 in
	-,hmm)
		hmm "$2"
		return ;;
	-,*)
		dev=$(dax_device "$2" 4096) ;;
	xfs,gib)
		dev=$(device "$2")
		gib_up "$2" ;;
	*)
		dev=$(device "$2")
		# A figure may leave nothing mounted.
		grep -q " /mnt/$2 " /proc/mounts || up "$fs" "$2" ;;
	esac
	"$FSDAX_BIN/demo" "$1" "$2" "$fs" "$dev" "/mnt/$2"
}

providers=
while [ "$1" != -- ]; do
	providers="$providers $1"
	shift
done
shift
for figure in "$@"; do
	for provider in $providers; do
		run "$figure" "$provider"
	done
done
