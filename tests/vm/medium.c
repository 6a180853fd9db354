// SPDX-License-Identifier: GPL-2.0
/* What a power failure would leave: requests to tests/plugin/medium.c, see medium.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch.h"
#include "lib.h"
#include "medium.h"

#define COPY_DEV	"/dev/pmem2"
#define COPY_DIR	"/mnt/after"

static uint64_t number_of(const struct env *e)
{
	return e->dev[strlen(e->dev) - 1] - '0';
}

bool medium_watched(void)
{
	return ask_medium(MEDIUM_DEVICES, 0, 0, 0) != 0;
}

size_t medium_unflushed(const struct env *e, int fd)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extents[64];
	} req;
	const struct fiemap_extent *x = NULL;
	size_t lines = 0;
	uint64_t next = 0, n;

	do {
		memset(&req, 0, sizeof(req));
		req.map.fm_start = next;
		req.map.fm_length = FIEMAP_MAX_OFFSET - next;
		req.map.fm_extent_count = ARRAY_SIZE(req.extents);
		must(ioctl(fd, FS_IOC_FIEMAP, &req));
		for (uint32_t i = 0; i < req.map.fm_mapped_extents; i++) {
			x = &req.extents[i];
			next = x->fe_logical + x->fe_length;
			/* Nobody reads what is there. */
			if (x->fe_flags & FIEMAP_EXTENT_UNWRITTEN)
				continue;
			n = ask_medium(MEDIUM_UNFLUSHED, number_of(e), x->fe_physical,
				       x->fe_length);
			check(n != MEDIUM_BAD, "bad request for an extent");
			lines += n;
		}
	} while (req.map.fm_mapped_extents && !(x->fe_flags & FIEMAP_EXTENT_LAST));
	return lines;
}

static void unmount_copy(void *arg)
{
	(void)arg;
	umount2(COPY_DIR, MNT_DETACH);
}

static const char *mount_copy(const struct env *e)
{
	const char *options = strcmp(e->fs, "xfs") ? "dax=never" : "dax=never,nouuid";

	mkdir(COPY_DIR, 0755);
	at_fail(unmount_copy, NULL);
	check(!mount(COPY_DEV, COPY_DIR, e->fs, MS_RDONLY, options),
	      "mount of what the power failure left: %m");
	return COPY_DIR;
}

const char *medium_after_power_failure(const struct env *e)
{
	check(ask_medium(MEDIUM_POWER_FAILURE, number_of(e), 0, 0) == 0, "no copy of the medium");
	return mount_copy(e);
}

void medium_record(const struct env *e)
{
	check(ask_medium(MEDIUM_RECORD, number_of(e), 0, 0) == 0, "nothing is recorded");
}

size_t medium_states(const struct env *e)
{
	return ask_medium(MEDIUM_STATES, number_of(e), 0, 0);
}

const char *medium_in_state(const struct env *e, size_t state)
{
	check(ask_medium(MEDIUM_STATE, number_of(e), state, 0) == 0, "no state %zu", state);
	return mount_copy(e);
}

void medium_unmount(void)
{
	must(umount(COPY_DIR));
}
