// SPDX-License-Identifier: GPL-2.0
/*
 * What a layout break costs when pages are busy, how long it keeps interrupts
 * off, and what it takes away from those who have the file mapped; how many faults
 * a mapping takes in any case.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define MAPPED_PAGES	((size_t)16384)
#define PIECES_PAGES	((size_t)2048)
#define GIB_PAGES	262144

/* @pages entries, clean, mapped by nobody but for the last @busy pages, which sit in a pipe. */
static int file_with_entries(const struct env *e, size_t pages, size_t busy, struct pin *pin)
{
	int fd = written_file(e, "bench", pages, false);
	char *p = map_sized(fd, pages, PROT_READ, false);

	load_all(p, pages);
	if (busy)
		pin_pages(pin, p + (pages - busy) * PAGE, busy);
	must(munmap(p, pages * PAGE));
	return fd;
}

/*
 * The CPU time of a truncate to 0. A busy page is given back as soon as the
 * truncate waits for it, so that it waits for each of them.
 */
static void busy_break(const struct env *e, const struct figure *f)
{
	const size_t pages = f->arg[0], busy = f->arg[1];
	struct job job = { .op = OP_TRUNCATE };
	struct pin pin = { 0 };

	job.fd = file_with_entries(e, pages, busy, &pin);
	job_start(&job);
	while (pin.pages) {
		job_until_asleep(&job);
		check(!job.done, "the truncate ended with %zu pages in a pipe", pin.pages);
		unpin_page(&pin, NULL);
	}
	job_succeeds(&job);
	if (busy) {
		close(pin.rd);
		close(pin.wr);
	}
	drop_file(e, "bench", job.fd);
	report(e, f->metric, job.cpu_ns);
}

/*
 * A truncate under bench/plugin/irqsoff.c, which counts and reports: the longest
 * stretch with interrupts off.
 */
static void irqs_off(const struct env *e, const struct figure *f)
{
	int fd = file_with_entries(e, f->arg[0], 0, NULL);

	op_cost(OP_TRUNCATE, fd, 0);
	drop_file(e, "bench", fd);
}

/* Faults to load from all pages once more, after the first of them were punched out. */
static void refaults(const struct env *e, const struct figure *f)
{
	const size_t pages = MAPPED_PAGES;
	int fd = written_file(e, "bench", pages, false);
	char *p = map_sized(fd, pages, RW, false);
	long faults;

	store_all(p, pages, false);
	must(do_op(OP_PUNCH, fd, 0, f->arg[0]));
	faults = minor_faults();
	for (size_t i = 0; i < pages; i++)
		(void)*(volatile char *)(p + i * PAGE);
	faults = minor_faults() - faults;
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	report(e, f->metric, faults);
}

/* A file whose extents are of @piece pages: each second one is that of another file. */
static int file_in_pieces(const struct env *e, size_t pages, size_t piece)
{
	int fd = create_file(e, "bench", 0, 0), other = create_file(e, "bench.other", 0, 0);
	static const char page[PAGE];
	size_t apart = 0;

	/* What was just freed is a large piece again only now. */
	must(syncfs(fd));
	for (size_t i = 0; i < pages; i += piece) {
		must(do_op(OP_ALLOCATE, fd, i, piece));
		must(do_op(OP_ALLOCATE, other, i, piece));
	}
	for (size_t i = 0; i < pages; i++)
		must(pwrite(fd, page, PAGE, i * PAGE));
	must(fsync(fd));
	/* The filesystem decides in the end. */
	for (size_t i = piece; i < pages; i += piece)
		apart += (file_block(fd, i) != file_block(fd, i - 1) + 1);
	check(apart >= pages / piece * 9 / 10, "there are %zu pieces, not %zu", apart + 1,
	      pages / piece);
	close(other);
	must(unlink(in_dir(e, "bench.other")));
	return fd;
}

/* Faults for each GiB that is read in sequence, by what the file consists of. */
static void layout(const struct env *e, const struct figure *f)
{
	const size_t piece = f->arg[0], pages = piece < MAPPED_PAGES ? PIECES_PAGES : MAPPED_PAGES;
	int fd = piece < pages ? file_in_pieces(e, pages, piece) :
				 written_file(e, "bench", pages, true);
	char *p = map_sized(fd, pages, PROT_READ, true);
	long faults = minor_faults();

	load_all(p, pages);
	faults = minor_faults() - faults;
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	report(e, f->metric, (double)faults * GIB_PAGES / pages);
}

const struct figure break_figures[] = {
	{ "break_1024_0", busy_break, { 1024, 0 } },
	{ "break_1024_1", busy_break, { 1024, 1 } },
	{ "break_1024_16", busy_break, { 1024, 16 } },
	{ "break_1024_256", busy_break, { 1024, 256 } },
	{ "break_16384_0", busy_break, { 16384, 0 } },
	{ "break_16384_1", busy_break, { 16384, 1 } },
	{ "break_16384_16", busy_break, { 16384, 16 } },
	{ "break_16384_256", busy_break, { 16384, 256 } },
	{ "break_65536_0", busy_break, { 65536, 0 } },
	{ "break_65536_1", busy_break, { 65536, 1 } },
	{ "break_65536_16", busy_break, { 65536, 16 } },
	{ "break_65536_256", busy_break, { 65536, 256 } },
	{ "break_262144_0", busy_break, { 262144, 0 } },
	{ "break_262144_1", busy_break, { 262144, 1 } },
	{ "break_262144_16", busy_break, { 262144, 16 } },
	{ "break_262144_256", busy_break, { 262144, 256 } },
	{ "refaults_4k", refaults, { 1 } },
	{ "refaults_64k", refaults, { 16 } },
	{ "refaults_1m", refaults, { 256 } },
	{ "refaults_16m", refaults, { 4096 } },
	{ "layout_4k", layout, { 1 } },
	{ "layout_64k", layout, { 16 } },
	{ "layout_extent", layout, { MAPPED_PAGES } },
	{ "irqs_off", irqs_off, { 262144 } },
	{ }
};
