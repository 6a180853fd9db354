// SPDX-License-Identifier: GPL-2.0
/* Faults, pins and a second break while a break waits. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

static char *waiting_punch(const struct env *e, struct job *job, struct pin *pin)
{
	char *p;

	job->op = OP_PUNCH;
	job->first = 0;
	job->pages = 8;
	job->fd = create_file(e, "f", N, 100);
	p = map_file(job->fd, N, RW);
	pin_pages(pin, p, 1);
	job_start(job);
	check(job_sleeps(job), "punch did not wait");
	return p;
}

/* A fault on a page that is being taken gets the same page, and its data. */
static void fault_revives(const struct env *e)
{
	struct job job = { 0 };
	struct pin pin;
	char *p = waiting_punch(e, &job, &pin), buf[PAGE];

	check_page(p, 100, "pinned page faulted again");
	fill_page(p, 50);
	for (size_t i = 1; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "other page faulted again");
	check(job_sleeps(&job), "punch ended with the pin there");
	unpin_page(&pin, buf);
	check_page(buf, 50, "the pin and the mapping are not one page");
	job_succeeds(&job);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, i < 8 ? 0 : 100 + i, "after the punch");
}

/* I/O that pins page 0 may need page 1 to finish. */
static void more_pages_can_be_pinned(const struct env *e)
{
	struct job job = { 0 };
	struct pin pin, more;
	char *p = waiting_punch(e, &job, &pin), buf[PAGE];

	pin_pages(&more, p, 4);
	unpin_page(&pin, NULL);
	check(job_sleeps(&job), "punch ended with later pins there");
	for (size_t i = 0; i < 4; i++) {
		unpin_page(&more, buf);
		check_page(buf, 100 + i, "page pinned during the wait");
	}
	job_succeeds(&job);
	for (size_t i = 0; i < 8; i++)
		check_page(p + i * PAGE, 0, "after the punch");
}

struct toucher {
	volatile char *map;
	size_t pages;
	atomic_int stop;
	atomic_ulong rounds;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;
	char sum = 0;

	while (!t->stop) {
		for (size_t i = 0; i < t->pages; i++)
			sum += t->map[i * PAGE];
		t->rounds++;
	}
	return (void *)(long)sum;
}

/* The pin ends while another thread keeps faulting: that must be enough. */
static void refaults_do_not_starve(const struct env *e)
{
	for (int round = 0; round < 10; round++) {
		struct job job = { 0 };
		struct pin pin;
		char *p = waiting_punch(e, &job, &pin);
		struct toucher t = { .map = p, .pages = 8 };
		pthread_t thread;
		unsigned long seen;

		check(!pthread_create(&thread, NULL, touch, &t), "no thread");
		while (!t.rounds)
			usleep(1000);
		unpin_all(&pin);
		job_succeeds(&job);
		seen = t.rounds;
		while (t.rounds < seen + 2)
			usleep(1000);
		t.stop = 1;
		pthread_join(thread, NULL);
		for (size_t i = 0; i < N; i++)
			check_page(p + i * PAGE, i < 8 ? 0 : 100 + i, "after the punch");
		must(munmap(p, N * PAGE));
		close(pin.rd);
		close(pin.wr);
		close(job.fd);
	}
}

static void two_breaks_of_one_file(const struct env *e)
{
	struct job a = { .op = OP_PUNCH, .first = 0, .pages = 4 };
	struct job b = { .op = OP_TRUNCATE, .first = 2 };
	struct pin pin[2];
	char *p;

	a.fd = create_file(e, "f", N, 100);
	b.fd = a.fd;
	p = map_file(a.fd, N, RW);
	pin_pages(&pin[0], p + 3 * PAGE, 1);
	pin_pages(&pin[1], p + 9 * PAGE, 1);
	job_start(&a);
	check(job_sleeps(&a), "punch did not wait");
	job_start(&b);
	check(job_sleeps(&b), "truncate did not wait");
	unpin_all(&pin[0]);
	job_succeeds(&a);
	check(job_sleeps(&b), "truncate did not wait for its own page");
	unpin_all(&pin[1]);
	job_succeeds(&b);
	check(file_size(a.fd) == 2 * (off_t)PAGE, "size");
	for (size_t i = 0; i < 2; i++)
		check_page(p + i * PAGE, 0, "punched page");
}

static void breaks_of_many_files(const struct env *e)
{
	struct job job[8];
	struct pin pin[8];
	char *p[8];

	for (size_t i = 0; i < 8; i++) {
		char name[] = { 'f', '0' + i, 0 };

		job[i] = (struct job) { .op = OP_TRUNCATE, .first = 0 };
		job[i].fd = create_file(e, name, N, 100 * i);
		p[i] = map_file(job[i].fd, N, RW);
		pin_pages(&pin[i], p[i] + i * PAGE, 2);
		job_start(&job[i]);
	}
	for (size_t i = 0; i < 8; i++)
		check(job_sleeps(&job[i]), "truncate %zu did not wait", i);
	for (size_t k = 0; k < 8; k++) {
		size_t i = k * 3 % 8;
		char buf[PAGE];

		unpin_page(&pin[i], buf);
		check_page(buf, 101 * i, "page in the pipe");
		check(!job[i].done, "truncate %zu ended early", i);
		unpin_all(&pin[i]);
		job_succeeds(&job[i]);
	}
}

/* Interrupted beside a second one that waits for the same page. */
static void interrupted_beside_another(const struct env *e)
{
	struct job a = { .op = OP_PUNCH, .first = 0, .pages = 4 };
	struct job b = { .op = OP_TRUNCATE, .first = 2 };
	struct pin pin;
	char *p;

	a.fd = create_file(e, "f", N, 100);
	b.fd = a.fd;
	p = map_file(a.fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	job_start(&a);
	check(job_sleeps(&a), "punch did not wait");
	job_start(&b);
	check(job_sleeps(&b), "truncate did not wait");
	job_signal(&a);
	job_join(&a);
	check(a.rc < 0, "the interrupted punch succeeded");
	check(job_sleeps(&b), "truncate did not find the page busy");
	check_page(p + PAGE, 101, "after the interrupted punch");
	unpin_all(&pin);
	job_succeeds(&b);
	check(file_size(a.fd) == 2 * (off_t)PAGE, "size");
}

static const struct test tests[] = {
	{ "R7 a fault during the wait finds the same page and its data",
	  fault_revives, BOUND_ONLY },
	{ "R7 more pages can be pinned during the wait", more_pages_can_be_pinned, BOUND_ONLY },
	{ "R7 a thread that keeps faulting does not starve a punch",
	  refaults_do_not_starve, BOUND_ONLY | RACES },
	{ "R6 two breaks of one file both wait and both end", two_breaks_of_one_file, BOUND_ONLY },
	{ "R6 breaks of many files end as their own pins go", breaks_of_many_files, RACES },
	{ "R6 an interrupted break leaves the page to the next one",
	  interrupted_beside_another, EVERYWHERE },
	{ }
};

GROUP(races, tests);
