#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# long
# vm: --kernel debug --timeout 3600
# The tests of lib/test_xarray.c, of which the series has check_xas_replace(): marks stay.

echo "TAP version 14"
echo 1..1
if modprobe test_xarray; then
	echo "ok 1 R9 xas_replace() and the rest of the XArray"
else
	echo "not ok 1 R9 xas_replace() and the rest of the XArray: look at the console"
	exit 1
fi
