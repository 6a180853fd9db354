// SPDX-License-Identifier: GPL-2.0
/*
 * Changes of a part of a 2 MiB page: what is written back of the rest, who waits for one of its
 * pages, what stays mapped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huge.h"

/* Stores what is there. */
static void dirty(volatile char *byte)
{
	*byte = *byte;
}

/* What an operation inside a dirty 2 MiB page must leave to fsync, or do itself. */
static void part_keeps_the_rest(const struct env *e, enum op kind, size_t first, size_t count,
				size_t least, size_t most)
{
	int fd;
	char *p = stamped(e, &fd, 3, 100);
	long n;

	must(fsync(fd));
	for (size_t i = 0; i < 3 * HUGE; i++)
		dirty(p + i * PAGE + 8);
	flush_count_start();
	must(do_op(kind, fd, first, count));
	must(fsync(fd));
	n = flush_count_stop();
	check(n >= (long)least && n <= (long)most,
	      "%s in a dirty page of 2 MiB: %ld pages written back, not %zu", op_name[kind], n,
	      least);
	switch (kind) {
	case OP_COLLAPSE:
		expect_stamps(p, fd, 0, first, 100, "before the range");
		expect_stamps(p, fd, first, 3 * HUGE - count, 100 + count, "moved");
		break;
	case OP_INSERT:
		expect_stamps(p, fd, 0, first, 100, "before the range");
		for (size_t i = first + count; i < 3 * HUGE; i++)
			check_page(p + i * PAGE, 100 + i - count, "moved");
		break;
	case OP_TRUNCATE:
		expect_stamps(p, fd, 0, first, 100, "below the end");
		check(try_load(p + first * PAGE, NULL) == SIGBUS, "no SIGBUS past the end");
		break;
	default:
		expect_stamps(p, fd, 0, first, 100, "before the range");
		for (size_t i = first; i < first + count; i++)
			check_page(p + i * PAGE, 0, "in the range");
		expect_stamps(p, fd, first + count, 3 * HUGE, 100, "behind the range");
	}
	must(munmap(p, 3 * HUGE * PAGE));
	close(fd);
}

static void punch_inside(const struct env *e)
{
	part_keeps_the_rest(e, OP_PUNCH, HUGE + 100, 1, 3 * HUGE - 1, 3 * HUGE);
}

static void zero_across(const struct env *e)
{
	part_keeps_the_rest(e, OP_ZERO, HUGE - 5, 10, 3 * HUGE - 10, 3 * HUGE);
}

static void truncate_inside(const struct env *e)
{
	part_keeps_the_rest(e, OP_TRUNCATE, HUGE + 200, 0, HUGE + 200, 2 * HUGE);
}

static void collapse_inside(const struct env *e)
{
	part_keeps_the_rest(e, OP_COLLAPSE, HUGE + 100, 8, 3 * HUGE - 8, 3 * HUGE);
}

static void insert_inside(const struct env *e)
{
	part_keeps_the_rest(e, OP_INSERT, HUGE + 100, 8, 3 * HUGE, 3 * HUGE);
}

static void clean_is_not_written(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 2, 100);
	long n;

	must(fsync(fd));
	flush_count_start();
	must(do_op(OP_PUNCH, fd, 100, 3));
	must(fsync(fd));
	n = flush_count_stop();
	check(n == 0, "%ld pages of a clean file written back", n);
	check_page(p + 101 * PAGE, 0, "punched");
	check_page(p + 103 * PAGE, 203, "not punched");
}

static void neighbours_stay_mapped(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 4, 100);

	must(do_op(OP_PUNCH, fd, HUGE + 7, 1));
	expect_huge(p, HUGE, "before");
	expect_huge(p + 2 * HUGE * PAGE, 2 * HUGE, "behind");
	must(ftruncate(fd, 8 * HUGE * PAGE));
	must(do_op(OP_ALLOCATE, fd, 4 * HUGE, HUGE));
	expect_huge(p, HUGE, "after growth");
	expect_huge(p + 2 * HUGE * PAGE, 2 * HUGE, "after growth");
	must(do_op(OP_PUNCH, fd, 2 * HUGE, HUGE));
	expect_huge(p + 3 * HUGE * PAGE, HUGE, "behind 2 MiB that were punched");
	check_page(p + 2 * HUGE * PAGE, 0, "punched");
}

static void waits_for_pin(const struct env *e, enum op kind, size_t first, size_t count)
{
	struct job job = { .op = kind, .first = first, .pages = count };
	char *p = stamped(e, &job.fd, 2, 100), buf[PAGE];
	struct pin pin;

	/* Another 4 KiB of the same 2 MiB page, outside of the range. */
	pin_pages(&pin, p + (HUGE + 5) * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "%s did not wait for a pin in the same 2 MiB page", op_name[kind]);
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0 && job.err == EINTR, "%s after a signal: %s", op_name[kind],
	      job.rc ? strerror(job.err) : "success");
	expect_stamps(p, job.fd, 0, 2 * HUGE, 100, "after the signal");
	job_start(&job);
	check(job_sleeps(&job), "%s did not find the page busy again", op_name[kind]);
	unpin_page(&pin, buf);
	check_page(buf, 100 + HUGE + 5, "page in the pipe");
	job_succeeds(&job);
	expect_stamps(p, job.fd, 0, first, 100, "before the range");
	if (kind == OP_PUNCH)
		expect_stamps(p, job.fd, first + count, 2 * HUGE, 100, "behind the range");
	must(munmap(p, 2 * HUGE * PAGE));
	close(job.fd);
}

static void ops_wait_for_the_whole_page(const struct env *e)
{
	waits_for_pin(e, OP_PUNCH, HUGE + 100, 1);
	waits_for_pin(e, OP_ZERO, HUGE + 100, 1);
	waits_for_pin(e, OP_TRUNCATE, HUGE + 100, 0);
	waits_for_pin(e, OP_COLLAPSE, HUGE + 100, 8);
	waits_for_pin(e, OP_INSERT, HUGE + 100, 8);
}

static void block_is_not_reused(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char *p = stamped(e, &job.fd, 2, 100), buf[PAGE];
	const uint64_t block = file_block(job.fd, 0);
	struct pin pin;
	int fill;

	leave_free(e, LEFT);
	pin_pages(&pin, p + (HUGE - 2) * PAGE, 4);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	fill = fill_free_space(e, "fill", 0x5555);
	for (size_t i = 0; i < 4; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 100 + HUGE - 2 + i, "page in the pipe after the disk was filled");
	}
	job_succeeds(&job);
	check_all_pages(fill, 0x5555, "file that filled the disk");
	check_given_out(e, block, 2 * HUGE);
}

static void pins_elsewhere_block_nobody(const struct env *e)
{
	int fd;
	char *p = stamped(e, &fd, 3, 100);
	struct pin before, behind;

	pin_pages(&before, p + (HUGE - 1) * PAGE, 1);
	pin_pages(&behind, p + 2 * HUGE * PAGE, 1);
	must(do_op(OP_PUNCH, fd, HUGE, HUGE));
	check_page(p + HUGE * PAGE, 0, "punched");
	unpin_all(&behind);
	must(ftruncate(fd, HUGE * PAGE));
	unpin_all(&before);
	expect_stamps(p, fd, 0, HUGE, 100, "not touched");
}

/* I/O that pins one page of 512 may have to fault another to get on. */
static void fault_revives(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 8, .pages = 8 };
	char *p = stamped(e, &job.fd, 1, 100), buf[PAGE];
	struct pin pin, more;

	pin_pages(&pin, p, 1);
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	fill_page(p, 1);
	for (size_t i = 1; i < HUGE; i++)
		check_page(p + i * PAGE, 100 + i, "during the wait");
	fill_page(p + 20 * PAGE, 2);
	pin_pages(&more, p + 30 * PAGE, 1);
	unpin_page(&pin, buf);
	check_page(buf, 1, "the pin and the mapping are not one page");
	check(job_sleeps(&job), "punch ended with a later pin there");
	unpin_all(&more);
	job_succeeds(&job);
	for (size_t i = 0; i < HUGE; i++) {
		uint64_t want = i == 0 ? 1 : i == 20 ? 2 : i >= 8 && i < 16 ? 0 : 100 + i;

		check_page(p + i * PAGE, want, "after the punch");
		check_file_page(job.fd, i, want, "after the punch");
	}
}

static void stores_during_the_wait(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 8, .pages = 8 };
	char *p = stamped(e, &job.fd, 1, 100);
	struct pin pin;
	long n;

	must(fsync(job.fd));
	pin_pages(&pin, p, 1);
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	flush_count_start();
	p[100 * PAGE] = 1;
	unpin_all(&pin);
	job_succeeds(&job);
	must(fsync(job.fd));
	n = flush_count_stop();
	/* More if the break comes in between before the store gets done. */
	check(n >= (long)HUGE - 8, "%ld pages written back, not %zu", n, HUGE - 8);
}

static void direct_read_into(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 300, .pages = 4 };
	char *p = stamped(e, &job.fd, 1, 100);
	struct slow_read r;

	slow_read_start(&r, p + 100 * PAGE, 8, 700);
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait for the I/O");
	slow_read_end(&r);
	job_succeeds(&job);
	for (size_t i = 0; i < HUGE; i++) {
		uint64_t want = i >= 100 && i < 108 ? 600 + i : i >= 300 && i < 304 ? 0 : 100 + i;

		check_page(p + i * PAGE, want, "mapping");
		check_file_page(job.fd, i, want, "read(2)");
	}
}

static void eviction_waits(const struct env *e)
{
	struct job job = { .op = OP_UNLINK, .path = in_dir(e, "f") };
	char buf[PAGE], *p;
	struct pin pin;
	uint64_t block;
	int fd, fill;

	p = stamped(e, &fd, 1, 100);
	block = file_block(fd, 0);
	leave_free(e, LEFT);
	pin_pages(&pin, p + 300 * PAGE, 1);
	must(munmap(p, HUGE * PAGE));
	close(fd);
	job_start(&job);
	check(job_sleeps(&job), "unlink did not wait");
	fill = fill_free_space(e, "fill", 0x5555);
	unpin_page(&pin, buf);
	check_page(buf, 400, "page in the pipe");
	job_succeeds(&job);
	check_all_pages(fill, 0x5555, "file that filled the disk");
	check_given_out(e, block, HUGE);
}

static const struct test tests[] = {
	{ "R9 punch inside a dirty 2 MiB page loses no dirty state", punch_inside, BOUND_ONLY },
	{ "R9 zero range across 2 MiB pages loses no dirty state", zero_across, BOUND_ONLY },
	{ "R9 truncate inside a dirty 2 MiB page loses no dirty state",
	  truncate_inside, BOUND_ONLY },
	{ "R9 collapse inside a dirty 2 MiB page loses no dirty state",
	  collapse_inside, BOUND_ONLY },
	{ "R9 insert inside a dirty 2 MiB page loses no dirty state", insert_inside, BOUND_ONLY },
	{ "R9 stores to a 2 MiB page during a wait are written back",
	  stores_during_the_wait, BOUND_ONLY },
	{ "R9 a clean 2 MiB page is not written back", clean_is_not_written, EVERYWHERE },
	{ "R8 2 MiB pages beside the range stay mapped", neighbours_stay_mapped, BOUND_ONLY },
	{ "R8 pins in other 2 MiB pages keep nobody waiting",
	  pins_elsewhere_block_nobody, BOUND_ONLY },
	{ "R6 every operation waits for a pin anywhere in the 2 MiB page",
	  ops_wait_for_the_whole_page, EVERYWHERE },
	{ "R6 no block of a pinned 2 MiB page is reused", block_is_not_reused, EVERYWHERE },
	{ "R6 direct I/O into a 2 MiB page is waited for", direct_read_into, EVERYWHERE },
	{ "R7 a fault during the wait finds the same 2 MiB page", fault_revives, BOUND_ONLY },
	{ "R12 eviction waits for a page of 2 MiB", eviction_waits, EVERYWHERE },
	{ }
};

GROUP(huge_breaks, tests);
