// SPDX-License-Identifier: GPL-2.0
/* What one page fault costs: the instructions from before an access to after it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SMALL_PAGES	((size_t)2048)
#define SEQUENCE_PAGES	((size_t)16384)
#define LARGE_PAGES	(64 * HUGE)
#define SYNC_FAULTS	HUGE

enum state { FIRST, AGAIN, PRESENT, CLEAN };

static void check_faults(long before, size_t expected)
{
	long faults = minor_faults() - before;

	check(faults >= (long)expected && faults <= (long)expected + 8, "%ld faults, not %zu",
	      faults, expected);
}

/*
 * Stores: the entry is not there, and no entry ever had the memory, or one of the same size did;
 * there but not mapped; or there and write-protected.
 */
static void write_fault(const struct env *e, const struct figure *f)
{
	const bool huge = f->arg[0];
	const enum state state = f->arg[1];
	const size_t pages = huge ? LARGE_PAGES : SMALL_PAGES, step = huge ? HUGE : 1;
	const size_t first = state == AGAIN ? step : 0;
	struct samples s = samples_new(pages / step);
	int fd = written_file(e, "bench", first + pages, huge);
	char *p = map_sized(fd, first + pages, RW, huge);
	long before;

	if (state != FIRST)
		store_all(p, first + pages, huge);
	if (state == AGAIN || state == PRESENT) {
		must(munmap(p, (first + pages) * PAGE));
		/* All entries go, but for the first page the blocks stay what they are. */
		if (state == AGAIN) {
			must(do_op(OP_COLLAPSE, fd, 0, first));
			must(fsync(fd));
		}
		p = map_sized(fd, pages, RW, huge);
	} else if (state == CLEAN) {
		must(fsync(fd));
	}
	before = minor_faults();
	measure_accesses(&s, p, pages, step, true);
	check_faults(before, s.count);
	check(!huge || huge_pages(p, pages) == pages, "not all faults were of 2 MiB");
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	samples_report(e, f->metric, &s);
}

/* Loads: from blocks or from a hole. */
static void read_fault(const struct env *e, const struct figure *f)
{
	const size_t pages = SMALL_PAGES;
	struct samples s = samples_new(pages);
	const bool hole = f->arg[0];
	long before;
	char *p;
	int fd;

	if (hole) {
		fd = create_file(e, "bench", 0, 0);
		must(ftruncate(fd, pages * PAGE));
		must(fsync(fd));
	} else {
		fd = written_file(e, "bench", pages, false);
	}
	p = map_sized(fd, pages, PROT_READ, false);
	/* Each page has a fault of its own. */
	must(madvise(p, pages * PAGE, MADV_RANDOM));
	before = minor_faults();
	measure_accesses(&s, p, pages, 1, false);
	check_faults(before, pages);
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	samples_report(e, f->metric, &s);
}

/* Loads from all pages, one after the other, however many faults that takes: per page. */
static void read_in_sequence(const struct env *e, const struct figure *f)
{
	const size_t pages = SEQUENCE_PAGES;
	int fd = written_file(e, "bench", pages, false);
	char *p = map_sized(fd, pages, PROT_READ, false);
	uint64_t from = measured_from();
	double cost;

	load_all(p, pages);
	cost = measured_since(from);
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	report(e, f->metric, cost / pages);
}

/* Loads from a few of them, one here, one there: the mean, as some may lie side by side. */
static void read_at_random(const struct env *e, const struct figure *f)
{
	const size_t pages = SEQUENCE_PAGES, loads = pages / 16;
	struct rng rng = rng_of(1, 0, 0);
	int fd = written_file(e, "bench", pages, false);
	char *p = map_sized(fd, pages, PROT_READ, false);
	bool *loaded = calloc(pages, sizeof(*loaded));
	struct samples s = samples_new(1);
	double sum = 0;

	check(loaded, "no memory");
	for (size_t i = 0; i < loads; i++) {
		size_t page;

		do
			page = rnd(&rng, pages);
		while (loaded[page]);
		loaded[page] = true;
		s.count = 0;
		measure_accesses(&s, p + page * PAGE, 1, 1, false);
		sum += s.value[0];
	}
	free(loaded);
	samples_drop(&s);
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	report(e, f->metric, sum / loads);
}

/* Stores to a private mapping: the page is copied, and the file keeps no entry. */
static void private_fault(const struct env *e, const struct figure *f)
{
	const size_t pages = SMALL_PAGES;
	struct samples s = samples_new(pages);
	int fd = written_file(e, "bench", pages, false);
	char *p = mmap(NULL, pages * PAGE, RW, MAP_PRIVATE, fd, 0);
	long before;

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	before = minor_faults();
	measure_accesses(&s, p, pages, 1, true);
	check_faults(before, pages);
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	samples_report(e, f->metric, &s);
}

/* What was appended is not committed yet, so that the fault has to do it. */
static void sync_fault(const struct env *e, const struct figure *f)
{
	struct samples s = samples_new(SYNC_FAULTS);
	int fd = written_file(e, "bench", SYNC_FAULTS, true);
	char *p = mmap(NULL, SYNC_FAULTS * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	static const char page[PAGE];

	s.several = true;
	check(p != MAP_FAILED, "mmap with MAP_SYNC: %m");
	must(madvise(p, SYNC_FAULTS * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < SYNC_FAULTS; i++) {
		check(pwrite(fd, page, PAGE, (SYNC_FAULTS + i) * PAGE) == (ssize_t)PAGE,
		      "append: %m");
		measure_accesses(&s, p + i * PAGE, 1, 1, true);
	}
	must(munmap(p, SYNC_FAULTS * PAGE));
	drop_file(e, "bench", fd);
	samples_report(e, f->metric, &s);
}

const struct figure fault_figures[] = {
	{ "fault_write_4k", write_fault, { false, FIRST } },
	{ "fault_write_4k_present", write_fault, { false, PRESENT } },
	{ "fault_write_4k_clean", write_fault, { false, CLEAN } },
	{ "fault_read_4k", read_fault, { false } },
	{ "fault_hole_4k", read_fault, { true } },
	{ "read_sequential_4k", read_in_sequence, { 0 } },
	{ "read_random_4k", read_at_random, { 0 } },
	{ "fault_private_4k", private_fault, { 0 } },
	{ "fault_write_2m", write_fault, { true, FIRST } },
	{ "fault_write_2m_again", write_fault, { true, AGAIN } },
	{ "fault_write_2m_present", write_fault, { true, PRESENT } },
	{ "fault_sync_4k", sync_fault, { 0 } },
	{ }
};
