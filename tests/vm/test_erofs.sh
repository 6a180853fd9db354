#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# erofs in the guest.
exec "$FSDAX_BIN/scenarios" ${FSDAX_KO:+-k "$FSDAX_KO"} -g erofs "$@"
