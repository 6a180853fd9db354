// SPDX-License-Identifier: GPL-2.0
/* Direct I/O in flight into and out of a mapping: pins taken with FOLL_PIN. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

struct transfer {
	int fd;
	char *buf;
	size_t pages;
	bool write;
	ssize_t rc;
	int err;
	pthread_t thread;
	atomic_int tid, done;
};

static void *transfer_main(void *arg)
{
	struct transfer *t = arg;

	t->tid = gettid();
	t->rc = t->write ? pwrite(t->fd, t->buf, t->pages * PAGE, 0) :
			   pread(t->fd, t->buf, t->pages * PAGE, 0);
	t->err = errno;
	t->done = 1;
	return NULL;
}

static void transfer_start(struct transfer *t)
{
	check(!pthread_create(&t->thread, NULL, transfer_main, t), "no thread");
}

static void transfer_join(struct transfer *t)
{
	pthread_join(t->thread, NULL);
	check(t->rc == (ssize_t)(t->pages * PAGE), "direct I/O: %s",
	      t->rc < 0 ? strerror(t->err) : "short");
}

static char *read_in_flight(struct slow_file *slow, struct transfer *t, int fd)
{
	char *p = map_file(fd, N, RW);

	slow_file_start(slow, 700);
	t->fd = must(open(slow->path, O_RDONLY | O_DIRECT));
	t->buf = p + 4 * PAGE;
	t->pages = 4;
	transfer_start(t);
	slow_file_wait_held(slow);
	return p;
}

static void read_lands_in_its_page(const struct env *e)
{
	struct transfer t = { 0 };
	struct slow_file slow;
	int fd = create_file(e, "f", N, 100);
	char *p = read_in_flight(&slow, &t, fd);

	slow_file_release(&slow);
	transfer_join(&t);
	for (size_t i = 0; i < N; i++) {
		uint64_t want = i >= 4 && i < 8 ? 696 + i : 100 + i;

		check_page(p + i * PAGE, want, "mapping");
		check_file_page(fd, i, want, "read(2)");
	}
	close(t.fd);
	slow_file_stop(&slow);
}

static void waits_for_read(const struct env *e, enum op op)
{
	struct job job = { .op = op, .first = 4, .pages = 4 };
	struct transfer t = { 0 };
	struct slow_file slow;
	uint64_t block;
	int fill;

	job.fd = create_file(e, "f", N, 100);
	block = file_block(job.fd, 4);
	read_in_flight(&slow, &t, job.fd);
	job_start(&job);
	check(job_sleeps(&job), "%s did not wait for the I/O", op_name[op]);
	/* Were a block free by now, the answer would land in this file. */
	fill = fill_free_space(e, "fill", 0x5555);
	slow_file_release(&slow);
	transfer_join(&t);
	job_succeeds(&job);
	check_all_pages(fill, 0x5555, "file that filled the disk");
	/* Neither zeroes nor an insertion free a block. */
	if (op != OP_ZERO && op != OP_INSERT)
		check_given_out(e, block, op == OP_TRUNCATE ? N - 4 : 4);
	close(t.fd);
	slow_file_stop(&slow);
	close(fill);
	must(unlink(in_dir(e, "fill")));
	close(job.fd);
}

static void breaks_wait_for_reads(const struct env *e)
{
	const enum op op[] = { OP_TRUNCATE, OP_PUNCH, OP_ZERO, OP_COLLAPSE, OP_INSERT };

	leave_free(e, LEFT);
	for (size_t i = 0; i < ARRAY_SIZE(op); i++)
		waits_for_read(e, op[i]);
}

/* The truncate gives up, the file keeps the block, the I/O lands in the file. */
static void interrupted_beside_read(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct transfer t = { 0 };
	struct slow_file slow;
	uint64_t block;
	char *p;
	int fill;

	leave_free(e, LEFT);
	job.fd = create_file(e, "f", N, 100);
	block = file_block(job.fd, 0);
	p = read_in_flight(&slow, &t, job.fd);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait for the I/O");
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0 && job.err == EINTR, "interrupted truncate");
	fill = fill_free_space(e, "fill", 0x5555);
	slow_file_release(&slow);
	transfer_join(&t);
	for (size_t i = 0; i < N; i++) {
		uint64_t want = i >= 4 && i < 8 ? 696 + i : 100 + i;

		check_page(p + i * PAGE, want, "mapping");
		check_file_page(job.fd, i, want, "read(2)");
	}
	check_all_pages(fill, 0x5555, "file that filled the disk");
	must(ftruncate(job.fd, 0));
	check_given_out(e, block, N);
	close(t.fd);
	slow_file_stop(&slow);
}

static void disjoint_read_does_not_block(const struct env *e)
{
	struct transfer t = { 0 };
	struct slow_file slow;
	int fd = create_file(e, "f", N, 100);
	char *p = read_in_flight(&slow, &t, fd);

	must(do_op(OP_PUNCH, fd, 0, 4));
	must(ftruncate(fd, 8 * PAGE));
	slow_file_release(&slow);
	transfer_join(&t);
	for (size_t i = 0; i < 8; i++)
		check_page(p + i * PAGE, i < 4 ? 0 : 696 + i, "mapping");
	close(t.fd);
	slow_file_stop(&slow);
}

/*
 * A block device whose writes complete in a timer interrupt, seconds later. A
 * write of more than 256 pages drops its references there, with irqs off.
 */
static void last_reference_in_irq(const struct env *e)
{
	struct transfer t = { .write = true, .pages = 320 };
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char inflight[64];
	char *p;

	system("modprobe -r null_blk 2>/dev/null");
	check(!system("modprobe null_blk gb=1 bs=4096 irqmode=2 completion_nsec=4000000000"),
	      "no null_blk in this kernel");
	t.fd = must(open("/dev/nullb0", O_WRONLY | O_DIRECT));
	job.fd = create_file(e, "f", t.pages, 100);
	p = map_file(job.fd, t.pages, RW);
	t.buf = p;
	transfer_start(&t);
	do {
		check(!t.done, "the write ended at once");
		check(read_text("/sys/block/nullb0/inflight", inflight, sizeof(inflight)),
		      "no inflight figure");
	} while (atoi(inflight + strcspn(inflight, "123456789")) == 0);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait for the I/O");
	job_succeeds(&job);
	transfer_join(&t);
	close(t.fd);
	check(!system("modprobe -r null_blk"), "cannot unload null_blk");
}

static const struct test tests[] = {
	{ "R2 direct I/O into a mapping lands in the file", read_lands_in_its_page, EVERYWHERE },
	{ "R3 the last reference goes in a timer interrupt", last_reference_in_irq, EVERYWHERE },
	{ "R6 every operation waits for direct I/O, which lands in no other file",
	  breaks_wait_for_reads, EVERYWHERE },
	{ "R6 direct I/O survives an interrupted truncate", interrupted_beside_read, EVERYWHERE },
	{ "R8 direct I/O outside the range keeps nobody waiting",
	  disjoint_read_does_not_block, BOUND_ONLY },
	{ }
};

GROUP(direct, tests);
