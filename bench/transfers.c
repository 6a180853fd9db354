// SPDX-License-Identifier: GPL-2.0
/*
 * What CPUs do to each other, for bench/plugin/transfers.c, which counts and reports:
 * a thread on each CPU, and one operation of each in turn. A line that every operation
 * writes goes from CPU to CPU then with every operation, however fast the threads are
 * and whatever the host does.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define MAX_THREADS	16
/* Not measured: they bring page tables and what each CPU has for itself. */
#define WARM_UP		4
#define TURNS		(WARM_UP + 28)
#define ENTRIES		16
/* So long that a file gets another time stamp each time, not only now and then. */
#define TICKS_US	10000
/* Where pages of one file are taken in turn, those of two threads are so far from each other. */
#define APART		16

/* Faults of files that have 2 MiB of memory each, or share that; of one file, or 2 MiB of it. */
enum work { FAULT_OWN, FAULT_SMALL, FAULT_ONE, FAULT_2M, FSYNC_OWN, TRUNCATE_OWN };

struct gang {
	const struct env *env;
	enum work work;
	int threads;		/* as many as CPUs */
	struct member {
		struct gang *gang;
		int number, fd;
		char *map;
		pthread_t thread;
		sem_t turn;
	} member[MAX_THREADS];
};

/* A truncate that waits until a page of its file leaves a pipe. */
struct sleeper {
	struct job job;
	struct pin pin;
};

static void put_to_sleep(const struct env *e, struct sleeper *s)
{
	char *p;

	*s = (struct sleeper){ .job.op = OP_TRUNCATE };
	s->job.fd = written_file(e, "bench.asleep", 1, false);
	p = map_sized(s->job.fd, 1, RW, false);
	store_all(p, 1, false);
	pin_pages(&s->pin, p, 1);
	must(munmap(p, PAGE));
	job_start(&s->job);
	check(job_sleeps(&s->job), "the truncate did not wait for a page in a pipe");
}

static void wake_up(const struct env *e, struct sleeper *s)
{
	check(!s->job.done, "the truncate did not sleep all the time");
	unpin_all(&s->pin);
	job_succeeds(&s->job);
	close(s->pin.rd);
	close(s->pin.wr);
	drop_file(e, "bench.asleep", s->job.fd);
}

static const char *file_of(int number)
{
	static char name[32];

	snprintf(name, sizeof(name), "bench.%d", number);
	return name;
}

/* At a 2 MiB boundary, so that files do not share a page table. */
static char *map_apart(int fd, size_t pages)
{
	char *p = map_file_huge(fd, pages, RW);

	must(madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	return p;
}

/* Dirty entries that nobody maps, or that the member does. */
static void make_dirty(const struct member *m, bool mapped)
{
	char *p = m->map;

	if (!mapped) {
		must(do_op(OP_ALLOCATE, m->fd, 0, ENTRIES));
		p = map_sized(m->fd, ENTRIES, RW, false);
	}
	store_all(p, ENTRIES, false);
	if (!mapped)
		must(munmap(p, ENTRIES * PAGE));
}

static void measured_store(char *at)
{
	uint64_t from = measured_from();

	*(volatile char *)at = 1;
	measured_since(from);
}

static void operate(const struct member *m, size_t turn)
{
	const size_t of_all = turn * m->gang->threads + m->number;
	char *at = m->map;

	switch (m->gang->work) {
	case FAULT_OWN:
	case FAULT_SMALL:
		at += turn * PAGE;
		break;
	case FAULT_ONE:
		at += of_all * APART * PAGE;
		break;
	case FAULT_2M:
		at += of_all * PAGE;
		break;
	case FSYNC_OWN:
		make_dirty(m, true);
		if (turn < WARM_UP)
			must(fsync(m->fd));
		else
			op_cost(OP_FSYNC, m->fd, 0);
		return;
	case TRUNCATE_OWN:
		make_dirty(m, false);
		if (turn < WARM_UP)
			must(ftruncate(m->fd, 0));
		else
			op_cost(OP_TRUNCATE, m->fd, 0);
		return;
	}
	if (turn < WARM_UP)
		store_all(at, 1, false);
	else
		measured_store(at);
}

static void *take_turns(void *arg)
{
	struct member *m = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(m->number, &cpu);
	must(sched_setaffinity(0, sizeof(cpu), &cpu));
	for (size_t turn = 0; turn < TURNS; turn++) {
		must(sem_wait(&m->turn));
		usleep(TICKS_US);
		operate(m, turn);
		must(sem_post(&m->gang->member[(m->number + 1) % m->gang->threads].turn));
	}
	return NULL;
}

/* The files, and where they are mapped. */
static void set_up(struct gang *g, struct member *m)
{
	const struct member *first = &g->member[0];
	const bool shared = g->work == FAULT_ONE || g->work == FAULT_2M;
	const size_t pages_of[] = {
		HUGE, TURNS, g->threads * TURNS * APART, HUGE, ENTRIES, ENTRIES,
	};
	const size_t pages = pages_of[g->work];

	m->fd = first->fd;
	m->map = first->map;
	if (shared && m != first)
		return;
	m->fd = written_file(g->env, file_of(m->number), pages, pages == HUGE);
	m->map = map_apart(m->fd, pages);
}

static void tear_down(struct gang *g)
{
	for (int i = 0; i < g->threads; i++) {
		struct member *m = &g->member[i];

		sem_destroy(&m->turn);
		if (i && m->fd == g->member[0].fd)
			continue;
		drop_file(g->env, file_of(i), m->fd);
	}
}

static void transfers(const struct env *e, const struct figure *f)
{
	struct gang g = { .env = e, .work = f->arg[0] };
	const bool asleep = f->arg[1];
	struct sleeper sleeper;

	g.threads = sysconf(_SC_NPROCESSORS_ONLN);
	check(g.threads > 1 && g.threads <= MAX_THREADS, "%s wants 2 to %d CPUs, not %d", f->metric,
	      MAX_THREADS, g.threads);
	if (asleep)
		put_to_sleep(e, &sleeper);
	for (int i = 0; i < g.threads; i++) {
		g.member[i].gang = &g;
		g.member[i].number = i;
		set_up(&g, &g.member[i]);
		must(sem_init(&g.member[i].turn, 0, !i));
	}
	for (int i = 0; i < g.threads; i++)
		check(!pthread_create(&g.member[i].thread, NULL, take_turns, &g.member[i]),
		      "no thread");
	for (int i = 0; i < g.threads; i++)
		pthread_join(g.member[i].thread, NULL);
	if (asleep)
		wake_up(e, &sleeper);
	tear_down(&g);
}

const struct figure transfer_figures[] = {
	{ "transfers_fault_own", transfers, { FAULT_OWN, false } },
	{ "transfers_fault_own_break", transfers, { FAULT_OWN, true } },
	{ "transfers_fault_small", transfers, { FAULT_SMALL, false } },
	{ "transfers_fault_small_break", transfers, { FAULT_SMALL, true } },
	{ "transfers_fault_one", transfers, { FAULT_ONE, false } },
	{ "transfers_fault_one_break", transfers, { FAULT_ONE, true } },
	{ "transfers_fault_2m", transfers, { FAULT_2M, false } },
	{ "transfers_fault_2m_break", transfers, { FAULT_2M, true } },
	{ "transfers_fsync_own", transfers, { FSYNC_OWN, false } },
	{ "transfers_fsync_own_break", transfers, { FSYNC_OWN, true } },
	{ "transfers_truncate_own", transfers, { TRUNCATE_OWN, false } },
	{ "transfers_truncate_own_break", transfers, { TRUNCATE_OWN, true } },
	{ }
};
