// SPDX-License-Identifier: GPL-2.0
/* Dirty state: fsync writes back exactly what was stored, whatever came between. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	32L
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static long flushed_by_fsync(int fd)
{
	flush_count_start();
	must(fsync(fd));
	return flush_count_stop();
}

static void expect_flush(int fd, long pages, const char *what)
{
	long n = flushed_by_fsync(fd);

	check(n == pages, "fsync %s: %ld pages written back, not %ld", what, n, pages);
}

static char *dirty_file(const struct env *e, int *fd)
{
	char *p;

	*fd = create_file(e, "f", N, 100);
	p = map_file(*fd, N, RW);
	for (long i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	return p;
}

static void each_store_once(const struct env *e)
{
	int fd;
	char *p = dirty_file(e, &fd);

	expect_flush(fd, N, "of stored pages");
	expect_flush(fd, 0, "again");
	p[3 * PAGE] = 1;
	p[3 * PAGE + 9] = 1;
	p[7 * PAGE] = 1;
	expect_flush(fd, 2, "of pages stored again");
	check_file_page(fd, 8, 208, "read(2)");
}

static void reads_are_clean(const struct env *e)
{
	int fd = create_file(e, "f", N, 100);
	char *p = map_file(fd, N, RW);
	char *q = mmap(NULL, N * PAGE, RW, MAP_PRIVATE, fd, 0);

	check(q != MAP_FAILED, "mmap: %m");
	for (long i = 0; i < N; i++) {
		check_page(p + i * PAGE, 100 + i, "read");
		q[i * PAGE] = 1;
	}
	expect_flush(fd, 0, "after reads and private stores");
	p[0] = 1;
	expect_flush(fd, 1, "after a store to a page that was read");
}

/* fsync must write-protect every mapping, or later stores go unseen. */
static void stores_through_all_mappings(const struct env *e)
{
	int fd, status;
	char *p = dirty_file(e, &fd), *q = map_file(fd, N, RW);
	pid_t pid;

	for (long i = 0; i < N; i++)
		q[i * PAGE] = 2;
	expect_flush(fd, N, "of pages stored through two mappings");
	q[0] = 3;
	p[PAGE] = 3;
	expect_flush(fd, 2, "of one store through each mapping");
	pid = must(fork());
	if (!pid) {
		p[2 * PAGE] = 4;
		q[3 * PAGE] = 4;
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	expect_flush(fd, 2, "of a child's stores");
	must(mprotect(p, N * PAGE, PROT_READ));
	must(mprotect(p, N * PAGE, RW));
	p[4 * PAGE] = 5;
	expect_flush(fd, 1, "of a store after mprotect");
	must(munmap(q, N * PAGE));
	p[5 * PAGE] = 6;
	must(munmap(p, N * PAGE));
	expect_flush(fd, 1, "of a page no longer mapped");
}

static void msync_takes_its_range(const struct env *e)
{
	int fd;
	char *p = dirty_file(e, &fd);

	flush_count_start();
	must(msync(p + 4 * PAGE, 8 * PAGE, MS_SYNC));
	check(flush_count_stop() == 8, "msync of 8 pages");
	expect_flush(fd, N - 8, "of the rest");
}

static void sync_mapping_is_tracked(const struct env *e)
{
	int fd = create_file(e, "f", 0, 0);
	char *p;

	must(ftruncate(fd, N * PAGE));
	p = mmap(NULL, N * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	check(p != MAP_FAILED, "mmap MAP_SYNC: %m");
	must(madvise(p, N * PAGE, MADV_NOHUGEPAGE));
	for (long i = 0; i < N; i++)
		fill_page(p + i * PAGE, i);
	expect_flush(fd, N, "of MAP_SYNC stores");
	p[PAGE] = 1;
	expect_flush(fd, 1, "of a MAP_SYNC store again");
}

static void punch_keeps_the_rest(const struct env *e)
{
	int fd;

	dirty_file(e, &fd);
	must(do_op(OP_PUNCH, fd, 5, 1));
	expect_flush(fd, N - 1, "after the punch of 1 page");
	for (long i = 0; i < N; i++)
		check_file_page(fd, i, i == 5 ? 0 : 200 + i, "after the punch");
}

static void huge_mapping_keeps_the_rest(const struct env *e)
{
	const size_t pages = 1024;
	int fd = create_file(e, "f", 0, 0);
	char *p;
	long n;

	must(do_op(OP_ALLOCATE, fd, 0, pages));
	must(fsync(fd));
	p = map_file_huge(fd, pages, RW);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	/* A 2 MiB entry that loses a page may be written back by the punch itself. */
	flush_count_start();
	must(do_op(OP_PUNCH, fd, 700, 1));
	must(fsync(fd));
	n = flush_count_stop();
	check(n == (long)pages - 1 || n == (long)pages,
	      "punch in a mapping of 2 MiB pages: %ld pages written back, not %zu", n, pages - 1);
}

static void zero_keeps_the_rest(const struct env *e)
{
	int fd;

	dirty_file(e, &fd);
	must(do_op(OP_ZERO, fd, 5, 3));
	expect_flush(fd, N - 3, "after zeroing 3 pages");
}

static void shrink_keeps_the_rest(const struct env *e)
{
	int fd;

	dirty_file(e, &fd);
	must(ftruncate(fd, N / 2 * PAGE));
	expect_flush(fd, N / 2, "after a truncate to the half");
}

/* Whole units that are dropped for sure. */
static void discarded_is_not_written(const struct env *e)
{
	static const enum op ops[] = { OP_PUNCH, OP_ZERO };
	/* ext4 may find no space to zero something, and keeps all data until it knows. */
	const size_t n_ops = strcmp(e->fs, "xfs") ? 1 : 2;
	const size_t pages = 2 * HUGE;
	int small, huge;

	for (size_t i = 0; i < n_ops; i++) {
		char *p, *q;
		long n;

		/* This one syncs the file system. */
		huge = create_huge(e, "huge", 2);
		p = dirty_file(e, &small);
		q = map_file_huge(huge, pages, RW);
		for (size_t k = 0; k < pages; k++)
			q[k * PAGE] = 1;
		flush_count_start();
		must(do_op(ops[i], small, 4, 8));
		must(do_op(ops[i], huge, 0, HUGE));
		n = flush_count_stop();
		check(!n, "%s wrote %ld pages back that it dropped", op_name[ops[i]], n);
		expect_flush(small, N - 8, "of the other pages");
		expect_flush(huge, HUGE, "of the other 2 MiB page");
		check_page(p + 4 * PAGE, 0, "dropped");
		check_page(p + 12 * PAGE, 212, "behind what was dropped");
		must(munmap(p, N * PAGE));
		must(munmap(q, pages * PAGE));
		must(close(small));
		must(close(huge));
		must(unlink(in_dir(e, "huge")));
	}
}

/* It grows the file, which is found out to be forbidden after its pages were unmapped. */
static void failure_keeps_the_dirty_state(const struct env *e)
{
	const struct rlimit limit = { N * PAGE, N * PAGE };
	long n;
	int fd;
	char *p = dirty_file(e, &fd);

	signal(SIGXFSZ, SIG_IGN);
	must(setrlimit(RLIMIT_FSIZE, &limit));
	flush_count_start();
	check(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, (N + 1) * PAGE) < 0 && errno == EFBIG,
	      "zero range beyond the limit: %m");
	must(fsync(fd));
	n = flush_count_stop();
	check(n == N, "%ld pages written back after a zero range that failed, not %ld", n, N);
	for (long i = 0; i < N; i++) {
		check_page(p + i * PAGE, 200 + i, "after a zero range that failed");
		p[i * PAGE] = 1;
	}
	expect_flush(fd, N, "of stores after a zero range that failed");
}

/*
 * A range that begins or ends inside a page discards only a part of it. When
 * the rest is written back, by the operation or by fsync, is free.
 */
static void part_of_a_page_keeps_the_rest(const struct env *e)
{
	int fd;
	char *p = dirty_file(e, &fd);
	uint64_t *w = (uint64_t *)(p + 5 * PAGE);
	long n;

	flush_count_start();
	must(fallocate(fd, PUNCH, 5 * PAGE + 104, 48));
	must(fsync(fd));
	n = flush_count_stop();
	check(n == N, "punch inside a page: %ld pages written back, not %ld", n, N);
	check(w[12] == 205 && !w[13] && !w[18] && w[19] == 205, "punched bytes");
	/* No page is before the first one: what ends in it must not be taken for all the rest. */
	for (long i = 0; i < N; i++)
		p[i * PAGE] = 3;
	flush_count_start();
	must(fallocate(fd, PUNCH, 104, 48));
	must(fsync(fd));
	n = flush_count_stop();
	check(n == N, "punch inside the first page: %ld pages written back, not %ld", n, N);
	for (long i = 0; i < N; i++)
		p[i * PAGE] = 1;
	flush_count_start();
	must(fallocate(fd, PUNCH, 5 * PAGE + 104, 2 * PAGE));
	must(fsync(fd));
	n = flush_count_stop();
	check(n == N - 1, "punch from page to page: %ld pages written back, not %ld", n, N - 1);
	for (long i = 0; i < N; i++)
		p[i * PAGE] = 2;
	flush_count_start();
	must(ftruncate(fd, 5 * PAGE + 8));
	must(fsync(fd));
	n = flush_count_stop();
	check(n == 6, "truncate to the middle of a page: %ld pages written back, not 6", n);
}

static void growth_keeps_all(const struct env *e)
{
	int fd;
	char *p = dirty_file(e, &fd);
	long faults;

	must(ftruncate(fd, 2 * N * PAGE));
	must(do_op(OP_ALLOCATE, fd, 0, N));
	must(do_op(OP_ALLOCATE, fd, N, 2 * N));
	faults = minor_faults();
	for (long i = 0; i < N; i++)
		p[i * PAGE] = 1;
	faults = minor_faults() - faults;
	check(faults == 0, "%ld refaults after growth", faults);
	expect_flush(fd, N, "after growth and preallocation");
}

/*
 * What a collapse or insert moves must not be forgotten on the way. What a
 * collapse takes away may be written back, or not.
 */
static void moved_pages_are_written(const struct env *e)
{
	enum op op[] = { OP_COLLAPSE, OP_INSERT };

	for (size_t k = 0; k < ARRAY_SIZE(op); k++) {
		long n, least = op[k] == OP_COLLAPSE ? N - 4 : N;
		int fd;

		dirty_file(e, &fd);
		flush_count_start();
		must(do_op(op[k], fd, 8, 4));
		must(fsync(fd));
		n = flush_count_stop();
		check(n >= least && n <= N, "%s: %ld pages written back, not %ld",
		      op_name[op[k]], n, least);
	}
}

/* Stores made while the operation waits for a pin are stores like others. */
static void stores_during_the_wait(const struct env *e)
{
	enum op op[] = { OP_COLLAPSE, OP_INSERT };

	for (size_t k = 0; k < ARRAY_SIZE(op); k++) {
		struct job job = { .op = op[k], .first = 8, .pages = 4 };
		struct pin pin;
		char *p;
		long n;

		job.fd = create_file(e, "f", N, 100);
		p = map_file(job.fd, N, RW);
		pin_pages(&pin, p + 9 * PAGE, 1);
		job_start(&job);
		check(job_sleeps(&job), "%s did not wait", op_name[op[k]]);
		flush_count_start();
		for (long i = 16; i < 21; i++)
			fill_page(p + i * PAGE, 300 + i);
		unpin_all(&pin);
		job_succeeds(&job);
		must(fsync(job.fd));
		n = flush_count_stop();
		check(n == 5, "%s: %ld pages written back, not 5", op_name[op[k]], n);
		for (long i = 16; i < 21; i++)
			check_file_page(job.fd, op[k] == OP_COLLAPSE ? i - 4 : i + 4, 300 + i,
					"moved page");
	}
}

static void interrupt_keeps_all(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	char *p = dirty_file(e, &job.fd);

	pin_pages(&pin, p + 3 * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "the truncate did not wait for the pin");
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0, "the interrupted truncate succeeded");
	check(file_size(job.fd) == N * (off_t)PAGE, "the size changed");
	expect_flush(job.fd, N, "after an interrupted truncate");
	p[0] = 1;
	p[3 * PAGE] = 1;
	expect_flush(job.fd, 2, "of stores after an interrupted truncate");
	unpin_all(&pin);
	must(ftruncate(job.fd, 0));
}

/*
 * An operation whose range begins or ends inside a page that cannot be zeroed, since its memory
 * is bad. It fails, and all data that is there afterwards is data as before.
 */
struct failing {
	const char *name;
	int mode;		/* of fallocate(), 0: truncate */
	off_t start, end;
	long bad;		/* page */
};

static void check_failing(const struct env *e, const struct failing *f)
{
	const long first = f->start / PAGE, last = (f->end - 1) / PAGE;
	uint64_t is[N], *w;
	char *p, buf[PAGE];
	long n, least = 0;
	int fd, rc, err;

	p = dirty_file(e, &fd);
	make_bad(e, file_block(fd, f->bad));
	flush_count_start();
	rc = f->mode ? fallocate(fd, f->mode, f->start, f->end - f->start) :
	     ftruncate(fd, f->start);
	err = errno;
	must(fsync(fd));
	n = flush_count_stop();
	check(rc < 0 && err == EIO, "%s, page %ld is bad: %s", f->name, f->bad,
	      rc ? strerror(err) : "no error");
	for (long i = 0; i < N; i++) {
		bool may_go = f->mode && i >= first && i <= last;

		if (i == f->bad)
			continue;
		w = (uint64_t *)(p + i * PAGE);
		is[i] = may_go && !w[0] ? 0 : 200 + i;
		check_page(w, is[i], "mapping");
		check_file_page(fd, i, is[i], "read(2)");
		least += !!is[i];
	}
	check(n >= least && n <= N,
	      "%s that fails, page %ld is bad: %ld pages written back, not %ld", f->name, f->bad,
	      n, least);
	must(munmap(p, N * PAGE));
	close(fd);
	must(umount(e->dir));
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	fd = must(open(in_dir(e, "f"), O_RDONLY));
	for (long i = 0; i < N; i++)
		if (i != f->bad)
			check_file_page(fd, i, is[i], "after a mount");
	check(pread(fd, buf, PAGE, f->bad * PAGE) < 0 && errno == EIO, "the bad page can be read");
	close(fd);
}

/* In a process of its own: whether it fails or not, the driver has to forget the bad page. */
static void fails_at_bad_page(const struct env *e, const char *name, int mode, bool at_end)
{
	const struct failing f = {
		.name = name,
		.mode = mode,
		.start = 5 * PAGE + (at_end ? 0 : 100),
		.end = 12 * PAGE + (at_end ? 100 : 0),
		.bad = at_end ? 12 : 5,
	};
	pid_t pid = must(fork());
	int status;

	if (!pid) {
		check_failing(e, &f);
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	/* Not mounted if it failed in between. */
	umount(e->dir);
	forget_bad(e);
	check(!status, "%s: status %#x", name, status);
}

static void truncate_at_bad_page(const struct env *e)
{
	fails_at_bad_page(e, "truncate", 0, false);
}

static void punch_from_bad_page(const struct env *e)
{
	fails_at_bad_page(e, "punch", PUNCH, false);
}

static void punch_to_bad_page(const struct env *e)
{
	fails_at_bad_page(e, "punch", PUNCH, true);
}

static void zero_from_bad_page(const struct env *e)
{
	fails_at_bad_page(e, "zero range", FALLOC_FL_ZERO_RANGE, false);
}

static void zero_to_bad_page(const struct env *e)
{
	fails_at_bad_page(e, "zero range", FALLOC_FL_ZERO_RANGE, true);
}

static const struct test tests[] = {
	{ "R9 fsync writes each stored page back once", each_store_once, EVERYWHERE },
	{ "R9 reads and private stores make nothing dirty", reads_are_clean, EVERYWHERE },
	{ "R9 fsync write-protects every mapping", stores_through_all_mappings, EVERYWHERE },
	{ "R9 msync writes its range back and leaves the rest", msync_takes_its_range, EVERYWHERE },
	{ "R9 MAP_SYNC stores are tracked", sync_mapping_is_tracked, EVERYWHERE },
	{ "R9 punch keeps the dirty state of other pages", punch_keeps_the_rest, BOUND_ONLY },
	{ "R9 punch in a 2 MiB aligned mapping keeps the rest dirty",
	  huge_mapping_keeps_the_rest, BOUND_ONLY },
	{ "R9 zero range keeps the dirty state of other pages", zero_keeps_the_rest, BOUND_ONLY },
	{ "R9 truncate keeps the dirty state of what remains", shrink_keeps_the_rest, BOUND_ONLY },
	{ "R9 punch and zero range write nothing back that they drop", discarded_is_not_written,
	  BOUND_ONLY },
	{ "R9 a zero range that fails keeps all dirty state", failure_keeps_the_dirty_state,
	  BOUND_ONLY },
	{ "R9 part of a page discarded leaves the page dirty",
	  part_of_a_page_keeps_the_rest, BOUND_ONLY },
	{ "R9 growth and preallocation touch nothing", growth_keeps_all, BOUND_ONLY },
	{ "R9 collapse and insert range write back what they move",
	  moved_pages_are_written, BOUND_ONLY },
	{ "R9 stores during the wait of a collapse or insert are written back",
	  stores_during_the_wait, BOUND_ONLY },
	{ "R9 an interrupted truncate keeps all dirty state", interrupt_keeps_all, EVERYWHERE },
	{ "R9 a truncate that fails in a bad page keeps all dirty state", truncate_at_bad_page,
	  BOUND_ONLY | XFS_ONLY },
	{ "R9 a punch that fails in its first page, which is bad, keeps what stays dirty",
	  punch_from_bad_page, BOUND_ONLY },
	{ "R9 a punch that fails in its last page, which is bad, keeps what stays dirty",
	  punch_to_bad_page, BOUND_ONLY },
	{ "R9 a zero range that fails in its first page, which is bad, keeps what stays dirty",
	  zero_from_bad_page, BOUND_ONLY },
	{ "R9 a zero range that fails in its last page, which is bad, keeps what stays dirty",
	  zero_to_bad_page, BOUND_ONLY },
	{ }
};

GROUP(dirty, tests);
