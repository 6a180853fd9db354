// SPDX-License-Identifier: GPL-2.0
/*
 * Volatile memory of a CXL device. Its driver makes a DAX device of the region, whose pgmap is made
 * anew each time that somebody takes it: those of namespaces are always the same.
 */
#define _GNU_SOURCE
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dax_device.h"
#include "lib.h"
#include "module.h"

#define PAGES	(4 * HUGE)
#define SIZE	(PAGES * PAGE)

/* The device of the region, which is made in the background, served by whom the case says. */
static void take_device(const struct env *e, struct device *d)
{
	const char *const pattern = "/sys/bus/dax/devices/dax*";
	glob_t g;

	must_load(e);
	module_bind(e->bound);
	for (int tries = 0; glob(pattern, 0, NULL, &g); tries++) {
		check(tries < 5000, "there is no DAX device");
		usleep(1000);
	}
	snprintf(d->name, sizeof(d->name), "%s", strrchr(g.gl_pathv[0], '/') + 1);
	globfree(&g);
	/* What has it was bound before the module was there. */
	dax_unbind(d->name, "device_dax");
	check(dax_bind(d->name, "device_dax"), "bind %s: %m", d->name);
}

static void fill(char *map, size_t stamp)
{
	for (size_t i = 0; i < PAGES; i += 64)
		fill_page(map + i * PAGE, stamp + i);
}

static void expect(char *map, size_t stamp, const char *what)
{
	for (size_t i = 0; i < PAGES; i += 64)
		check_page(map + i * PAGE, stamp + i, what);
}

static void comes_and_goes(const struct env *e)
{
	struct device d;
	struct job job;

	take_device(e, &d);
	for (size_t round = 0; round < 3; round++) {
		map_device(&d, SIZE);
		if (round)
			expect(d.map, round, "before");
		fill(d.map, round + 1);
		unmap_device(&d);
		job = unbind_start(&d);
		job_start(&job);
		job_succeeds(&job);
		check(dax_bind(d.name, "device_dax"), "bind %s: %m", d.name);
	}
	check(!unbind_device(&d), "unbind: %m");
	must_unload();
}

static void pin_is_waited_for(const struct env *e)
{
	struct device d;
	struct job job;
	struct pin pin;
	char buf[PAGE];

	take_device(e, &d);
	map_device(&d, SIZE);
	fill(d.map, 100);
	pin_pages(&pin, d.map + 64 * PAGE, 1);
	job = unbind_start(&d);
	job_start(&job);
	check(job_sleeps(&job), "the driver went with a page in a pipe");
	check(try_load(d.map + 128 * PAGE, NULL) == SIGBUS, "a page is there that has no device");
	unpin_page(&pin, buf);
	check_page(buf, 164, "page in the pipe");
	job_succeeds(&job);
	unmap_device(&d);
	check(dax_bind(d.name, "device_dax"), "bind %s: %m", d.name);
	map_device(&d, SIZE);
	expect(d.map, 100, "with a new pgmap");
	unmap_device(&d);
	check(!unbind_device(&d), "unbind: %m");
	must_unload();
}

static const struct test tests[] = {
	{ "R19 volatile memory of CXL comes and goes", comes_and_goes, BOUND_ONLY },
	{ "R14 the unbind of volatile memory of CXL waits for a pin", pin_is_waited_for,
	  BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(cxl, tests);
