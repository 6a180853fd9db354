// SPDX-License-Identifier: GPL-2.0
/* Eviction with a pin: it cannot fail, so it waits and says for what. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)8)

static ino_t inode_of(int fd)
{
	struct stat st;

	must(fstat(fd, &st));
	return st.st_ino;
}

struct evicted {
	ino_t ino;
	uint64_t block;		/* the first one of N */
};

/* Nothing but the name and the pin is left of the file; the job unlinks it. */
static struct evicted start_eviction(const struct env *e, struct job *job, struct pin *pin)
{
	int fd = create_file(e, "f", N, 100);
	char *p = map_file(fd, N, RW);
	struct evicted file = { inode_of(fd), file_block(fd, 0) };

	pin_pages(pin, p + 3 * PAGE, 2);
	must(munmap(p, N * PAGE));
	close(fd);
	*job = (struct job) { .op = OP_UNLINK, .path = in_dir(e, "f") };
	job_start(job);
	check(job_sleeps(job), "unlink did not wait for the pin");
	return file;
}

static void eviction_waits(const struct env *e)
{
	struct evicted file;
	struct pin pin;
	struct job job;
	char buf[PAGE];
	int fill;

	leave_free(e, LEFT);
	file = start_eviction(e, &job, &pin);
	fill = fill_free_space(e, "fill", 0x5555);
	for (size_t i = 0; i < 2; i++) {
		check(!job.done, "the eviction ended with a pin there");
		unpin_page(&pin, buf);
		check_page(buf, 103 + i, "page in the pipe");
	}
	job_succeeds(&job);
	check_all_pages(fill, 0x5555, "file that filled the disk");
	check_given_out(e, file.block, N);
}

static void eviction_after_an_interrupt(const struct env *e)
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
	pin_pages(&pin, p + 3 * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait for the pin");
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0, "the interrupted truncate succeeded");
	must(munmap(p, N * PAGE));
	close(job.fd);
	job = (struct job) { .op = OP_UNLINK, .path = in_dir(e, "f") };
	job_start(&job);
	check(job_sleeps(&job), "unlink did not wait for the pin");
	fill = fill_free_space(e, "fill", 0x5555);
	check(!job.done, "the eviction ended with a pin there");
	unpin_page(&pin, buf);
	check_page(buf, 103, "page in the pipe");
	job_succeeds(&job);
	check_all_pages(fill, 0x5555, "file that filled the disk");
	check_given_out(e, block, N);
}

static void eviction_speaks(const struct env *e)
{
	int kmsg = kmsg_open();
	char ino[64], task[64];
	struct pin pin;
	struct job job;

	snprintf(ino, sizeof(ino), "inode %lu ", (unsigned long)start_eviction(e, &job, &pin).ino);
	snprintf(task, sizeof(task), "task %d ", job.tid);
	check(kmsg_wait(kmsg, 100, MODULE_NAME ": ", task, ino, "page offset 3", "pfn 0x",
			"1 pins", NULL),
	      "no line in the kernel log names %s, %s, page offset 3, pfn and pins", task, ino);
	check(!job.done, "the eviction ended with a pin there");
	unpin_all(&pin);
	job_succeeds(&job);
}

/* The last close of an unlinked file frees it once the pin is gone. */
static void close_of_unlinked_file(const struct env *e)
{
	int fd = create_file(e, "f", N, 100);
	char *p = map_file(fd, N, RW);
	struct pin pin;

	must(unlink(in_dir(e, "f")));
	pin_pages(&pin, p, N);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "unlinked file");
	unpin_all(&pin);
	must(munmap(p, N * PAGE));
	close(fd);
}

static const struct test tests[] = {
	{ "R12 eviction waits for a page in a pipe", eviction_waits, EVERYWHERE },
	{ "R6 eviction after an interrupted truncate waits for the pin",
	  eviction_after_an_interrupt, EVERYWHERE },
	{ "R12 eviction says what it waits for", eviction_speaks, BOUND_ONLY },
	{ "R12 an unlinked file lives until its last user goes",
	  close_of_unlinked_file, EVERYWHERE },
	{ }
};

GROUP(evict, tests);
