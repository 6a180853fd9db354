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
#define MANY	((size_t)8192)
#define ROUNDS		5

/* "bench" and its clone, without entries. */
static void make_clones(const struct env *e, size_t pages, int fd[2])
{
	fd[0] = written_file(e, "bench", pages, false);
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

	make_clones(e, pages, fd);
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

/* Truncate of a clone, all of whose pages the other file has an entry for, too. */
static double truncate_cost(const struct env *e, bool entries)
{
	const size_t pages = MANY;
	double cost;
	char *p;
	int fd[2];

	make_clones(e, pages, fd);
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

const struct figure clone_figures[] = {
	{ "fault_clone_read_4k", clone_fault, { false } },
	{ "fault_clone_write_4k", clone_fault, { true } },
	{ "truncate_clone_4k", clone_truncate, { 0 } },
	{ }
};
