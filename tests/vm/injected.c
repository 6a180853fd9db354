// SPDX-License-Identifier: GPL-2.0
/* Calls that fail where no mount is there yet, and what all failures have left behind. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "inject.h"

static void mounts(const struct env *e)
{
	static const enum pass passes[] = { BY_POINT, BY_MODULE, ALL_OF_MODULE, BY_ALLOCATION };

	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	for (size_t p = 0; p < ARRAY_SIZE(passes); p++) {
		const enum pass by = passes[p];
		const unsigned int max = by == ALL_OF_MODULE ? 1 : e->ops;
		bool fired = true;
		unsigned int n;

		set_pass(by);
		for (n = 1; n <= max && fired; n += fired) {
			int rc, err;

			arm(by, n);
			rc = mount_fs(e->fs, e->dev, e->dir, NULL);
			err = errno;
			fired = disarm(by);
			check(!rc || err == ENOMEM || (fired && by == BY_ALLOCATION),
			      "mount, %s %u: %s", pass_name[by], n, strerror(err));
			/* Without memory a superblock may not be bound, and is served by C. */
			check(by != BY_POINT || !fired || !mount_is_bound(e->dir),
			      "bound without counters");
			check(by != BY_POINT || fired == (n == 1), "point %u of a mount", n);
			if (!rc)
				must(umount(e->dir));
			check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount after %s %u: %m",
			      pass_name[by], n);
			check(mount_is_bound(e->dir), "not bound after %s %u", pass_name[by], n);
			arm(by, n);
			rc = umount(e->dir);
			err = errno;
			disarm(by);
			if (rc)
				must(umount(e->dir));
		}
		printf("# mount and umount: %u %s\n", n - 1, pass_name[by]);
	}
	set_pass(BY_POINT);
	check(!module_unload(), "cannot unload the module: %m");
}

/* A folio or a reference that was lost would be waited for. */
static void device_goes(const struct env *e)
{
	char name[64];

	device_name(e->dev, name, sizeof(name));
	check(device_unbind(name), "unbind %s: %m", name);
	check(device_bind(name), "bind %s: %m", name);
}

static void nothing_leaks(const struct env *e)
{
	char buf[4096];

	(void)e;
	/* Reported is what two scans in turn find no reference to, and is 5 s old at the last. */
	sleep(6);
	set_text(DEBUG "kmemleak", "scan");
	set_text(DEBUG "kmemleak", "scan");
	/* There is nothing to read if nothing leaked. */
	check(!read_text(DEBUG "kmemleak", buf, sizeof(buf)), "memory leaked: %s", buf);
}

static const struct test tests[] = {
	{ "R15 mounts whose calls fail", mounts, BOUND_ONLY },
	{ "R2 the device is held by nobody", device_goes, BOUND_ONLY },
	{ "no memory is lost", nothing_leaks, BOUND_ONLY | LAST_ONLY },
	{ }
};

GROUP_UNMOUNTED(injected, tests);
