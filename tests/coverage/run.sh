#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run.sh COUNTERS_KO COMMAND...: run a command in a guest that saves the coverage counters.
insmod "$1" out="$FSDAX_RESULTS/counters" || exit 1
shift
exec "$@"
