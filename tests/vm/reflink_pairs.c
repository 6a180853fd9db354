// SPDX-License-Identifier: GPL-2.0
/* Calls about the blocks of two files wait for pins in either, and can be killed. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reflink.h"

/* Many extents: the target of a swap must not have fewer than the other file. */
static void fragment(const struct env *e, int fd, uint64_t stamp)
{
	int scratch = new_file(e, "scratch");
	char buf[PAGE];

	clone_all(scratch, fd);
	for (size_t i = 1; i < N; i += 2) {
		fill_page(buf, stamp + i);
		write_at(fd, buf, PAGE, i * PAGE);
	}
	must(fsync(fd));
	must(close(scratch));
	must(unlink(in_dir(e, "scratch")));
}

/* A pin in either file, whichever lock comes first. */
static void pair_waits(const struct env *e, enum pair_op op)
{
	for (int k = 0; k < 4; k++) {
		struct pair pair = { .op = op, .pages = N };
		struct job job = { .op = OP_CALL, .call = do_pair, .arg = &pair };
		const uint64_t other = op == DEDUPE ? 100 : 500;
		char *p[2], buf[PAGE];
		struct pin pin;
		int fd[2];

		fd[0] = create_file(e, "a", N, 100);
		fd[1] = create_file(e, "b", N, other);
		if (op == SWAPEXT)
			fragment(e, fd[k / 2], k / 2 ? other : 100);
		for (int i = 0; i < 2; i++)
			p[i] = map_file(fd[i], N, RW);
		pair.fd = fd[k / 2];
		pair.other = fd[!(k / 2)];
		pin_pages(&pin, p[k % 2] + 5 * PAGE, 1);
		waits_and_dies(do_pair, &pair, &pin, pair_op_name[op], task_sleeps);
		expect(p[0], fd[0], 0, N, 100, "a after the kill");
		expect(p[1], fd[1], 0, N, other, "b after the kill");
		job_start(&job);
		check(job_sleeps(&job), "%s did not wait again", pair_op_name[op]);
		unpin_page(&pin, buf);
		check_page(buf, (k % 2 ? other : 100) + 5, "page in the pipe");
		job_succeeds(&job);
		expect(p[k / 2], pair.fd, 0, N, k / 2 ? 100 : other, "the destination");
		if (op != EXCHANGE && op != SWAPEXT)
			expect(p[!(k / 2)], pair.other, 0, N, k / 2 ? 100 : other, "the source");
		else
			expect(p[!(k / 2)], pair.other, 0, N, k / 2 ? other : 100, "the source");
		close(pin.rd);
		close(pin.wr);
		for (int i = 0; i < 2; i++) {
			must(munmap(p[i], N * PAGE));
			close(fd[i]);
		}
	}
}

static void clone_waits(const struct env *e)
{
	pair_waits(e, CLONE);
}

static void clone_range_waits(const struct env *e)
{
	pair_waits(e, CLONE_RANGE);
}

static void dedupe_waits(const struct env *e)
{
	pair_waits(e, DEDUPE);
}

/* The status of a destination is not restarted as a system call is. */
static void interrupted_dedupe(const struct env *e)
{
	struct pair pair = { .op = DEDUPE, .pages = N };
	struct job job = { .op = OP_CALL, .call = do_pair, .arg = &pair };
	char *p, buf[PAGE];
	struct pin pin;

	pair.other = create_file(e, "a", N, 100);
	pair.fd = create_file(e, "b", N, 100);
	p = map_file(pair.fd, N, RW);
	pin_pages(&pin, p + 5 * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "dedupe did not wait");
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0 && job.err == EINTR, "dedupe after a signal: %d", job.rc ? job.err : 0);
	unpin_page(&pin, buf);
	check_page(buf, 105, "page in the pipe");
	must(do_pair(&pair));
	expect(p, pair.fd, 0, N, 100, "the destination");
}

static void exchange_waits(const struct env *e)
{
	pair_waits(e, EXCHANGE);
}

static void swapext_waits_and_dies(const struct env *e)
{
	pair_waits(e, SWAPEXT);
}

/* Without a provider nobody waits. */
static void swapext_is_refused(const struct env *e)
{
	struct pair pair = { .op = SWAPEXT, .pages = N };
	char *p[2], buf[PAGE];
	struct pin pin;

	pair.fd = create_file(e, "a", N, 100);
	pair.other = create_file(e, "b", N, 500);
	fragment(e, pair.fd, 100);
	p[0] = map_file(pair.fd, N, RW);
	p[1] = map_file(pair.other, N, RW);
	for (int k = 0; k < 2; k++) {
		pin_pages(&pin, p[k] + 5 * PAGE, 1);
		check(do_pair(&pair) < 0 && errno == EBUSY, "swap with a page in a pipe: %m");
		expect(p[0], pair.fd, 0, N, 100, "a");
		expect(p[1], pair.other, 0, N, 500, "b");
		unpin_page(&pin, buf);
		check_page(buf, (k ? 500 : 100) + 5, "page in the pipe");
	}
	must(do_pair(&pair));
	expect(p[0], pair.fd, 0, N, 500, "a");
	expect(p[1], pair.other, 0, N, 100, "b");
}

static const struct test tests[] = {
	{ "R12 clone waits for a pin in either file and can be killed", clone_waits, BOUND },
	{ "R12 clone range waits for a pin in either file and can be killed",
	  clone_range_waits, BOUND },
	{ "R12 dedupe waits for a pin in either file and can be killed", dedupe_waits, BOUND },
	{ "R12 dedupe that a signal ends says EINTR", interrupted_dedupe, BOUND },
	{ "R12 exchange waits for a pin in either file and can be killed", exchange_waits, BOUND },
	{ "R12 a swap of extents is refused beside a pin", swapext_is_refused, XFS | C_ONLY },
	{ "R12 a swap of extents waits for a pin in either file and can be killed",
	  swapext_waits_and_dies, BOUND },
	{ }
};

GROUP(reflink_pairs, tests);
