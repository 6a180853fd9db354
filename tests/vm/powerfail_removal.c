// SPDX-License-Identifier: GPL-2.0
/* A power failure after the removal of the device, whose last stores are lost. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib.h"
#include "pf_file.h"

#define N	((size_t)32)

static void removed(const struct env *e)
{
	char name[64], cmd[128];
	struct pf_file f;

	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	/* XFS sends it to all who map a file. */
	signal(SIGBUS, SIG_IGN);

	pf_dirty(&f, e, "f", N);
	pf_punch(&f, 5, 1);
	pf_sync(&f);
	pf_store_and_flush(&f, 7);
	pf_store(&f, 10, 4);
	device_name(e->dev, name, sizeof(name));
	/* By another process: XFS forces the signal on who does it, if that one maps a file. */
	snprintf(cmd, sizeof(cmd), "echo %s > /sys/bus/nd/drivers/nd_pmem/unbind", name);
	check(!system(cmd), "cannot unbind %s", name);
	pf_power_failure(&f);
	check(fsync(f.fd) == -1, "fsync of stores that are lost succeeded");
	check(try_store(f.map, 1) == SIGBUS, "no SIGBUS");
	pf_expect(&f);
	must(umount(e->dir));
	check(device_bind(name), "cannot bind %s: %m", name);
	check(!module_unload(), "cannot unload the module: %m");
}

static const struct test tests[] = {
	{ "power failure: after the removal of the device", removed, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(powerfail_removal, tests);
