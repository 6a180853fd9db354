// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that fault at the same time: what it takes two of them, and how often many that
 * meet have to sleep. This is about time, not about instructions: the clock is that of the
 * machine.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define THREADS		2
#define PAGES		((size_t)2048)
#define ROUNDS		5

struct faulter {
	pthread_t thread;
	pthread_barrier_t *barrier;
	char *map;
	size_t first;		/* then every @step pages */
	size_t step;
};

static double now_ns(void)
{
	struct timespec ts;

	must(clock_gettime(CLOCK_MONOTONIC, &ts));
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static void *fault(void *arg)
{
	struct faulter *f = arg;

	pthread_barrier_wait(f->barrier);
	for (size_t i = f->first; i < PAGES; i += f->step)
		*(volatile char *)(f->map + i * PAGE) = 1;
	pthread_barrier_wait(f->barrier);
	return NULL;
}

/* Nanoseconds for each fault: a file for each thread, or every other page of one. */
static double one_round(const struct env *e, bool same)
{
	const size_t pages = PAGES;
	struct faulter f[THREADS];
	pthread_barrier_t barrier;
	const char *const name[THREADS] = { "bench", "bench2" };
	int fd[THREADS];
	double ns;

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		f[i] = (struct faulter){ .barrier = &barrier, .step = same ? THREADS : 1 };
		if (!i || !same)
			fd[i] = written_file(e, name[i], pages, false);
		f[i].map = i && same ? f[0].map : map_sized(fd[i], pages, RW, false);
		f[i].first = same ? i : 0;
		check(!pthread_create(&f[i].thread, NULL, fault, &f[i]), "no thread");
	}
	ns = now_ns();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	ns = now_ns() - ns;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(f[i].thread, NULL);
		if (i && same)
			continue;
		must(munmap(f[i].map, pages * PAGE));
		drop_file(e, name[i], fd[i]);
	}
	pthread_barrier_destroy(&barrier);
	return ns / (same ? pages : THREADS * pages);
}

static void threads(const struct env *e, const struct figure *f)
{
	struct samples s = samples_new(ROUNDS);

	for (int i = 0; i < ROUNDS; i++)
		samples_add(&s, one_round(e, f->arg[0]));
	samples_report(e, f->metric, &s);
}

#define MEETING		64

struct meeter {
	pthread_t thread;
	pthread_barrier_t *barrier;
	char *page;
	long switches;
};

static long switches(void)
{
	struct rusage r;

	must(getrusage(RUSAGE_THREAD, &r));
	return r.ru_nvcsw + r.ru_nivcsw;
}

static void *meet(void *arg)
{
	struct meeter *m = arg;

	pthread_barrier_wait(m->barrier);
	m->switches = -switches();
	*(volatile char *)m->page = 1;
	m->switches += switches();
	return NULL;
}

/*
 * Context switches of all threads that store to the same 2 MiB, which is shared with a clone: the
 * first one copies it, for so long that the others meet at the lock of the entry.
 */
static double one_meeting(const struct env *e)
{
	struct meeter m[MEETING];
	pthread_barrier_t barrier;
	int fd = written_file(e, "bench", HUGE, true), clone = create_file(e, "clone", 0, 0);
	char *p = map_sized(fd, HUGE, RW, true);
	double sum = 0;

	must(ioctl(clone, FICLONE, fd));
	pthread_barrier_init(&barrier, NULL, MEETING);
	for (int i = 0; i < MEETING; i++) {
		m[i] = (struct meeter){ .barrier = &barrier, .page = p + i * PAGE };
		check(!pthread_create(&m[i].thread, NULL, meet, &m[i]), "no thread");
	}
	for (int i = 0; i < MEETING; i++) {
		pthread_join(m[i].thread, NULL);
		sum += m[i].switches;
	}
	pthread_barrier_destroy(&barrier);
	must(munmap(p, HUGE * PAGE));
	drop_file(e, "bench", fd);
	drop_file(e, "clone", clone);
	return sum;
}

static void meetings(const struct env *e, const struct figure *f)
{
	struct samples s = samples_new(ROUNDS);

	for (int i = 0; i < ROUNDS; i++)
		samples_add(&s, one_meeting(e));
	samples_report(e, f->metric, &s);
}

const struct figure thread_figures[] = {
	{ "threads_meet", meetings, { 0 } },
	{ "threads_own_file", threads, { false } },
	{ "threads_one_file", threads, { true } },
	{ }
};
