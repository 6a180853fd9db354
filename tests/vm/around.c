// SPDX-License-Identifier: GPL-2.0
/*
 * What a read fault maps besides its own page: how much of a file that is read
 * in sequence, nothing that it must not, and in no other way than by a fault of
 * its own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debugfs.h"
#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define AROUND	((size_t)16)	/* pages that a fault maps at most */
#define N	((size_t)64)
#define MANY	((size_t)4096)
#define MOST	((size_t)24)	/* pages that a punch frees at most */
#define STAMP	100
#define ANY	SIZE_MAX
/* As xfs_fs.h has them, for which a package is needed. */
#define XFS_IOC_GOINGDOWN	_IOR('X', 125, uint32_t)
#define XFS_FSOP_GOING_FLAGS_NOLOGFLUSH	2

static void load(const char *p, size_t page)
{
	(void)*(volatile const char *)(p + page * PAGE);
}

/* Three pages in sequence, with the last of which others are mapped. */
static void load_three(const char *p, size_t page)
{
	for (size_t i = 0; i < 3; i++)
		load(p, page + i);
}

/* How many pages of a mapping are mapped by the module, or by fs/dax.c if that is not ANY. */
static void expect_present(const struct env *e, const char *p, size_t pages, size_t bound,
			   size_t other, const char *what)
{
	size_t present = present_pages(p, pages), wanted = e->bound ? bound : other;

	if (wanted == ANY)
		return;
	check(present == wanted, "%s: %zu pages are mapped, not %zu", what, present, wanted);
	check(rss_kib(p, pages) == (long)(wanted * PAGE / 1024), "%s: Rss is %ld KiB, not %zu",
	      what, rss_kib(p, pages), wanted * PAGE / 1024);
}

static void expect_tracked(const struct env *e, long tracked, const char *what)
{
	struct counts small, large;

	if (!e->bound)
		return;
	check(read_mount(e, &small, &large), "the mount is not listed");
	check(small.tracked == tracked && !small.zapped,
	      "%s: %ld entries are tracked and %ld zapped, not %ld and 0", what, small.tracked,
	      small.zapped, tracked);
}

/* Two columns of the counters of faults. */
struct around {
	long read, around;
};

static struct around read_around(const struct env *e)
{
	char header[1024], line[1024], dev[16], *h, *l, *sh, *sl;
	struct around n = { -1, -1 };
	FILE *f = fopen("/sys/kernel/debug/rust_fsdax/faults", "re");

	check(f, "faults: %m");
	dev_of(e, dev);
	check(fgets(header, sizeof(header), f), "faults is empty");
	do
		check(fgets(line, sizeof(line), f), "faults has no line for %s", dev);
	while (strncmp(line, dev, strlen(dev)) || line[strlen(dev)] != ' ');
	fclose(f);
	h = strtok_r(header, "\n ", &sh);
	l = strtok_r(line, "\n ", &sl);
	for (; h && l; h = strtok_r(NULL, "\n ", &sh), l = strtok_r(NULL, "\n ", &sl)) {
		if (!strcmp(h, "read.0"))
			n.read = atol(l);
		if (!strcmp(h, "around"))
			n.around = atol(l);
	}
	check(n.read >= 0 && n.around >= 0, "faults has not read.0 and around");
	return n;
}

/* Extents of a file, as far as its blocks tell. */
static size_t pieces_of(int fd, size_t pages)
{
	size_t pieces = 1;
	uint64_t last = file_block(fd, 0);

	for (size_t i = 1; i < pages; i++) {
		uint64_t block = file_block(fd, i);

		pieces += block != last + 1;
		last = block;
	}
	return pieces;
}

static void in_sequence(const struct env *e)
{
	int fd = create_file(e, "f", MANY, STAMP);
	char *p = map_file(fd, MANY, PROT_READ);
	struct around before = { 0 }, now;
	size_t most = MANY / AROUND + 2 * MANY / HUGE + 3 * pieces_of(fd, MANY);
	long faults;

	if (e->bound)
		before = read_around(e);
	faults = minor_faults();
	for (size_t i = 0; i < MANY; i++)
		load(p, i);
	faults = minor_faults() - faults;
	if (e->bound)
		check(faults <= (long)most + 4, "%ld faults, not %zu", faults, most);
	else
		check(faults >= (long)MANY, "%ld faults for %zu pages", faults, MANY);
	expect_present(e, p, MANY, MANY, MANY, "all of it");
	expect_tracked(e, MANY, "read");
	if (e->bound) {
		now = read_around(e);
		now.read -= before.read;
		now.around -= before.around;
		check(now.read <= (long)most && now.read + now.around == (long)MANY,
		      "%ld read faults and %ld pages around them, of %zu", now.read,
		      now.around, MANY);
	}
	for (size_t i = 0; i < MANY; i++)
		check_page(p + i * PAGE, STAMP + i, "read in sequence");
	/* Another mapping of pages that are tracked already. */
	must(munmap(p, MANY * PAGE));
	expect_tracked(e, MANY, "unmapped");
	p = map_file(fd, MANY, PROT_READ);
	faults = minor_faults();
	for (size_t i = 0; i < MANY; i++)
		load(p, i);
	faults = minor_faults() - faults;
	check(!e->bound || faults <= (long)most + 4, "%ld faults of a second mapping", faults);
	for (size_t i = 0; i < MANY; i++)
		check_page(p + i * PAGE, STAMP + i, "second mapping");
	must(ftruncate(fd, 0));
	expect_present(e, p, MANY, 0, 0, "truncated");
	expect_tracked(e, 0, "truncated");
}

static void at_random(const struct env *e)
{
	int fd = create_file(e, "f", MANY, STAMP);
	char *p = map_file(fd, MANY, PROT_READ);
	struct rng rng = rng_of(e->seed, 0, 0);
	size_t *order = calloc(MANY, sizeof(*order));
	long faults;

	check(order, "no memory");
	for (size_t i = 0; i < MANY; i++) {
		size_t j = rnd(&rng, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	/* What is read alone is mapped alone. */
	for (size_t i = 0; i < 16; i++)
		load(p, 2 * i * AROUND + 7);
	expect_present(e, p, MANY, 16, 16, "here and there");
	expect_tracked(e, 16, "here and there");
	faults = minor_faults();
	for (size_t i = 0; i < MANY; i++)
		check_page(p + order[i] * PAGE, STAMP + order[i], "at random");
	faults = minor_faults() - faults;
	/* In the end most pages have the two before them mapped: few have a fault of their own. */
	check(e->bound ? faults < (long)(MANY - MANY / 8) : faults >= (long)(MANY - 16),
	      "%ld faults for %zu pages", faults, MANY);
	expect_present(e, p, MANY, MANY, MANY, "at random");
	expect_tracked(e, MANY, "at random");
	free(order);
}

static void up_to_the_end_of_what_is_mapped(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, 20, PROT_READ);

	load(p, 0);
	expect_present(e, p, 20, 1, 1, "the first page");
	load(p, 1);
	expect_present(e, p, 20, 2, 2, "the second page");
	load(p, 2);
	expect_present(e, p, 20, AROUND, 3, "the first window");
	load(p, AROUND);
	load(p, AROUND + 1);
	expect_present(e, p, 20, 20, 5, "the end of the mapping");
	expect_tracked(e, e->bound ? 20 : 0, "the end of the mapping");
	for (size_t i = 0; i < 20; i++)
		check_page(p + i * PAGE, STAMP + i, "the mapping");
}

static void up_to_the_end_of_the_file(const struct env *e)
{
	int fd = create_whole(e, "f", 21, STAMP);
	char *p, byte = 0;

	/* A page and a bit, which counts as a page. */
	must(ftruncate(fd, 20 * PAGE + 100));
	p = map_file(fd, N, PROT_READ);
	load_three(p, AROUND);
	expect_present(e, p, N, 5, 3, "the end of the file");
	check(try_load(p + 21 * PAGE, &byte) == SIGBUS, "no SIGBUS behind the end");
	check(!try_load(p + 20 * PAGE, &byte), "SIGBUS in the last page");
	must(ftruncate(fd, N * PAGE));
	check(!try_load(p + 21 * PAGE, &byte) && !byte, "nothing behind the old end");
	must(ftruncate(fd, AROUND + 1));
	check(try_load(p + AROUND * PAGE, &byte) == SIGBUS, "no SIGBUS behind the new end");
}

static void up_to_the_end_of_an_extent(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p;

	must(do_op(OP_PUNCH, fd, 5, 2));
	p = map_file(fd, N, PROT_READ);
	load_three(p, 0);
	expect_present(e, p, N, 5, 3, "up to a hole");
	check_page(p + 5 * PAGE, 0, "hole");
	check_page(p + 6 * PAGE, 0, "hole");
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, i == 5 || i == 6 ? 0 : STAMP + i, "beside a hole");
}

static void within_a_page_table(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_skewed(fd, N, HUGE - 10, PROT_READ, MAP_SHARED);

	load_three(p, 6);
	expect_present(e, p, N, 4, 3, "the end of a page table");
	load(p, 10);
	load(p, 11);
	expect_present(e, p, N, 6, 5, "the start of the next one");
	load(p, 12);
	expect_present(e, p, N, 4 + AROUND, 6, "in the next one");
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, STAMP + i, "across page tables");
}

/* Addresses and page offsets are not aligned alike, so that a window is in two nodes. */
static void wherever_it_is_mapped(const struct env *e)
{
	const size_t pages = 3 * N;
	int fd = create_whole(e, "f", pages, STAMP);

	for (size_t skew = 0; skew < AROUND; skew += 3) {
		char *p = map_skewed(fd, pages, 1 + skew, PROT_READ, MAP_SHARED);

		for (size_t i = 0; i < pages; i++)
			check_page(p + i * PAGE, STAMP + i, "skewed");
		expect_present(e, p, pages, pages, pages, "skewed");
		if (skew % 2)
			must(ftruncate(fd, 0));
		must(munmap(p, pages * PAGE));
		if (skew % 2) {
			close(fd);
			fd = create_whole(e, "f", pages, STAMP);
		}
	}
}

static void not_where_it_is_not_wanted(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, N, PROT_READ);

	must(madvise(p, N * PAGE, MADV_RANDOM));
	load_three(p, 0);
	expect_present(e, p, N, 3, 3, "MADV_RANDOM");
	must(madvise(p, N * PAGE, MADV_NORMAL));
	load(p, 3);
	expect_present(e, p, N, AROUND, 4, "MADV_NORMAL");

	p = map_skewed(fd, N, 0, RW, MAP_SHARED_VALIDATE | MAP_SYNC);
	load_three(p, 0);
	expect_present(e, p, N, 3, 3, "MAP_SYNC");
}

static void not_for_stores(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, N, RW);
	long flushed;

	fill_page(p, STAMP);
	fill_page(p + PAGE, STAMP + 1);
	fill_page(p + 2 * PAGE, STAMP + 2);
	expect_present(e, p, N, 3, 3, "stores");
	must(fsync(fd));
	load(p, 3);
	expect_present(e, p, N, AROUND, 4, "a load after stores");
	flush_count_start();
	must(fsync(fd));
	flushed = flush_count_stop();
	check(!flushed, "%ld pages are dirty that were read", flushed);
	/* Each store is found. */
	fill_page(p + 3 * PAGE, STAMP + 1003);
	fill_page(p + 9 * PAGE, STAMP + 1009);
	flush_count_start();
	must(fsync(fd));
	flushed = flush_count_stop();
	check(flushed == 2, "%ld pages are flushed after two stores", flushed);
	check_file_page(fd, 3, STAMP + 1003, "stored to");
	check_file_page(fd, 9, STAMP + 1009, "stored to");
	check_page(p + 4 * PAGE, STAMP + 4, "not stored to");
}

static void private_mappings(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_skewed(fd, N, 0, RW, MAP_PRIVATE);

	load(p, 0);
	fill_page(p + PAGE, 1);
	expect_present(e, p, N, 2, 2, "a private store");
	fill_page(p + 5 * PAGE, 5);
	load(p, 2);
	expect_present(e, p, N, AROUND, 4, "a load beside it");
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, i == 1 || i == 5 ? i : STAMP + i, "private");
	fill_page(p + 7 * PAGE, 7);
	for (size_t i = 0; i < N; i++)
		check_file_page(fd, i, STAMP + i, "the file");
	check_page(p + 7 * PAGE, 7, "a copy of what was mapped around");
}

/* Whether the kernel says so of a page that was just stored to. */
static bool is_soft_dirty(const void *at)
{
	int fd = must(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	uint64_t word;

	check(pread(fd, &word, sizeof(word), (uintptr_t)at / PAGE * sizeof(word)) == sizeof(word),
	      "pagemap: %m");
	close(fd);
	return word >> 55 & 1;
}

static void not_where_somebody_watches(const struct env *e)
{
	bool soft_dirty;
	int fd = create_whole(e, "f", N, STAMP), uffd;
	char *p = map_file(fd, N, RW);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, N * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		{ (uintptr_t)p + 8 * PAGE, PAGE }, UFFDIO_WRITEPROTECT_MODE_WP
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		skip("the kernel has no userfaultfd that write-protects files");
	must(ioctl(uffd, UFFDIO_REGISTER, &reg));
	must(ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
	load_three(p, 0);
	expect_present(e, p, 8, 3, 3, "userfaultfd");
	close(uffd);

	p = map_file(fd, N, RW);
	soft_dirty = is_soft_dirty(&api);
	must(-!write_text("/proc/self/clear_refs", "4"));
	load_three(p, 0);
	expect_present(e, p, N, soft_dirty ? 3 : AROUND, 3, "clear_refs");
}

/* Whoever takes a block from the file takes what was mapped around, and waits for nobody. */
static void a_break_does_not_wait(const struct env *e)
{
	static const enum op ops[] = { OP_PUNCH, OP_ZERO, OP_TRUNCATE };
	char byte;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		int fd = create_whole(e, "f", N, STAMP);
		char *p = map_file(fd, N, PROT_READ), *q = map_file(fd, N, PROT_READ);
		struct job job = { .op = ops[i], .fd = fd, .first = 7, .pages = 2 };

		load_three(p, 0);
		load_three(q, 2);
		expect_present(e, p, N, AROUND, 3, "before");
		expect_present(e, q, N, AROUND - 2, 3, "before");
		job_start(&job);
		job_succeeds(&job);
		if (ops[i] == OP_TRUNCATE) {
			expect_present(e, p, N, 7, ANY, "truncated");
			check(try_load(p + 7 * PAGE, &byte) == SIGBUS,
			      "no SIGBUS after a truncate");
			expect_tracked(e, 7, "truncated");
		} else {
			expect_present(e, p, N, AROUND - 2, ANY, op_name[ops[i]]);
			check_page(p + 7 * PAGE, 0, op_name[ops[i]]);
			check_page(q + 8 * PAGE, 0, op_name[ops[i]]);
			check_page(q + 9 * PAGE, STAMP + 9, op_name[ops[i]]);
		}
		must(munmap(p, N * PAGE));
		must(munmap(q, N * PAGE));
		must(ftruncate(fd, 0));
		expect_tracked(e, 0, "at the end");
		close(fd);
	}
}

/* A page that was mapped around and is pinned is waited for; its neighbours are not. */
static void a_pin_is_waited_for(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, N, PROT_READ);
	struct job job = { .op = OP_PUNCH, .fd = fd, .first = 9, .pages = 1 };
	struct pin pin;
	char buf[PAGE];

	load_three(p, 0);
	pin_pages(&pin, p + 9 * PAGE, 1);
	must(do_op(OP_PUNCH, fd, 8, 1));
	must(do_op(OP_PUNCH, fd, 10, 1));
	job_start(&job);
	check(job_sleeps(&job), "a punch did not wait for a pin");
	/* The one that is waited for is in nobody's way, nor is it mapped with others. */
	load(p, 4);
	load(p, 5);
	expect_present(e, p, N, AROUND - 3, ANY, "beside what is waited for");
	check_page(p + 2 * PAGE, STAMP + 2, "beside what is waited for");
	/* While a break sleeps it does not find that others mapped more around. */
	load_three(p, 2 * AROUND);
	expect_present(e, p, N, AROUND - 3 + 3, ANY, "while a break sleeps");
	unpin_page(&pin, buf);
	check_page(buf, STAMP + 9, "pinned");
	job_succeeds(&job);
	unpin_all(&pin);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, i >= 8 && i <= 10 ? 0 : STAMP + i, "punched");
}

/* A neighbour that is zapped and busy is left alone. */
static void a_neighbour_that_is_waited_for(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, N, PROT_READ);
	struct job job = { .op = OP_PUNCH, .fd = fd, .first = 0, .pages = N };
	struct pin pin;

	pin_pages(&pin, p + 9 * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "a punch did not wait for a pin");
	load_three(p, 6);
	expect_present(e, p, N, 3, ANY, "beside what is zapped");
	job_signal(&job);
	job_join(&job);
	check(job.rc == -1, "the punch was not interrupted");
	/* It has no more than the signal to end it, and what it zapped is as it was. */
	load(p, 2);
	load(p, 3);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, STAMP + i, "interrupted");
	unpin_all(&pin);
	must(do_op(OP_PUNCH, fd, 0, N));
	check_page(p + 9 * PAGE, 0, "punched");
}

static void not_what_a_clone_has(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP), clone = create_file(e, "g", 0, 0);
	char *p, *q;

	must(ioctl(clone, FICLONE, fd));
	p = map_file(fd, N, RW);
	q = map_file(clone, N, RW);
	load_three(p, 0);
	expect_present(e, p, N, 3, 3, "a clone");
	for (size_t i = 0; i < N; i++) {
		check_page(p + i * PAGE, STAMP + i, "source");
		check_page(q + i * PAGE, STAMP + i, "clone");
	}
	fill_page(q + 3 * PAGE, 3);
	check_page(p + 3 * PAGE, STAMP + 3, "source after a store to the clone");
	/* Copies are the clone's alone. */
	for (size_t i = 0; i < N; i++)
		fill_page(q + i * PAGE, 1000 + i);
	must(fsync(clone));
	must(munmap(q, N * PAGE));
	q = map_file(clone, N, RW);
	for (size_t i = 0; i < N; i++)
		check_page(q + i * PAGE, 1000 + i, "copies");
	must(do_op(OP_PUNCH, fd, 0, N));
	must(do_op(OP_PUNCH, clone, 0, N));
	expect_tracked(e, 0, "punched");
}

static void not_what_is_poisoned(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, N, RW);
	pid_t child = fork();
	int status;

	check(child >= 0, "fork: %m");
	if (!child) {
		load(p, 9);
		madvise(p + 9 * PAGE, PAGE, MADV_HWPOISON);
		_exit(0);
	}
	check(waitpid(child, &status, 0) == child, "wait: %m");
	load_three(p, 0);
	expect_present(e, p, N, AROUND - 1, ANY, "beside a bad page");
	must(munmap(p, N * PAGE));
	/* Written over it is good again. */
	for (size_t i = 0; i < N; i++) {
		char buf[PAGE];

		fill_page(buf, i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
	}
	must(fsync(fd));
	p = map_file(fd, N, RW);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, i, "written over");
}

/* Readers in sequence, who see of each page what it had or has, or a hole. */
struct reader {
	pthread_t thread;
	int fd;
	size_t skew;
	atomic_int *stop;
};

/* Whoever writes a page is half-way through it now and then. */
static bool is_of(const char *page, uint64_t stamp)
{
	const volatile uint64_t *word = (const volatile uint64_t *)page;

	for (size_t i = 0; i < PAGE / sizeof(*word); i++) {
		const uint64_t is = word[i];

		if (is && is != stamp)
			return false;
	}
	return true;
}

static void *read_on(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(r->stop)) {
		char *p = map_skewed(r->fd, 4 * N, r->skew, PROT_READ, MAP_SHARED);

		for (size_t i = 0; i < 4 * N; i++)
			check(is_of(p + i * PAGE, STAMP + i),
			      "page %zu has what no page of this file has", i);
		must(munmap(p, 4 * N * PAGE));
	}
	return NULL;
}

static void races_with_punches(const struct env *e)
{
	int fd = create_file(e, "f", 4 * N, STAMP), other = create_file(e, "g", N, 7);
	atomic_int stop = 0;
	struct reader readers[2];
	struct rng rng = rng_of(e->seed, 0, 0);
	static char buf[MOST * PAGE];

	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		readers[i] = (struct reader){ .fd = fd, .skew = 3 * i, .stop = &stop };
		check(!pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), "no thread");
	}
	for (int round = 0; round < 100; round++) {
		size_t first = rnd(&rng, 4 * N), pages = 1 + rnd(&rng, 4 * N - first);

		if (pages > MOST)
			pages = MOST;
		must(do_op(OP_PUNCH, fd, first, pages));
		/* Who gets the blocks has other data in them. */
		must(ftruncate(other, 0));
		for (size_t i = 0; i < pages; i++)
			fill_page(buf + i * PAGE, 7);
		check(pwrite(other, buf, pages * PAGE, 0) == (ssize_t)(pages * PAGE), "write: %m");
		for (size_t i = 0; i < pages; i++)
			fill_page(buf + i * PAGE, STAMP + first + i);
		check(pwrite(fd, buf, pages * PAGE, first * PAGE) == (ssize_t)(pages * PAGE),
		      "write: %m");
	}
	atomic_store(&stop, 1);
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		pthread_join(readers[i].thread, NULL);
	for (size_t i = 0; i < 4 * N; i++)
		check_file_page(fd, i, STAMP + i, "in the end");
	must(ftruncate(fd, 0));
	must(ftruncate(other, 0));
	expect_tracked(e, 0, "in the end");
}

/* Pages of 2 MiB that are mapped by 4 KiB: all of them have the same entry. */
static void within_a_large_entry(const struct env *e)
{
	int fd = create_huge(e, "f", 2);
	char *p = map_file_huge(fd, 2 * HUGE, RW), *q;

	for (size_t i = 0; i < 2 * HUGE; i++)
		fill_page(p + i * PAGE, STAMP + i);
	must(fsync(fd));
	q = map_skewed(fd, 2 * HUGE, 5, PROT_READ, MAP_SHARED);
	load_three(q, 0);
	expect_present(e, q, 2 * HUGE, AROUND - 5, 3, "in 2 MiB");
	for (size_t i = 0; i < 2 * HUGE; i++)
		check_page(q + i * PAGE, STAMP + i, "in 2 MiB");
	fill_page(p + 3 * PAGE, 3);
	check_page(q + 3 * PAGE, 3, "stored to by 2 MiB");
	must(do_op(OP_PUNCH, fd, 4, 1));
	check_page(q + 4 * PAGE, 0, "punched");
	check_page(q + 6 * PAGE, STAMP + 6, "not punched");
	must(ftruncate(fd, 0));
	expect_tracked(e, 0, "truncated");
}

/* A fault for which the file system fails maps nothing, and what was mapped before it stays. */
static void not_when_the_file_system_fails(const struct env *e)
{
	int fd = create_whole(e, "f", N, STAMP);
	char *p = map_file(fd, N, PROT_READ), byte;
	uint32_t how = XFS_FSOP_GOING_FLAGS_NOLOGFLUSH;

	must(fsync(fd));
	load(p, 0);
	load(p, 1);
	must(ioctl(fd, XFS_IOC_GOINGDOWN, &how));
	check(try_load(p + 2 * PAGE, &byte) == SIGBUS, "no SIGBUS after a shutdown");
	expect_present(e, p, N, 2, 2, "shut down");
	check_page(p + PAGE, STAMP + 1, "shut down");
	must(munmap(p, N * PAGE));
	must(close(fd));
	must(umount(e->dir));
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	fd = must(open(in_dir(e, "f"), O_RDONLY));
	p = map_file(fd, N, PROT_READ);
	load_three(p, 0);
	expect_present(e, p, N, AROUND, 3, "mounted again");
	expect_tracked(e, AROUND, "mounted again");
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, STAMP + i, "mounted again");
}

/* That the device has it was asked when the 2 MiB became an entry. */
static void not_what_went_bad(const struct env *e)
{
	int fd = create_huge(e, "f", 1);
	char *p = map_file_huge(fd, HUGE, RW), *q;

	for (size_t i = 0; i < HUGE; i++)
		fill_page(p + i * PAGE, STAMP + i);
	must(fsync(fd));
	make_bad(e, file_block(fd, 6));
	q = map_skewed(fd, HUGE, 0, PROT_READ, MAP_SHARED);
	load_three(q, 0);
	/* The driver gives none of a piece that has one. */
	expect_present(e, q, HUGE, 3, 3, "before a bad block");
	load_three(q, 7);
	expect_present(e, q, HUGE, 3 + AROUND - 7, 6, "behind a bad block");
	must(munmap(q, HUGE * PAGE));
	must(munmap(p, HUGE * PAGE));
	must(close(fd));
	must(umount(e->dir));
	forget_bad(e);
}

static const struct test tests[] = {
	{ "a file that is read in sequence has a fault for 64 KiB", in_sequence, 0 },
	{ "a page that is read alone is mapped alone", at_random, 0 },
	{ "nothing is mapped around behind the mapping", up_to_the_end_of_what_is_mapped, 0 },
	{ "nothing is mapped around behind the end of the file", up_to_the_end_of_the_file, 0 },
	{ "nothing is mapped around of another extent", up_to_the_end_of_an_extent, 0 },
	{ "nothing is mapped around by another page table", within_a_page_table, 0 },
	{ "pages are mapped around wherever the file is mapped", wherever_it_is_mapped, 0 },
	{ "pages are mapped around within 2 MiB", within_a_large_entry, 0 },
	{ "nothing is mapped around against advice, or with MAP_SYNC",
	  not_where_it_is_not_wanted, 0 },
	{ "R9 stores map nothing around, and what is mapped around is clean", not_for_stores, 0 },
	{ "private copies stay where pages are mapped around", private_mappings, 0 },
	{ "nothing is mapped around where somebody watches", not_where_somebody_watches, 0 },
	{ "nothing is mapped by a fault for which the file system fails",
	  not_when_the_file_system_fails, XFS_ONLY },
	{ "R6 a break does not wait for what was mapped around", a_break_does_not_wait, 0 },
	{ "R6 a break waits for the pin of what was mapped around", a_pin_is_waited_for,
	  BOUND_ONLY },
	{ "R7 what a break waits for is not mapped around", a_neighbour_that_is_waited_for,
	  BOUND_ONLY },
	{ "R24 nothing is mapped around that a clone has", not_what_a_clone_has, XFS_ONLY },
	{ "R13 a bad page is not mapped around", not_what_is_poisoned, 0 },
	{ "R6 nobody sees another file's data around a punch",
	  races_with_punches, BOUND_ONLY | RACES },
	/* The last one: it gives the device back anew. */
	{ "R13 a block that went bad is not mapped around within 2 MiB", not_what_went_bad, 0 },
	{ }
};

GROUP(around, tests);
