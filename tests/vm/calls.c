// SPDX-License-Identifier: GPL-2.0
/*
 * Every call that the series has break a layout in its own way, on dirty pages:
 * how many of them the call writes back, and how many a following fsync() does.
 * What the module serves loses none. What it does not serve is as without the
 * series: it loses what stock loses, and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)32)
/* Calls work on these pages, or cut the file at the first one. */
#define FIRST	((size_t)20)
#define COUNT	((size_t)4)

/* What the files are before the call. */
enum before {
	ALL_DIRTY,	/* all pages of "f" */
	IN_A_PAGE,	/* its size is that of N pages and a bit */
	CLONED,		/* it was cloned before stores copied its pages */
	CLONED_IN_A_PAGE,	/* both of that */
	HALF_SHARED,	/* only the first half of a clone was stored to */
	TWO_FILES,	/* all pages of "f" and of "g", with the same content */
};

struct files {
	enum before before;
	int fd, other;
	char *map, *other_map;
	size_t dirty;
};

struct call {
	const char *name;
	int (*run)(const struct files *f);
	unsigned int where;
	enum before before;
	int err;		/* what it fails with */
	size_t discards;	/* dirty pages that it takes away */
	size_t copies;		/* others that it copies, which the series flushes */
	/* Pages that stock writes back: in the call, in fsync() after it. */
	size_t in_call, in_fsync;
	const char *defect;	/* why these are fewer than there should be */
	int (*undo)(const struct files *f);
};

static int shrink(const struct files *f)
{
	return do_op(OP_TRUNCATE, f->fd, FIRST, 0);
}

static int shrink_in_a_page(const struct files *f)
{
	return ftruncate(f->fd, FIRST * PAGE - 100);
}

static int keep_the_size(const struct files *f)
{
	return do_op(OP_TRUNCATE, f->fd, N, 0);
}

static int grow(const struct files *f)
{
	return do_op(OP_TRUNCATE, f->fd, 2 * N, 0);
}

static int punch(const struct files *f)
{
	return do_op(OP_PUNCH, f->fd, FIRST, COUNT);
}

static int punch_behind_eof(const struct files *f)
{
	return do_op(OP_PUNCH, f->fd, N, COUNT);
}

static int zero(const struct files *f)
{
	return do_op(OP_ZERO, f->fd, FIRST, COUNT);
}

static int collapse(const struct files *f)
{
	return do_op(OP_COLLAPSE, f->fd, FIRST, COUNT);
}

static int insert(const struct files *f)
{
	return do_op(OP_INSERT, f->fd, FIRST, COUNT);
}

static int allocate(const struct files *f)
{
	return do_op(OP_ALLOCATE, f->fd, N, N);
}

static int unshare_range(const struct files *f)
{
	return fallocate(f->fd, FALLOC_FL_UNSHARE_RANGE, FIRST * PAGE, COUNT * PAGE);
}

static int write_at(int fd, off_t pos, size_t bytes)
{
	char *buf = mmap(NULL, bytes, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t n;

	check(buf != MAP_FAILED, "mmap: %m");
	n = pwrite(fd, buf, bytes, pos);
	munmap(buf, bytes);
	return n == (ssize_t)bytes ? 0 : -1;
}

static int write_over(const struct files *f)
{
	return write_at(f->fd, FIRST * PAGE, COUNT * PAGE);
}

static int write_directly(const struct files *f)
{
	int rc;

	must(fcntl(f->fd, F_SETFL, O_DIRECT));
	rc = write_over(f);
	must(fcntl(f->fd, F_SETFL, 0));
	return rc;
}

static int write_behind_eof(const struct files *f)
{
	return write_at(f->fd, 2 * N * PAGE, PAGE);
}

static int swap_boot(const struct files *f)
{
	return do_op(OP_SWAP_BOOT, f->fd, 0, 0);
}

static int move_extents(const struct files *f)
{
	struct move_extent move = { .donor_fd = f->other, .len = N };

	return ioctl(f->fd, EXT4_IOC_MOVE_EXT, &move);
}

static int with_other(const struct files *f, enum pair_op op)
{
	struct pair pair = { op, f->fd, f->other, FIRST, COUNT };

	return do_pair(&pair);
}

static int clone_file(const struct files *f)
{
	return with_other(f, CLONE);
}

static int clone_range(const struct files *f)
{
	return with_other(f, CLONE_RANGE);
}

static int copy_range(const struct files *f)
{
	loff_t from = FIRST * PAGE, to = from;

	return copy_file_range(f->other, &from, f->fd, &to, COUNT * PAGE, 0) ==
	       (ssize_t)(COUNT * PAGE) ? 0 : -1;
}

static int dedupe(const struct files *f)
{
	return with_other(f, DEDUPE);
}

static int exchange(const struct files *f)
{
	return with_other(f, EXCHANGE);
}

static int swap_extents(const struct files *f)
{
	struct pair pair = { .op = SWAPEXT, .fd = f->fd, .other = f->other, .pages = N };

	if (!do_pair(&pair))
		return 0;
	if (errno != EINVAL)
		return -1;
	/* The target must not have fewer extents than the other file. */
	pair.fd = f->other;
	pair.other = f->fd;
	return do_pair(&pair);
}

/* Without a provider a break is one of the whole file, and forgets all dirty pages (D1, D2). */
static const struct call calls[] = {
	{ "truncate", shrink, .discards = N - FIRST, .defect = "D1" },
	{ "truncate inside a page", shrink_in_a_page, .discards = N - FIRST, .defect = "D1" },
	{ "truncate to the same size", keep_the_size, .defect = "D1" },
	{ "growth", grow, .defect = "D2" },
	{ "growth of a file that ends inside a page", grow, .before = IN_A_PAGE, .defect = "D2" },
	{ "punch", punch, .discards = COUNT, .defect = "D1" },
	{ "punch behind EOF", punch_behind_eof, .defect = "D1" },
	{ "zero range", zero, .discards = COUNT, .defect = "D1" },
	{ "collapse range", collapse, .discards = COUNT, .defect = "D1" },
	{ "insert range", insert, .defect = "D1" },
	{ "preallocation", allocate, EXT4_ONLY, .in_fsync = N },
	{ "preallocation", allocate, XFS_ONLY, .defect = "D2" },
	{ "unshare", unshare_range, XFS_ONLY, .defect = "D2" },
	{ "unshare in a clone", unshare_range, XFS_ONLY, HALF_SHARED, .copies = COUNT,
	  .defect = "D1" },

	/* These break none. */
	{ "write(2)", write_over, .in_fsync = N },
	{ "write(2) with O_DIRECT", write_directly, .in_fsync = N },
	{ "write(2) behind EOF", write_behind_eof, .in_fsync = N },
	{ "write(2) behind EOF inside a page", write_behind_eof, .before = IN_A_PAGE,
	  .in_fsync = N + 1 },
	{ "write(2) behind EOF inside a page of a clone", write_behind_eof, XFS_ONLY,
	  CLONED_IN_A_PAGE, .in_fsync = N + 1 },
	{ "write(2) to a clone", write_over, XFS_ONLY, CLONED, .in_fsync = N },
	{ "write(2) to shared blocks", write_over, XFS_ONLY, HALF_SHARED, .in_fsync = N / 2 },

	/* Without the first flush in ext4_write_and_break_layouts(): 0 and 0. */
	{ "swap with the boot loader", swap_boot, EXT4_ONLY, .in_call = N, .undo = swap_boot },
	{ "move of extents", move_extents, EXT4_ONLY, TWO_FILES, EOPNOTSUPP, .in_fsync = 2 * N },

	/* Two files, both broken. */
	{ "clone", clone_file, XFS_ONLY, TWO_FILES, .discards = N, .defect = "D1" },
	{ "clone range", clone_range, XFS_ONLY, TWO_FILES, .discards = COUNT, .defect = "D1" },
	{ "copy range", copy_range, XFS_ONLY, TWO_FILES, .discards = COUNT, .defect = "D1" },
	{ "dedupe", dedupe, XFS_ONLY, TWO_FILES, .discards = COUNT, .defect = "D1" },
	{ "exchange", exchange, XFS_ONLY, TWO_FILES, .defect = "D1" },
	{ "swap of extents", swap_extents, XFS_ONLY, TWO_FILES, .in_call = 2 * N },
};

static char *store(int fd, size_t pages, uint64_t stamp)
{
	char *p = map_file(fd, pages, RW);

	for (size_t i = 0; i < pages; i++)
		fill_page(p + i * PAGE, stamp + i);
	return p;
}

static void set_up(const struct env *e, enum before state, struct files *f)
{
	struct pair whole = { .op = CLONE };

	f->before = state;
	f->fd = create_file(e, "f", N, 100);
	f->other = -1;
	f->dirty = N;
	if (state == IN_A_PAGE || state == CLONED_IN_A_PAGE) {
		must(ftruncate(f->fd, N * PAGE + 100));
		f->dirty++;
	}
	if (state == CLONED || state == CLONED_IN_A_PAGE || state == HALF_SHARED) {
		f->other = create_file(e, "g", 0, 0);
		whole.fd = f->other;
		whole.other = f->fd;
		must(do_pair(&whole));
	}
	if (state == HALF_SHARED)
		f->dirty = N / 2;
	must(fsync(f->fd));
	f->map = store(f->fd, f->dirty, 200);
	if (state == TWO_FILES) {
		f->other = create_file(e, "g", N, 100);
		f->other_map = store(f->other, N, 200);
	}
}

static void tear_down(const struct env *e, struct files *f)
{
	must(munmap(f->map, f->dirty * PAGE));
	close(f->fd);
	must(unlink(in_dir(e, "f")));
	if (f->before == TWO_FILES)
		must(munmap(f->other_map, N * PAGE));
	if (f->other < 0)
		return;
	close(f->other);
	must(unlink(in_dir(e, "g")));
}

/* Pages written back: in the call, in fsync() after it. */
static void count(const struct call *c, const struct files *f, size_t *in_call, size_t *in_fsync)
{
	int rc, err;

	flush_count_start();
	rc = c->run(f);
	err = errno;
	*in_call = flush_count_stop();
	check(c->err ? rc && err == c->err : !rc, "%s: %s", c->name,
	      rc ? strerror(err) : "succeeds");
	flush_count_start();
	must(fsync(f->fd));
	if (f->before == TWO_FILES)
		must(fsync(f->other));
	*in_fsync = flush_count_stop();
}

static bool is_for(const struct call *c, const struct env *e)
{
	return !(c->where & (strcmp(e->fs, "ext4") ? EXT4_ONLY : XFS_ONLY));
}

static void each_call(const struct env *e,
		      void (*judge)(const struct call *c, size_t dirty, size_t in_call,
				    size_t in_fsync))
{
	for (const struct call *c = calls; c < calls + ARRAY_SIZE(calls); c++) {
		size_t in_call, in_fsync, dirty;
		struct files f;

		if (!is_for(c, e))
			continue;
		set_up(e, c->before, &f);
		dirty = f.dirty + (c->before == TWO_FILES ? N : 0);
		count(c, &f, &in_call, &in_fsync);
		check(in_call >= c->copies, "%s: %zu pages flushed, but %zu copied", c->name,
		      in_call, c->copies);
		in_call -= c->copies;
		printf("# %s: of %zu dirty pages %zu discarded, %zu written back, %zu by fsync\n",
		       c->name, dirty, c->discards, in_call, in_fsync);
		judge(c, dirty, in_call, in_fsync);
		if (c->undo)
			must(c->undo(&f));
		tear_down(e, &f);
	}
}

/* What is discarded may be written back before, and a shared page is flushed when it is copied. */
static void loses_nothing(const struct call *c, size_t dirty, size_t in_call, size_t in_fsync)
{
	size_t n = in_call + in_fsync, most = dirty + (c->before == HALF_SHARED ? COUNT : 0);

	check(n >= dirty - c->discards && n <= most, "%s: %zu pages written back, not %zu", c->name,
	      n, dirty - c->discards);
}

static void is_stock(const struct call *c, size_t dirty, size_t in_call, size_t in_fsync)
{
	check(c->defect || c->in_call + c->in_fsync >= dirty - c->discards,
	      "%s: the table has stock lose pages and does not say why", c->name);
	check(in_call == c->in_call && in_fsync == c->in_fsync,
	      "%s: %zu pages written back, %zu by fsync; stock: %zu and %zu%s%s", c->name, in_call,
	      in_fsync, c->in_call, c->in_fsync, c->defect ? ", by " : "", c->defect ?: "");
}

static void bound(const struct env *e)
{
	each_call(e, loses_nothing);
}

static void unbound(const struct env *e)
{
	each_call(e, is_stock);
}

/* The break of the swap forgets these as well: faults go on while it waits. */
static void stores_during_the_swap(const struct env *e)
{
	struct job job = { .op = OP_SWAP_BOOT };
	struct pin pin;
	size_t n;
	char *p;

	job.fd = create_file(e, "f", N, 100);
	p = store(job.fd, N, 200);
	pin_pages(&pin, p, 1);
	flush_count_start();
	job_start(&job);
	check(job_sleeps(&job), "the swap did not wait for a pinned page");
	for (size_t i = FIRST; i < FIRST + COUNT; i++)
		fill_page(p + i * PAGE, 300 + i);
	unpin_all(&pin);
	job_succeeds(&job);
	n = flush_count_stop();
	check(n == N + COUNT, "%zu pages written back, not %zu", n, N + COUNT);
	must(do_op(OP_SWAP_BOOT, job.fd, 0, 0));
	for (size_t i = 0; i < N; i++)
		check_file_page(job.fd, i, (i < FIRST || i >= FIRST + COUNT ? 200 : 300) + i,
				"after the swap back");
}

static const struct test tests[] = {
	{ "R9 no call loses a dirty page", bound, BOUND_ONLY },
	{ "R16 on a mount that is not bound each call loses what stock loses", unbound, C_ONLY },
	{ "R9 R16 the swap with the boot loader writes back stores made while it waits",
	  stores_during_the_swap, EXT4_ONLY },
	{ }
};

GROUP(calls, tests);
