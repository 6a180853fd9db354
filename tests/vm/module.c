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
#include <unistd.h>

#include "huge.h"
#include "module.h"

#define OTHER_DIR	"/mnt/other"

void mount_new(const struct env *e, const char *dev, const char *dir)
{
	check(make_fs(e->fs, dev), "cannot make %s on %s", e->fs, dev);
	check(!mount_fs(e->fs, dev, dir, NULL), "cannot mount %s: %m", dev);
}

void must_load(const struct env *e)
{
	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
}

void must_unload(void)
{
	check(!module_unload(), "cannot unload the module: %m");
}

void store_pages(const struct env *e, uint64_t stamp)
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

void expect_pages(const struct env *e, uint64_t stamp)
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

void refuses_to_load(const char *ko)
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
	must_load(e);
	module_bind(false);
	mount_new(e, e->other, OTHER_DIR);
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
	must_unload();
}

static void expect_refused(const struct env *e, const char *fs, const char *options)
{
	check(mount(e->dev, e->dir, fs, 0, options) && errno == EOPNOTSUPP,
	      "a mount of %s with %s: %m", fs, options);
}

static void stock_is_refused(const struct env *e, const char *fs)
{
	int log;

	check(make_fs(fs, e->dev), "cannot make %s on %s", fs, e->dev);
	require_provider(true);
	must_load(e);
	check(!mount_fs(fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	must(umount(e->dir));
	module_bind(false);
	expect_refused(e, fs, "dax=always");
	must_unload();
	log = kmsg_open();
	expect_refused(e, fs, "dax=always");
	check(kmsg_has(log, "dax: ", "no provider serves it", NULL),
	      "the kernel log does not say why");
	close(log);
	/* It may have files with DAX. */
	expect_refused(e, fs, "dax=inode");
	check(!mount(e->dev, e->dir, fs, 0, "dax=never"), "mount without DAX: %m");
	must(umount(e->dir));

	require_provider(false);
	check(!mount_fs(fs, e->dev, e->dir, NULL), "mount: %m");
	check(!mount_is_bound(e->dir), "a mount is bound without a module");
	must(umount(e->dir));
}

static void stock_ext4_is_refused(const struct env *e)
{
	stock_is_refused(e, "ext4");
}

static void stock_xfs_is_refused(const struct env *e)
{
	stock_is_refused(e, "xfs");
}

static void data_outlives_the_provider(const struct env *e)
{
	must_load(e);
	mount_new(e, e->dev, e->dir);
	check(mount_is_bound(e->dir), "the mount is not bound");
	store_pages(e, 100);
	must(umount(e->dir));
	must_unload();

	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(!mount_is_bound(e->dir), "a mount is bound without a module");
	expect_pages(e, 100);
	store_pages(e, 500);
	must(umount(e->dir));

	must_load(e);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	expect_pages(e, 500);
	must(umount(e->dir));
	must_unload();
}

/* Two files of 2 MiB pages, on a mount that is bound. */
static void use_by_huge_pages(const struct env *e)
{
	char *p;
	int fd;

	check(mount_is_bound(e->dir), "the mount is not bound");
	p = stamped(e, &fd, 2, 100);
	expect_huge(p, 2 * HUGE, "a mapping of the bound mount");
	munmap(p, 2 * HUGE * PAGE);
	close(fd);
	must(umount(e->dir));
}

/* The kernel finds single pages where these were: by 4 KiB, by 2 MiB, and when it frees them. */
static void use_by_the_kernel(const struct env *e)
{
	char *p;
	int fd;

	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(!mount_is_bound(e->dir), "the mount is bound");
	fd = must(open(in_dir(e, "f"), O_RDWR));
	p = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, PAGE);
	check(p != MAP_FAILED, "mmap: %m");
	for (size_t i = 0; i < 3; i++) {
		check_page(p + i * PAGE, 101 + i, "pages of a former 2 MiB page");
		fill_page(p + i * PAGE, 101 + i);
	}
	must(fsync(fd));
	munmap(p, 3 * PAGE);
	p = map_file(fd, 2 * HUGE, RW);
	expect_stamps(p, fd, 0, 2 * HUGE, 100, "served by the kernel");
	must(ftruncate(fd, PAGE));
	munmap(p, 2 * HUGE * PAGE);
	close(fd);
	must(umount(e->dir));
}

static void shapes_are_given_back(const struct env *e)
{
	must_load(e);
	mount_new(e, e->dev, e->dir);
	use_by_huge_pages(e);
	module_bind(false);
	use_by_the_kernel(e);

	module_bind(true);
	mount_new(e, e->dev, e->dir);
	use_by_huge_pages(e);
	must_unload();
	use_by_the_kernel(e);
}

static void log_names_the_provider(const struct env *e)
{
	const char *disk = strrchr(e->dev, '/') + 1;
	int kmsg = kmsg_open();

	must_load(e);
	mount_new(e, e->dev, e->dir);
	check(kmsg_wait(kmsg, 20, disk, "served by " MODULE_NAME, NULL),
	      "the kernel log does not say that %s is served by the module", disk);
	must(umount(e->dir));
	module_bind(false);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(kmsg_wait(kmsg, 20, disk, "served by the kernel", NULL),
	      "the kernel log does not say that %s is served by the kernel", disk);
	must(umount(e->dir));
	must_unload();
}

static void mounts_hold_the_module(const struct env *e)
{
	must_load(e);
	module_bind(false);
	mount_new(e, e->other, OTHER_DIR);
	module_bind(true);
	mount_new(e, e->dev, e->dir);
	check(module_unload() && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EBUSY),
	      "the module went from under a mount");
	store_pages(e, 100);
	check(module_unload(), "the module went from under a mount");
	expect_pages(e, 100);
	must(umount(e->dir));
	/* A mount served by C does not hold it. */
	must_unload();
	check(!mount_is_bound(OTHER_DIR), "a mount is bound without a module");
	must(umount(OTHER_DIR));
}

static void pins_hold_the_module(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	char *p;

	must_load(e);
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
	must_unload();
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

	must_load(e);
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
	must_unload();
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
	{ "R16 no ext4 is mounted that stock would serve, if so told", stock_ext4_is_refused,
	  BOUND_ONLY },
	{ "R16 no XFS is mounted that stock would serve, if so told", stock_xfs_is_refused,
	  BOUND_ONLY },
	{ "R16 data goes from provider to provider", data_outlives_the_provider, BOUND_ONLY },
	{ "R16 the kernel log names the provider of a mount", log_names_the_provider, BOUND_ONLY },
	{ "R18 the kernel gets single pages where 2 MiB pages were", shapes_are_given_back,
	  BOUND_ONLY },
	{ "R15 a bound mount refuses the unload, a stock one does not",
	  mounts_hold_the_module, BOUND_ONLY },
	{ "R15 a waiter refuses the unload", pins_hold_the_module, BOUND_ONLY },
	{ "R15 pages in a pipe refuse the unload when no mount is to be seen",
	  pages_hold_the_module, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(module, tests);
