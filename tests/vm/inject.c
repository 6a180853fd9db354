// SPDX-License-Identifier: GPL-2.0
/* Operations on a mount whose calls fail: see inject.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inject.h"

static int pwrite_page(int fd, size_t page, uint64_t stamp)
{
	static char buf[PAGE];
	ssize_t n;

	fill_page(buf, stamp);
	n = pwrite(fd, buf, PAGE, page * PAGE);
	if (n == (ssize_t)PAGE)
		return 0;
	if (n >= 0)
		errno = ENOMEM;	/* a short write: there was a failure */
	return -1;
}

/* Files. */
static void prepare_data(struct scene *s)
{
	s->fd = create_file(s->e, "f", N, OLD);
	for (size_t i = 0; i < N; i++)
		s->want[i] = OLD + i;
	s->map = map_file(s->fd, N, RW);
}

static void prepare_hole(struct scene *s)
{
	s->fd = create_file(s->e, "f", 0, 0);
	must(ftruncate(s->fd, N * PAGE));
	s->map = map_file(s->fd, N, RW);
}

static void load_all(struct scene *s)
{
	must(madvise(s->map, s->pages * PAGE, MADV_POPULATE_READ));
}

static void prepare_data_loaded(struct scene *s)
{
	prepare_data(s);
	load_all(s);
}

static void prepare_hole_loaded(struct scene *s)
{
	prepare_hole(s);
	load_all(s);
}

static void remap(struct scene *s, int flags)
{
	must(munmap(s->map, s->pages * PAGE));
	s->map = map_skewed(s->fd, s->pages, 0, RW, flags);
}

static void prepare_private(struct scene *s)
{
	prepare_data(s);
	remap(s, MAP_PRIVATE);
}

static void prepare_private_hole(struct scene *s)
{
	prepare_hole(s);
	remap(s, MAP_PRIVATE);
}

static void prepare_synced(struct scene *s)
{
	prepare_hole(s);
	remap(s, MAP_SHARED_VALIDATE | MAP_SYNC);
}

static void prepare_huge(struct scene *s)
{
	s->pages = HUGE;
	s->fd = create_huge(s->e, "f", 1);
	s->map = map_file_huge(s->fd, HUGE, RW);
}

static void prepare_huge_data(struct scene *s)
{
	static char zeroes[2 * MIB];

	prepare_huge(s);
	/* All of it must be written for a page of 2 MiB. */
	check(pwrite(s->fd, zeroes, sizeof(zeroes), 0) == (ssize_t)sizeof(zeroes), "write: %m");
	for (size_t i = 0; i < N; i++) {
		must(pwrite_page(s->fd, i, OLD + i));
		s->want[i] = OLD + i;
	}
}

static void prepare_huge_loaded(struct scene *s)
{
	prepare_huge(s);
	load_all(s);
}

static void prepare_huge_synced(struct scene *s)
{
	const char *at;

	prepare_huge(s);
	at = mmap(s->map, HUGE * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, s->fd, 0);
	check(at == s->map, "mmap: %m");
	must(madvise(s->map, HUGE * PAGE, MADV_HUGEPAGE));
}

static void dirty_all(struct scene *s)
{
	for (size_t i = 0; i < N; i++) {
		s->want[i] = NEW + i;
		fill_page(s->map + i * PAGE, s->want[i]);
	}
}

static void prepare_dirty(struct scene *s)
{
	prepare_data(s);
	dirty_all(s);
}

static void prepare_huge_dirty(struct scene *s)
{
	prepare_huge(s);
	dirty_all(s);
	check(huge_pages(s->map, HUGE) == HUGE, "no page of 2 MiB");
}

/* Whether this task sleeps just now. */
static bool sleeps(void)
{
	char buf[4096], *state;

	check(read_text("/proc/self/status", buf, sizeof(buf)), "no status: %m");
	state = strstr(buf, "State:\t");
	return state && strchr("SD", state[7]);
}

/*
 * Lets the pin go when the operation waits for it: it sleeps and sleeps. A waiter
 * that did not get memory is not among those in debugfs.
 */
static void *unpin(void *arg)
{
	struct scene *s = arg;
	int seen = 0;

	while (!s->done && seen < 10) {
		if (sleeps())
			seen++;
		usleep(5000);
	}
	unpin_all(&s->pin);
	return NULL;
}

static void pin(struct scene *s)
{
	pin_pages(&s->pin, s->map + AT * PAGE, 1);
	s->pinned = true;
	check(!pthread_create(&s->helper, NULL, unpin, s), "no thread");
}

static void prepare_pinned(struct scene *s)
{
	prepare_dirty(s);
	pin(s);
}

static void prepare_huge_pinned(struct scene *s)
{
	prepare_huge_dirty(s);
	pin(s);
}

/* The punch that would wait for the pin is interrupted: what was dirty is so still. */
static void prepare_zapped(struct scene *s)
{
	prepare_dirty(s);
	pin_pages(&s->pin, s->map + AT * PAGE, 1);
	set_pass(BY_POINT);
	arm(BY_POINT, 1);
	check(do_op(OP_PUNCH, s->fd, AT, COUNT) && errno == EINTR, "the punch was not interrupted");
	check(disarm(BY_POINT), "no point failed");
	set_pass(s->by);
}

static void share(struct scene *s)
{
	s->other = create_file(s->e, "g", 0, 0);
	must(ioctl(s->other, FICLONE, s->fd));
}

static void prepare_shared(struct scene *s)
{
	prepare_data(s);
	share(s);
}

static void prepare_shared_loaded(struct scene *s)
{
	prepare_shared(s);
	load_all(s);
}

static void prepare_shared_pinned(struct scene *s)
{
	prepare_shared(s);
	load_all(s);
	pin(s);
}

static void prepare_same(struct scene *s)
{
	prepare_data(s);
	s->other = create_file(s->e, "g", N, OLD);
	load_all(s);
}

/* With room to move the mapping to. */
static void prepare_forked(struct scene *s)
{
	prepare_dirty(s);
	s->room = mmap(NULL, N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(s->room != MAP_FAILED, "mmap: %m");
}

/* Operations. */
static int load_page(struct scene *s)
{
	return madvise(s->map + AT * PAGE, PAGE, MADV_POPULATE_READ);
}

static int store_page(struct scene *s)
{
	return madvise(s->map + AT * PAGE, PAGE, MADV_POPULATE_WRITE);
}

/* By the CPU: the kernel tries again for want of memory. */
static int store_byte(struct scene *s)
{
	if (!try_store(s->map + AT * PAGE, 0))
		return 0;
	errno = EFAULT;
	return -1;
}

static int write_page(struct scene *s)
{
	return pwrite_page(s->fd, AT, NEW);
}

static int run_fsync(struct scene *s)
{
	return fsync(s->fd);
}

static int run_msync(struct scene *s)
{
	return msync(s->map, s->pages * PAGE, MS_SYNC);
}

static int run_truncate(struct scene *s)
{
	return do_op(OP_TRUNCATE, s->fd, AT, 0);
}

static int run_punch(struct scene *s)
{
	return do_op(OP_PUNCH, s->fd, AT, COUNT);
}

static int run_zero(struct scene *s)
{
	return do_op(OP_ZERO, s->fd, AT, COUNT);
}

static int run_collapse(struct scene *s)
{
	return do_op(OP_COLLAPSE, s->fd, AT, COUNT);
}

static int run_insert(struct scene *s)
{
	return do_op(OP_INSERT, s->fd, AT, COUNT);
}

static int run_unlink(struct scene *s)
{
	int rc;

	/* The last reference to the inode: closing evicts it. */
	if (s->map)
		munmap(s->map, s->pages * PAGE);
	s->map = NULL;
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
	rc = unlink(in_dir(s->e, "f"));
	return rc && errno == ENOENT ? 0 : rc;
}

static int run_dedupe(struct scene *s)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range = {
		.head = { .src_length = N * PAGE, .dest_count = 1 },
		.info = { .dest_fd = s->other },
	};

	if (ioctl(s->fd, FIDEDUPERANGE, &range))
		return -1;
	if (range.info.status < 0) {
		errno = -range.info.status;
		return -1;
	}
	return 0;
}

static int run_clone(struct scene *s)
{
	return ioctl(s->other, FICLONE, s->fd);
}

static int run_fork(struct scene *s)
{
	const pid_t pid = fork();
	int status;

	if (pid == -1)
		return -1;
	if (!pid) {
		/*
		 * A fault may have to make a page table, and the kernel takes one that
		 * gets no memory again, for ever.
		 */
		disarm_child();
		for (size_t i = 0; i < N; i++)
			if (!page_is(s->map + i * PAGE, s->want[i]))
				_exit(1);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && !status, "the child sees other data");
	return 0;
}

static int run_mremap(struct scene *s)
{
	char *p = mremap(s->map, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, s->room);

	if (p == MAP_FAILED)
		return -1;
	s->map = p;
	return 0;
}

static int read_debugfs(struct scene *s)
{
	static const char *const files[] = { "mounts", "busy", "waiters", "faults", "points" };
	static char buf[4096];

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[128];
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), DEBUG MODULE_NAME "/%s", files[i]);
		fd = open(path, O_RDONLY);
		if (fd == -1)
			return -1;
		n = read(fd, buf, sizeof(buf));
		close(fd);
		if (n < 0)
			return -1;
		check(n, "%s is empty", files[i]);
	}
	return 0;
}

/* Data afterwards. */
static void stored(struct scene *s)
{
	s->want[AT] = NEW;
	fill_page(s->map + AT * PAGE, NEW);
}

static void stored_privately(struct scene *s)
{
	s->private = true;
	fill_page(s->map + AT * PAGE, NEW);
}

static void written(struct scene *s)
{
	s->want[AT] = NEW;
}

/* All of it is dirty, as it was. */
static void kept_dirty(struct scene *s)
{
	unpin_all(&s->pin);
	close(s->pin.rd);
	close(s->pin.wr);
	flush_count_start();
	must(fsync(s->fd));
	check(flush_count_stop() == N, "dirty pages were forgotten");
}

static void stored_zapped(struct scene *s)
{
	stored(s);
	kept_dirty(s);
}

static void flushed(struct scene *s)
{
	s->flushed = true;
}

static void discarded(struct scene *s)
{
	memset(s->want + AT, 0, COUNT * sizeof(s->want[0]));
}

static void truncated(struct scene *s)
{
	check(file_size(s->fd) == (off_t)(AT * PAGE), "size after truncate");
	/* What comes back has no data. */
	must(ftruncate(s->fd, N * PAGE));
	memset(s->want + AT, 0, (N - AT) * sizeof(s->want[0]));
}

static void collapsed(struct scene *s)
{
	check(file_size(s->fd) == (off_t)((s->pages - COUNT) * PAGE), "size after collapse");
	must(ftruncate(s->fd, s->pages * PAGE));
	memmove(s->want + AT, s->want + AT + COUNT, (N - AT - COUNT) * sizeof(s->want[0]));
	memset(s->want + N - COUNT, 0, COUNT * sizeof(s->want[0]));
}

static void inserted(struct scene *s)
{
	check(file_size(s->fd) == (off_t)((s->pages + COUNT) * PAGE), "size after insert");
	memmove(s->want + AT + COUNT, s->want + AT, (N - AT - COUNT) * sizeof(s->want[0]));
	discarded(s);
}

static void faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "load of data", FAULT, prepare_data, load_page, NULL },
		{ "load of a hole", FAULT, prepare_hole, load_page, NULL },
		{ "store to data", FAULT, prepare_data, store_page, stored },
		{ "store to a hole", FAULT, prepare_hole, store_page, stored },
		{ "store to what was loaded", FAULT, prepare_data_loaded, store_page, stored },
		{ "store to a hole that was loaded", FAULT, prepare_hole_loaded, store_page,
		  stored },
		{ "store to a hole by the CPU", FAULT | BY_CPU, prepare_hole,
		  store_byte, stored },
		{ "load of a zapped page", FAULT, prepare_zapped, load_page, kept_dirty },
		{ "store to a zapped page", FAULT, prepare_zapped, store_page, stored_zapped },
		{ }
	};

	run_actions(e, actions);
}

static void private_faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "private store to data", FAULT, prepare_private, store_page, stored_privately },
		{ "private store to a hole", FAULT, prepare_private_hole, store_page,
		  stored_privately },
		{ }
	};

	run_actions(e, actions);
}

static void huge_faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "2 MiB load of data", FAULT | LARGE, prepare_huge_data, load_page, NULL },
		{ "2 MiB load of a hole", FAULT | LARGE, prepare_huge, load_page, NULL },
		{ "2 MiB store", FAULT | LARGE, prepare_huge, store_page, stored },
		{ "2 MiB store to a hole that was loaded", FAULT | LARGE, prepare_huge_loaded,
		  store_page, stored },
		{ }
	};

	run_actions(e, actions);
}

static void sync_faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "MAP_SYNC store to a hole", FAULT | SYNC, prepare_synced, store_page, stored },
		{ "2 MiB MAP_SYNC store", FAULT | LARGE | SYNC, prepare_huge_synced, store_page,
		  stored },
		{ }
	};

	run_actions(e, actions);
}

static void writes(const struct env *e)
{
	static const struct action actions[] = {
		{ "write to a hole that was loaded", CALL, prepare_hole_loaded, write_page,
		  written },
		{ "write to a 2 MiB hole that was loaded", CALL, prepare_huge_loaded, write_page,
		  written },
		{ "write to mapped data", CALL, prepare_dirty, write_page, written },
		{ "fsync", CALL, prepare_dirty, run_fsync, flushed },
		{ "fsync of 2 MiB", CALL, prepare_huge_dirty, run_fsync, flushed },
		{ "msync", CALL, prepare_dirty, run_msync, flushed },
		{ }
	};

	run_actions(e, actions);
}

static void layouts(const struct env *e)
{
	static const struct action actions[] = {
		{ "truncate", CALL, prepare_dirty, run_truncate, truncated },
		{ "punch", CALL, prepare_dirty, run_punch, discarded },
		{ "zero range", CALL, prepare_dirty, run_zero, discarded },
		{ "collapse range", HALF, prepare_dirty, run_collapse, collapsed },
		{ "insert range", HALF, prepare_dirty, run_insert, inserted },
		{ "punch of 2 MiB", CALL, prepare_huge_dirty, run_punch, discarded },
		{ "unlink", CALL, prepare_dirty, run_unlink, NULL },
		{ }
	};

	run_actions(e, actions);
}

static void pinned_layouts(const struct env *e)
{
	static const struct action actions[] = {
		{ "truncate of a pinned page", CALL, prepare_pinned, run_truncate, truncated },
		{ "punch of a pinned page", CALL, prepare_pinned, run_punch, discarded },
		{ "collapse of a pinned page", HALF, prepare_pinned, run_collapse, collapsed },
		{ "insert before a pinned page", HALF, prepare_pinned, run_insert, inserted },
		{ "punch of a pinned 2 MiB page", CALL, prepare_huge_pinned, run_punch, discarded },
		{ }
	};

	run_actions(e, actions);
}

static void shared(const struct env *e)
{
	static const struct action actions[] = {
		{ "load of shared data", FAULT, prepare_shared, load_page, NULL },
		{ "store to shared data", FAULT, prepare_shared, store_page, stored },
		{ "store to shared data that was loaded", FAULT, prepare_shared_loaded, store_page,
		  stored },
		{ "store to pinned shared data", FAULT, prepare_shared_pinned, store_page, stored },
		{ "write to shared data", CALL, prepare_shared_loaded, write_page, written },
		{ "punch of shared data", CALL, prepare_shared_loaded, run_punch, discarded },
		{ "dedupe", CALL, prepare_same, run_dedupe, NULL },
		{ "clone", CALL, prepare_same, run_clone, NULL },
		{ }
	};
	struct env only = *e;

	/* No other file system has them. */
	only.first = true;
	run_actions(&only, actions);
}

static void mappings(const struct env *e)
{
	static const struct action actions[] = {
		{ "fork", AGAIN, prepare_forked, run_fork, NULL },
		{ "mremap", CALL, prepare_forked, run_mremap, NULL },
		{ "files of debugfs", CALL, prepare_dirty, read_debugfs, NULL },
		{ }
	};

	run_actions(e, actions);
}

static const struct test tests[] = {
	{ "R5 faults whose calls fail", faults, BOUND_ONLY },
	{ "R5 faults of private mappings whose calls fail", private_faults, BOUND_ONLY },
	{ "R5 2 MiB faults whose calls fail", huge_faults, BOUND_ONLY },
	{ "R9 MAP_SYNC faults whose calls fail", sync_faults, BOUND_ONLY },
	{ "R9 writes and flushes whose calls fail", writes, BOUND_ONLY },
	{ "R6 layout changes whose calls fail", layouts, BOUND_ONLY },
	{ "R6 layout changes of pinned pages whose calls fail", pinned_layouts, BOUND_ONLY },
	{ "R17 shared blocks and calls that fail", shared, BOUND_ONLY | XFS_ONLY },
	{ "R12 mappings and debugfs files whose calls fail", mappings, BOUND_ONLY },
	{ "every point has failed", all_points_failed, BOUND_ONLY },
	{ }
};

GROUP(inject, tests);
