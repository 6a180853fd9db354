// SPDX-License-Identifier: GPL-2.0
/*
 * What replaces shared pages of a file waits for their pins: no block is reused under a
 * pin, even when no entry leads to the page.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reflink.h"

/*
 * What replaces the pages of a: then no entry leads from the clone, which owns
 * the block too, to the page in the pipe.
 */
enum replace { BY_WRITE, BY_PART, BY_STORE, BY_UNSHARE };

static const char *const replace_name[] = {
	"write(2)", "write(2) inside a page", "store", "unshare",
};

struct replacing {
	enum replace how;
	int fd;
	char *map;
};

static int do_replace(void *arg)
{
	struct replacing *r = arg;
	char buf[PAGE];

	switch (r->how) {
	case BY_WRITE:
		for (size_t i = 0; i < N; i++) {
			fill_page(buf, 2000 + i);
			if (pwrite(r->fd, buf, PAGE, i * PAGE) != (ssize_t)PAGE)
				return -1;
		}
		return 0;
	case BY_PART:
		for (size_t i = 0; i < N; i++)
			if (pwrite(r->fd, &(uint64_t){ 2000 + i }, 8, i * PAGE + 8) != 8)
				return -1;
		return 0;
	case BY_STORE:
		for (size_t i = 0; i < N; i++)
			fill_page(r->map + i * PAGE, 2000 + i);
		return 0;
	case BY_UNSHARE:
		return fallocate(r->fd, FALLOC_FL_UNSHARE_RANGE, 0, N * PAGE);
	}
	return -1;
}

static void check_replaced(const struct replacing *r)
{
	for (size_t i = 0; i < N; i++) {
		const uint64_t *w = (void *)(r->map + i * PAGE);

		if (r->how == BY_PART)
			check(w[0] == 100 + i && w[1] == 2000 + i && w[2] == 100 + i,
			      "page %zu", i);
		else
			check_page(w, (r->how == BY_UNSHARE ? 100 : 2000) + i, "replaced");
	}
}

/*
 * What comes out of a pipe is the page as it was, or with what was put into the
 * same block of the same file since: when the clone is gone, nobody copies.
 */
static void check_own_data(const void *page, size_t i)
{
	const uint64_t *w = page;

	check(w[0] == 100 + i || w[0] == 2000 + i,
	      "page %zu of the pipe holds foreign data %#llx after the disk was filled", i,
	      (unsigned long long)w[0]);
}

/* A store is tried again and again, so that its thread sleeps many times. */
static bool keeps_sleeping(pid_t pid, pid_t tid, atomic_int *done)
{
	char path[64], buf[4096];
	long first = -1, now = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	while (first < 0 || now < first + 10) {
		char *v;

		if ((done && *done) || !read_text(path, buf, sizeof(buf)) ||
		    strstr(buf, "State:\tZ"))
			return false;
		v = strstr(buf, "\nvoluntary_ctxt_switches:");
		check(v, "cannot read %s", path);
		now = atol(strchr(v, ':') + 1);
		if (first < 0)
			first = now;
		usleep(10000);
	}
	return !done || !*done;
}

static void replacing_waits(const struct env *e, enum replace how)
{
	struct replacing r = { .how = how };
	struct job job = { .op = OP_CALL, .call = do_replace, .arg = &r };
	bool (*const sleeps)(pid_t, pid_t, atomic_int *) =
		how == BY_STORE ? keeps_sleeping : task_sleeps;
	struct pin pin;
	char buf[PAGE];
	int fd[2], fill;

	leave_free(e, LEFT);
	make_clones(e, fd);
	r.fd = fd[0];
	r.map = map_file(fd[0], N, RW);
	for (size_t i = 0; i < N; i++)
		check_page(r.map + i * PAGE, 100 + i, "before");
	pin_pages(&pin, r.map, N);
	waits_and_dies(do_replace, &r, &pin, replace_name[how], sleeps);
	expect(r.map, fd[0], 0, N, 100, "after the kill");
	job_start(&job);
	while (!job.tid && !job.done)
		usleep(1000);
	check(sleeps(getpid(), job.tid, &job.done), "%s did not wait for a page in a pipe",
	      replace_name[how]);
	must(ftruncate(fd[1], 0));
	must(fsync(fd[1]));
	fill = fill_free_space(e, "fill", 0x5555);
	/* The copies need room, the blocks that they leave may get filled. */
	must(ftruncate(fill, file_size(fill) - 4 * N * PAGE));
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		check_own_data(buf, i);
	}
	job_succeeds(&job);
	check_replaced(&r);
	check_all_pages(fill, 0x5555, "file that filled the disk");
	must(ftruncate(fd[0], 0));
}

static void write_waits(const struct env *e)
{
	replacing_waits(e, BY_WRITE);
}

static void part_write_waits(const struct env *e)
{
	replacing_waits(e, BY_PART);
}

static void store_waits(const struct env *e)
{
	replacing_waits(e, BY_STORE);
}

static void unshare_waits(const struct env *e)
{
	replacing_waits(e, BY_UNSHARE);
}

/* The pin goes through the clone, which keeps its entry: that is enough. */
static void replaced_beside_a_clone(const struct env *e)
{
	struct replacing r = { .how = BY_WRITE };
	struct job copy = { .op = OP_CALL, .call = do_replace, .arg = &r };
	struct job cut = { .op = OP_TRUNCATE, .first = 0 };
	char buf[PAGE], *q;
	struct pin pin;
	int fd[2], fill;

	leave_free(e, LEFT);
	make_clones(e, fd);
	r.fd = fd[0];
	r.map = map_file(fd[0], N, RW);
	q = map_file(fd[1], N, RW);
	for (size_t i = 0; i < N; i++) {
		check_page(r.map + i * PAGE, 100 + i, "a");
		check_page(q + i * PAGE, 100 + i, "b");
	}
	pin_pages(&pin, q, N);
	job_start(&copy);
	job_sleeps(&copy);	/* or has ended: free to choose */
	cut.fd = fd[1];
	job_start(&cut);
	job_sleeps(&cut);
	check(!copy.done || !cut.done, "no one waits for the pin");
	fill = fill_free_space(e, "fill", 0x5555);
	must(ftruncate(fill, file_size(fill) - 4 * N * PAGE));
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		check_own_data(buf, i);
	}
	job_succeeds(&copy);
	job_succeeds(&cut);
	check_replaced(&r);
	check_all_pages(fill, 0x5555, "file that filled the disk");
}

static const struct test tests[] = {
	{ "R17 write(2) leaves no block of a clone to a pin", write_waits, BOUND },
	{ "R17 write(2) inside a page leaves no block of a clone to a pin",
	  part_write_waits, BOUND },
	{ "R17 a store leaves no block of a clone to a pin", store_waits, BOUND },
	{ "R17 unshare leaves no block of a clone to a pin", unshare_waits, BOUND },
	{ "R17 write(2) beside a clone that is pinned", replaced_beside_a_clone, BOUND },
	{ }
};

GROUP(reflink_replace, tests);
