// SPDX-License-Identifier: GPL-2.0
/*
 * The benchmark in the guest: bench METRIC PROVIDER FS DEVICE DIRECTORY
 * measures one metric on the mount it is given and prints it as a line
 * "PROVIDER {json}". Who is compared with whom is for scripts/bench to say.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "marks.h"

uint64_t ticks_overhead;

static void no_mark(void)
{
}

/* Around what is measured. */
static void (*mark_begin)(void) = no_mark, (*mark_end)(void) = no_mark,
	    (*mark_report)(void) = no_mark;

/* For bench/plugin: functions at addresses that it knows. */
static void marks_set_up(void)
{
	const unsigned long at[] = { MARK_BEGIN, MARK_END, MARK_REPORT };
	const unsigned char ret = 0xc3;

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		void *code = mmap((void *)at[i], PAGE, RW | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		check(code == (void *)at[i], "no code at %#lx: %m", at[i]);
		memcpy(code, &ret, sizeof(ret));
	}
	mark_begin = (void (*)(void))MARK_BEGIN;
	mark_end = (void (*)(void))MARK_END;
	mark_report = (void (*)(void))MARK_REPORT;
}

/* Two instructions per round. */
static uint64_t known_loop(uint32_t rounds)
{
	uint64_t from = ticks();

	__asm__ volatile("1: dec %0; jnz 1b" : "+r"(rounds) : : "cc");
	return ticks() - from;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct samples samples_new(size_t max)
{
	struct samples s = { .max = max, .value = calloc(max, sizeof(*s.value)) };

	check(s.value, "no memory");
	/* A page fault of our own would be measured. */
	for (size_t i = 0; i < max; i++)
		s.value[i] = -1;
	return s;
}

void samples_add(struct samples *s, double value)
{
	check(s->count < s->max, "too many samples");
	s->value[s->count++] = value;
}

static double quantile(const struct samples *s, double part)
{
	return s->value[(size_t)(part * (s->count - 1) + 0.5)];
}

double samples_median(struct samples *s)
{
	check(s->count, "nothing was measured");
	qsort(s->value, s->count, sizeof(*s->value), by_value);
	return quantile(s, 0.5);
}

void samples_drop(struct samples *s)
{
	free(s->value);
	s->value = NULL;
}

void report(const struct env *e, const char *metric, double value)
{
	printf("%s {\"metric\": \"%s\", \"fs\": \"%s\", \"value\": %.10g}\n", e->label, metric,
	       e->fs, value);
}

static double middle_mean(const struct samples *s)
{
	const size_t first = s->count / 4, end = s->count - first;
	double sum = 0;

	for (size_t i = first; i < end; i++)
		sum += s->value[i];
	return sum / (end - first);
}

void samples_report(const struct env *e, const char *metric, struct samples *s)
{
	double value = samples_median(s);

	if (s->several)
		value = middle_mean(s);
	printf("%s {\"metric\": \"%s\", \"fs\": \"%s\", \"value\": %.6g, \"count\": %zu", e->label,
	       metric, e->fs, value, s->count);
	printf(", \"percentiles\": [");
	for (int i = 0; i <= 100; i++)
		printf("%s%.6g", i ? ", " : "", quantile(s, i / 100.0));
	printf("]}\n");
	samples_drop(s);
}

void report_difference(const struct env *e, const char *metric, struct samples *with,
		       struct samples *without, size_t count)
{
	report(e, metric, (samples_median(with) - samples_median(without)) / count);
	samples_drop(with);
	samples_drop(without);
}

void ticks_calibrate(void)
{
	const uint32_t rounds[] = { 10000, 30000 };
	struct samples empty = samples_new(101), loop = samples_new(21);

	for (size_t i = 0; i < empty.max; i++) {
		uint64_t from = ticks();

		samples_add(&empty, ticks() - from);
	}
	ticks_overhead = samples_median(&empty);
	samples_drop(&empty);
	for (size_t k = 0; k < ARRAY_SIZE(rounds); k++) {
		const double expected = 2.0 * rounds[k];

		loop.count = 0;
		for (size_t i = 0; i < loop.max; i++)
			samples_add(&loop, known_loop(rounds[k]) - ticks_overhead);
		check(samples_median(&loop) > 0.995 * expected &&
		      samples_median(&loop) < 1.005 * expected &&
		      quantile(&loop, 0.8) - quantile(&loop, 0.2) < 0.005 * expected,
		      "the TSC counts %.0f (%.0f to %.0f) for %.0f instructions: run QEMU with -icount shift=0",
		      samples_median(&loop), quantile(&loop, 0.2), quantile(&loop, 0.8), expected);
	}
	samples_drop(&loop);
}

int written_file(const struct env *e, const char *name, size_t pages, bool huge)
{
	const size_t size = 2 * MIB;
	char *buf = malloc(size);
	int fd;

	check(buf, "no memory");
	memset(buf, 1, size);
	if (huge) {
		fd = create_huge(e, name, pages / HUGE);
	} else {
		fd = create_file(e, name, 0, 0);
		/* What was just freed may be given out again only now. */
		must(syncfs(fd));
		must(do_op(OP_ALLOCATE, fd, 0, pages));
	}
	for (size_t done = 0; done < pages * PAGE; ) {
		const size_t left = pages * PAGE - done;
		ssize_t n = must(pwrite(fd, buf, left < size ? left : size, done));

		done += n;
	}
	free(buf);
	must(fsync(fd));
	return fd;
}

void drop_file(const struct env *e, const char *name, int fd)
{
	close(fd);
	must(unlink(in_dir(e, name)));
}

char *map_sized(int fd, size_t pages, int prot, bool huge)
{
	return huge ? map_file_huge(fd, pages, prot) : map_file(fd, pages, prot);
}

void store_all(char *map, size_t pages, bool huge)
{
	for (size_t i = 0; i < pages; i += huge ? HUGE : 1)
		*(volatile char *)(map + i * PAGE) = 2;
	check(!huge || huge_pages(map, pages) == pages, "not all pages are mapped in 2 MiB");
}

void load_all(const char *map, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		(void)*(const volatile char *)(map + i * PAGE);
}

void measure_accesses(struct samples *s, char *map, size_t pages, size_t step, bool store)
{
	for (size_t i = 0; i < pages; i += step) {
		volatile char *at = map + i * PAGE;
		uint64_t from, to;

		mark_begin();
		if (store) {
			from = ticks();
			*at = 1;
			to = ticks();
		} else {
			from = ticks();
			(void)*at;
			to = ticks();
		}
		mark_end();
		samples_add(s, to - from - ticks_overhead);
	}
}

uint64_t measured_from(void)
{
	mark_begin();
	return ticks();
}

double measured_since(uint64_t from)
{
	const uint64_t to = ticks();

	mark_end();
	return to - from - ticks_overhead;
}

double op_cost(enum op what, int fd, size_t pages)
{
	uint64_t from = measured_from();

	must(do_op(what, fd, 0, what == OP_TRUNCATE ? 0 : pages));
	return measured_since(from);
}

static const struct figure *const tables[] = {
	fault_figures, entry_figures, break_figures, clone_figures, workload_figures,
	thread_figures, device_figures, transfer_figures, growth_figures,
};

/* Whose clock counts instructions. */
static bool needs_one_cpu(const struct figure *table)
{
	return table != thread_figures && table != transfer_figures;
}

int main(int argc, char **argv)
{
	struct env env = { 0 };

	setlinebuf(stdout);
	if (argc == 6) {
		env.label = argv[2];
		env.fs = argv[3];
		env.dev = argv[4];
		env.dir = argv[5];
		for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
			for (const struct figure *f = tables[i]; f->metric; f++)
				if (!strcmp(argv[1], f->metric)) {
					if (needs_one_cpu(tables[i]))
						ticks_calibrate();
					if (getenv("BENCH_MARKS"))
						marks_set_up();
					f->run(&env, f);
					mark_report();
					return 0;
				}
	}
	fprintf(stderr, "usage: bench METRIC PROVIDER ext4|xfs DEVICE DIRECTORY\nmetrics:");
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct figure *f = tables[i]; f->metric; f++)
			fprintf(stderr, " %s", f->metric);
	fprintf(stderr, "\n");
	return 2;
}
