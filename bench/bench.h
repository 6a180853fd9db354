/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the figures of the benchmark share: how instructions are counted, files
 * with blocks but without entries, and how a figure is printed.
 */
#ifndef FSDAX_BENCH_H
#define FSDAX_BENCH_H

#include "../tests/vm/lib.h"

#define RW	(PROT_READ | PROT_WRITE)

/* The clock: a tick is an instruction where QEMU runs with -icount shift=0. */
static inline uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* What two readings of the clock cost themselves. */
extern uint64_t ticks_overhead;
/* Fail unless ticks() counts instructions, and measure what it costs. */
void ticks_calibrate(void);

/* Measured values, all of one kind. */
struct samples {
	double *value;
	size_t count, max;
	bool several;		/* values come in groups, among which a median would jump */
};

struct samples samples_new(size_t max);
void samples_add(struct samples *s, double value);
/*
 * Print the figure with the median, or if there are several groups with the
 * mean of the middle half, and the distribution; the samples are gone.
 */
void samples_report(const struct env *e, const char *metric, struct samples *s);
void samples_drop(struct samples *s);
double samples_median(struct samples *s);
/* The difference of two medians, by @count; the samples are gone. */
void report_difference(const struct env *e, const char *metric, struct samples *with,
		       struct samples *without, size_t count);
/* The same for what is one value. */
void report(const struct env *e, const char *metric, double value);

/*
 * A file with every block written, no entry in i_pages and nothing left to
 * commit; with @huge at 2 MiB boundaries of the device.
 */
int written_file(const struct env *e, const char *name, size_t pages, bool huge);
void drop_file(const struct env *e, const char *name, int fd);
/* Its mapping with pages of 4 KiB or of 2 MiB. */
char *map_sized(int fd, size_t pages, int prot, bool huge);
/* Store to the first byte of every page of 4 KiB, or of 2 MiB. */
void store_all(char *map, size_t pages, bool huge);
void load_all(const char *map, size_t pages);
/* Access every @step pages of a mapping, once, and measure each. */
void measure_accesses(struct samples *s, char *map, size_t pages, size_t step, bool store);
/* Around anything else that is measured. */
uint64_t measured_from(void);
double measured_since(uint64_t from);
/* What an operation on pages 0 to @pages of a file costs; truncate: to nothing. */
double op_cost(enum op what, int fd, size_t pages);

#define BOUND_NAME	64	/* what a driver calls its device, with what ends it */

/* The CPU time of a mount, by the provider of before. */
uint64_t mount_cost(const struct env *e);
/* The CPU time of the unbind of a device that is mounted, and what the driver calls it. */
uint64_t unbind_cost(const struct env *e, char name[BOUND_NAME]);
/* What has to follow. */
void umount_and_bind(const struct env *e, const char *name);

struct figure {
	const char *metric;
	void (*run)(const struct env *e, const struct figure *f);
	unsigned long arg[3];
};

/* Each ended by an empty one. */
extern const struct figure fault_figures[], entry_figures[], break_figures[], clone_figures[],
	workload_figures[], thread_figures[], device_figures[], transfer_figures[],
	growth_figures[];

#endif
