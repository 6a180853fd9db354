// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of 2 MiB: which faults map them, what takes their mappings apart. A case makes sure first
 * that it has 2 MiB pages at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"

#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

#define RW	(PROT_READ | PROT_WRITE)
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

void expect_huge(const char *p, size_t pages, const char *what)
{
	size_t n = huge_pages(p, pages);

	check(n == pages, "%s: %zu of %zu pages are mapped in 2 MiB", what, n, pages);
}

static void expect_none_huge(const char *p, size_t pages, const char *what)
{
	size_t n = huge_pages(p, pages);

	check(n == 0, "%s: %zu pages are mapped in 2 MiB", what, n);
}

static void stamp_all(char *p, size_t pages, uint64_t stamp)
{
	for (size_t i = 0; i < pages; i++)
		fill_page(p + i * PAGE, stamp + i);
}

void expect_stamps(const char *p, int fd, size_t from, size_t to, uint64_t stamp,
		   const char *what)
{
	for (size_t i = from; i < to; i++) {
		if (p)
			check_page(p + i * PAGE, stamp + i, what);
		check_file_page(fd, i, stamp + i, what);
	}
}

char *stamped(const struct env *e, int *fd, size_t huge, uint64_t stamp)
{
	char *p;

	*fd = create_huge(e, "f", huge);
	p = map_file_huge(*fd, huge * HUGE, RW);
	stamp_all(p, huge * HUGE, stamp);
	expect_huge(p, huge * HUGE, "new file");
	return p;
}

static void all_faults_are_huge(const struct env *e)
{
	const size_t huge = 4;
	int fd = create_huge(e, "f", huge);
	char *p = map_file_huge(fd, huge * HUGE, RW), *q;
	struct dax_faults n;

	faults_start();
	stamp_all(p, huge * HUGE, 100);
	n = faults_stop(fd);
	check(n.huge == (long)huge && !n.fallback && !n.small,
	      "stores: %ld faults of 2 MiB, %ld fell back, %ld of 4 KiB", n.huge, n.fallback,
	      n.small);
	expect_huge(p, huge * HUGE, "stores");

	q = map_file_huge(fd, huge * HUGE, PROT_READ);
	faults_start();
	expect_stamps(q, fd, 0, huge * HUGE, 100, "second mapping");
	n = faults_stop(fd);
	check(n.huge == (long)huge && !n.fallback && !n.small,
	      "loads: %ld faults of 2 MiB, %ld fell back, %ld of 4 KiB", n.huge, n.fallback,
	      n.small);
	expect_huge(q, huge * HUGE, "loads");
	must(ftruncate(fd, 0));
	check(try_load(q, NULL) == SIGBUS, "no SIGBUS past the end");
}

static void read_then_store(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 2, 100);
	struct dax_faults n;

	must(fsync(fd));
	must(munmap(p, 2 * HUGE * PAGE));
	p = map_file_huge(fd, 2 * HUGE, RW);
	expect_stamps(p, fd, 0, 2 * HUGE, 100, "read");
	expect_huge(p, 2 * HUGE, "read");
	faults_start();
	p[7 * PAGE] = 1;
	p[(HUGE + 9) * PAGE] = 1;
	n = faults_stop(fd);
	check(n.huge == 2 && !n.fallback && !n.small,
	      "upgrade: %ld faults of 2 MiB, %ld fell back, %ld of 4 KiB", n.huge, n.fallback,
	      n.small);
	expect_huge(p, 2 * HUGE, "after the store");
	check(p[8 * PAGE] == 108, "the store hit another page");
}

static void zero_page_of_a_hole(const struct env *e)
{
	int fd = create_file(e, "f", 0, 0);
	struct dax_faults n;
	char *p, *q;

	must(ftruncate(fd, 4 * HUGE * PAGE));
	p = map_file_huge(fd, 4 * HUGE, RW);
	q = map_file_huge(fd, 4 * HUGE, PROT_READ);
	faults_start();
	for (size_t i = 0; i < 4 * HUGE; i++) {
		check_page(p + i * PAGE, 0, "hole");
		check_page(q + i * PAGE, 0, "hole");
	}
	n = faults_stop(fd);
	check(n.huge_zero == 8 && !n.small_zero && !n.small,
	      "hole: %ld faults gave the 2 MiB zero page, %ld fell back, %ld of 4 KiB", n.huge_zero,
	      n.fallback, n.small);
	for (size_t i = 0; i < 4; i++)
		check(!file_block(fd, i * HUGE), "reading allocated a block");
	/* The store must replace it in every mapping, in one or 512 pieces. */
	fill_page(p + 5 * PAGE, 1);
	fill_page(p + (HUGE + 6) * PAGE, 2);
	for (size_t i = 0; i < 4 * HUGE; i++) {
		uint64_t want = i == 5 ? 1 : i == HUGE + 6 ? 2 : 0;

		check_page(q + i * PAGE, want, "other mapping");
		check_page(p + i * PAGE, want, "this mapping");
		check_file_page(fd, i, want, "read(2)");
	}
	check(!file_block(fd, 2 * HUGE), "a store allocated elsewhere");
	must(ftruncate(fd, 0));
}

static void zero_page_of_unwritten(const struct env *e)
{
	int fd = create_huge(e, "f", 2);
	char *p = map_file_huge(fd, 2 * HUGE, RW), *q = map_file_huge(fd, 2 * HUGE, PROT_READ);
	char buf[PAGE];

	for (size_t i = 0; i < 2 * HUGE; i++) {
		check_page(p + i * PAGE, 0, "unwritten");
		check_page(q + i * PAGE, 0, "unwritten");
	}
	fill_page(p + 100 * PAGE, 1);
	expect_huge(p, HUGE, "store over the zero page");
	fill_page(buf, 2);
	check(pwrite(fd, buf, PAGE, (HUGE + 3) * PAGE) == (ssize_t)PAGE, "write: %m");
	for (size_t i = 0; i < 2 * HUGE; i++) {
		uint64_t want = i == 100 ? 1 : i == HUGE + 3 ? 2 : 0;

		check_page(p + i * PAGE, want, "mapping");
		check_page(q + i * PAGE, want, "other mapping");
		check_file_page(fd, i, want, "read(2)");
	}
}

/* A 2 MiB zero page is nobody's block: no break waits for one in a pipe. */
static void zero_page_blocks_nobody(const struct env *e)
{
	int fd = create_file(e, "f", 0, 0);
	struct pin pin;
	char *p;

	must(ftruncate(fd, HUGE * PAGE));
	p = map_file_huge(fd, HUGE, RW);
	check_page(p, 0, "hole");
	expect_huge(p, HUGE, "hole");
	pin_pages(&pin, p + 9 * PAGE, 2);
	must(do_op(OP_PUNCH, fd, 8, 4));
	must(ftruncate(fd, 0));
	unpin_all(&pin);
}

static char *map_at_offset(int fd, size_t pages, size_t skew, int flags)
{
	const size_t room = (pages + 2 * HUGE) * PAGE;
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED, "mmap: %m");
	p = (char *)(((uintptr_t)p + HUGE * PAGE - 1) & ~(HUGE * PAGE - 1));
	p = mmap(p + skew * PAGE, pages * PAGE, RW, flags | MAP_FIXED, fd, 0);
	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, MADV_HUGEPAGE));
	return p;
}

static void falls_back_where_it_must(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 2, 100), *q;

	must(munmap(p, 2 * HUGE * PAGE));
	q = map_at_offset(fd, 2 * HUGE, 1, MAP_SHARED);
	expect_stamps(q, fd, 0, 2 * HUGE, 100, "address off by a page");
	expect_none_huge(q, 2 * HUGE, "address off by a page");
	must(munmap(q, 2 * HUGE * PAGE));

	q = map_at_offset(fd, HUGE + 100, 0, MAP_SHARED);
	expect_stamps(q, fd, 0, HUGE + 100, 100, "short mapping");
	expect_huge(q, HUGE, "whole part of a short mapping");
	expect_none_huge(q + HUGE * PAGE, 100, "rest of a short mapping");
	q[(HUGE + 50) * PAGE] = (char)(100 + HUGE + 50);
	must(munmap(q, (HUGE + 100) * PAGE));

	q = map_at_offset(fd, 2 * HUGE, 0, MAP_PRIVATE);
	q[3 * PAGE] = 1;
	expect_none_huge(q, HUGE, "private store");
	check_page(q + 2 * PAGE, 102, "private mapping beside a store");
	check_page(q + (HUGE + 7) * PAGE, 100 + HUGE + 7, "private load");
	/* Loaded in one piece or not, a store copies 4 KiB. */
	fill_page(q + (HUGE + 7) * PAGE, 9);
	expect_none_huge(q + HUGE * PAGE, HUGE, "private store after a load");
	for (size_t i = 0; i < 2 * HUGE; i++)
		if (i != 3 && i != HUGE + 7)
			check_page(q + i * PAGE, 100 + i, "private mapping");
	expect_stamps(NULL, fd, 0, 2 * HUGE, 100, "file under private stores");
	must(munmap(q, 2 * HUGE * PAGE));

	/* The end of the file inside 2 MiB. */
	must(ftruncate(fd, (HUGE + 10) * PAGE));
	q = map_file_huge(fd, 2 * HUGE, RW);
	expect_stamps(q, fd, 0, HUGE + 10, 100, "short file");
	expect_huge(q, HUGE, "whole part of a short file");
	expect_none_huge(q + HUGE * PAGE, HUGE, "end of the file");
	check(try_load(q + (HUGE + 10) * PAGE, NULL) == SIGBUS, "no SIGBUS past the end");
	must(munmap(q, 2 * HUGE * PAGE));

	/* A hole in the middle: no 2 MiB of blocks. */
	must(do_op(OP_PUNCH, fd, 200, 1));
	q = map_file_huge(fd, HUGE, RW);
	check_page(q + 199 * PAGE, 299, "before the hole");
	check_page(q + 200 * PAGE, 0, "hole");
	q[201 * PAGE] = (char)301;
	expect_none_huge(q, HUGE, "file with a hole");
	expect_stamps(q, fd, 201, HUGE, 100, "behind the hole");
	must(ftruncate(fd, 0));
}

/* Entries of 4 KiB that are there already win. */
static void small_entries_stay_small(const struct env *e)
{
	int fd = create_huge(e, "f", 2);
	char *s = map_file(fd, 2 * HUGE, RW), *p = map_file_huge(fd, 2 * HUGE, RW);

	fill_page(s + 5 * PAGE, 1);
	fill_page(p + 6 * PAGE, 2);
	expect_none_huge(p, HUGE, "beside an entry of 4 KiB");
	fill_page(p + (HUGE + 6) * PAGE, 3);
	expect_huge(p + HUGE * PAGE, HUGE, "where no entry was");
	for (size_t i = 0; i < 2 * HUGE; i++) {
		uint64_t want = i == 5 ? 1 : i == 6 ? 2 : i == HUGE + 6 ? 3 : 0;

		check_page(s + i * PAGE, want, "small mapping");
		check_page(p + i * PAGE, want, "large mapping");
	}
	must(ftruncate(fd, 0));
}

static void small_mapping_of_a_huge_page(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 2, 100), *s = map_file(fd, 2 * HUGE, RW);
	struct pin pin;
	char buf[PAGE];

	expect_stamps(s, fd, 0, 2 * HUGE, 100, "small mapping");
	expect_none_huge(s, 2 * HUGE, "small mapping");
	expect_huge(p, 2 * HUGE, "large mapping beside a small one");
	for (size_t i = 0; i < 2 * HUGE; i += 2)
		fill_page(s + i * PAGE, 5000 + i);
	for (size_t i = 0; i < 2 * HUGE; i++)
		check_page(p + i * PAGE, (i % 2 ? 100 : 5000) + i, "large mapping");
	pin_pages(&pin, s + 77 * PAGE, 1);
	fill_page(p + 77 * PAGE, 3);
	unpin_page(&pin, buf);
	check_page(buf, 3, "pin taken through the small mapping");
	must(munmap(p, 2 * HUGE * PAGE));
	check_page(s + 78 * PAGE, 5078, "small mapping alone");
	must(do_op(OP_PUNCH, fd, 0, HUGE));
	check_page(s + 78 * PAGE, 0, "punched");
	check_page(s + (HUGE + 1) * PAGE, 100 + HUGE + 1, "not punched");
	must(ftruncate(fd, 0));
	check(try_load(s, NULL) == SIGBUS, "no SIGBUS past the end");
}

static long flushed_by_fsync(int fd)
{
	flush_count_start();
	must(fsync(fd));
	return flush_count_stop();
}

static void fsync_protects(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 2, 100), *q = map_file_huge(fd, 2 * HUGE, RW);
	char *s = map_file(fd, 2 * HUGE, RW);
	long n;

	q[PAGE] = 1;
	s[2 * PAGE] = 1;
	n = flushed_by_fsync(fd);
	check(n == 2 * (long)HUGE, "%ld pages written back, not %zu", n, 2 * HUGE);
	n = flushed_by_fsync(fd);
	check(n == 0, "%ld pages written back again", n);
	expect_huge(p, 2 * HUGE, "after fsync");
	/* A store to any mapping counts, to either half. */
	p[9 * PAGE] = 2;
	n = flushed_by_fsync(fd);
	check(n == (long)HUGE, "store after fsync: %ld pages written back", n);
	q[(HUGE + 9) * PAGE] = 2;
	n = flushed_by_fsync(fd);
	check(n == (long)HUGE, "store to the second mapping: %ld pages written back", n);
	/* Under an entry of 2 MiB a store of 4 KiB makes all of it dirty. */
	s[30 * PAGE] = 2;
	n = flushed_by_fsync(fd);
	check(n == (long)HUGE, "store to the small mapping: %ld pages written back", n);
	s[31 * PAGE] = 2;
	p[(HUGE + 8) * PAGE] = 3;
	n = flushed_by_fsync(fd);
	check(n == 2 * (long)HUGE, "stores to both: %ld pages written back", n);
	must(munmap(p, 2 * HUGE * PAGE));
	q[0] = 4;
	must(munmap(q, 2 * HUGE * PAGE));
	n = flushed_by_fsync(fd);
	check(n == (long)HUGE, "store of a mapping that is gone: %ld pages written back", n);
}

static void sync_stores(const struct env *e)
{
	int fd = create_huge(e, "f", 4);
	struct dax_faults faults;
	char *p;
	long n;

	p = map_at_offset(fd, 4 * HUGE, 0, MAP_SHARED_VALIDATE | MAP_SYNC);
	faults_start();
	for (size_t i = 0; i < 4 * HUGE; i += 3)
		fill_page(p + i * PAGE, 100 + i);
	faults = faults_stop(fd);
	check(faults.huge == 4 && !faults.fallback && !faults.small,
	      "%ld faults of 2 MiB, %ld fell back, %ld of 4 KiB", faults.huge, faults.fallback,
	      faults.small);
	expect_huge(p, 4 * HUGE, "MAP_SYNC");
	n = flushed_by_fsync(fd);
	check(n == 4 * (long)HUGE, "MAP_SYNC stores: %ld pages written back", n);
	p[PAGE] = 1;
	n = flushed_by_fsync(fd);
	check(n == (long)HUGE, "MAP_SYNC store again: %ld pages written back", n);
	for (size_t i = 0; i < 4 * HUGE; i++)
		if (i != 1)
			check_file_page(fd, i, i % 3 ? 0 : 100 + i, "read(2)");
	must(do_op(OP_PUNCH, fd, 0, HUGE));
	check_page(p, 0, "punched");
	fill_page(p, 7);
	check_file_page(fd, 0, 7, "store after the punch");
	must(ftruncate(fd, 0));
}

/* What smaps says must be what the page tables have. */
static void expect_present(const char *p, size_t pages, size_t least, size_t most, const char *what)
{
	size_t n = present_pages(p, pages);

	check(n >= least && n <= most, "%s: %zu pages are mapped, not %zu to %zu", what, n, least,
	      most);
}

/* Every change to a part of a mapping: nothing lost, nothing counted twice. */
static void parts_come_and_go(const struct env *e)
{
	const long before = rss_file_kib();
	int fd;
	char *p = stamped(e, &fd, 4, 100), *q;
	long rss;

	check(rss_kib(p, 4 * HUGE) == 4 * 2048, "Rss of 4 pages of 2 MiB is %ld KiB",
	      rss_kib(p, 4 * HUGE));
	/* One page unmapped from the middle. */
	must(munmap(p + 100 * PAGE, PAGE));
	expect_present(p, HUGE, 0, 511, "munmap");
	check(rss_kib(p, 4 * HUGE) == 4 * (long)present_pages(p, 4 * HUGE), "Rss after munmap");
	for (size_t i = 0; i < HUGE; i++)
		if (i != 100)
			check_page(p + i * PAGE, 100 + i, "beside what was unmapped");
	expect_present(p, HUGE, 511, 511, "munmap, all touched");
	/* A page made read-only, then read-write. */
	must(mprotect(p + (HUGE + 50) * PAGE, PAGE, PROT_READ));
	check(rss_kib(p, 4 * HUGE) == 4 * (long)present_pages(p, 4 * HUGE), "Rss after mprotect");
	for (size_t i = HUGE; i < 2 * HUGE; i++)
		check_page(p + i * PAGE, 100 + i, "after mprotect");
	fill_page(p + (HUGE + 51) * PAGE, 1);
	must(mprotect(p + (HUGE + 50) * PAGE, PAGE, RW));
	fill_page(p + (HUGE + 50) * PAGE, 2);
	expect_present(p + HUGE * PAGE, HUGE, HUGE, HUGE, "mprotect");
	/* A page thrown out and faulted again. */
	must(madvise(p + (2 * HUGE + 7) * PAGE, PAGE, MADV_DONTNEED));
	expect_present(p + 2 * HUGE * PAGE, HUGE, 0, HUGE - 1, "MADV_DONTNEED");
	check(rss_kib(p, 4 * HUGE) == 4 * (long)present_pages(p, 4 * HUGE),
	      "Rss after MADV_DONTNEED");
	for (size_t i = 2 * HUGE; i < 3 * HUGE; i++)
		check_page(p + i * PAGE, 100 + i, "after MADV_DONTNEED");
	/* Half of one moved away. */
	q = mmap(NULL, HUGE * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(q != MAP_FAILED, "mmap: %m");
	q = mremap(p + (3 * HUGE + HUGE / 2) * PAGE, HUGE / 2 * PAGE, HUGE / 2 * PAGE,
		   MREMAP_MAYMOVE | MREMAP_FIXED, q);
	check(q != MAP_FAILED, "mremap: %m");
	for (size_t i = 0; i < HUGE / 2; i++) {
		check_page(p + (3 * HUGE + i) * PAGE, 100 + 3 * HUGE + i, "half that stayed");
		check_page(q + i * PAGE, 100 + 3 * HUGE + HUGE / 2 + i, "half that moved");
	}
	expect_present(p + 3 * HUGE * PAGE, HUGE / 2, HUGE / 2, HUGE / 2, "half that stayed");
	expect_present(q, HUGE / 2, HUGE / 2, HUGE / 2, "half that moved");
	fill_page(q + 3 * PAGE, 4);
	check_file_page(fd, 3 * HUGE + HUGE / 2 + 3, 4, "store to the moved half");

	must(munmap(q, HUGE / 2 * PAGE));
	must(munmap(p, 4 * HUGE * PAGE));
	check_file_page(fd, HUGE + 51, 1, "store beside a read-only page");
	check_file_page(fd, HUGE + 50, 2, "store to a page that was read-only");
	rss = rss_file_kib() - before;
	check(rss < 1024, "RssFile is %ld KiB above what it was", rss);
	/* A reference too many would make this wait for ever. */
	must(ftruncate(fd, 0));
}

static void whole_mappings_come_and_go(const struct env *e)
{
	const long before = rss_file_kib();
	int fd = create_huge(e, "f", 4), status;
	pid_t pid;

	for (uint64_t round = 0; round < 4; round++) {
		char *p = map_file_huge(fd, 4 * HUGE, RW), *q;
		char *room = map_at_offset(fd, 2 * HUGE, 0, MAP_SHARED);

		stamp_all(p, 4 * HUGE, 10000 * round);
		expect_huge(p, 4 * HUGE, "stored");
		must(madvise(p, HUGE * PAGE, MADV_DONTNEED));
		check(rss_kib(p, 4 * HUGE) == 3 * 2048, "Rss after MADV_DONTNEED: %ld KiB",
		      rss_kib(p, 4 * HUGE));
		must(mprotect(p + HUGE * PAGE, HUGE * PAGE, PROT_READ));
		expect_huge(p + HUGE * PAGE, HUGE, "read-only");
		must(mprotect(p + HUGE * PAGE, HUGE * PAGE, RW));
		fill_page(p + (HUGE + 1) * PAGE, 10000 * round + HUGE + 1);
		q = mremap(p + 2 * HUGE * PAGE, 2 * HUGE * PAGE, 2 * HUGE * PAGE,
			   MREMAP_MAYMOVE | MREMAP_FIXED, room);
		check(q == room, "mremap: %m");
		for (size_t i = 0; i < 2 * HUGE; i++)
			check_page(q + i * PAGE, 10000 * round + 2 * HUGE + i, "moved");
		check(rss_kib(q, 2 * HUGE) == 2 * 2048, "Rss after mremap: %ld KiB",
		      rss_kib(q, 2 * HUGE));
		pid = must(fork());
		if (!pid) {
			for (size_t i = 0; i < 2 * HUGE; i++)
				check_page(q + i * PAGE, 10000 * round + 2 * HUGE + i, "child");
			fill_page(q + 9 * PAGE, 1);
			must(munmap(q + 10 * PAGE, PAGE));
			check_page(q + 11 * PAGE, 10000 * round + 2 * HUGE + 11, "child");
			_exit(0);
		}
		must(waitpid(pid, &status, 0));
		check(!status, "the child failed");
		check_page(q + 9 * PAGE, 1, "store of the child");
		check_page(p, 10000 * round, "faulted again");
		must(munmap(q, 2 * HUGE * PAGE));
		must(munmap(p, 2 * HUGE * PAGE));
		check(rss_file_kib() - before < 1024, "RssFile is %ld KiB above what it was",
		      rss_file_kib() - before);
	}
	must(ftruncate(fd, 0));
}

/* Blocks freed from 2 MiB pages are used as 4 KiB pages and back. */
static void sizes_alternate(const struct env *e)
{
	for (uint64_t round = 0; round < 2; round++) {
		int fd;
		char *p = stamped(e, &fd, 2, 1000 * round), *s;

		must(munmap(p, 2 * HUGE * PAGE));
		must(do_op(OP_PUNCH, fd, 0, 2 * HUGE));
		must(do_op(OP_ALLOCATE, fd, 0, 2 * HUGE));
		s = map_file(fd, 2 * HUGE, RW);
		for (size_t i = 0; i < 2 * HUGE; i++) {
			check(!s[i * PAGE], "page %zu shows old data", i);
			fill_page(s + i * PAGE, 7000 + i);
		}
		expect_none_huge(s, 2 * HUGE, "small mapping");
		expect_stamps(s, fd, 0, 2 * HUGE, 7000, "small mapping");
		must(ftruncate(fd, 0));
		must(munmap(s, 2 * HUGE * PAGE));
		close(fd);
	}
}

struct storer {
	char *map;
	size_t first, step;
	uint64_t stamp;
	pthread_barrier_t *go;
};

static void *store_pages(void *arg)
{
	struct storer *s = arg;

	pthread_barrier_wait(s->go);
	for (size_t i = s->first; i < 2 * HUGE; i += s->step)
		fill_page(s->map + i * PAGE, s->stamp + i);
	return NULL;
}

/* The same 2 MiB faulted at once, in both sizes. */
static void racing_faults(const struct env *e)
{
	for (int round = 0; round < 4; round++) {
		int fd = create_huge(e, "f", 2);
		struct storer s[4];
		pthread_barrier_t go;
		pthread_t thread[4];
		char *p;

		pthread_barrier_init(&go, NULL, 4);
		for (size_t t = 0; t < 4; t++) {
			p = t % 2 && round % 2 ? map_file(fd, 2 * HUGE, RW) :
						 map_file_huge(fd, 2 * HUGE, RW);
			s[t] = (struct storer) { p, t, 4, 100 * round, &go };
			check(!pthread_create(&thread[t], NULL, store_pages, &s[t]), "no thread");
		}
		for (size_t t = 0; t < 4; t++)
			pthread_join(thread[t], NULL);
		for (size_t t = 0; t < 4; t++) {
			for (size_t i = 0; i < 2 * HUGE; i++)
				check_page(s[t].map + i * PAGE, 100 * round + i, "raced");
			must(munmap(s[t].map, 2 * HUGE * PAGE));
		}
		must(ftruncate(fd, 0));
		close(fd);
	}
}

static const struct test tests[] = {
	{ "R1 faults of an aligned, preallocated file are all 2 MiB",
	  all_faults_are_huge, EVERYWHERE },
	{ "R1 a store upgrades a 2 MiB page that was read", read_then_store, EVERYWHERE },
	{ "R1 faults that race for 2 MiB share a page and lose no store",
	  racing_faults, RACES },
	{ "R1 blocks are 2 MiB pages and 4 KiB pages in turn", sizes_alternate, EVERYWHERE },
	{ "R5 a hole reads as the 2 MiB zero page and stays a hole",
	  zero_page_of_a_hole, EVERYWHERE },
	{ "R5 a store replaces the 2 MiB zero page of unwritten blocks",
	  zero_page_of_unwritten, EVERYWHERE },
	{ "R5 a 2 MiB zero page in a pipe keeps no truncate waiting",
	  zero_page_blocks_nobody, EVERYWHERE },
	{ "R5 what cannot be 2 MiB is 4 KiB", falls_back_where_it_must, EVERYWHERE },
	{ "R5 beside a 4 KiB entry a 2 MiB fault falls back",
	  small_entries_stay_small, EVERYWHERE },
	{ "R5 4 KiB mappings of a 2 MiB page", small_mapping_of_a_huge_page, EVERYWHERE },
	{ "R5 MAP_SYNC stores map 2 MiB", sync_stores, EVERYWHERE },
	{ "R2 parts of a 2 MiB mapping come and go", parts_come_and_go, EVERYWHERE },
	{ "R2 2 MiB mappings come and go", whole_mappings_come_and_go, EVERYWHERE },
	{ "R9 fsync write-protects 2 MiB pages", fsync_protects, EVERYWHERE },
	{ }
};

GROUP(huge, tests);
