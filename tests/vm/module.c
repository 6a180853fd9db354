// SPDX-License-Identifier: GPL-2.0
/* The module comes and goes; which provider serves a mount. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)64)
#define OTHER_DEV	"/dev/pmem0"
#define OTHER_DIR	"/mnt/other"

static void mount_new(const struct env *e, const char *dev, const char *dir)
{
	check(make_fs(e->fs, dev), "cannot make %s on %s", e->fs, dev);
	check(!mount_fs(e->fs, dev, dir, NULL), "cannot mount %s: %m", dev);
}

static void load(const struct env *e)
{
	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
}

static void unload(void)
{
	check(!module_unload(), "cannot unload the module: %m");
}

static void store_pages(const struct env *e, uint64_t stamp)
{
	int fd = must(open(in_dir(e, "f"), O_RDWR | O_CREAT, 0644));
	char *p;

	must(ftruncate(fd, N * PAGE));
	p = map_file(fd, N, RW);
	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, stamp + i);
	munmap(p, N * PAGE);
	close(fd);
}

static void expect_pages(const struct env *e, uint64_t stamp)
{
	int fd = must(open(in_dir(e, "f"), O_RDONLY));
	char *p = map_file(fd, N, PROT_READ);

	for (size_t i = 0; i < N; i++) {
		check_page(p + i * PAGE, stamp + i, "mapping");
		check_file_page(fd, i, stamp + i, "read(2)");
	}
	munmap(p, N * PAGE);
	close(fd);
}

static void absent_is_stock(const struct env *e)
{
	check(!module_loaded(), "the module is loaded");
	mount_new(e, e->dev, e->dir);
	check(!mount_is_bound(e->dir), "a mount is bound without a module");
	store_pages(e, 100);
	expect_pages(e, 100);
	must(umount(e->dir));
}

static void bind_decides(const struct env *e)
{
	load(e);
	module_bind(false);
	mount_new(e, OTHER_DEV, OTHER_DIR);
	module_bind(true);
	mount_new(e, e->dev, e->dir);
	check(!mount_is_bound(OTHER_DIR), "a mount with bind=N is bound");
	check(mount_is_bound(e->dir), "a mount with bind=Y is not bound");
	/* Later changes do not matter to a mount that exists. */
	module_bind(false);
	check(mount_is_bound(e->dir), "bind=N changed a mount that exists");
	must(umount(e->dir));
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(!mount_is_bound(e->dir), "a new mount with bind=N is bound");
	must(umount(e->dir));
	must(umount(OTHER_DIR));
	unload();
}

static void data_outlives_the_provider(const struct env *e)
{
	load(e);
	mount_new(e, e->dev, e->dir);
	check(mount_is_bound(e->dir), "the mount is not bound");
	store_pages(e, 100);
	must(umount(e->dir));
	unload();

	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(!mount_is_bound(e->dir), "a mount is bound without a module");
	expect_pages(e, 100);
	store_pages(e, 500);
	must(umount(e->dir));

	load(e);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	expect_pages(e, 500);
	must(umount(e->dir));
	unload();
}

static void log_names_the_provider(const struct env *e)
{
	const char *disk = strrchr(e->dev, '/') + 1;
	int kmsg = kmsg_open();

	load(e);
	mount_new(e, e->dev, e->dir);
	check(kmsg_wait(kmsg, 20, disk, "served by " MODULE_NAME, NULL),
	      "the kernel log does not say that %s is served by the module", disk);
	must(umount(e->dir));
	module_bind(false);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(kmsg_wait(kmsg, 20, disk, "served by the kernel", NULL),
	      "the kernel log does not say that %s is served by the kernel", disk);
	must(umount(e->dir));
	unload();
}

static void mounts_hold_the_module(const struct env *e)
{
	load(e);
	module_bind(false);
	mount_new(e, OTHER_DEV, OTHER_DIR);
	module_bind(true);
	mount_new(e, e->dev, e->dir);
	check(module_unload() && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EBUSY),
	      "the module went from under a mount");
	store_pages(e, 100);
	check(module_unload(), "the module went from under a mount");
	expect_pages(e, 100);
	must(umount(e->dir));
	/* A mount served by C does not hold it. */
	unload();
	check(!mount_is_bound(OTHER_DIR), "a mount is bound without a module");
	must(umount(OTHER_DIR));
}

static void pins_hold_the_module(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	char *p;

	load(e);
	mount_new(e, e->dev, e->dir);
	job.fd = create_file(e, "f", N, 100);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p, 4);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(module_unload(), "the module went from under a waiter");
	unpin_all(&pin);
	job_succeeds(&job);
	munmap(p, N * PAGE);
	close(job.fd);
	must(umount(e->dir));
	unload();
}

static int umount_lazily(void *dir)
{
	return umount2(dir, MNT_DETACH);
}

/*
 * The last that a page in a pipe keeps of a mount: no path leads to it, its file is
 * unmapped and closed, and its eviction waits. A folio that no entry tracks
 * at all needs another module, since every break and eviction waits for the pins of
 * its folios: the KUnit suite has that.
 */
static void pages_hold_the_module(const struct env *e)
{
	struct job job = { .op = OP_CALL, .call = umount_lazily, .arg = (void *)e->dir };
	char *p, buf[PAGE];
	struct pin pin;
	int fd;

	load(e);
	mount_new(e, e->dev, e->dir);
	fd = create_file(e, "f", N, 100);
	p = map_file(fd, N, RW);
	pin_pages(&pin, p, 4);
	munmap(p, N * PAGE);
	close(fd);
	job_start(&job);
	check(job_sleeps(&job), "the umount did not wait for pages in a pipe");
	check(access(in_dir(e, "f"), F_OK), "the mount is still there");
	for (size_t i = 0; i < 4; i++) {
		check(module_unload() && errno == EAGAIN,
		      "the module went with %zu pages in a pipe", 4 - i);
		check(!job.done, "the umount ended with %zu pages in a pipe", 4 - i);
		unpin_page(&pin, buf);
		check_page(buf, 100 + i, "page in the pipe");
	}
	job_succeeds(&job);
	unload();
}

static long meminfo_kib(const char *key)
{
	char buf[8192], *at;

	check(read_text("/proc/meminfo", buf, sizeof(buf)), "no meminfo");
	at = strstr(buf, key);
	check(at, "no %s in meminfo", key);
	return atol(at + strlen(key));
}

/* A page per load would be 400 KiB. */
static void loading_leaks_nothing(const struct env *e)
{
	const char *const key[] = { "\nVmallocUsed:", "\nPercpu:", "\nSUnreclaim:" };
	long before[ARRAY_SIZE(key)];

	for (int i = 0; i < 120; i++) {
		if (i == 20)
			for (size_t k = 0; k < ARRAY_SIZE(key); k++)
				before[k] = meminfo_kib(key[k]);
		load(e);
		unload();
	}
	for (size_t k = 0; k < ARRAY_SIZE(key); k++) {
		long grown;

		/* The memory of modules is freed after a grace period, in batches. */
		for (int patience = 200; patience; patience--) {
			grown = meminfo_kib(key[k]) - before[k];
			if (grown < 300)
				break;
			usleep(100000);
		}
		printf("# %s %+ld KiB in 100 loads\n", key[k] + 1, grown);
		check(grown < 300, "%s grew by %ld KiB", key[k] + 1, grown);
	}
	mount_new(e, e->dev, e->dir);
	store_pages(e, 100);
	expect_pages(e, 100);
	must(umount(e->dir));
}

static void refuses_to_load(const char *ko)
{
	int own = kmsg_open(), loader = kmsg_open();

	check(module_load(ko) && errno == ENOENT, "the module did not refuse to load: %m");
	check(!module_loaded(), "the module stays");
	check(kmsg_has(own, MODULE_NAME ": this kernel lacks the", "patches/linux-", NULL),
	      "the kernel log does not say what is missing");
	check(!kmsg_has(loader, MODULE_NAME ": Unknown symbol", NULL),
	      "the kernel log has a line of the loader for a symbol");
	close(own);
	close(loader);
}

static void stock_refuses(const struct env *e)
{
	refuses_to_load(e->ko);
	mount_new(e, e->dev, e->dir);
	store_pages(e, 100);
	expect_pages(e, 100);
	must(umount(e->dir));
}

/* What the loader finds of the series on a kernel without it: nothing under these names. */
static void series_is_missed(const struct env *e)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "objcopy --redefine-sym %s=absent_%s %s /tmp/absent.ko",
		 "dax_register_provider", "dax_register_provider", e->ko);
	check(!system(cmd), "cannot rename symbols of the module");
	refuses_to_load("/tmp/absent.ko");
	must(unlink("/tmp/absent.ko"));
}

static const struct test tests[] = {
	{ "R16 without the module a mount is stock", absent_is_stock, BOUND_ONLY },
	{ "R16 one line refuses a kernel without the series", series_is_missed, BOUND_ONLY },
	{ "R16 bind decides at mount time", bind_decides, BOUND_ONLY },
	{ "R16 data goes from provider to provider", data_outlives_the_provider, BOUND_ONLY },
	{ "R16 the kernel log names the provider of a mount", log_names_the_provider, BOUND_ONLY },
	{ "R15 a bound mount refuses the unload, a stock one does not",
	  mounts_hold_the_module, BOUND_ONLY },
	{ "R15 a waiter refuses the unload", pins_hold_the_module, BOUND_ONLY },
	{ "R15 pages in a pipe refuse the unload when no mount is to be seen",
	  pages_hold_the_module, BOUND_ONLY },
	{ }
};

/* Needs a kernel without the series. */
static const struct test stock_tests[] = {
	{ "R16 a stock kernel refuses the module with one line", stock_refuses, BOUND_ONLY },
	{ }
};

/* Needs a kernel whose allocators do not keep what was freed, as KASAN does. */
static const struct test leak_tests[] = {
	{ "R15 a hundred loads and unloads leak nothing", loading_leaks_nothing, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(module, tests);
GROUP_UNMOUNTED(stock, stock_tests);
GROUP_UNMOUNTED(leaks, leak_tests);
