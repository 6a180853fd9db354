#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What scripts/bench runs in the guest: bench.sh [-p] [-s MIB] FS METRIC... [-- FS METRIC...]
# fs/dax.c serves /dev/pmem0 (provider c), the module /dev/pmem1 (rust). FS "-"
# is for what needs no file system. Prints "PROVIDER {json}" for each figure.
set -e

# shellcheck disable=SC1091
. "$FSDAX_CHECKOUT/tests/vm/mounts.sh"
# For bench/plugin, what is measured is marked.
if [ "$1" = -p ]; then
	shift
	export BENCH_MARKS=1
	modprobe -a ext4 xfs
	cat /proc/kallsyms >"$FSDAX_RESULTS/profile.kallsyms"
fi
if [ "$1" = -s ]; then
	export FS_MIB="$2"
	shift 2
fi
# Nothing is written back behind our back.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs

folio() { # METRIC
	# "kunit_base=0x38000000 kunit_size=...": memory that nobody else has.
	base=${FSDAX_KUNIT_ARGS#kunit_}
	[ -d /sys/module/folio_bench ] ||
		insmod "$FSDAX_CHECKOUT/build/modules-bench/folio_bench.ko" "${base%% *}"
	for provider in c rust; do
		value=$(cat "/sys/module/folio_bench/parameters/${provider}_${1#folio_}")
		echo "$provider {\"metric\": \"$1\", \"fs\": \"-\", \"value\": $value}"
	done
}

have_module() {
	[ -d /sys/module/rust_fsdax ] || insmod "$FSDAX_KO"
}

# Without the module, then with it.
hmm() { # METRIC
	for module in folio_bench rust_fsdax; do
		[ ! -d /sys/module/$module ] || rmmod $module
	done
	for provider in c rust; do
		[ $provider = c ] || have_module
		modprobe test_hmm
		"$FSDAX_BIN/bench" "$1" $provider - /dev/hmm_dmirror0 - || failed "$1" - $provider
		rmmod test_hmm
	done
}

devdax() { # METRIC
	case $1 in
	*_2m) align=2M ;;
	*) align=4096 ;;
	esac
	have_module
	# None that is bound is left.
	ndctl disable-namespace all >/dev/null
	for provider in c rust; do
		name=$(dax_device $provider $align)
		"$FSDAX_BIN/bench" "$1" $provider - "$name" - || failed "$1" - $provider
	done
}

is_mounted() { # PROVIDER
	grep -q " /mnt/$1 " /proc/mounts
}

failed() { # METRIC FS PROVIDER
	echo "$1 on $2 failed for $3"
	status=1
}

figure() { # FS METRIC
	for provider in c rust; do
		# A figure may leave nothing mounted.
		is_mounted $provider || up "$1" $provider
		"$FSDAX_BIN/bench" "$2" $provider "$1" "$(device $provider)" "/mnt/$provider" || {
			failed "$2" "$1" $provider
			rm -f "/mnt/$provider"/bench* "/mnt/$provider/clone"
		}
	done
}

status=0
while [ $# -gt 0 ]; do
	fs=$1
	shift
	if [ "$fs" != - ]; then
		up "$fs" c
		up "$fs" rust
		served=$(sed -n '2,$s/^[^ ]* \([^ ]*\) .*/\1/p' /sys/kernel/debug/rust_fsdax/mounts)
		[ "$served" = pmem1 ] || { echo "the module serves '$served', not pmem1 alone"; exit 1; }
	fi
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		case $fs in
		-) case $1 in
			folio_*) folio "$1" ;;
			hmm_*) hmm "$1" ;;
			*) devdax "$1" ;;
		esac ;;
		*) figure "$fs" "$1" ;;
		esac
		shift
	done
	for provider in c rust; do
		! is_mounted $provider || umount /mnt/$provider
	done
	[ $# -eq 0 ] || shift
done
exit $status
