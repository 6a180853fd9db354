// SPDX-License-Identifier: GPL-2.0
/* Clones that are in use in 4 KiB and in 2 MiB, by many threads. */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reflink.h"

/* 2 MiB of a over live 4 KiB pages of b, and the other way round. */
static void sizes_collide(const struct env *e)
{
	for (int k = 0; k < 2; k++) {
		int a = create_huge(e, "a", 2), b = new_file(e, "b");
		char *big = map_file_huge(a, 2 * HUGE, RW), *small;

		for (size_t i = 0; i < 2 * HUGE; i++)
			fill_page(big + i * PAGE, 100 + i);
		must(fsync(a));
		clone_all(b, a);
		small = map_file(b, 2 * HUGE, RW);
		if (!k)
			for (size_t i = 5; i < 2 * HUGE; i += 100)
				check_page(small + i * PAGE, 100 + i, "4 KiB first");
		for (size_t i = 0; i < 2 * HUGE; i++)
			check_page(big + i * PAGE, 100 + i, "2 MiB");
		if (!k)
			check(!huge_pages(big, 2 * HUGE), "2 MiB mapped over live pages of 4 KiB");
		for (size_t i = 0; i < 2 * HUGE; i++)
			check_page(small + i * PAGE, 100 + i, "4 KiB");
		fill_page(big + 7 * PAGE, 1);
		fill_page(small + (HUGE + 8) * PAGE, 2);
		check_page(small + 7 * PAGE, 107, "b after a store to a");
		check_page(big + (HUGE + 8) * PAGE, 108 + HUGE, "a after a store to b");
		must(do_op(OP_PUNCH, a, 100, 1));
		check_page(small + 100 * PAGE, 200, "b after a punch of a");
		must(ftruncate(k ? a : b, 0));
		for (size_t i = 0; i < 50; i++)
			check_page((k ? small : big) + i * PAGE, i == 7 && !k ? 1 : 100 + i,
				   "after the truncate of the other");
		must(ftruncate(k ? b : a, 0));
		must(munmap(big, 2 * HUGE * PAGE));
		must(munmap(small, 2 * HUGE * PAGE));
		close(a);
		close(b);
		must(unlink(in_dir(e, "a")));
		must(unlink(in_dir(e, "b")));
	}
}

static void shared_in_2m(const struct env *e)
{
	int a = create_huge(e, "a", 2), b = new_file(e, "b");
	char *p = map_file_huge(a, 2 * HUGE, RW), *q, buf[PAGE];
	struct pin pin;

	for (size_t i = 0; i < 2 * HUGE; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(a));
	clone_all(b, a);
	q = map_file_huge(b, 2 * HUGE, RW);
	for (size_t i = 0; i < 2 * HUGE; i++) {
		check_page(p + i * PAGE, 100 + i, "a");
		check_page(q + i * PAGE, 100 + i, "b");
	}
	check(huge_pages(p, 2 * HUGE) == 2 * HUGE, "the source is not mapped in 2 MiB");
	check(huge_pages(q, 2 * HUGE) == 2 * HUGE, "the clone is not mapped in 2 MiB");
	/* A page is copied, and then no 2 MiB are shared of which a store could have a copy. */
	fill_page(buf, 3);
	write_at(a, buf, PAGE, 20 * PAGE);
	write_at(b, buf, 512, (HUGE + 20) * PAGE + 512);
	fill_page(p + 9 * PAGE, 1);
	fill_page(q + (HUGE + 9) * PAGE, 2);
	for (size_t i = 0; i < 2 * HUGE; i++) {
		check_page(p + i * PAGE, i == 9 ? 1 : i == 20 ? 3 : 100 + i, "a after stores");
		if (i != HUGE + 20)
			check_page(q + i * PAGE, i == HUGE + 9 ? 2 : 100 + i, "b after stores");
	}
	/* Each has split its own side, and not that of the other. */
	check(huge_pages(p, HUGE) == 0 && huge_pages(p + HUGE * PAGE, HUGE) == HUGE,
	      "a after stores");
	check(huge_pages(q, HUGE) == HUGE && huge_pages(q + HUGE * PAGE, HUGE) == 0,
	      "b after stores");
	must(fsync(a));
	must(fsync(b));
	/* One entry of two goes: the other one needs nobody's pin to end. */
	if (e->bound) {
		pin_pages(&pin, q + 3 * PAGE, 1);
		must(ftruncate(a, 0));
		unpin_page(&pin, buf);
		check_page(buf, 103, "page in the pipe");
	} else {
		must(munmap(q, 2 * HUGE * PAGE));
		must(ftruncate(a, 0));
	}
	check_file_page(b, 9, 109, "b after the truncate of a");
	must(ftruncate(b, 0));
}

/* One file, mapped where 2 MiB fit and where not: fs/dax.c puts a page over a part of 2 MiB. */
static void pieces_of_one_file(const struct env *e)
{
	for (int store = 0; store < 2; store++) {
		int a = create_huge(e, "a", 1), b = new_file(e, "b");
		char *big = map_file_huge(a, HUGE, RW), *small = map_file(a, 16, RW);

		for (size_t i = 0; i < HUGE; i++)
			fill_page(big + i * PAGE, 100 + i);
		must(fsync(a));
		clone_all(b, a);
		check_page(big + 2 * PAGE, 102, "2 MiB of a");
		if (store)
			fill_page(small, 1);
		for (size_t i = 0; i < 16; i++)
			check_page(small + i * PAGE, store && !i ? 1 : 100 + i, "4 KiB of a");
		for (size_t i = 0; i < HUGE; i++)
			check_page(big + i * PAGE, store && !i ? 1 : 100 + i, "a after that");
		expect(NULL, b, 0, HUGE, 100, "b");
		must(munmap(big, HUGE * PAGE));
		must(munmap(small, 16 * PAGE));
		close(a);
		close(b);
		must(unlink(in_dir(e, "a")));
		must(unlink(in_dir(e, "b")));
	}
}

/* A clone whose page offsets have another alignment has single pages of the large folio. */
static void out_of_step(const struct env *e)
{
	enum { STEP = 3, PINNED = 5 };
	int a = create_huge(e, "a", 2), b = new_file(e, "b");
	char *p = map_file_huge(a, 2 * HUGE, RW), *q, buf[PAGE];
	struct file_clone_range range = { a, 0, 0, STEP * PAGE };
	struct job job = { .op = OP_TRUNCATE, .fd = a };
	struct pin pin;

	for (size_t i = 0; i < 2 * HUGE; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(a));
	must(ioctl(b, FICLONERANGE, &range));
	q = map_file_huge(b, STEP + 2 * HUGE, RW);
	for (size_t i = 0; i < 2 * HUGE; i++) {
		check_page(p + i * PAGE, 100 + i, "a");
		check_page(q + (STEP + i) * PAGE, 100 + i, "b");
	}
	check(huge_pages(p, 2 * HUGE) == 2 * HUGE, "the source is not mapped in 2 MiB");
	check(!huge_pages(q, STEP + 2 * HUGE), "the clone is mapped in 2 MiB");
	/* The clone goes on in pages of its own when the source has gone, after all pins. */
	pin_pages(&pin, q + (STEP + PINNED) * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "the source went with a page in a pipe");
	/* To go on may be what ends the use of the pinned page. */
	for (int k = -1; k <= 1; k++)
		check_page(q + (STEP + PINNED + k) * PAGE, 100 + PINNED + k, "b meanwhile");
	check(job_sleeps(&job), "the source went with a page in a pipe");
	unpin_page(&pin, buf);
	check_page(buf, 100 + PINNED, "page in the pipe");
	job_succeeds(&job);
	for (size_t i = 0; i < 2 * HUGE; i++)
		check_page(q + (STEP + i) * PAGE, 100 + i, "b after the truncate of a");
	fill_page(q + (STEP + 9) * PAGE, 1);
	must(fsync(b));
	check_file_page(b, STEP + 9, 1, "store to b");
	must(ftruncate(b, 0));
	must(munmap(p, 2 * HUGE * PAGE));
	must(munmap(q, (STEP + 2 * HUGE) * PAGE));
}

struct cloner {
	const struct env *e;
	int fd, master;
	unsigned int id, rounds;
	size_t pages;
};

/* Map, look, copy, clone anew: folios are shared and left all the time. */
static void *use_clone(void *arg)
{
	struct cloner *c = arg;
	char *p = c->id % 2 ? map_file_huge(c->fd, c->pages, RW) : map_file(c->fd, c->pages, RW);

	for (unsigned int round = 0; round < c->rounds; round++) {
		for (size_t i = c->id; i < c->pages; i += 5)
			check_page(p + i * PAGE, 100 + i, "clone");
		for (size_t i = round % 7; i < c->pages; i += 29) {
			fill_page(p + i * PAGE, 1000 + c->id);
			check_page(p + i * PAGE, 1000 + c->id, "own store");
		}
		if (round % 3 == 0)
			must(madvise(p, c->pages * PAGE, MADV_DONTNEED));
		if (round % 4 == 1)
			must(do_op(OP_PUNCH, c->fd, round % c->pages, 3));
		if (round % 8 == 5)
			must(ftruncate(c->fd, 0));
		clone_all(c->fd, c->master);
	}
	for (size_t i = 0; i < c->pages; i++)
		check_page(p + i * PAGE, 100 + i, "clone at the end");
	munmap(p, c->pages * PAGE);
	return NULL;
}

static void clones_in_use(const struct env *e, unsigned int rounds, bool huge)
{
	const size_t pages = huge ? HUGE : 64;
	struct cloner c[3];
	pthread_t thread[3];
	int master = huge ? create_huge(e, "master", 1) : new_file(e, "master");
	char buf[PAGE], *p;

	for (size_t i = 0; i < pages; i++) {
		fill_page(buf, 100 + i);
		write_at(master, buf, PAGE, i * PAGE);
	}
	must(fsync(master));
	p = huge ? map_file_huge(master, pages, PROT_READ) : map_file(master, pages, PROT_READ);
	for (unsigned int t = 0; t < 3; t++) {
		char name[] = { 'c', '0' + t, 0 };

		c[t] = (struct cloner) {
			e, new_file(e, name), master, huge ? t : 2 * t, rounds, pages,
		};
		clone_all(c[t].fd, master);
		check(!pthread_create(&thread[t], NULL, use_clone, &c[t]), "no thread");
	}
	for (unsigned int t = 0; t < 3; t++)
		pthread_join(thread[t], NULL);
	expect(p, master, 0, pages, 100, "master");
	must(ftruncate(master, 0));
	for (unsigned int t = 0; t < 3; t++) {
		expect(NULL, c[t].fd, 0, pages, 100, "clone after the truncate of the master");
		must(ftruncate(c[t].fd, 0));
	}
}

static void clones_race(const struct env *e)
{
	clones_in_use(e, 40, false);
}

static void huge_clones_race(const struct env *e)
{
	clones_in_use(e, 12, true);
}

#define PIECES		((size_t)8)	/* of 2 MiB */
#define READERS		4
#define CLONES		50

/*
 * Read faults of the source make no page that the clone cannot join. Any of three is enough for
 * that: XFS keeps them out meanwhile, a clone has parts of a large folio, and
 * src/fsdax/make_way.rs has it go. Without all the first clone cannot be read; without the first
 * alone no_fault_half_way() fails, without one of the others alone the KUnit suites of parts and
 * faults.
 */
static void clones_beside_readers(const struct env *e)
{
	int fd = create_pieces(e, "source", PIECES), other = new_file(e, "clone");
	struct piece_reader r = { .pieces = PIECES };
	pthread_t thread[READERS];

	r.map = map_file_huge(fd, PIECES * HUGE, PROT_READ);
	for (int t = 0; t < READERS; t++)
		check(!pthread_create(&thread[t], NULL, read_pieces, &r), "no thread");
	while (!r.laps)
		usleep(1000);
	for (int n = 0; n < CLONES; n++) {
		char *q;

		must(ftruncate(other, 0));
		clone_all(other, fd);
		q = n % 2 ? map_file(other, PIECES * HUGE, PROT_READ) :
			    map_file_huge(other, PIECES * HUGE, PROT_READ);
		for (size_t i = 0; i < PIECES; i++) {
			const char *at = q + (i * HUGE + 7) * PAGE;

			check(!try_load(at, NULL), "piece %zu of clone %d is not readable", i, n);
			check_page(at, 100 + i, "clone");
		}
		must(munmap(q, PIECES * HUGE * PAGE));
	}
	r.stop = 1;
	for (int t = 0; t < READERS; t++)
		pthread_join(thread[t], NULL);
	check(!r.failures, "%d loads of the source failed", r.failures);
}

#define EXTENTS		((size_t)256)
#define SEEN		5	/* how often a clone is to be met half-way */
#define TRIES		100	/* at most */
#define LOOK_US		200	/* a clone takes longer */

struct target {
	int fd;
	blkcnt_t before;	/* XFS may count some that an earlier life of the inode left */
};

struct watcher {
	char *page;			/* of the source */
	struct target *_Atomic clone;	/* its blocks become more only */
	struct target *_Atomic watched;	/* the last one that the watcher began to look at */
	blkcnt_t most;			/* blocks of it by which it is surely not complete */
	atomic_int stop, met, passed;
};

static bool half_way(const struct target *clone, blkcnt_t most)
{
	struct stat st;
	blkcnt_t n;

	must(fstat(clone->fd, &st));
	n = st.st_blocks - clone->before;
	return n > 0 && n < most;
}

/*
 * Faults of the source that begin while the clone has some of the blocks. The thread comes before
 * all others whenever it does not sleep, so that one CPU is enough to look at a clone half-way.
 */
static void *fault_half_way(void *watcher)
{
	const struct sched_param first = { .sched_priority = 1 };
	struct watcher *w = watcher;

	must(sched_setscheduler(0, SCHED_FIFO, &first));
	while (!w->stop) {
		/* The next one may be half-way when the fault that waited for this one is done. */
		struct target *clone = w->clone;

		w->watched = clone;
		must(madvise(w->page, PAGE, MADV_DONTNEED));
		if (!clone || !half_way(clone, w->most)) {
			usleep(LOOK_US);
			continue;
		}
		w->met++;
		check(!try_load(w->page, NULL), "the source is not readable");
		w->passed += half_way(clone, w->most);
	}
	return NULL;
}

/* XFS takes the lock of faults before the first block becomes shared, and keeps it to the last. */
static void no_fault_half_way(const struct env *e)
{
	int fd = new_file(e, "source");
	struct target target[2] = { { .fd = -1 }, { .fd = -1 } };
	struct watcher w = { };
	pthread_t thread;
	struct stat st;

	must(fstat(fd, &st));
	w.most = st.st_blocks;
	/* With holes in between, each is an extent wherever its block is. */
	for (size_t i = 0; i < EXTENTS; i++) {
		char page[PAGE];

		fill_page(page, 100 + i);
		write_at(fd, page, PAGE, 2 * i * PAGE);
	}
	must(fsync(fd));
	must(fstat(fd, &st));
	w.most = (st.st_blocks - w.most) * 3 / 4;
	w.page = map_file(fd, 1, PROT_READ);
	check(!pthread_create(&thread, NULL, fault_half_way, &w), "no thread");
	for (int n = 0; n < TRIES && w.met < SEEN; n++) {
		struct target *clone = &target[n % 2];

		/* The watcher is done with it since it looks at the other one. */
		if (clone->fd >= 0)
			must(close(clone->fd));
		clone->fd = new_file(e, "clone");
		must(unlink(in_dir(e, "clone")));
		must(fstat(clone->fd, &st));
		clone->before = st.st_blocks;
		w.clone = clone;
		while (w.watched != clone)
			usleep(LOOK_US);
		clone_all(clone->fd, fd);
	}
	w.stop = 1;
	pthread_join(thread, NULL);
	check(w.met == SEEN, "%d of %d clones were met half-way", w.met, TRIES);
	check(!w.passed, "%d of %d faults passed while blocks became shared", w.passed, w.met);
}

static const struct test tests[] = {
	{ "R1 2 MiB and 4 KiB pages of one extent", sizes_collide, BOUND },
	{ "R24 clones of 2 MiB extents are mapped by 2 MiB, and split alone", shared_in_2m, BOUND },
	{ "R24 clones that are out of step share pages of 2 MiB", out_of_step, BOUND },
	{ "D55 4 KiB of a clone are mapped beside its 2 MiB", pieces_of_one_file, BOUND },
	{ "R11 clones in use by many threads", clones_race, BOUND | RACES },
	{ "R11 clones of 2 MiB pages in use by many threads", huge_clones_race, BOUND | RACES },
	{ "R24 clones of a file that is read by 2 MiB meanwhile",
	  clones_beside_readers, BOUND | RACES },
	{ "R24 no fault of the source while its blocks become shared",
	  no_fault_half_way, XFS | RACES },
	{ }
};

GROUP(reflink_use, tests);
