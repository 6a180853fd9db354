// SPDX-License-Identifier: GPL-2.0
/* A kernel without the series, which refuses the module. */
#define _GNU_SOURCE
#include <sys/mount.h>
#include <unistd.h>

#include "module.h"

static void stock_refuses(const struct env *e)
{
	refuses_to_load(e->ko);
	mount_new(e, e->dev, e->dir);
	store_pages(e, 100);
	expect_pages(e, 100);
	must(umount(e->dir));
}

static const struct test tests[] = {
	{ "R16 a stock kernel refuses the module with one line", stock_refuses, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(stock, tests);
