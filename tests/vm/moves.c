// SPDX-License-Identifier: GPL-2.0
/* Calls that move the blocks of files, some of which are DAX files and some not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

static void mount_by_inode(const struct env *e)
{
	umount2(e->dir, MNT_DETACH);
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	must(mkdir(e->dir, 0755) && errno != EEXIST ? -1 : 0);
	check(!mount(e->dev, e->dir, e->fs, 0, "dax=inode"), "cannot mount %s: %m", e->dev);
}

static int file_of_kind(const struct env *e, const char *name, bool dax, uint64_t stamp)
{
	struct fsxattr attr = { };
	struct statx stx;
	char page[PAGE];
	int fd = must(open(in_dir(e, name), O_RDWR | O_CREAT, 0644));

	if (dax) {
		/* The flag of an empty file holds from the next time that it is read. */
		must(ioctl(fd, FS_IOC_FSGETXATTR, &attr));
		attr.fsx_xflags |= FS_XFLAG_DAX;
		must(ioctl(fd, FS_IOC_FSSETXATTR, &attr));
		must(close(fd));
		must(write_text("/proc/sys/vm/drop_caches", "2") ? 0 : -1);
		fd = must(open(in_dir(e, name), O_RDWR));
	}
	must(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx));
	check(!!(stx.stx_attributes & STATX_ATTR_DAX) == dax, "%s is %sa DAX file", name,
	      dax ? "not " : "");
	for (size_t i = 0; i < N; i++) {
		fill_page(page, stamp + i);
		check(pwrite(fd, page, PAGE, i * PAGE) == PAGE, "write: %m");
	}
	must(fsync(fd));
	return fd;
}

/* Neither may be a DAX file: nobody breaks the layout of either. */
static void try_both_ways(const struct env *e)
{
	struct move_extent move = { .len = N };
	int dax, other;
	char *p;

	mount_by_inode(e);
	other = file_of_kind(e, "other", false, 100);
	dax = file_of_kind(e, "dax", true, 200);
	p = map_file(dax, N, RW);
	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 300 + i);

	move.donor_fd = dax;
	check(ioctl(other, EXT4_IOC_MOVE_EXT, &move) && errno == EOPNOTSUPP,
	      "blocks moved into a DAX donor: %m");
	move.donor_fd = other;
	check(ioctl(dax, EXT4_IOC_MOVE_EXT, &move) && errno == EOPNOTSUPP,
	      "blocks of a DAX file moved: %m");

	for (size_t i = 0; i < N; i++) {
		check_page(p + i * PAGE, 300 + i, "mapping of the DAX file");
		check_file_page(dax, i, 300 + i, "read(2) of the DAX file");
		check_file_page(other, i, 100 + i, "read(2) of the other file");
	}
	munmap(p, N * PAGE);
	close(dax);
	close(other);
	must(umount(e->dir));
}

static void extents_of_dax_files_stay(const struct env *e)
{
	if (!e->ko) {
		try_both_ways(e);
		return;
	}
	if (!module_loaded())
		check(!module_load(e->ko), "cannot load the module: %m");
	for (int bound = 0; bound < 2; bound++) {
		module_bind(bound);
		try_both_ways(e);
	}
	check(!module_unload(), "cannot unload the module: %m");
}

static const struct test tests[] = {
	{ "D31 no blocks move under the mapping of a donor", extents_of_dax_files_stay, EXT4_ONLY },
	{ }
};

GROUP_UNMOUNTED(moves, tests);
