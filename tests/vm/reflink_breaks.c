// SPDX-License-Identifier: GPL-2.0
/*
 * Files that share blocks: a break waits for nobody's business but its own, and no block
 * is reused under a pin.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "reflink.h"

/* A mapping of b, used and idle, is no reason for a break of a to wait. */
static void other_mappings_keep_nobody(const struct env *e)
{
	const enum op ops[] = { OP_PUNCH, OP_ZERO, OP_COLLAPSE, OP_INSERT, OP_TRUNCATE };

	for (size_t k = 0; k < ARRAY_SIZE(ops); k++) {
		char *p, *q;
		int fd[2];

		make_clones(e, fd);
		p = map_file(fd[0], N, RW);
		q = map_file(fd[1], N, RW);
		expect(p, fd[0], 0, N, 100, "a");
		expect(q, fd[1], 0, N, 100, "b");
		must(do_op(ops[k], fd[0], 4, 4));
		expect(q, fd[1], 0, N, 100, "b after a break of a");
		must(munmap(p, N * PAGE));
		must(munmap(q, N * PAGE));
		close(fd[0]);
		close(fd[1]);
	}
}

/* The same when the break has met a pin, which has ended since. */
static void other_mappings_after_a_pin(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	char *p, *q;
	int fd[2];

	make_clones(e, fd);
	p = map_file(fd[0], N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	q = map_file(fd[1], N, RW);
	expect(q, fd[1], 0, N, 100, "b");
	job.fd = fd[0];
	job_start(&job);
	job_sleeps(&job);
	unpin_all(&pin);
	job_succeeds(&job);
	expect(q, fd[1], 0, N, 100, "b after the truncate of a");
}

/*
 * A page that both files track, in a pipe: the first break takes nothing from
 * anybody and does not wait, the last one does.
 */
static void last_break_waits(const struct env *e)
{
	leave_free(e, LEFT);
	for (int k = 0; k < 4; k++) {
		struct job job = { .op = OP_TRUNCATE, .first = 0 };
		char *p[2], buf[PAGE];
		int fd[2], fill;
		struct pin pin;

		make_clones(e, fd);
		for (int i = 0; i < 2; i++) {
			p[i] = map_file(fd[i], N, RW);
			expect(p[i], fd[i], 0, N, 100, "before");
		}
		/* Whose mapping the pin was taken through says nothing. */
		pin_pages(&pin, p[k / 2] + 3 * PAGE, 2);
		must(ftruncate(fd[k % 2], 0));
		expect(p[!(k % 2)], fd[!(k % 2)], 0, N, 100, "the other one");
		job.fd = fd[!(k % 2)];
		job_start(&job);
		check(job_sleeps(&job), "the last break did not wait for the pin");
		fill = fill_free_space(e, "fill", 0x5555);
		for (size_t i = 0; i < 2; i++) {
			check(!job.done, "the last break ended with a pin there");
			unpin_page(&pin, buf);
			check_page(buf, 103 + i, "page in the pipe");
		}
		job_succeeds(&job);
		check_all_pages(fill, 0x5555, "file that filled the disk");
		close(fill);
		must(unlink(in_dir(e, "fill")));
		for (int i = 0; i < 2; i++) {
			must(munmap(p[i], N * PAGE));
			close(fd[i]);
		}
	}
}

/* Pinned through a, which alone tracks it. */
static void only_tracker_waits(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 3, .pages = 1 };
	char *p, buf[PAGE];
	struct pin pin;
	int fd[2];

	make_clones(e, fd);
	p = map_file(fd[0], N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	job.fd = fd[0];
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	unpin_page(&pin, buf);
	check_page(buf, 103, "page in the pipe");
	job_succeeds(&job);
	check_page(p + 3 * PAGE, 0, "punched");
	expect(NULL, fd[1], 0, N, 100, "b");
}

static void breaks_of_both(const struct env *e)
{
	struct job job[2];
	char *p[2], buf[PAGE];
	int fd[2], fill;
	struct pin pin;

	leave_free(e, LEFT);
	make_clones(e, fd);
	for (int i = 0; i < 2; i++) {
		p[i] = map_file(fd[i], N, RW);
		expect(p[i], fd[i], 0, N, 100, "before");
		job[i] = (struct job) { .op = OP_TRUNCATE, .fd = fd[i] };
	}
	pin_pages(&pin, p[0] + 7 * PAGE, 1);
	job_start(&job[0]);
	job_start(&job[1]);
	check(job_sleeps(&job[0]) | job_sleeps(&job[1]), "neither break waited");
	fill = fill_free_space(e, "fill", 0x5555);
	unpin_page(&pin, buf);
	check_page(buf, 107, "page in the pipe");
	job_succeeds(&job[0]);
	job_succeeds(&job[1]);
	check_all_pages(fill, 0x5555, "file that filled the disk");
}

/* While a break of a waits, b faults, stores, writes and is cloned again. */
static void other_is_free_meanwhile(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char *p, *q, buf[PAGE];
	struct pin pin;
	int fd[2], c;

	make_clones(e, fd);
	p = map_file(fd[0], N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	job.fd = fd[0];
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	q = map_file(fd[1], N, RW);
	for (size_t i = 4; i < N; i++)
		check_page(q + i * PAGE, 100 + i, "b meanwhile");
	fill_page(q + 8 * PAGE, 1);
	fill_page(buf, 2);
	write_at(fd[1], buf, PAGE, 9 * PAGE);
	c = new_file(e, "c");
	clone_all(c, fd[1]);
	check_file_page(c, 8, 1, "clone");
	check_file_page(c, 3, 103, "clone");
	must(do_op(OP_PUNCH, fd[1], 12, 2));
	check_page(q + 3 * PAGE, 103, "b has the pinned block too");
	unpin_page(&pin, buf);
	check_page(buf, 103, "page in the pipe");
	job_succeeds(&job);
	check_page(q + 3 * PAGE, 103, "b after the truncate of a");
	check_page(q + 8 * PAGE, 1, "b after the truncate of a");
	must(ftruncate(fd[1], 0));
	check_file_page(c, 3, 103, "clone after both truncates");
}

static void eviction_of_a_clone(const struct env *e)
{
	struct job job = { .op = OP_UNLINK, .path = in_dir(e, "b") };
	char *p[2], buf[PAGE];
	struct pin pin;
	int fd[2], fill;

	leave_free(e, LEFT);
	make_clones(e, fd);
	for (int i = 0; i < 2; i++) {
		p[i] = map_file(fd[i], N, RW);
		expect(p[i], fd[i], 0, N, 100, "before");
	}
	pin_pages(&pin, p[0] + 2 * PAGE, 1);
	for (int i = 0; i < 2; i++) {
		must(munmap(p[i], N * PAGE));
		close(fd[i]);
	}
	/* The other one still tracks it. */
	must(unlink(in_dir(e, "a")));
	job_start(&job);
	check(job_sleeps(&job), "the last unlink did not wait");
	fill = fill_free_space(e, "fill", 0x5555);
	unpin_page(&pin, buf);
	check_page(buf, 102, "page in the pipe");
	job_succeeds(&job);
	check_all_pages(fill, 0x5555, "file that filled the disk");
}

static const struct test tests[] = {
	{ "R11 a mapping of one clone keeps no break of the other waiting",
	  other_mappings_keep_nobody, XFS },
	{ "R11 a mapping of one clone keeps no break of the other waiting after a pin",
	  other_mappings_after_a_pin, BOUND },
	{ "R11 only the last break of a shared page waits for its pin", last_break_waits, BOUND },
	{ "R11 the break of the only clone in use waits", only_tracker_waits, XFS },
	{ "R11 breaks of both clones leave no block to a pin", breaks_of_both, XFS },
	{ "R11 a clone is in use while a break of the other waits",
	  other_is_free_meanwhile, BOUND },
	{ "R11 eviction of one clone does not wait, of the last it does",
	  eviction_of_a_clone, BOUND },
	{ }
};

GROUP(reflink_breaks, tests);
