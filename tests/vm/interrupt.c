// SPDX-License-Identifier: GPL-2.0
/* A signal ends the wait for a pin, and then nothing has happened. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
#define FIRST	((size_t)4)
#define COUNT	((size_t)4)

static void is_untouched(int fd, const char *p, const uint64_t *block)
{
	check(file_size(fd) == (off_t)(N * PAGE), "the size changed");
	for (size_t i = 0; i < N; i++) {
		check_page(p + i * PAGE, 100 + i, "mapping after the signal");
		check_file_page(fd, i, 100 + i, "read(2) after the signal");
		check(file_block(fd, i) == block[i], "page %zu has another block", i);
	}
}

static void interrupt(const struct env *e, enum op op)
{
	struct job job = { .op = op, .first = FIRST, .pages = COUNT };
	uint64_t block[N];
	char *p, buf[PAGE];
	struct pin pin;

	job.fd = create_file(e, "f", N, 100);
	p = map_file(job.fd, N, RW);
	for (size_t i = 0; i < N; i++)
		block[i] = file_block(job.fd, i);
	pin_pages(&pin, p + (FIRST + 1) * PAGE, 1);
	for (int round = 0; round < 3; round++) {
		job_start(&job);
		check(job_sleeps(&job), "%s did not wait, round %d", op_name[op], round);
		job_signal(&job);
		job_join(&job);
		check(job.rc < 0 && job.err == EINTR, "%s after a signal: %s",
		      op_name[op], job.rc ? strerror(job.err) : "success");
		/* The next one must find the pin with or without a fault in between. */
		if (round)
			is_untouched(job.fd, p, block);
	}
	/* The pin and the mapping still mean the same page. */
	fill_page(p + (FIRST + 1) * PAGE, 77);
	unpin_page(&pin, buf);
	check_page(buf, 77, "page in the pipe");
	fill_page(p + (FIRST + 1) * PAGE, 100 + FIRST + 1);
	is_untouched(job.fd, p, block);
	must(do_op(op, job.fd, FIRST, COUNT));
}

static void interrupted_truncate(const struct env *e)
{
	interrupt(e, OP_TRUNCATE);
}

static void interrupted_punch(const struct env *e)
{
	interrupt(e, OP_PUNCH);
}

static void interrupted_zero(const struct env *e)
{
	interrupt(e, OP_ZERO);
}

static void interrupted_collapse(const struct env *e)
{
	interrupt(e, OP_COLLAPSE);
}

static void interrupted_insert(const struct env *e)
{
	interrupt(e, OP_INSERT);
}

static void block_stays_after_interrupt(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char *p, buf[PAGE];
	struct pin pin;
	uint64_t block;
	int fill;

	leave_free(e, LEFT);
	job.fd = create_file(e, "f", N, 100);
	block = file_block(job.fd, 0);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p, N);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0, "the interrupted truncate succeeded");
	fill = fill_free_space(e, "fill", 0x5555);
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 100 + i, "page in the pipe");
		check_file_page(job.fd, i, 100 + i, "file");
	}
	check_all_pages(fill, 0x5555, "file that filled the disk");
	must(ftruncate(job.fd, 0));
	check_given_out(e, block, N);
}

static void kill_waiter(const struct env *e, enum op kind, int sig)
{
	int fd = create_file(e, "f", N, 100), status;
	char *p = map_file(fd, N, RW), buf[PAGE];
	struct pin pin;
	pid_t pid;

	pin_pages(&pin, p + FIRST * PAGE, 1);
	pid = must(fork());
	if (!pid) {
		/* Only the parent's pipe shall hold the page. */
		close(pin.rd);
		close(pin.wr);
		_exit(do_op(kind, fd, FIRST, COUNT) ? 1 : 2);
	}
	check(task_sleeps(pid, pid, NULL), "%s did not wait", op_name[kind]);
	must(kill(pid, sig));
	must(waitpid(pid, &status, 0));
	check(WIFSIGNALED(status) && WTERMSIG(status) == sig, "%s: status %#x",
	      op_name[kind], status);
	check(file_size(fd) == (off_t)(N * PAGE), "the size changed");
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "after the kill");
	unpin_page(&pin, buf);
	check_page(buf, 100 + FIRST, "page in the pipe");
	must(do_op(kind, fd, FIRST, COUNT));
}

static void sigkill_ends_every_wait(const struct env *e)
{
	const enum op ops[] = { OP_TRUNCATE, OP_PUNCH, OP_ZERO, OP_COLLAPSE, OP_INSERT };

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		kill_waiter(e, ops[i], SIGKILL);
}

static void sigterm_ends_a_wait(const struct env *e)
{
	kill_waiter(e, OP_TRUNCATE, SIGTERM);
}

static const struct test tests[] = {
	{ "R6 interrupted truncate keeps data, blocks and the pin",
	  interrupted_truncate, EVERYWHERE },
	{ "R6 interrupted punch keeps data, blocks and the pin", interrupted_punch, EVERYWHERE },
	{ "R6 interrupted zero range keeps data, blocks and the pin",
	  interrupted_zero, EVERYWHERE },
	{ "R6 interrupted collapse range keeps data, blocks and the pin",
	  interrupted_collapse, EVERYWHERE },
	{ "R6 interrupted insert range keeps data, blocks and the pin",
	  interrupted_insert, EVERYWHERE },
	{ "R6 a block is not free after an interrupted truncate",
	  block_stays_after_interrupt, EVERYWHERE },
	{ "R12 SIGKILL ends the wait of every operation", sigkill_ends_every_wait, EVERYWHERE },
	{ "R12 SIGTERM ends the wait of a truncate", sigterm_ends_a_wait, EVERYWHERE },
	{ }
};

GROUP(interrupt, tests);
