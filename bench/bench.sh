#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What scripts/bench runs in the guest: bench.sh [-p] FS METRIC... [-- FS METRIC...]
# fs/dax.c serves /dev/pmem0 (provider c), the module /dev/pmem1 (rust). FS "-"
# is for what needs no file system. Prints "PROVIDER {json}" for each figure.
set -e

# shellcheck disable=SC1091
. "$FSDAX_CHECKOUT/tests/vm/mounts.sh"
# For bench/plugin, what is measured is marked.
if [ "$1" = -p ]; then
	shift
	export BENCH_MARKS=1
	cat /proc/kallsyms >"$FSDAX_RESULTS/profile.kallsyms"
fi
# Nothing is written back behind our back.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs

folio() { # METRIC
	for provider in c rust; do
		value=$(cat "/sys/module/folio_bench/parameters/${provider}_${1#folio_}")
		echo "$provider {\"metric\": \"$1\", \"fs\": \"-\", \"value\": $value}"
	done
}

figure() { # FS METRIC
	for provider in c rust; do
		"$FSDAX_BIN/bench" "$2" $provider "$1" "$(device $provider)" "/mnt/$provider" || {
			echo "$2 on $1 failed for $provider"
			rm -f "/mnt/$provider/bench" "/mnt/$provider/bench2" "/mnt/$provider/clone"
			status=1
		}
	done
}

status=0
while [ $# -gt 0 ]; do
	fs=$1
	shift
	if [ "$fs" = - ]; then
		# "kunit_base=0x38000000 kunit_size=...": memory that nobody else has.
		base=${FSDAX_KUNIT_ARGS#kunit_}
		insmod "$FSDAX_CHECKOUT/build/modules-bench/folio_bench.ko" "${base%% *}"
	else
		up "$fs" c
		up "$fs" rust
		served=$(sed -n '2,$s/^[^ ]* \([^ ]*\) .*/\1/p' /sys/kernel/debug/rust_fsdax/mounts)
		[ "$served" = pmem1 ] || { echo "the module serves '$served', not pmem1 alone"; exit 1; }
	fi
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		case $fs in
		-) folio "$1" ;;
		*) figure "$fs" "$1" ;;
		esac
		shift
	done
	[ "$fs" = - ] || umount /mnt/c /mnt/rust
	[ $# -eq 0 ] || shift
done
exit $status
