#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The KUnit suites run while the module is loaded and report on the console.
set -e
# The parameters are words.
# shellcheck disable=SC2086
insmod "$FSDAX_KO" $FSDAX_KUNIT_ARGS
rmmod rust_fsdax
