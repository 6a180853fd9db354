// SPDX-License-Identifier: GPL-2.0
/* Mounts of fsdev devices that fail: what is asked for is wrong, or there is no memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsdev_side.h"
#include "inject.h"

/* Sources and options that are wrong are refused, and leave the device free. */
static void bad_mounts(const struct env *e)
{
	static const struct {
		const char *source, *options;	/* the device if it is NULL */
		int error;
	} bad[] = {
		{ NULL, "", EINVAL },
		{ NULL, "size=0", EINVAL },
		{ NULL, "size=4095", EINVAL },
		{ NULL, "size=-4096", EINVAL },
		{ NULL, "size=x", EINVAL },
		{ NULL, "size", EINVAL },
		{ NULL, "size=9223372036854771712", EINVAL },
		{ NULL, "size=18446744073709547520", EINVAL },
		{ NULL, "size=18446744073709551616", EINVAL },
		{ NULL, "size=1099511627776", EINVAL },
		{ NULL, "size=4096,other", EINVAL },
		{ "/dev/null", "size=4096", ENODEV },
		{ "/dev/ttyS0", "size=4096", ENODEV },
		{ "/dev/pmem7", "size=4096", ENOENT },
		{ "/dev/loop0", "size=4096", ENODEV },
		{ "/tmp/onefile-fifo", "size=4096", ENODEV },
		{ "/tmp/onefile-regular", "size=4096", ENODEV },
		{ "/tmp", "size=4096", EISDIR },
	};
	struct side s, held;

	check(e->ko && !module_load(e->ko), "cannot load the module: %m");
	prepare_side(e->dev, true, &s);
	module_bind(true);
	must(mkfifo("/tmp/onefile-fifo", 0600));
	close(must(open("/tmp/onefile-regular", O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *source = bad[i].source ?: s.dev;

		check(mount_at(source, s.path, bad[i].options) && errno == bad[i].error,
		      "mount %s with '%s': %m", source, bad[i].options);
	}
	check(mount_at("none", s.path, "size=4096") && errno == ENOENT, "no source: %m");

	/* Who else may have it. */
	mount_side(&s);
	held = s;
	snprintf(held.path, sizeof(held.path), "/tmp/%s-held", s.name);
	check(mount_at(s.dev, held.path, "size=4096") && errno == EBUSY, "it is held: %m");
	umount_side(&s);
	check(dax_unbind(s.name, DRIVER), "unbind: %m");
	check(mount_at(s.dev, s.path, "size=4096") && errno == ENXIO, "nobody has it: %m");
	dax_give_to(s.name, "device_dax");
	check(mount_at(s.dev, s.path, "size=4096") && errno == EOPNOTSUPP, "device_dax has it: %m");
	dax_give_to(s.name, DRIVER);
	mount_side(&s);
	umount_side(&s);
	check(!module_unload(), "cannot unload the module: %m");
}

/* Each allocation of a mount fails once: it says so, and the device is free. */
static void mounts_fail(const struct env *e)
{
	unsigned int failed = 0;
	struct side s;

	if (access("/proc/thread-self/fail-nth", F_OK))
		skip("this kernel has no fault injection");
	check(e->ko && !module_load(e->ko), "cannot load the module: %m");
	prepare_side(e->dev, true, &s);
	module_bind(true);
	/* Makes the mount point. */
	mount_side(&s);
	umount_side(&s);
	set_pass(BY_ALLOCATION);
	for (unsigned int n = 1;; n++) {
		bool any;
		int rc;

		arm(BY_ALLOCATION, n);
		rc = mount(s.dev, s.path, "onefile", 0, "size=4194304");
		any = disarm(BY_ALLOCATION);
		if (!rc)
			must(umount(s.path));
		else
			check(any && errno == ENOMEM, "allocation %u failed: %m", n);
		failed += any;
		if (!any)
			break;
	}
	printf("# %u allocations failed\n", failed);
	check(failed > 10, "only %u allocations failed", failed);
	mount_side(&s);
	umount_side(&s);
	check(!module_unload(), "cannot unload the module: %m");
}

static void stock_is_refused(const struct env *e)
{
	struct side s;

	check(e->ko && !module_load(e->ko), "cannot load the module: %m");
	prepare_side(e->dev, true, &s);
	module_bind(true);
	mount_side(&s);
	umount_side(&s);
	require_provider(true);
	mount_side(&s);
	umount_side(&s);
	module_bind(false);
	check(mount_at(s.dev, s.path, "size=4096") && errno == EOPNOTSUPP,
	      "a mount that no provider serves: %m");
	require_provider(false);
	mount_side(&s);
	umount_side(&s);
	check(!module_unload(), "cannot unload the module: %m");
}

static bool maps(int fd, char **p)
{
	*p = mmap(NULL, HUGE * PAGE, RW, MAP_SHARED, fd, 0);
	return *p != MAP_FAILED;
}

/* Each file is of the driver that the device had when it was opened, whoever has it open. */
static void opened_by_the_driver(const struct env *e)
{
	int fd[3];
	struct side s;
	char *p, *q;

	check(e->ko && !module_load(e->ko), "cannot load the module: %m");
	prepare_side(e->dev, true, &s);
	module_bind(true);
	fd[0] = must(open(s.dev, O_RDWR | O_CLOEXEC));
	check(!maps(fd[0], &p) && errno == ENODEV, "mmap of an fsdev device: %m");
	dax_give_to(s.name, "device_dax");
	check(!maps(fd[0], &p) && errno == ENODEV, "mmap of what fsdev has opened: %m");
	fd[1] = must(open(s.dev, O_RDWR | O_CLOEXEC));
	check(maps(fd[1], &p), "mmap with the driver device_dax: %m");
	fill_page(p, 1);
	check(dax_unbind(s.name, "device_dax"), "unbind: %m");
	check(open(s.dev, O_RDWR | O_CLOEXEC) < 0 && errno == ENXIO, "open without a driver: %m");
	dax_give_to(s.name, DRIVER);
	check(try_load(p, NULL) == SIGBUS, "a page of another driver");
	fd[2] = must(open(s.dev, O_RDWR | O_CLOEXEC));
	check(!maps(fd[2], &q) && errno == ENODEV, "mmap of an fsdev device: %m");
	mount_side(&s);
	umount_side(&s);
	must(munmap(p, HUGE * PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	check(!module_unload(), "cannot unload the module: %m");
}

static const struct test tests[] = {
	{ "D40 whoever opens a DAX device gets the driver that it has", opened_by_the_driver,
	  BOUND_ONLY },
	{ "R15 a mount of an fsdev device that is refused keeps nothing", bad_mounts, BOUND_ONLY },
	{ "R16 no fsdev device is mounted that stock would serve, if so told", stock_is_refused,
	  BOUND_ONLY },
	{ "R15 a mount of an fsdev device whose allocations fail keeps nothing", mounts_fail,
	  BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(fsdev_mounts, tests);
