// SPDX-License-Identifier: GPL-2.0
/*
 * How long interrupts are off: a timer that fires all the time, and a trace of
 * when it did.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib.h"

#define CPU	0
#define BUFFER	"/sys/kernel/tracing/instances/fsdax_gap"
#define EXPIRE	BUFFER "/events/timer/hrtimer_expire_entry/enable"

static long longest_gap(void)
{
	char line[512], *at, here[16];
	double last = 0, now, gap = 0;
	FILE *f = fopen(BUFFER "/trace", "re");

	check(f, "no trace: %m");
	snprintf(here, sizeof(here), "[%03d]", CPU);
	while (fgets(line, sizeof(line), f)) {
		check(!strstr(line, "LOST "), "the trace buffer lost events");
		at = strstr(line, here);
		if (line[0] == '#' || !at || !strstr(line, "hrtimer_expire_entry:"))
			continue;
		/* "[000] d.h1.    12.345678: hrtimer_expire_entry: ..." */
		at = strchr(at + 6, ' ');
		if (!at || sscanf(at, " %lf:", &now) != 1)
			continue;
		if (last && now - last > gap)
			gap = now - last;
		last = now;
	}
	fclose(f);
	return gap * 1000000 + 0.5;
}

void irq_gaps_start(struct irq_gaps *g, long period_us)
{
	const struct timespec period = { 0, period_us * 1000 };
	cpu_set_t one;

	must(sched_getaffinity(0, sizeof(g->before), &g->before));
	CPU_ZERO(&one);
	CPU_SET(CPU, &one);
	must(sched_setaffinity(0, sizeof(one), &one));
	if (access(BUFFER, F_OK))
		must(mkdir(BUFFER, 0700));
	check(write_text(BUFFER "/buffer_size_kb", "8192"), "trace buffer: %m");
	close(must(open(BUFFER "/trace", O_WRONLY | O_TRUNC)));
	g->timer = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	check(write_text(EXPIRE, "1"), "no timer events in this kernel: %m");
	must(timerfd_settime(g->timer, 0, &(struct itimerspec){ period, period }, NULL));
}

long irq_gaps_stop(struct irq_gaps *g)
{
	long gap;

	must(timerfd_settime(g->timer, 0, &(struct itimerspec){ 0 }, NULL));
	check(write_text(EXPIRE, "0"), "trace event: %m");
	gap = longest_gap();
	close(g->timer);
	must(sched_setaffinity(0, sizeof(g->before), &g->before));
	return gap;
}
