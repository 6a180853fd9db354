// SPDX-License-Identifier: GPL-2.0
/* Mounts on more than one device: see devices.h. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "devices.h"
#include "lib.h"

void load(const struct env *e)
{
	static const char *const dirs[] = { OTHER_DIR, "/mnt/bound", "/mnt/stock" };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		umount2(dirs[i], MNT_DETACH);
	setenv("DM_DISABLE_UDEV", "1", 1);
	if (e->ko && !module_loaded())
		check(!module_load(e->ko), "cannot load the module: %m");
}

void unload(const struct env *e)
{
	if (e->ko)
		check(!module_unload(), "cannot unload the module: %m");
}

void bind_next(const struct env *e, bool on)
{
	if (e->ko)
		module_bind(on);
}

void make_xfs(const struct env *e, const char *options)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "mkfs.xfs -q -f --unsupported %s %s", options, e->dev);
	check(!system(cmd), "cannot make XFS on %s with %s", e->dev, options);
}

void mount_made(const struct env *e, const char *fs)
{
	check(!mount_fs(fs, e->dev, e->dir, NULL), "cannot mount %s on %s: %m", fs, e->dev);
	check(mount_is_bound(e->dir) == e->bound, "%s is %sserved by the module", e->dev,
	      e->bound ? "not " : "");
}

void make_dm(const char *table)
{
	FILE *f;

	/* A case that failed has left one. */
	if (!access("/sys/block/dm-0", F_OK))
		system("dmsetup remove_all");
	f = popen("dmsetup create fsdax", "w");
	check(f && fputs(table, f) >= 0 && !pclose(f), "dmsetup refuses: %s", table);
}

void remove_dm(void)
{
	check(!system("dmsetup remove --retry fsdax"), "dmsetup remove");
}
