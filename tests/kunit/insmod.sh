#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# insmod.sh [SUITE...]: the KUnit suites run while the module is loaded and report on the console. If some are named,
# these alone, in this order, each in a module of its own, and with the seconds that each takes.
set -e

load() {
	# The parameters are words.
	# shellcheck disable=SC2086
	insmod "$FSDAX_KO" $FSDAX_KUNIT_ARGS
	rmmod rust_fsdax
}

[ $# -gt 0 ] || load
for suite; do
	printf %s "$suite" >/sys/module/kunit/parameters/filter_glob
	read -r begun _ </proc/uptime
	load
	read -r ended _ </proc/uptime
	echo "# $suite: $begun to $ended"
done
