#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run.sh RACY_KO: load the module whose functions race, with watchpoints at many more of its accesses
# than usual, each for longer, since the other CPU may have to wait for the host.
parameters=/sys/module/kcsan/parameters
echo 40 >$parameters/skip_watch || exit 1
echo 400 >$parameters/udelay_task || exit 1
insmod "$1" || exit 1
rmmod racy
