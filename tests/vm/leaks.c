// SPDX-License-Identifier: GPL-2.0
/*
 * What loads of the module leave behind. Needs a kernel whose allocators do not keep what was
 * freed, as KASAN does.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "module.h"

static long meminfo_kib(const char *key)
{
	char buf[8192], *at;

	check(read_text("/proc/meminfo", buf, sizeof(buf)), "no meminfo");
	at = strstr(buf, key);
	check(at, "no %s in meminfo", key);
	return atol(at + strlen(key));
}

/* A page for each load is 400 KiB, a workqueue 230 to 260; 80 come and go. */
#define LOST_KIB	160

static void loading_leaks_nothing(const struct env *e)
{
	const char *const key[] = { "\nVmallocUsed:", "\nPercpu:", "\nSUnreclaim:" };
	long before[ARRAY_SIZE(key)];

	for (int i = 0; i < 120; i++) {
		if (i == 20)
			for (size_t k = 0; k < ARRAY_SIZE(key); k++)
				before[k] = meminfo_kib(key[k]);
		must_load(e);
		must_unload();
	}
	for (size_t k = 0; k < ARRAY_SIZE(key); k++) {
		long grown;

		/* The memory of modules is freed after a grace period, in batches. */
		for (int patience = 200; patience; patience--) {
			grown = meminfo_kib(key[k]) - before[k];
			if (grown < LOST_KIB)
				break;
			usleep(100000);
		}
		printf("# %s %+ld KiB in 100 loads\n", key[k] + 1, grown);
		check(grown < LOST_KIB, "%s grew by %ld KiB", key[k] + 1, grown);
	}
	mount_new(e, e->dev, e->dir);
	store_pages(e, 100);
	expect_pages(e, 100);
	must(umount(e->dir));
}

static const struct test tests[] = {
	{ "R15 a hundred loads and unloads leak nothing", loading_leaks_nothing, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(leaks, tests);
