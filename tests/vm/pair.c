// SPDX-License-Identifier: GPL-2.0
/* Clone, dedupe, exchange: see pair.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "case.h"
#include "pair.h"

/* From fs/xfs/libxfs/xfs_fs.h, which no package without XFS programs brings. */
struct exchange_range {
	int32_t file1_fd;
	uint32_t pad;
	uint64_t file1_offset, file2_offset, length, flags;
};

#define EXCHANGE_RANGE	_IOW('X', 129, struct exchange_range)

struct swapext {
	int64_t version, target, tmp, offset, length;
	char pad[16];
	/* Of struct xfs_bstat: it says how the target was when it was copied. */
	uint64_t ino;
	uint16_t mode, nlink;
	uint32_t uid, gid, rdev;
	int32_t blksize;
	int64_t size;
	struct {
		long sec;
		int32_t nsec;
	} atime, mtime, ctime;
	int64_t blocks;
	char rest[40];
};

#define SWAPEXT_VERSION	0
#define IOC_SWAPEXT	_IOWR('X', 109, struct swapext)

const char *const pair_op_name[] = {
	"clone", "clone range", "dedupe", "exchange", "swap extents",
};

static int dedupe(const struct pair *p)
{
	const off_t start = p->first * PAGE, bytes = p->pages * PAGE;
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range = {
		.head = { .src_offset = start, .src_length = bytes, .dest_count = 1 },
		.info = { .dest_fd = p->fd, .dest_offset = start },
	};

	if (ioctl(p->other, FIDEDUPERANGE, &range))
		return -1;
	if (range.info.status < 0) {
		errno = -range.info.status;
		return -1;
	}
	if (range.info.status != FILE_DEDUPE_RANGE_SAME ||
	    range.info.bytes_deduped != (uint64_t)bytes) {
		errno = EILSEQ;
		return -1;
	}
	return 0;
}

static int swap_extents(const struct pair *p)
{
	struct stat st;
	struct swapext swap = {
		.version = SWAPEXT_VERSION,
		.target = p->fd,
		.tmp = p->other,
		.length = p->pages * PAGE,
	};

	must(fstat(p->fd, &st));
	swap.mtime.sec = st.st_mtim.tv_sec;
	swap.mtime.nsec = st.st_mtim.tv_nsec;
	swap.ctime.sec = st.st_ctim.tv_sec;
	swap.ctime.nsec = st.st_ctim.tv_nsec;
	return ioctl(p->fd, IOC_SWAPEXT, &swap);
}

int do_pair(void *arg)
{
	const struct pair *p = arg;
	const off_t start = p->first * PAGE, bytes = p->pages * PAGE;

	switch (p->op) {
	case CLONE:
		return ioctl(p->fd, FICLONE, p->other);
	case CLONE_RANGE: {
		struct file_clone_range range = { p->other, start, bytes, start };

		return ioctl(p->fd, FICLONERANGE, &range);
	}
	case DEDUPE:
		return dedupe(p);
	case EXCHANGE: {
		struct exchange_range range = {
			.file1_fd = p->other,
			.file1_offset = start,
			.file2_offset = start,
			.length = bytes,
		};

		return ioctl(p->fd, EXCHANGE_RANGE, &range);
	}
	case SWAPEXT:
		return swap_extents(p);
	}
	return -1;
}
