// SPDX-License-Identifier: GPL-2.0
/*
 * Operations that take blocks from a file: they wait for the pins of what they
 * take, for nothing else, and touch nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
/* Every operation works on pages [FIRST, FIRST + COUNT). */
#define FIRST	((size_t)4)
#define COUNT	((size_t)4)

static const enum op ops[] = {
	OP_TRUNCATE, OP_PUNCH, OP_ZERO, OP_COLLAPSE, OP_INSERT,
};

/* The stamp of page @i after @op on a file of N pages stamped 100 + i. */
static uint64_t after(enum op op, size_t i)
{
	bool inside = i >= FIRST && i < FIRST + COUNT;

	switch (op) {
	case OP_COLLAPSE:
		return 100 + (i < FIRST ? i : i + COUNT);
	case OP_INSERT:
		return inside ? 0 : 100 + (i < FIRST ? i : i - COUNT);
	default:
		return inside ? 0 : 100 + i;
	}
}

static size_t size_after(enum op op)
{
	switch (op) {
	case OP_TRUNCATE:
		return FIRST;
	case OP_COLLAPSE:
		return N - COUNT;
	case OP_INSERT:
		return N + COUNT;
	default:
		return N;
	}
}

static void check_result(enum op op, int fd, const char *map)
{
	size_t pages = size_after(op);

	check(file_size(fd) == (off_t)(pages * PAGE), "%s: size %lld",
	      op_name[op], (long long)file_size(fd));
	for (size_t i = 0; i < pages; i++) {
		check_file_page(fd, i, after(op, i), op_name[op]);
		check_page(map + i * PAGE, after(op, i), op_name[op]);
	}
	if (op == OP_TRUNCATE)
		check(try_load(map + FIRST * PAGE, NULL) == SIGBUS,
		      "no SIGBUS past the new end");
}

static char *stamped_file(const struct env *e, int *fd)
{
	char *p;

	*fd = create_file(e, "f", N, 100);
	p = map_file(*fd, N + COUNT, RW);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "new file");
	return p;
}

static void every_op_without_pins(const struct env *e)
{
	for (size_t k = 0; k < ARRAY_SIZE(ops); k++) {
		int fd;
		char *p = stamped_file(e, &fd);

		must(do_op(ops[k], fd, FIRST, COUNT));
		check_result(ops[k], fd, p);
		must(munmap(p, (N + COUNT) * PAGE));
		close(fd);
	}
}

static void waits_for_pin(const struct env *e, enum op op)
{
	struct job job = { .op = op, .first = FIRST, .pages = COUNT };
	char *p = stamped_file(e, &job.fd), buf[PAGE];
	struct pin pin;

	pin_pages(&pin, p + (FIRST + 1) * PAGE, 2);
	job_start(&job);
	check(job_sleeps(&job), "%s did not wait for a pinned page", op_name[op]);
	unpin_page(&pin, buf);
	check_page(buf, 100 + FIRST + 1, "page in the pipe");
	check(job_sleeps(&job), "%s did not wait for the second page", op_name[op]);
	unpin_page(&pin, buf);
	check_page(buf, 100 + FIRST + 2, "page in the pipe");
	job_succeeds(&job);
	check_result(op, job.fd, p);
}

static void truncate_waits(const struct env *e)
{
	waits_for_pin(e, OP_TRUNCATE);
}

static void punch_waits(const struct env *e)
{
	waits_for_pin(e, OP_PUNCH);
}

static void zero_waits(const struct env *e)
{
	waits_for_pin(e, OP_ZERO);
}

static void collapse_waits(const struct env *e)
{
	waits_for_pin(e, OP_COLLAPSE);
}

static void insert_waits(const struct env *e)
{
	waits_for_pin(e, OP_INSERT);
}

/* Mappings are gone, the pin is not: mapped or not says nothing. */
static void unmapped_pin_counts(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = FIRST };
	char *p = stamped_file(e, &job.fd), buf[PAGE];
	struct pin pin;

	pin_pages(&pin, p + FIRST * PAGE, 1);
	must(munmap(p, (N + COUNT) * PAGE));
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait for a pin without a mapping");
	unpin_page(&pin, buf);
	check_page(buf, 100 + FIRST, "page in the pipe");
	job_succeeds(&job);
}

static void waits_for_all_in_any_order(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char *p = stamped_file(e, &job.fd), buf[PAGE];
	struct pin pin[N];

	for (size_t i = 0; i < N; i++)
		pin_pages(&pin[i], p + i * PAGE, 1);
	job_start(&job);
	for (size_t i = 0; i < N; i++) {
		size_t k = i * 7 % N;

		if (i % 5 == 0)
			check(job_sleeps(&job), "truncate ended with %zu pins left", N - i);
		check(!job.done, "truncate ended with %zu pins left", N - i);
		unpin_page(&pin[k], buf);
		check_page(buf, 100 + k, "page in the pipe");
	}
	job_succeeds(&job);
	check(file_size(job.fd) == 0, "size after the truncate");
}

/* One folio, two pins: idle means all of them are gone. */
static void waits_for_every_pin_of_a_page(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = FIRST, .pages = 1 };
	char *p = stamped_file(e, &job.fd);
	struct pin a, b;

	pin_pages(&a, p + FIRST * PAGE, 1);
	pin_pages(&b, p + FIRST * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	unpin_all(&a);
	check(job_sleeps(&job), "punch ended with one of two pins left");
	unpin_all(&b);
	job_succeeds(&job);
	check_page(p + FIRST * PAGE, 0, "punched page");
}

/* Whoever gets the freed space must not meet the old pin there. */
static void block_is_not_reused(const struct env *e)
{
	const uint64_t pattern = 0x5555;
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char *p = stamped_file(e, &job.fd), buf[PAGE];
	const uint64_t block = file_block(job.fd, 0);
	struct pin pin;
	int fill;

	leave_free(e, LEFT);
	pin_pages(&pin, p, N);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	fill = fill_free_space(e, "fill", pattern);
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 100 + i, "page in the pipe after the disk was filled");
	}
	job_succeeds(&job);
	check_all_pages(fill, pattern, "file that filled the disk");
	check_given_out(e, block, N);
}

/* Drained, freed and given to another file at once, many times over. */
static void drained_block_is_reusable(const struct env *e)
{
	for (uint64_t round = 0; round < 20; round++) {
		struct job job = { .op = OP_TRUNCATE, .first = 0 };
		char *p = stamped_file(e, &job.fd), *q, buf[PAGE];
		int other = create_file(e, "g", 0, 0);
		struct pin pin;

		pin_pages(&pin, p, 4);
		job_start(&job);
		while (!job.tid)
			usleep(100);
		for (size_t i = 0; i < 4; i++) {
			unpin_page(&pin, buf);
			check_page(buf, 100 + i, "page in the pipe");
		}
		must(ftruncate(other, N * PAGE));
		q = map_file(other, N, RW);
		for (size_t i = 0; i < N; i++) {
			check(!q[i * PAGE], "new page %zu shows old data", i);
			fill_page(q + i * PAGE, round);
		}
		job_succeeds(&job);
		for (size_t i = 0; i < N; i++)
			check_page(q + i * PAGE, round, "page of the other file");
		must(munmap(q, N * PAGE));
		must(munmap(p, (N + COUNT) * PAGE));
		close(pin.rd);
		close(pin.wr);
		close(other);
		close(job.fd);
	}
}

/* XFS also drops the block in front of what it moves from the page cache. */
static size_t pages_in_front(const struct env *e, enum op op)
{
	return !strcmp(e->fs, "xfs") && (op == OP_COLLAPSE || op == OP_INSERT);
}

/* Pins outside the range are nobody's business. */
static void foreign_pins_do_not_block(const struct env *e)
{
	for (size_t k = 0; k < ARRAY_SIZE(ops); k++) {
		bool to_end = ops[k] != OP_PUNCH && ops[k] != OP_ZERO;
		const size_t front = FIRST - 1 - pages_in_front(e, ops[k]);
		struct pin before, behind;
		char buf[PAGE];
		int fd;
		char *p = stamped_file(e, &fd);

		pin_pages(&before, p + front * PAGE, 1);
		if (!to_end)
			pin_pages(&behind, p + (FIRST + COUNT) * PAGE, 1);
		must(do_op(ops[k], fd, FIRST, COUNT));
		check_result(ops[k], fd, p);
		unpin_page(&before, buf);
		check_page(buf, 100 + front, "page in the pipe");
		if (!to_end) {
			unpin_page(&behind, buf);
			check_page(buf, 100 + FIRST + COUNT, "page in the pipe");
		}
		must(munmap(p, (N + COUNT) * PAGE));
		close(fd);
	}
}

static void growth_does_not_wait(const struct env *e)
{
	int fd;
	char *p = stamped_file(e, &fd), buf[PAGE];
	struct pin pin;

	pin_pages(&pin, p, N);
	must(ftruncate(fd, 2 * N * PAGE));
	must(do_op(OP_ALLOCATE, fd, 0, 3 * N));
	check(file_size(fd) == (off_t)(3 * N * PAGE), "size after growth");
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 100 + i, "page in the pipe");
	}
}

static long refaults(char *p, size_t pages)
{
	long n = minor_faults();

	for (size_t i = 0; i < pages; i++)
		((volatile char *)p)[i * PAGE] = 1;
	return minor_faults() - n;
}

static void only_the_range_is_unmapped(const struct env *e)
{
	const size_t pages = 1024;
	int fd = create_file(e, "f", 0, 0);
	char *p;
	long n;

	must(do_op(OP_ALLOCATE, fd, 0, pages));
	p = map_file(fd, pages, RW);
	check(refaults(p, pages) == (long)pages, "first faults");
	check(refaults(p, pages) == 0, "refaults for no reason");
	must(do_op(OP_PUNCH, fd, 500, 1));
	n = refaults(p, pages);
	check(n == 1, "%ld refaults after a punch of 1 page", n);
	must(do_op(OP_ZERO, fd, 600, 3));
	n = refaults(p, pages);
	check(n == 3, "%ld refaults after zeroing 3 pages", n);
	must(ftruncate(fd, 700 * PAGE));
	n = refaults(p, 700);
	check(n == 0, "%ld refaults below the new end", n);
	must(do_op(OP_COLLAPSE, fd, 600, 10));
	n = refaults(p, 690);
	check(n == 90 + (long)pages_in_front(e, OP_COLLAPSE),
	      "%ld refaults after a collapse of 90 pages to the end", n);
}

/* ext4 alone: the blocks of two files change places. */
static void boot_swap_waits(const struct env *e)
{
	struct job job = { .op = OP_SWAP_BOOT };
	char *p = stamped_file(e, &job.fd), buf[PAGE];
	struct pin pin;
	long flushed;

	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	pin_pages(&pin, p + FIRST * PAGE, 1);
	flush_count_start();
	job_start(&job);
	check(job_sleeps(&job), "the swap did not wait for a pinned page");
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0 && job.err == EINTR, "the swap did not end by a signal");
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 200 + i, "after the signal");

	job_start(&job);
	check(job_sleeps(&job), "the second swap did not wait for a pinned page");
	unpin_page(&pin, buf);
	check_page(buf, 200 + FIRST, "page in the pipe");
	job_succeeds(&job);
	flushed = flush_count_stop();
	check(flushed == (long)N, "%ld dirty pages written back, not %zu", flushed, N);
	check(file_size(job.fd) == 0, "the boot loader is not empty");
	check(try_load(p, NULL) == SIGBUS, "no SIGBUS past the new end");

	must(do_op(OP_SWAP_BOOT, job.fd, 0, 0));
	check(file_size(job.fd) == (off_t)(N * PAGE), "size after the swap back");
	for (size_t i = 0; i < N; i++) {
		check_page(p + i * PAGE, 200 + i, "mapping after the swap back");
		check_file_page(job.fd, i, 200 + i, "read(2) after the swap back");
	}
}

/* More entries than one lock hold may cover. */
static void long_range_loses_nothing(const struct env *e)
{
	const size_t pages = 2600;
	struct job job = { .op = OP_TRUNCATE, .first = 1 };
	struct pin pin;
	char *p;

	job.fd = create_file(e, "f", 0, 0);
	must(do_op(OP_ALLOCATE, job.fd, 0, pages));
	p = map_file(job.fd, pages, RW);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	/* One that is met late keeps everything before it from being freed. */
	pin_pages(&pin, p + (pages - 1) * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	unpin_all(&pin);
	job_succeeds(&job);
	must(ftruncate(job.fd, pages * PAGE));
	check(p[0] == 1, "the page before the range changed");
	for (size_t i = 1; i < pages; i++)
		check(!p[i * PAGE], "page %zu survived the truncate", i);
}

static const struct test tests[] = {
	{ "R6 every operation gives the right content", every_op_without_pins, EVERYWHERE },
	{ "R6 truncate waits for pages in a pipe", truncate_waits, EVERYWHERE },
	{ "R6 punch waits for pages in a pipe", punch_waits, EVERYWHERE },
	{ "R6 zero range waits for pages in a pipe", zero_waits, EVERYWHERE },
	{ "R6 collapse range waits for pages in a pipe", collapse_waits, EVERYWHERE },
	{ "R6 insert range waits for pages in a pipe", insert_waits, EVERYWHERE },
	{ "R6 a pin without a mapping is waited for", unmapped_pin_counts, EVERYWHERE },
	{ "R6 all pinned pages are waited for, drained in any order",
	  waits_for_all_in_any_order, EVERYWHERE },
	{ "R6 all pins of one page are waited for", waits_for_every_pin_of_a_page, EVERYWHERE },
	{ "R6 a block is not reused while it is pinned", block_is_not_reused, EVERYWHERE },
	{ "R4 a drained block is reusable at once", drained_block_is_reusable, RACES },
	{ "R8 pins outside the range keep nobody waiting", foreign_pins_do_not_block, BOUND_ONLY },
	{ "R8 growth and preallocation wait for no pin", growth_does_not_wait, BOUND_ONLY },
	{ "R8 nothing outside the range is unmapped", only_the_range_is_unmapped, BOUND_ONLY },
	{ "R6 R9 the swap with the boot loader waits and loses nothing",
	  boot_swap_waits, EXT4_ONLY },
	{ "R10 a long range is broken completely", long_range_loses_nothing, EVERYWHERE },
	{ }
};

GROUP(layout, tests);
