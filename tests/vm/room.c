// SPDX-License-Identifier: GPL-2.0
/* Free blocks, and who gets them: see room.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file.h"
#include "kernel.h"
#include "room.h"

/* From fs/xfs/libxfs/xfs_fs.h. */
struct xfs_resblks {
	uint64_t blocks, available;
};

struct xfs_fs_eofblocks {
	uint32_t version, flags, uid, gid, prid, pad;
	uint64_t min_file_size, pad64[12];
};

#define XFS_IOC_FREE_EOFBLOCKS	_IOR('X', 58, struct xfs_fs_eofblocks)
#define XFS_IOC_SET_RESBLKS	_IOWR('X', 114, struct xfs_resblks)

static void keep_none_of_xfs(int fd)
{
	struct xfs_resblks none = { };

	must(ioctl(fd, XFS_IOC_SET_RESBLKS, &none));
}

static void keep_none_of_ext4(int fd)
{
	char link[64], device[256], path[320];
	struct stat st;
	ssize_t n;

	must(fstat(fd, &st));
	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	n = must(readlink(link, device, sizeof(device) - 1));
	device[n] = 0;
	snprintf(path, sizeof(path), "/sys/fs/ext4/%s/reserved_clusters", strrchr(device, '/') + 1);
	set_text(path, "0");
}

static bool is_xfs(int fd)
{
	struct statfs v;

	must(fstatfs(fd, &v));
	return v.f_type == XFS_SUPER_MAGIC;
}

/*
 * Both keep some thousand blocks back, which write(2) does not get. None from now on: what is freed
 * later would be kept first.
 */
static void keep_none(int fd)
{
	if (is_xfs(fd))
		keep_none_of_xfs(fd);
	else
		keep_none_of_ext4(fd);
}

/*
 * What was freed is free: XFS frees the blocks of what was unlinked later, and a journal holds back
 * what was freed until it is written.
 */
static void settle(int fd)
{
	struct xfs_fs_eofblocks all = { .version = 1 };

	if (is_xfs(fd))
		must(ioctl(fd, XFS_IOC_FREE_EOFBLOCKS, &all));
	must(syncfs(fd));
}

/* It is made before the disk is full, which may keep it from being made. */
#define AGAIN	"again"

void leave_free(const struct env *e, size_t pages)
{
	int fd = must(open(in_dir(e, "ballast"), O_RDWR | O_CREAT, 0644));
	struct statvfs v;
	off_t size;

	settle(fd);
	must(fstatvfs(fd, &v));
	check(v.f_bavail > pages, "only %lu blocks are free", (unsigned long)v.f_bavail);
	size = (v.f_bavail - pages) * PAGE;
	/* What describes them takes room, too. */
	while (fallocate(fd, 0, 0, size)) {
		check(errno == ENOSPC && size > (off_t)MIB, "fallocate: %m");
		size -= MIB;
	}
	close(fd);
	close(must(open(in_dir(e, AGAIN), O_RDWR | O_CREAT, 0644)));
}

/*
 * Pages that are written one by one: for these XFS takes what is near, for more at a time what is
 * long. It keeps some free blocks for its trees, wherever they are.
 */
#define NEAR	128

int fill_free_space(const struct env *e, const char *name, uint64_t stamp)
{
	int fd = must(open(in_dir(e, name), O_RDWR | O_CREAT | O_TRUNC, 0644));
	static char buf[1 << 18];
	size_t step = is_xfs(fd) ? PAGE : sizeof(buf);
	off_t pos = 0;

	for (size_t i = 0; i < sizeof(buf); i += PAGE)
		fill_page(buf + i, stamp);
	settle(fd);
	keep_none(fd);
	while (step) {
		ssize_t n = pwrite(fd, buf, step, pos);

		if (n > 0) {
			pos += n;
			if (pos == NEAR * PAGE)
				step = sizeof(buf);
			continue;
		}
		check(n < 0 && errno == ENOSPC, "fill free space: %m");
		step = step > PAGE ? PAGE : 0;
	}
	must(ftruncate(fd, pos / PAGE * PAGE));
	return fd;
}

void check_given_out(const struct env *e, uint64_t block, size_t pages)
{
	size_t size;
	int fd;

	if (!strcmp(e->fs, "xfs"))
		return;
	fd = fill_free_space(e, AGAIN, 0x9999);
	size = file_size(fd) / PAGE;
	for (size_t i = 0; i < size; i++) {
		uint64_t got = file_block(fd, i);

		if (got >= block && got < block + pages) {
			must(ftruncate(fd, 0));
			close(fd);
			return;
		}
	}
	fail("who fills the disk gets %zu pages, and none of the %zu from block %llu on", size,
	     pages, (unsigned long long)block);
}

#define SMALL_FILES	128
#define SMALL_PAGES	((size_t)16)

static const char *small_file(const struct env *e, int i)
{
	char name[32];

	snprintf(name, sizeof(name), "small%d", i);
	return in_dir(e, name);
}

void fill_small_files(const struct env *e, uint64_t stamp)
{
	char buf[SMALL_PAGES * PAGE];

	for (size_t i = 0; i < SMALL_PAGES; i++)
		fill_page(buf + i * PAGE, stamp);
	for (int i = 0; i < SMALL_FILES; i++) {
		int fd = must(open(small_file(e, i), O_RDWR | O_CREAT | O_TRUNC, 0644));

		check(pwrite(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf), "small file: %m");
		close(fd);
	}
}

void check_small_files(const struct env *e, uint64_t stamp)
{
	for (int i = 0; i < SMALL_FILES; i++) {
		int fd = must(open(small_file(e, i), O_RDWR));

		check(file_size(fd) == (off_t)(SMALL_PAGES * PAGE), "size of a small file");
		check_all_pages(fd, stamp, "small file");
		close(fd);
		must(unlink(small_file(e, i)));
	}
}
