/* SPDX-License-Identifier: GPL-2.0 */
/* Calls about the blocks of two files. */
#ifndef FSDAX_VM_PAIR_H
#define FSDAX_VM_PAIR_H

#include <stddef.h>
#include <stdint.h>

/* Calls about the same pages of two files, of XFS. */
enum pair_op { CLONE, CLONE_RANGE, DEDUPE, EXCHANGE, SWAPEXT };

struct pair {
	enum pair_op op;
	int fd, other;		/* destination, source */
	size_t first, pages;
};

extern const char *const pair_op_name[];

int do_pair(void *pair);

/* Of fs/ext4/ext4.h, which user space has no header of. */
struct move_extent {
	uint32_t reserved;
	uint32_t donor_fd;
	uint64_t orig_start;
	uint64_t donor_start;
	uint64_t len;
	uint64_t moved_len;
};

#define EXT4_IOC_MOVE_EXT	_IOWR('f', 15, struct move_extent)

#endif
