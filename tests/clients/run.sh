#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# run.sh SCRIPT FS [ARG...]: runs run.py or power.py beside this with both mounts: fs/dax.c serves /mnt/stock, the
# module /mnt/rust.
set -e

script=$1 fs=$2
shift 2

# shellcheck disable=SC1091
. "$FSDAX_CHECKOUT/tests/vm/mounts.sh"

up "$fs" stock
up "$fs" rust
PYTHONPATH=$FSDAX_CHECKOUT/scripts exec python3 -B "$FSDAX_CHECKOUT/tests/clients/$script" "$fs" "$@"
