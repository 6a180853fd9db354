// SPDX-License-Identifier: GPL-2.0
/*
 * Power failures: what fsync(), msync() or a flushed MAP_SYNC store made durable is
 * there when the file system is mounted from what was flushed, whatever came between.
 * fs/dax.c loses data in the cases that name a defect; that they see it is checked, too.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "arch.h"
#include "lib.h"
#include "medium.h"
#include "pf_file.h"

#define N	((size_t)32)

static void the_check_itself(const struct env *e)
{
	static const char half[32] = "past the caches";
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	pf_sync(&f);
	pf_power_failure(&f);
	check(!medium_unflushed(e, f.fd), "lines are not flushed after fsync");
	/* A store that nobody flushes, to three lines of two pages. */
	f.map[0] = 1;
	f.map[PAGE] = 1;
	f.map[PAGE + 64] = 1;
	check(medium_unflushed(e, f.fd) == 3, "%zu cache lines are not flushed, not 3",
	      medium_unflushed(e, f.fd));
	store_half_line(&f.map[2 * PAGE], half);
	store_half_line(&f.map[2 * PAGE + 32], half);
	lines_written();
	check(medium_unflushed(e, f.fd) == 3, "a store past the caches is not on the medium");
	f.durable[2] = false;
	/* The medium has the old data. */
	pf_power_failure(&f);
	flush_line_opt(&f.map[PAGE]);
	lines_written();
	check(medium_unflushed(e, f.fd) == 2, "a line that was flushed is not on the medium");
	flush_line(&f.map[0]);
	lines_written();
	f.durable[0] = false;
	f.durable[1] = false;
	pf_power_failure(&f);
	pf_expect(&f);
}

static void synced_data_is_kept(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_store(&f, 3, 2);
	pf_sync(&f);
	/* Behind the durable pages there are others. */
	pf_store(&f, 10, N - 10);
	pf_sync_range(&f, 10, 4);
	pf_power_failure(&f);
	pf_write_page(&f, 5);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void map_sync_stores(const struct env *e)
{
	struct pf_file f;

	pf_open(&f, e, "f", 0);
	pf_set_size(&f, N);
	/* Holes: the fault allocates. */
	pf_store_and_flush(&f, 3);
	pf_power_failure(&f);
	pf_store_and_flush(&f, 4);
	pf_store_and_flush(&f, 3);
	pf_power_failure(&f);
	/* Without a flush it is a store like others. */
	pf_store_sync(&f, 3);
	pf_sync(&f);
	pf_power_failure(&f);
	/* Read first: the store is another fault. */
	check_page(f.sync_map + 6 * PAGE, 0, "hole");
	pf_store_and_flush(&f, 6);
	pf_power_failure(&f);
	/* Preallocated: the store converts the extent. */
	must(do_op(OP_ALLOCATE, f.fd, 8, 8));
	pf_store_and_flush(&f, 9);
	pf_power_failure(&f);
	/* Growth, and a hole that is punched between two stores. */
	pf_set_size(&f, 2 * N);
	pf_store_and_flush(&f, N + 1);
	pf_power_failure(&f);
	pf_punch(&f, 3, 1);
	pf_store_and_flush(&f, 3);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void punched(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	f.defect = "D1";
	pf_punch(&f, 5, 1);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

/* Entries of 2 MiB: what is left of one that loses a page was one dirty entry. */
static void punched_huge(const struct env *e)
{
	struct pf_file f;

	pf_open(&f, e, "f", 2);
	f.defect = "D13";
	pf_store(&f, 0, f.pages);
	check(huge_pages(f.map, f.pages) == f.pages, "%zu pages are mapped in 2 MiB, not %zu",
	      huge_pages(f.map, f.pages), f.pages);
	pf_punch(&f, 700, 1);
	pf_sync(&f);
	pf_power_failure(&f);
	/* Now one entry of 2 MiB is left, and part of it is zeroed. */
	pf_store(&f, 0, HUGE);
	pf_zero(&f, 100, 8);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void zeroed_range(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	f.defect = "D1";
	pf_zero(&f, 5, 3);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void truncated(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	f.defect = "D1";
	pf_set_size(&f, N / 2);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void grown(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	f.defect = "D2";
	pf_set_size(&f, 2 * N);
	must(do_op(OP_ALLOCATE, f.fd, N, N));
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void moved(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	f.defect = "D1";
	pf_collapse(&f, 8, 4);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_store(&f, 0, f.pages);
	pf_insert(&f, 8, 4);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

/*
 * A truncate waits for a page in a pipe: what was durable before is, while it waits and
 * when it was interrupted, and fsync() then finds all that is dirty.
 */
static void interrupted(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	pf_sync_range(&f, 0, 8);
	pin_pages(&pin, f.map + 20 * PAGE, 1);
	job.fd = f.fd;
	job_start(&job);
	check(job_sleeps(&job), "the truncate did not wait for the pin");
	pf_power_failure(&f);
	/* Faults revive what the break has zapped. */
	pf_store(&f, 4, 2);
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0, "the interrupted truncate succeeded");
	pf_power_failure(&f);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_store(&f, 3, 1);
	pf_store(&f, 20, 1);
	pf_sync(&f);
	pf_power_failure(&f);
	unpin_all(&pin);
	pf_expect(&f);
}

/* Stores that are made while a collapse waits move with the rest. */
static void moved_during_the_wait(const struct env *e)
{
	struct job job = { .op = OP_COLLAPSE, .first = 8, .pages = 4 };
	struct pin pin;
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	f.defect = "D1";
	pf_sync(&f);
	pin_pages(&pin, f.map + 9 * PAGE, 1);
	job.fd = f.fd;
	job_start(&job);
	check(job_sleeps(&job), "the collapse did not wait for the pin");
	pf_store(&f, 16, 5);
	pf_power_failure(&f);
	unpin_all(&pin);
	job_succeeds(&job);
	pf_collapsed(&f, 8, 4);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

static int clone_file(void *arg)
{
	const struct pf_file *f = arg;

	return ioctl(f->clone->fd, FICLONE, f->fd);
}

/* The data goes to the boot loader inode and comes back. */
static void swapped(const struct env *e)
{
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	must(do_op(OP_SWAP_BOOT, f.fd, 0, 0));
	must(do_op(OP_SWAP_BOOT, f.fd, 0, 0));
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

/* Two files with the same blocks, all of it durable. */
static void open_clones(struct pf_file *f, struct pf_file *other, const struct env *e)
{
	pf_open(f, e, "f", 0);
	pf_open(other, e, "clone", 0);
	pf_set_size(f, N);
	pf_store(f, 0, N);
	pf_sync(f);
	f->clone = other;
	must(clone_file(f));
	pf_cloned(f);
	pf_sync(other);
}

static void clones(const struct env *e)
{
	static struct pf_file other;
	struct pf_file f;

	open_clones(&f, &other, e);
	pf_power_failure(&f);
	pf_store(&f, 0, N / 2);
	pf_store(&other, 4, N / 2);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_sync(&other);
	pf_power_failure(&f);
	pf_write_page(&f, 1);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

/* What is dirty when a file is cloned belongs to both. */
static void dirty_clones(const struct env *e)
{
	static struct pf_file other;
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	pf_open(&other, e, "clone", 0);
	f.clone = &other;
	f.defect = "D1";
	other.defect = "D1";
	must(clone_file(&f));
	pf_cloned(&f);
	pf_sync(&f);
	pf_sync(&other);
	pf_power_failure(&f);
	pf_expect(&f);
}

/*
 * A store to a shared block makes a copy. When the log goes to the medium on behalf of
 * the other file, the copy is a part of this one; nobody has synced it.
 */
static void copies(const struct env *e)
{
	static struct pf_file other;
	struct pf_file f;

	open_clones(&f, &other, e);
	for (size_t i = 0; i < 8; i++)
		pf_store_same(&f, i);
	pf_store(&other, 20, 1);
	pf_sync(&other);
	pf_power_failure(&f);
	pf_expect(&f);
}

static void map_sync_copies(const struct env *e)
{
	static struct pf_file other;
	struct pf_file f;

	open_clones(&f, &other, e);
	f.defect = "no sync for a copy";
	for (size_t i = 0; i < 4; i++) {
		pf_store_same_and_flush(&f, i);
		pf_power_failure(&f);
		pf_store_and_flush(&f, N - 1 - i);
		pf_power_failure(&f);
	}
	pf_expect(&f);
}

/* write(2) to a part of a shared block copies the rest. */
static void written_copies(const struct env *e)
{
	static struct pf_file other;
	struct pf_file f;

	open_clones(&f, &other, e);
	for (size_t i = 0; i < 8; i++)
		pf_write_same(&f, i);
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

#define CUT	((size_t)512)

static bool page_is_cut(const char *page, uint64_t stamp)
{
	const uint64_t *w = (const uint64_t *)page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] != (i * sizeof(*w) / CUT == 1 ? 0 : stamp))
			return false;
	return true;
}

/* So does a punch of a part of one. */
static void punched_copies(const struct env *e)
{
	static struct pf_file other;
	char path[128], buf[PAGE];
	struct pf_file f;
	int fd;

	open_clones(&f, &other, e);
	for (size_t i = 0; i < 8; i++)
		must(fallocate(f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       i * PAGE + CUT, CUT));
	pf_sync(&f);
	snprintf(path, sizeof(path), "%s/f", medium_after_power_failure(e));
	fd = must(open(path, O_RDONLY));
	f.failures++;
	for (size_t i = 0; i < 8; i++) {
		check(pread(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "read: %m");
		f.lost += !page_is_cut(buf, f.stamp[i]);
	}
	close(fd);
	medium_unmount();
	pf_expect(&f);
}

/* A page of the second file is in use: the first attempt to break it is refused. */
static void refused(const struct env *e)
{
	struct job job = { .op = OP_CALL, .call = clone_file };
	static struct pf_file other;
	struct pin pin;
	struct pf_file f;

	pf_dirty(&f, e, "f", N);
	pf_dirty(&other, e, "clone", N);
	f.clone = &other;
	pf_sync_range(&f, 0, 4);
	pf_sync_range(&other, 8, 4);
	pin_pages(&pin, other.map + 20 * PAGE, 1);
	job.arg = &f;
	job_start(&job);
	check(job_sleeps(&job), "the clone did not wait for the pin");
	pf_power_failure(&f);
	/* The clone keeps the lock that asking for the extents would want. */
	pf_sync_range(&f, 0, N);
	pf_sync_range(&other, 0, N);
	pf_power_failure(&f);
	unpin_all(&pin);
	job_succeeds(&job);
	pf_cloned(&f);
	pf_sync(&f);
	pf_sync(&other);
	pf_power_failure(&f);
	pf_expect(&f);
}

static size_t some_of(struct rng *r, size_t most)
{
	return 1 + rnd(r, most < 6 ? most : 6);
}

/* One operation on a file of 2 to 64 pages; 0 if it made nothing durable. */
static bool random_op(struct pf_file *f, struct rng *r)
{
	const size_t i = rnd(r, f->pages), n = some_of(r, f->pages - i);

	switch (rnd(r, 20)) {
	case 0 ... 4:
		pf_store(f, i, n);
		return false;
	case 5:
		pf_store_and_flush(f, i);
		return true;
	case 6:
		pf_write_page(f, i);
		return false;
	case 7:
		pf_punch(f, i, n);
		return false;
	case 8:
		pf_zero(f, i, n);
		return false;
	case 9:
		if (i + n < f->pages && f->pages - n >= 2)
			pf_collapse(f, i, n);
		return false;
	case 10:
		if (f->pages + n <= 2 * N)
			pf_insert(f, i, n);
		return false;
	case 11:
		pf_set_size(f, 2 + rnd(r, 2 * N - 1));
		return false;
	case 12:
		must(do_op(OP_ALLOCATE, f->fd, i, n));
		return false;
	case 13:
		/* Reads map holes, too. */
		for (size_t k = i; k < i + n; k++)
			check_page(f->map + k * PAGE, f->stamp[k], "load");
		return false;
	case 14:
		pf_sync_range(f, i, n);
		return true;
	case 15:
		pf_store_same(f, i);
		return false;
	case 16:
		if (!f->clone)
			return false;
		must(clone_file(f));
		pf_cloned(f);
		if (rnd(r, 2))
			pf_sync(f->clone);
		return true;
	default:
		pf_sync(f);
		return true;
	}
}

/* A power failure after each so many operations that made something durable. */
#define FAIL_EACH	8

static void randomized(const struct env *e)
{
	const bool has_clones = !strcmp(e->fs, "xfs");
	struct rng r = rng_of(e->seed, 0, 0);
	static struct pf_file other;
	size_t durable = 0;
	struct pf_file f;

	pf_open(&f, e, "f", 0);
	f.defect = "D1";
	if (has_clones) {
		pf_open(&other, e, "clone", 0);
		f.clone = &other;
		other.defect = "D1";
	}
	pf_set_size(&f, N);
	printf("# seed %lu, %lu operations\n", e->seed, e->ops);
	for (unsigned long op = 0; op < e->ops; op++) {
		durable += random_op(&f, &r);
		if (durable == FAIL_EACH) {
			pf_power_failure(&f);
			durable = 0;
		}
	}
	pf_sync(&f);
	pf_power_failure(&f);
	pf_expect(&f);
}

/* The device goes: synced data is on the medium, and fsync() of other data says that it is not. */
static const struct test tests[] = {
	{ "power failure: what is not flushed is seen", the_check_itself, EVERYWHERE },
	{ "power failure: fsync and msync", synced_data_is_kept, EVERYWHERE },
	{ "power failure: flushed MAP_SYNC stores", map_sync_stores, EVERYWHERE },
	{ "power failure: fsync after a punch of a page", punched, EVERYWHERE },
	{ "power failure: fsync after a punch in 2 MiB", punched_huge, EVERYWHERE },
	{ "power failure: fsync after zero range", zeroed_range, EVERYWHERE },
	{ "power failure: fsync after truncate", truncated, EVERYWHERE },
	{ "power failure: fsync after growth", grown, EVERYWHERE },
	{ "power failure: fsync after collapse and insert range", moved, EVERYWHERE },
	{ "power failure: an interrupted truncate", interrupted, EVERYWHERE },
	{ "power failure: stores during the wait of a collapse", moved_during_the_wait,
	  EVERYWHERE },
	{ "power failure: swap with the boot loader", swapped, EXT4_ONLY },
	{ "power failure: clones", clones, XFS_ONLY },
	{ "power failure: clones of dirty files", dirty_clones, XFS_ONLY },
	{ "power failure: copies that nobody synced", copies, XFS_ONLY },
	{ "power failure: MAP_SYNC stores to shared blocks", map_sync_copies, XFS_ONLY },
	{ "power failure: write(2) to a part of a shared block", written_copies, XFS_ONLY },
	{ "power failure: punch of a part of a shared block", punched_copies, XFS_ONLY },
	{ "power failure: a refused break", refused, XFS_ONLY | BOUND_ONLY },
	{ "power failure: a randomized sequence", randomized, EVERYWHERE },
	{ }
};

GROUP(powerfail, tests);
