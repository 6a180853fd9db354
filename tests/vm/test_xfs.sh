#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# short: -b
# vm: --timeout 2400
# XFS in the guest: data, holes, unwritten blocks, dirty state, space, memory failure,
# what a read fault maps around its page.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -f xfs -g data,holes,dirty,space,unwritten,calls,poison,around "$@"
