// SPDX-License-Identifier: GPL-2.0
/* Mappings show the file: shared, private, forked, moved, protected. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)

static void store_is_read_back(const struct env *e)
{
	int fd = create_file(e, "f", 8, 100);
	char *p = map_file(fd, 8, RW), *q = map_file(fd, 8, PROT_READ);

	for (size_t i = 0; i < 8; i++) {
		check_page(p + i * PAGE, 100 + i, "first sight");
		fill_page(p + i * PAGE, 200 + i);
	}
	for (size_t i = 0; i < 8; i++) {
		check_file_page(fd, i, 200 + i, "read(2)");
		check_page(q + i * PAGE, 200 + i, "second mapping");
	}
}

static void write_is_seen(const struct env *e)
{
	int fd = create_file(e, "f", 8, 100);
	char *p = map_file(fd, 8, PROT_READ), buf[PAGE];

	check_page(p + 3 * PAGE, 103, "before");
	fill_page(buf, 7);
	check(pwrite(fd, buf, PAGE, 3 * PAGE) == (ssize_t)PAGE, "write: %m");
	check_page(p + 3 * PAGE, 7, "after write(2)");
}

/* Freed blocks come back: each page must have become free to be requested. */
static void pages_are_requested_again(const struct env *e)
{
	const size_t pages = 512;
	int fd = create_file(e, "f", 0, 0);

	for (uint64_t round = 1; round <= 3; round++) {
		char *p;

		must(ftruncate(fd, pages * PAGE));
		must(do_op(OP_ALLOCATE, fd, 0, pages));
		p = map_file(fd, pages, RW);
		for (size_t i = 0; i < pages; i++)
			check(!try_store(p + i * PAGE, round),
			      "round %llu: SIGBUS on page %zu",
			      (unsigned long long)round, i);
		for (size_t i = 0; i < pages; i++)
			check(p[i * PAGE] == (char)round && !p[i * PAGE + 8],
			      "round %llu: page %zu has old data",
			      (unsigned long long)round, i);
		must(munmap(p, pages * PAGE));
		must(ftruncate(fd, 0));
	}
}

struct racer {
	char *map;
	size_t pages;
	unsigned int id;
	pthread_barrier_t *go;
};

static void *race_faults(void *arg)
{
	struct racer *r = arg;

	for (size_t i = 0; i < r->pages; i++) {
		pthread_barrier_wait(r->go);
		((volatile uint64_t *)(r->map + i * PAGE))[r->id] = 1000 * i + r->id;
	}
	return NULL;
}

/* Threads fault the same new page at once: one request wins, no store is lost. */
static void racing_faults_share_a_page(const struct env *e)
{
	const size_t pages = 256;
	int fd = create_file(e, "f", 0, 0);
	pthread_barrier_t go;
	pthread_t thread[4];
	struct racer racer[4];
	char *p;

	must(ftruncate(fd, pages * PAGE));
	p = map_file(fd, pages, RW);
	pthread_barrier_init(&go, NULL, 4);
	for (unsigned int t = 0; t < 4; t++) {
		racer[t] = (struct racer) { p, pages, t, &go };
		check(!pthread_create(&thread[t], NULL, race_faults, &racer[t]), "no thread");
	}
	for (unsigned int t = 0; t < 4; t++)
		pthread_join(thread[t], NULL);
	for (size_t i = 0; i < pages; i++)
		for (unsigned int t = 0; t < 4; t++)
			check(((uint64_t *)(p + i * PAGE))[t] == 1000 * i + t,
			      "page %zu lost the store of thread %u", i, t);
	must(ftruncate(fd, 0));
}

static void private_write_is_private(const struct env *e)
{
	int fd = create_file(e, "f", 4, 100);
	char *p = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	char *s = map_file(fd, 4, RW);

	check(p != MAP_FAILED, "mmap: %m");
	/* A copy made of a page never seen, and of a page that was mapped. */
	check_page(p + PAGE, 101, "private read");
	p[0] = 1;
	p[PAGE] = 1;
	check(!memcmp(p + 8, s + 8, PAGE - 8), "the copy differs beyond the store");
	check_page(s, 100, "file after a private store");
	check_page(s + PAGE, 101, "file after a private store over a read page");
	fill_page(s, 500);
	fill_page(s + 2 * PAGE, 502);
	check(p[0] == 1 && p[1] == 0, "the private copy follows the file");
	check_page(p + 2 * PAGE, 502, "private page not yet copied");
	must(ftruncate(fd, 0));
	check(try_load(p + 2 * PAGE, NULL) == SIGBUS, "no SIGBUS past the end");
}

static void fork_shares_and_copies(const struct env *e)
{
	int fd = create_file(e, "f", 4, 100);
	char *s = map_file(fd, 4, RW);
	char *p = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	int status;
	pid_t pid;

	check(p != MAP_FAILED, "mmap: %m");
	fill_page(s, 1);
	fill_page(p + PAGE, 2);
	check_page(p + 2 * PAGE, 102, "private read");
	pid = must(fork());
	if (!pid) {
		check_page(s, 1, "child: shared");
		check_page(p + PAGE, 2, "child: private");
		fill_page(s + 3 * PAGE, 3);
		fill_page(p + PAGE, 4);
		fill_page(p + 2 * PAGE, 5);
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	check(!status, "the child failed");
	check_page(s + 3 * PAGE, 3, "parent: store of the child");
	check_page(p + PAGE, 2, "parent: private copy");
	check_page(p + 2 * PAGE, 102, "parent: private page read before the fork");
	check_file_page(fd, 3, 3, "read(2)");
	check_file_page(fd, 2, 102, "file under a child's private store");
	must(ftruncate(fd, 0));
}

/* Every way a page table entry goes must give its reference back. */
static void page_tables_come_and_go(const struct env *e)
{
	int fd = create_file(e, "f", 64, 100);

	for (int round = 0; round < 8; round++) {
		char *p = map_file(fd, 64, RW), *q;

		for (size_t i = 0; i < 64; i++)
			fill_page(p + i * PAGE, 1000 * round + i);
		must(madvise(p, 16 * PAGE, MADV_DONTNEED));
		must(mprotect(p + 16 * PAGE, 16 * PAGE, PROT_READ));
		q = mremap(p + 32 * PAGE, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
		check(q != MAP_FAILED, "mremap: %m");
		check_page(q, 1000 * round + 32, "moved");
		must(munmap(p + 48 * PAGE, 16 * PAGE));
		check_page(p, 1000 * round, "dropped and faulted again");
		check_page(p + 16 * PAGE, 1000 * round + 16, "read-only");
		must(mprotect(p + 16 * PAGE, 16 * PAGE, RW));
		fill_page(p + 16 * PAGE, 7);
		check_file_page(fd, 16, 7, "store after mprotect");
		check_file_page(fd, 63, 1000 * round + 63, "store before munmap");
		must(munmap(p, 32 * PAGE));
		must(munmap(q, 16 * PAGE));
	}
	/* A reference too many would make this wait for ever. */
	must(ftruncate(fd, 0));
}

static void no_store_into_read_only(const struct env *e)
{
	int fd, wr = create_file(e, "f", 1, 100);
	char *p;

	fd = must(open(in_dir(e, "f"), O_RDONLY));
	p = map_file(fd, 1, PROT_READ);
	check_page(p, 100, "read-only");
	must(madvise(p, PAGE, MADV_POPULATE_READ));
	check(mprotect(p, PAGE, RW) < 0, "a read-only file became writable");
	must(ftruncate(wr, 0));
	check(try_load(p, NULL) == SIGBUS, "no SIGBUS past the end");
}

static void sync_mapping_stores(const struct env *e)
{
	int fd = create_file(e, "f", 0, 0);
	char *p;

	must(ftruncate(fd, 64 * PAGE));
	p = mmap(NULL, 64 * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	check(p != MAP_FAILED, "mmap MAP_SYNC: %m");
	must(madvise(p, 64 * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < 64; i += 2)
		fill_page(p + i * PAGE, 300 + i);
	for (size_t i = 0; i < 64; i++)
		check_file_page(fd, i, i % 2 ? 0 : 300 + i, "store with MAP_SYNC");
	must(do_op(OP_PUNCH, fd, 0, 8));
	for (size_t i = 0; i < 64; i++)
		check_page(p + i * PAGE, i % 2 || i < 8 ? 0 : 300 + i, "after a punch");
	for (size_t i = 0; i < 8; i++)
		fill_page(p + i * PAGE, 400 + i);
	for (size_t i = 0; i < 8; i++)
		check_file_page(fd, i, 400 + i, "store again");
	must(ftruncate(fd, 0));
}

/* 2 MiB faults on blocks and on a hole, whatever size they end up with. */
static void huge_faults_lose_nothing(const struct env *e)
{
	const size_t pages = 1024;
	int fd = create_file(e, "f", 0, 0);
	char *p;

	must(do_op(OP_ALLOCATE, fd, 0, pages));
	must(ftruncate(fd, 2 * pages * PAGE));
	p = map_file_huge(fd, 2 * pages, RW);
	for (size_t i = 0; i < 2 * pages; i += 512)
		check_page(p + (i + 3) * PAGE, 0, "first sight");
	for (size_t i = 0; i < 2 * pages; i += 3)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(fd));
	must(do_op(OP_PUNCH, fd, 600, 3));
	for (size_t i = 1; i < 2 * pages; i += 3)
		fill_page(p + i * PAGE, 200 + i);
	for (size_t i = 0; i < 2 * pages; i++) {
		uint64_t want = i % 3 == 0 ? 100 + i : i % 3 == 1 ? 200 + i : 0;

		if (i == 600)
			want = 0;
		check_page(p + i * PAGE, want, "mapping");
		check_file_page(fd, i, want, "read(2)");
	}
	must(ftruncate(fd, 100 * PAGE));
	check(try_load(p + 100 * PAGE, NULL) == SIGBUS, "no SIGBUS past the end");
	check_page(p + 99 * PAGE, 199, "below the end");
}

/* The buffer of a write(2) is a mapping of the same file system. */
static void copies_within(const struct env *e)
{
	int a = create_file(e, "a", 8, 100), b = create_file(e, "b", 8, 200);
	char *p = map_file(a, 8, RW);

	check(pwrite(b, p, 4 * PAGE, 0) == 4 * (ssize_t)PAGE, "write: %m");
	check(pread(b, p + 4 * PAGE, 4 * PAGE, 4 * PAGE) == 4 * (ssize_t)PAGE, "read: %m");
	for (size_t i = 0; i < 4; i++) {
		check_file_page(b, i, 100 + i, "written from a mapping");
		check_file_page(a, 4 + i, 204 + i, "read into a mapping");
	}
}

static const struct test tests[] = {
	{ "R1 a store to a fresh page is read back everywhere", store_is_read_back, EVERYWHERE },
	{ "R1 pages freed by a truncate can be requested again",
	  pages_are_requested_again, EVERYWHERE },
	{ "R1 racing faults share one page and lose no store",
	  racing_faults_share_a_page, RACES },
	{ "R2 page tables that come and go keep no reference",
	  page_tables_come_and_go, EVERYWHERE },
	{ "R2 fork shares and copies", fork_shares_and_copies, EVERYWHERE },
	{ "R5 a mapping sees write(2)", write_is_seen, EVERYWHERE },
	{ "R5 a private store copies and leaves the file alone",
	  private_write_is_private, EVERYWHERE },
	{ "R5 a read-only mapping stays one", no_store_into_read_only, EVERYWHERE },
	{ "R5 MAP_SYNC stores reach the file", sync_mapping_stores, EVERYWHERE },
	{ "R5 faults of 2 MiB lose nothing", huge_faults_lose_nothing, EVERYWHERE },
	{ "R5 read(2) and write(2) with a mapping as buffer", copies_within, EVERYWHERE },
	{ }
};

GROUP(data, tests);
