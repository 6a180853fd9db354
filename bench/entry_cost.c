// SPDX-License-Identifier: GPL-2.0
/*
 * What an operation costs for each entry: the instructions that it takes with
 * many entries less those that it takes without one, by their number.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SMALL_PAGES	((size_t)8192)
#define LARGE_PAGES	(64 * HUGE)
#define ROUNDS		5
#define ZERO_ROUNDS	3

/* A mapped file that was stored to; a clean fsync is what the dirty one is compared with. */
static void fsync_cost(const struct env *e, const struct figure *f)
{
	const bool huge = f->arg[0];
	const size_t pages = huge ? LARGE_PAGES : SMALL_PAGES;
	struct samples with = samples_new(ROUNDS), without = samples_new(ROUNDS);
	int fd = written_file(e, "bench", pages, huge);
	char *p = map_sized(fd, pages, RW, huge);

	for (int i = 0; i < ROUNDS; i++) {
		store_all(p, pages, huge);
		samples_add(&with, op_cost(OP_FSYNC, fd, 0));
		samples_add(&without, op_cost(OP_FSYNC, fd, 0));
	}
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	report_difference(e, f->metric, &with, &without, pages / (huge ? HUGE : 1));
}

/* All blocks of a file at once; nobody has them mapped any more. */
static double removal_cost(const struct env *e, enum op what, size_t pages, bool huge, bool dirty,
			   bool entries)
{
	int fd = written_file(e, "bench", pages, huge);
	double cost;
	char *p;

	if (entries) {
		p = map_sized(fd, pages, RW, huge);
		store_all(p, pages, huge);
		if (!dirty)
			must(fsync(fd));
		must(munmap(p, pages * PAGE));
	}
	cost = op_cost(what, fd, pages);
	drop_file(e, "bench", fd);
	return cost;
}

static void removal(const struct env *e, const struct figure *f)
{
	const enum op what = f->arg[0];
	const bool huge = f->arg[1], dirty = f->arg[2];
	const size_t pages = huge ? LARGE_PAGES : SMALL_PAGES;
	struct samples with = samples_new(ROUNDS), without = samples_new(ROUNDS);

	for (int i = 0; i < ROUNDS; i++) {
		samples_add(&with, removal_cost(e, what, pages, huge, dirty, true));
		samples_add(&without, removal_cost(e, what, pages, huge, dirty, false));
	}
	report_difference(e, f->metric, &with, &without, pages / (huge ? HUGE : 1));
}

/* write(2) to a hole that is mapped, with a zero page for each page of it or with none. */
static double write_cost(const struct env *e, size_t pages, bool entries)
{
	static char buf[HUGE * PAGE];
	int fd = create_file(e, "bench", 0, 0);
	uint64_t from;
	double cost;
	char *p;

	memset(buf, 1, sizeof(buf));
	/* What was just freed may be given out again only now. */
	must(syncfs(fd));
	must(ftruncate(fd, pages * PAGE));
	p = map_sized(fd, pages, PROT_READ, false);
	if (entries)
		load_all(p, pages);
	from = measured_from();
	for (size_t i = 0; i < pages; i += HUGE)
		check(pwrite(fd, buf, sizeof(buf), i * PAGE) == (ssize_t)sizeof(buf), "write: %m");
	cost = measured_since(from);
	check(*(volatile char *)p == 1, "the mapping shows the zero page after a write");
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	return cost;
}

static void write_zero(const struct env *e, const struct figure *f)
{
	const size_t pages = f->arg[0];
	struct samples with = samples_new(ZERO_ROUNDS), without = samples_new(ZERO_ROUNDS);

	for (int i = 0; i < ZERO_ROUNDS; i++) {
		samples_add(&with, write_cost(e, pages, true));
		samples_add(&without, write_cost(e, pages, false));
	}
	report_difference(e, f->metric, &with, &without, pages);
}

const struct figure entry_figures[] = {
	{ "fsync_4k", fsync_cost, { false } },
	{ "fsync_2m", fsync_cost, { true } },
	{ "truncate_4k_clean", removal, { OP_TRUNCATE, false, false } },
	{ "truncate_4k_dirty", removal, { OP_TRUNCATE, false, true } },
	{ "truncate_2m_clean", removal, { OP_TRUNCATE, true, false } },
	{ "truncate_2m_dirty", removal, { OP_TRUNCATE, true, true } },
	{ "punch_4k_clean", removal, { OP_PUNCH, false, false } },
	{ "punch_4k_dirty", removal, { OP_PUNCH, false, true } },
	{ "punch_2m_clean", removal, { OP_PUNCH, true, false } },
	{ "punch_2m_dirty", removal, { OP_PUNCH, true, true } },
	{ "write_zero", write_zero, { 65536 } },
	{ }
};
