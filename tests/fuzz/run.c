// SPDX-License-Identifier: GPL-2.0
/* The coordinator of a program, and the processes that it gives the lines to. See fuzz.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../vm/lib.h"
#include "fuzz.h"

/* Who waits for a pin gets it after this time; the time decides nothing else. */
#define PATIENCE_MS	40

static struct {
	int orders[PROCESSES][2], answers[PROCESSES][2];
	unsigned int open[PROCESSES];	/* orders that were not answered yet */
} w;

static void open_all(void)
{
	char name[128];

	for (int f = 0; f < FILES; f++) {
		snprintf(name, sizeof(name), "%s/f%d", place.dir, f);
		fd[f] = must(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	}
}

static void close_all(void)
{
	for (int f = 0; f < FILES; f++)
		close(fd[f]);
	for (size_t s = 0; s < SLOTS; s++) {
		if (slot[s].addr)
			munmap(slot[s].addr, slot[s].pages * PAGE);
		slot[s].addr = NULL;
		sh->view[me][s].used = false;
	}
	if (uffd >= 0)
		close(uffd);
	uffd = -1;
}

/* The new process takes the place of another, with what this one has mapped. */
static void fork_into(unsigned int who)
{
	pid_t pid = must(fork());

	if (pid) {
		must(waitpid(pid, NULL, 0));
		return;
	}
	/* A child of the coordinator, which reaps it. */
	if (must(fork()))
		_exit(0);
	memcpy(sh->view[who], sh->view[me], sizeof(sh->view[me]));
	me = who;
	sh->pid[me] = getpid();
	if (uffd >= 0)
		close(uffd);
	uffd = -1;
}

static void obey(const struct order *order)
{
	if (order->phase == ALONE)
		settle_pipes();
	switch (order->line.op) {
	case CLOSE_ALL:
		close_all();
		break;
	case OPEN_ALL:
		open_all();
		break;
	case LOOK_ALL:
		look_at_hot();
		break;
	case QUIT:
		_exit(0);
	default:
		if (!strcmp(ops[order->line.op].name, "FORK"))
			fork_into(order->line.arg[1]);
		else
			ops[order->line.op].run(order->line.arg);
		/* To mark what it will do is no operation. */
		if (order->phase != MARK)
			sh->done++;
	}
	if (order->phase == ALONE)
		flushes_drain(2 * order->number);
}

__attribute__((noreturn))
static void serve(void)
{
	char answer = 1;

	sh->pid[me] = getpid();
	for (;;) {
		ssize_t n = read(w.orders[me][0], &now, sizeof(now));

		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(now))
			_exit(0);
		obey(&now);
		while (write(w.answers[me][1], &answer, 1) < 0)
			check(errno == EINTR, "answer: %m");
	}
}

static void start(unsigned int who)
{
	pid_t pid = must(fork());

	if (pid)
		return;
	me = who;
	serve();
}

static void give(int who, const struct order *order)
{
	must(write(w.orders[who][1], order, sizeof(*order)));
	w.open[who]++;
}

static void drain_all(bool at_rest)
{
	for (int q = 0; q < PIPES; q++)
		drain_pipe(q, at_rest);
}

/* Until all have answered. Meanwhile somebody may wait for what is in a pipe. */
static void wait_all(void)
{
	char answer;

	for (int who = 0; who < PROCESSES; who++)
		while (w.open[who]) {
			struct pollfd p = { .fd = w.answers[who][0], .events = POLLIN };

			if (sh->failed)
				_exit(1);
			if (poll(&p, 1, PATIENCE_MS) <= 0) {
				drain_all(false);
				if (waitpid(-1, NULL, WNOHANG) > 0 && !sh->failed)
					bad("died", "a process ended by itself");
				continue;
			}
			must(read(w.answers[who][0], &answer, 1));
			w.open[who]--;
		}
	if (sh->failed)
		_exit(1);
}

static void all_do(int op)
{
	struct order order = { .phase = ALONE, .number = now.number, .line.op = op };

	for (int who = 0; who < PROCESSES; who++)
		give(who, &order);
	wait_all();
}

static void do_fork(const struct order *order)
{
	const long from = order->line.arg[0], to = order->line.arg[1];
	struct order quit = { .line.op = QUIT };
	pid_t old = sh->pid[to];

	if (from == to)
		return;
	must(write(w.orders[to][1], &quit, sizeof(quit)));
	while (!kill(old, 0) && waitpid(old, NULL, WNOHANG) != old)
		usleep(100);
	/* Both answer. */
	w.open[to]++;
	give(from, order);
	wait_all();
}

static void mount_again(bool bound)
{
	for (int i = 0; umount(place.dir); i++) {
		check(errno == EBUSY && i < 1000, "umount: %m");
		usleep(10000);
	}
	module_bind(bound);
	check(!mount_fs(place.fs, place.dev, place.dir, NULL), "mount: %m");
	module_bind(true);
	open_all();
	for (int f = 0; f < FILES; f++) {
		forget_dirty(f, 0, MAX_PAGES);
		compare_model(f);
	}
}

static void do_remount(const long *arg)
{
	if (sh->dead || sh->new_device)
		return;
	drain_all(true);
	all_do(CLOSE_ALL);
	close_all();
	mount_again(!arg[0]);
	if (arg[0]) {
		close_all();
		mount_again(true);
	}
	all_do(OPEN_ALL);
	sh->moves++;
}

/* Behind the end there is nothing, but in its page what was stored there while it moved. */
static void clear_behind(struct file_model *m)
{
	const size_t page = (m->size + PAGE - 1) / PAGE * IN_PAGE;

	for (size_t i = m->size / SECTOR; i < MAX_SECTORS; i++)
		m->word[i] = i < page && (m->loose_size || m->word[i] == LOOSE) ? LOOSE : 0;
	m->loose_size = false;
}

static void join(void)
{
	wait_all();
	now.phase = ALONE;
	flushes_drain(2 * now.number);
	if (sh->loose_pipes)
		drain_all(false);
	sh->loose_pipes = false;
	for (int f = 0; f < FILES; f++) {
		if (sh->file[f].loose_size && !sh->dead)
			sh->file[f].size = file_size(fd[f]);
		learn(f, 0, MAX_PAGES);
		clear_behind(&sh->file[f]);
	}
}

/* Ordinary lines up to JOIN, first to mark and then to be done. Returns the number of them. */
static size_t together(const struct line *line, size_t lines, unsigned int number)
{
	size_t n = 0;

	while (n < lines && line[n].who >= 0)
		n++;
	for (enum phase phase = MARK; phase <= TOGETHER; phase++) {
		now.phase = phase;
		for (size_t i = 0; i < n; i++) {
			struct order order = { phase, number + i, line[i] };

			if (ops[line[i].op].xfs && !place.xfs)
				continue;
			give(line[i].who, &order);
			if (phase == MARK)
				wait_all();
		}
	}
	join();
	return n;
}

static void perform(const struct line *line, size_t lines)
{
	for (size_t i = 0; i < lines && !sh->failed; i++) {
		struct order order = { ALONE, i + 1, line[i] };

		now = order;
		if (ops[line[i].op].xfs && !place.xfs)
			continue;
		if (line[i].who >= 0) {
			give(line[i].who, &order);
			wait_all();
		} else if (!strcmp(ops[line[i].op].name, "FORK")) {
			do_fork(&order);
		} else if (!strcmp(ops[line[i].op].name, "REMOUNT")) {
			do_remount(line[i].arg);
		} else if (!strcmp(ops[line[i].op].name, "TOGETHER")) {
			i += together(line + i + 1, lines - i - 1, i + 2);
		}
	}
}

static void end_checks(void)
{
	now.number++;
	all_do(LOOK_ALL);
	for (int f = 0; f < FILES; f++) {
		if (sh->dead || sh->file[f].spoilt)
			continue;
		must(fsync(fd[f]));
		expect_flushed(f, 0, MAX_PAGES);
		compare_model(f);
	}
	drain_all(true);
}

void run_program(const struct line *line, size_t lines)
{
	catch_faults();
	must(prctl(PR_SET_CHILD_SUBREAPER, 1));
	open_all();
	for (int i = 0; i < PROCESSES; i++) {
		must(pipe2(w.orders[i], O_CLOEXEC));
		must(pipe2(w.answers[i], O_CLOEXEC));
	}
	for (int i = 0; i < PIPES; i++)
		must(pipe2(pipes[i], O_CLOEXEC | O_NONBLOCK));
	for (unsigned int i = 0; i < PROCESSES; i++)
		start(i);
	for (int i = 0; i < PROCESSES; i++)
		while (!sh->pid[i])
			usleep(100);
	/* Only the children may be told that they failed by a broken pipe. */
	signal(SIGPIPE, SIG_IGN);
	perform(line, lines);
	if (!sh->failed)
		end_checks();
}
