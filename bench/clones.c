// SPDX-License-Identifier: GPL-2.0
/* What faults and removal cost when two files share their blocks. */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define FAULTS	((size_t)2048)
#define LARGE_PAGES	(64 * HUGE)
#define MANY	((size_t)8192)
#define ROUNDS		5

/* "bench" and its clone, without entries. */
static void make_clones(const struct env *e, size_t pages, bool huge, int fd[2])
{
	fd[0] = written_file(e, "bench", pages, huge);
	fd[1] = create_file(e, "clone", 0, 0);
	must(ioctl(fd[1], FICLONE, fd[0]));
	must(fsync(fd[1]));
}

static void drop_clones(const struct env *e, int fd[2])
{
	drop_file(e, "bench", fd[0]);
	drop_file(e, "clone", fd[1]);
}

/* Loads by the clone, of pages that the other file has mapped; or stores, which copy. */
static void clone_fault(const struct env *e, const struct figure *f)
{
	const bool store = f->arg[0];
	const size_t pages = FAULTS;
	struct samples s = samples_new(pages);
	char *p, *q;
	int fd[2];

	make_clones(e, pages, false, fd);
	q = map_sized(fd[0], pages, PROT_READ, false);
	if (!store)
		load_all(q, pages);
	p = map_sized(fd[1], pages, RW, false);
	measure_accesses(&s, p, pages, 1, store);
	must(munmap(p, pages * PAGE));
	must(munmap(q, pages * PAGE));
	drop_clones(e, fd);
	samples_report(e, f->metric, &s);
}

/* Loads by the clone, of pages that the other file has mapped by 2 MiB. */
static void clone_huge_fault(const struct env *e, const struct figure *f)
{
	const size_t pages = LARGE_PAGES;
	struct samples s = samples_new(pages / HUGE);
	char *p, *q;
	int fd[2];

	make_clones(e, pages, true, fd);
	q = map_sized(fd[0], pages, PROT_READ, true);
	load_all(q, pages);
	p = map_sized(fd[1], pages, PROT_READ, true);
	measure_accesses(&s, p, pages, HUGE, false);
	check(huge_pages(p, pages) == pages, "not all faults were of 2 MiB");
	must(munmap(p, pages * PAGE));
	must(munmap(q, pages * PAGE));
	drop_clones(e, fd);
	samples_report(e, f->metric, &s);
}

/* Truncate of a clone, all of whose pages the other file has an entry for, too. */
static double truncate_cost(const struct env *e, bool entries)
{
	const size_t pages = MANY;
	double cost;
	char *p;
	int fd[2];

	make_clones(e, pages, false, fd);
	for (int i = 0; entries && i < 2; i++) {
		p = map_sized(fd[i], pages, PROT_READ, false);
		load_all(p, pages);
		must(munmap(p, pages * PAGE));
	}
	cost = op_cost(OP_TRUNCATE, fd[1], 0);
	drop_clones(e, fd);
	return cost;
}

static void clone_truncate(const struct env *e, const struct figure *f)
{
	struct samples with = samples_new(ROUNDS), without = samples_new(ROUNDS);

	for (int i = 0; i < ROUNDS; i++) {
		samples_add(&with, truncate_cost(e, true));
		samples_add(&without, truncate_cost(e, false));
	}
	report_difference(e, f->metric, &with, &without, MANY);
}

#define FILE_PAGES	(4 * HUGE)
#define CLONES		6
#define ACCESSES	600

/* What is done to two files, one part of which is measured. */
enum step { FICLONE_ITSELF, RANDOM, SWEEP, STEPS };
/* The first file is clean, is dirty, or every tenth random access is a store. */
enum how { CLEAN, DIRTY, STORES };

static void random_access(char *const map[2], bool store, struct rng *rng)
{
	volatile char *at = map[rnd(rng, 2)] + rnd(rng, FILE_PAGES) * PAGE;

	if (store)
		*at = 3;
	else
		(void)*at;
}

static void do_step(enum step step, enum how how, const int fd[2], char *const map[2],
		    struct rng *rng)
{
	switch (step) {
	case FICLONE_ITSELF:
		must(ioctl(fd[1], FICLONE, fd[0]));
		break;
	case RANDOM:
		for (int i = 0; i < ACCESSES; i++)
			random_access(map, how == STORES && i % 10 == 9, rng);
		break;
	default:
		for (int k = 0; k < 2; k++)
			load_all(map[k], FILE_PAGES);
	}
}

/* The instructions, or the faults, of one step. */
static double clone_once(const int fd[2], char *const map[2], struct rng *rng, enum step wanted,
			 enum how how, bool faults)
{
	double cost = 0;

	for (enum step step = 0; step < STEPS; step++) {
		long before = minor_faults();
		uint64_t from;

		if (step != wanted) {
			do_step(step, how, fd, map, rng);
			continue;
		}
		from = measured_from();
		do_step(step, how, fd, map, rng);
		cost = measured_since(from);
		if (faults)
			cost = minor_faults() - before;
	}
	return cost;
}

/*
 * Two files that are mapped by 2 MiB, the second of which becomes a clone of the first, six times:
 * the same two if they are only loaded from, since a store copies what is shared.
 */
static void clones(const struct env *e, const struct figure *f)
{
	const bool faults = f->arg[1];
	const enum how how = f->arg[2];
	struct rng rng = rng_of(1, 0, 0);
	int fd[2], clone = 0;
	double cost = 0;
	char *map[2];

	while (clone < CLONES) {
		for (int k = 0; k < 2; k++) {
			fd[k] = written_file(e, k ? "clone" : "bench", FILE_PAGES, true);
			map[k] = map_sized(fd[k], FILE_PAGES, RW, true);
			load_all(map[k], FILE_PAGES);
			check(huge_pages(map[k], FILE_PAGES) == FILE_PAGES, "not mapped by 2 MiB");
		}
		if (how == DIRTY)
			store_all(map[0], FILE_PAGES, true);
		do {
			cost += clone_once(fd, map, &rng, f->arg[0], how, faults);
		} while (++clone < CLONES && how == CLEAN);
		for (int k = 0; k < 2; k++)
			must(munmap(map[k], FILE_PAGES * PAGE));
		drop_clones(e, fd);
	}
	report(e, f->metric, cost / CLONES);
}

const struct figure clone_figures[] = {
	{ "fault_clone_read_4k", clone_fault, { false } },
	{ "fault_clone_write_4k", clone_fault, { true } },
	{ "fault_clone_read_2m", clone_huge_fault, { 0 } },
	{ "truncate_clone_4k", clone_truncate, { 0 } },
	{ "clone_clean", clones, { FICLONE_ITSELF, false, CLEAN } },
	{ "clone_dirty", clones, { FICLONE_ITSELF, false, DIRTY } },
	{ "clone_random", clones, { RANDOM, false, CLEAN } },
	{ "clone_random_faults", clones, { RANDOM, true, CLEAN } },
	{ "clone_sweep", clones, { SWEEP, false, CLEAN } },
	{ "clone_sweep_faults", clones, { SWEEP, true, CLEAN } },
	{ "clone_stores", clones, { RANDOM, false, STORES } },
	{ "clone_stores_faults", clones, { RANDOM, true, STORES } },
	{ "clone_stores_sweep_faults", clones, { SWEEP, true, STORES } },
	{ }
};
