#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --kernel plain --timeout 2400
# Memory of devices by pgmap_request_folio(): the kernel's own hmm-tests, without the module and with it.
# They are of tools/testing/selftests/mm of the kernel source. Coherent memory is where the namespaces were.

set -u

spm='' number=0
for namespace in namespace0.0 namespace1.0; do
	echo "$namespace" >/sys/bus/nd/drivers/nd_pmem/unbind || exit 1
	spm="$spm spm_addr_dev$number=$(cat "/sys/bus/nd/devices/$namespace/resource")"
	number=$((number + 1))
done

run() { # NUMBER WHAT OPTION...
	number=$1 what=$2
	shift 2
	echo "# Subtest: $what"
	# shellcheck disable=SC2086 # words
	modprobe test_hmm $spm || return 1
	"$FSDAX_BIN/hmm-tests" "$@" | sed '/^TAP version/d; s/^/    /'
	rmmod test_hmm
	echo "ok $number $what"
}

private() { # NUMBER WHAT
	run "$1" "private memory, $2" -V hmm_device_coherent -V hmm2_device_coherent
}

# The kernel cannot migrate large folios of coherent memory: two fail without the series, too.
coherent() { # NUMBER WHAT
	run "$1" "coherent memory, $2" -T migrate_anon_huge_err -T benchmark_thp_migration \
		-v hmm_device_coherent -v hmm2_device_coherent
}

echo "TAP version 14"
echo 1..4
private 1 "without the module"
coherent 2 "without the module"
insmod "${FSDAX_KO:?no module}"
private 3 "with the module"
coherent 4 "with the module"
