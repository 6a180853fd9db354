// SPDX-License-Identifier: GPL-2.0
/*
 * Unwritten blocks that become written while they are mapped: the zero page
 * must go from every mapping, by whatever way, and a store must not get lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)8)

static char *map_as(int fd, size_t pages, int flags)
{
	char *p = mmap(NULL, pages * PAGE, RW, flags, fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	return p;
}

static void write_page(int fd, size_t page, uint64_t stamp)
{
	char buf[PAGE];

	fill_page(buf, stamp);
	check(pwrite(fd, buf, PAGE, page * PAGE) == (ssize_t)PAGE, "write: %m");
}

/*
 * ext4 zeroes a small unwritten extent and makes all of it written when a part
 * of it is written to. The write to the rest then finds no new block.
 */
static void written_by_a_neighbour(const struct env *e)
{
	static const char *const name[] = { "shared", "MAP_SYNC", "private", "other process" };
	enum { SHARED, SYNC, PRIVATE, OTHER, KINDS };
	char *p[KINDS], c = 0;
	int fd = create_file(e, "f", 0, 0), ask[2], answer[2], status;
	pid_t pid;

	must(do_op(OP_ALLOCATE, fd, 0, N));
	must(fsync(fd));
	p[SHARED] = map_as(fd, N, MAP_SHARED);
	p[SYNC] = map_as(fd, N, MAP_SHARED_VALIDATE | MAP_SYNC);
	p[PRIVATE] = map_as(fd, N, MAP_PRIVATE);
	p[OTHER] = map_as(fd, N, MAP_SHARED);
	for (size_t k = 0; k < OTHER; k++)
		for (size_t i = 1; i < N; i++)
			check_page(p[k] + i * PAGE, 0, "unwritten");
	must(pipe(ask));
	must(pipe(answer));
	pid = must(fork());
	if (!pid) {
		for (size_t i = 1; i < N; i++)
			check_page(p[OTHER] + i * PAGE, 0, "unwritten, other process");
		must(write(answer[1], &c, 1));
		must(read(ask[0], &c, 1));
		for (size_t i = 0; i < N; i++)
			check_page(p[OTHER] + i * PAGE, 100 + i, name[OTHER]);
		_exit(0);
	}
	must(read(answer[0], &c, 1));
	for (size_t i = 0; i < N; i++)
		write_page(fd, i, 100 + i);
	for (size_t i = 0; i < N; i++)
		check_file_page(fd, i, 100 + i, "read(2)");
	must(write(ask[1], &c, 1));
	must(waitpid(pid, &status, 0));
	for (size_t k = 0; k < OTHER; k++)
		for (size_t i = 0; i < N; i++)
			check_page(p[k] + i * PAGE, 100 + i, name[k]);
	check(!status, "the other process shows old zeroes");
	for (size_t i = 0; i < N; i++)
		fill_page(p[SHARED] + i * PAGE, 200 + i);
	for (size_t i = 0; i < N; i++)
		check_page(p[PRIVATE] + i * PAGE, 200 + i, "private, after stores");
}

/* The same when a store, or zeroing, makes the extent written. */
static void stored_by_a_neighbour(const struct env *e)
{
	for (int how = 0; how < 3; how++) {
		int fd = create_file(e, "f", 0, 0);
		char *p, *q;

		must(do_op(OP_ALLOCATE, fd, 0, N));
		must(fsync(fd));
		p = map_as(fd, N, MAP_SHARED);
		q = map_as(fd, N, MAP_SHARED);
		for (size_t i = 0; i < N; i++)
			check_page(q + i * PAGE, 0, "unwritten");
		switch (how) {
		case 0:
			fill_page(p, 1);
			break;
		case 1:
			check(pwrite(fd, "x", 1, 100) == 1, "write: %m");
			break;
		default:
			write_page(fd, N - 1, 1);
		}
		for (size_t i = 1; i < N - 1; i++) {
			if (i % 2)
				write_page(fd, i, 50 + i);
			else
				fill_page(p + i * PAGE, 50 + i);
			check_page(q + i * PAGE, 50 + i, "other mapping");
			check_page(p + i * PAGE, 50 + i, "this mapping");
			check_file_page(fd, i, 50 + i, "read(2)");
		}
		must(munmap(p, N * PAGE));
		must(munmap(q, N * PAGE));
		close(fd);
	}
}

/*
 * One thread stores to the pages, one writes to other bytes of them, while
 * all of them are unwritten at first: no SIGBUS, and both are there at last.
 */
#define PAGES	((size_t)64)
#define BYTES	((size_t)512)

struct race {
	int fd;
	char *map;
	size_t pages;
	uint64_t stamp;
	unsigned int order;	/* odd, so that every page has its turn */
	pthread_barrier_t *go;
	int bus;
};

static void *store_side(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(r->go);
	for (size_t i = 0; i < r->pages; i++) {
		size_t page = i * r->order % r->pages;

		if (try_store(r->map + page * PAGE + 8, (char)(r->stamp + page)))
			r->bus++;
	}
	return NULL;
}

static void *load_side(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(r->go);
	for (size_t i = 0; i < 3 * r->pages; i++)
		if (try_load(r->map + i * 5 % r->pages * PAGE, NULL))
			r->bus++;
	return NULL;
}

static void *write_side(void *arg)
{
	struct race *r = arg;
	uint64_t buf[BYTES / 8];

	pthread_barrier_wait(r->go);
	for (size_t i = 0; i < r->pages; i++) {
		for (size_t k = 0; k < ARRAY_SIZE(buf); k++)
			buf[k] = r->stamp + i;
		check(pwrite(r->fd, buf, BYTES, i * PAGE + 2048) == (ssize_t)BYTES, "write: %m");
	}
	return NULL;
}

/* Keeps a CPU busy while @racing, so that the threads meet in odd places. */
static pid_t burn(const atomic_int *racing)
{
	pid_t pid = must(fork());

	if (!pid)
		for (;;)
			if (!atomic_load_explicit(racing, memory_order_relaxed))
				usleep(1000);
	return pid;
}

/* Says where the data is and where not, so that one failure tells much. */
static void check_both(const struct race *r, unsigned int round, size_t i)
{
	const char *map = r->map + i * PAGE;
	const uint64_t want = r->stamp + i;
	char buf[PAGE];

	check(pread(r->fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "read: %m");
	for (size_t k = 0; k < PAGE; k++) {
		const bool written = k >= 2048 && k < 2048 + BYTES;
		const char right = k == 8 ? (char)want : written ? (char)(want >> k % 8 * 8) : 0;

		check(map[k] == right && buf[k] == right,
		      "round %u: page %zu byte %zu (%s) is %#x in the mapping and %#x by read(2), not %#x",
		      round, i, k, k == 8 ? "stored" : written ? "written" : "old data",
		      (unsigned char)map[k], (unsigned char)buf[k], (unsigned char)right);
	}
}

static void run_races(const struct env *e, bool huge, unsigned int rounds)
{
	const size_t pages = huge ? HUGE : PAGES;
	atomic_int *racing = mmap(NULL, sizeof(*racing), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t burner[3];

	check(racing != MAP_FAILED, "mmap: %m");
	for (size_t i = 0; i < ARRAY_SIZE(burner); i++)
		burner[i] = burn(racing);
	for (unsigned int round = 0; round < rounds; round++) {
		void *(*const side[])(void *) = { store_side, write_side, load_side };
		int fd = huge ? create_huge(e, "f", 1) : create_file(e, "f", 0, 0);
		struct race race[3];
		pthread_barrier_t go;
		pthread_t thread[3];
		char *p;

		if (!huge)
			must(do_op(OP_ALLOCATE, fd, 0, pages));
		p = huge ? map_file_huge(fd, pages, RW) : map_file(fd, pages, RW);
		if (round % 2)
			for (size_t i = 0; i < pages; i += 1 + round % 3)
				check_page(p + i * PAGE, 0, "unwritten");
		atomic_store(racing, 1);
		pthread_barrier_init(&go, NULL, 3);
		for (size_t t = 0; t < 3; t++) {
			race[t] = (struct race) {
				fd, p, pages, 1 + round, 2 * (round % 7) + 1, &go, 0,
			};
			check(!pthread_create(&thread[t], NULL, side[t], &race[t]), "no thread");
		}
		for (size_t t = 0; t < 3; t++)
			pthread_join(thread[t], NULL);
		atomic_store(racing, 0);
		for (size_t t = 0; t < 3; t++)
			check(!race[t].bus, "round %u: %d SIGBUS", round, race[t].bus);
		for (size_t i = 0; i < pages; i++)
			check_both(&race[0], round, i);
		must(munmap(p, pages * PAGE));
		must(ftruncate(fd, 0));
		close(fd);
	}
	for (size_t i = 0; i < ARRAY_SIZE(burner); i++) {
		kill(burner[i], SIGKILL);
		waitpid(burner[i], NULL, 0);
	}
}

static void store_and_write_race(const struct env *e)
{
	run_races(e, false, 12);
}

static void store_and_write_race_2m(const struct env *e)
{
	run_races(e, true, 3);
}

static const struct test tests[] = {
	{ "R5 a block written beside an unwritten one shows its data everywhere",
	  written_by_a_neighbour, BOUND_ONLY },
	{ "R5 unwritten blocks become written in every way", stored_by_a_neighbour, BOUND_ONLY },
	{ "R5 a store and a write(2) to one unwritten page both arrive",
	  store_and_write_race, BOUND_ONLY | RACES },
	{ "R5 a store and a write(2) to one unwritten 2 MiB page both arrive",
	  store_and_write_race_2m, BOUND_ONLY | RACES },
	{ }
};

GROUP(unwritten, tests);
