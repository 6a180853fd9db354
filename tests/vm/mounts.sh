#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Sourced by what compares both in one guest: loads the module, and has mounts
# of which fs/dax.c serves that of /dev/pmem0, the module that of /dev/pmem1, or
# DAX devices of the same memory.

# The KUnit suites of the module run elsewhere.
echo no_such_suite >/sys/module/kunit/parameters/filter_glob
insmod "$FSDAX_KO"

device() { # PROVIDER
	case $1 in
	rust) echo /dev/pmem1 ;;
	*) echo /dev/pmem0 ;;
	esac
}

# The name of the DAX device that ndctl makes of the device, which nobody has mounted. The first
# one that is bound decides for those that come while it is.
dax_device() { # PROVIDER ALIGN
	dax_pmem=$(dirname "$FSDAX_KO")/dax_pmem.ko
	[ -d /sys/module/dax_pmem ] || insmod "$dax_pmem"
	bind_next "$1"
	number=$(device "$1")
	number=${number#/dev/pmem}
	ndctl create-namespace -f -e "namespace$number.0" -m devdax -M mem -a "$2" >/dev/null
	until [ -e "/dev/dax$number.0" ]; do sleep 0.01; done
	echo "/dev/dax$number.0"
}

bind_next() { # PROVIDER
	case $1 in
	rust) echo Y ;;
	*) echo N ;;
	esac >/sys/module/rust_fsdax/parameters/bind
}

# FS_MIB: the size of the file system, else that of the device.
up() { # FS PROVIDER
	# Stripes of 2 MiB, for pages of 2 MiB.
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 -m 0 \
		-E stripe_width=512,lazy_itable_init=0,lazy_journal_init=0 "$(device "$2")" ${FS_MIB:+"${FS_MIB}M"} ;;
	xfs) mkfs.xfs -q -f -m reflink=1,rmapbt=1 -d su=2m,sw=1,agcount=2${FS_MIB:+,size=${FS_MIB}m} -l size=64m,su=4k \
		"$(device "$2")" ;;
	esac
	bind_next "$2"
	mkdir -p "/mnt/$2"
	mount -t "$1" -o dax=always "$(device "$2")" "/mnt/$2"
}
