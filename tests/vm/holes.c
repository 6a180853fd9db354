// SPDX-License-Identifier: GPL-2.0
/* Holes and unwritten blocks: the zero page is never a page of the file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)

static int sparse_file(const struct env *e, const char *name, size_t pages)
{
	int fd = create_file(e, name, 0, 0);

	must(ftruncate(fd, pages * PAGE));
	return fd;
}

static void hole_reads_zero(const struct env *e)
{
	int fd = sparse_file(e, "f", 16);
	char *p = map_file(fd, 16, RW);

	for (size_t i = 0; i < 16; i++)
		check_page(p + i * PAGE, 0, "hole");
	must(fsync(fd));
	for (size_t i = 0; i < 16; i++)
		check(!file_block(fd, i), "reading allocated page %zu", i);
	fill_page(p + 5 * PAGE, 1);
	must(fsync(fd));
	for (size_t i = 0; i < 16; i++)
		check(!file_block(fd, i) == (i != 5), "page %zu", i);
}

static void zero_page_blocks_nobody(const struct env *e)
{
	int fd = sparse_file(e, "f", 4);
	char *p = map_file(fd, 4, RW), buf[PAGE];
	struct pin pin;

	check_page(p, 0, "hole");
	pin_pages(&pin, p, 4);
	must(do_op(OP_PUNCH, fd, 0, 2));
	must(ftruncate(fd, 0));
	unpin_page(&pin, buf);
	check_page(buf, 0, "zero page in a pipe");
	unpin_all(&pin);
}

static void store_replaces_zero_page(const struct env *e)
{
	int fd = sparse_file(e, "f", 8);
	char *p = map_file(fd, 8, RW), *q = map_file(fd, 8, PROT_READ);

	for (size_t i = 0; i < 8; i++) {
		check_page(q + i * PAGE, 0, "hole");
		fill_page(p + i * PAGE, 10 + i);
		check_page(q + i * PAGE, 10 + i, "other mapping after the store");
		check_file_page(fd, i, 10 + i, "read(2) after the store");
	}
}

static void write_replaces_zero_page(const struct env *e)
{
	int fd = sparse_file(e, "f", 8);
	char *p = map_file(fd, 8, PROT_READ), buf[PAGE];

	for (size_t i = 0; i < 8; i++) {
		check_page(p + i * PAGE, 0, "hole");
		fill_page(buf, 20 + i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
		check_page(p + i * PAGE, 20 + i, "mapping after write(2) into a hole");
	}
}

static void unwritten_reads_zero(const struct env *e)
{
	int fd = create_file(e, "old", 64, 900), stale;
	char *p;

	/* Blocks with old data on them, allocated again. */
	must(ftruncate(fd, 0));
	must(fsync(fd));
	stale = create_file(e, "f", 0, 0);
	must(do_op(OP_ALLOCATE, stale, 0, 64));
	p = map_file(stale, 64, RW);
	for (size_t i = 0; i < 64; i++) {
		if (i % 2)
			check_page(p + i * PAGE, 0, "unwritten block");
		p[i * PAGE + 100] = 1;
		check(!p[i * PAGE] && !p[i * PAGE + PAGE - 1], "page %zu shows old data", i);
	}
	must(fsync(stale));
	for (size_t i = 0; i < 64; i++)
		check(p[i * PAGE + 100] == 1, "page %zu lost its store", i);
}

static void private_hole(const struct env *e)
{
	int fd = sparse_file(e, "f", 4);
	char *p = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	check_page(p, 0, "hole");
	fill_page(p, 1);
	fill_page(p + PAGE, 2);
	check_file_page(fd, 0, 0, "file under a private store");
	check_file_page(fd, 1, 0, "file under a private store");
	check(!file_block(fd, 0) && !file_block(fd, 1), "a private store allocated");
}

static void past_the_end(const struct env *e)
{
	int fd = create_file(e, "f", 2, 100);
	char *p = map_file(fd, 8, RW);

	check(!try_store(p, 1), "SIGBUS inside the file");
	check(try_store(p + 2 * PAGE, 1) == SIGBUS, "no SIGBUS past the end");
	check(try_load(p + 7 * PAGE, NULL) == SIGBUS, "no SIGBUS past the end");
	must(ftruncate(fd, 8 * PAGE));
	check(!try_store(p + 7 * PAGE, 1), "SIGBUS after growth");
	must(ftruncate(fd, PAGE));
	check(try_load(p + 7 * PAGE, NULL) == SIGBUS, "no SIGBUS after a truncate");
	check(!try_load(p, NULL), "SIGBUS inside the file");
	must(ftruncate(fd, 8 * PAGE));
	check_page(p + 7 * PAGE, 0, "grown again");
}

static const struct test tests[] = {
	{ "R5 a hole reads as zero and stays a hole", hole_reads_zero, EVERYWHERE },
	{ "R5 a pinned zero page keeps no truncate waiting", zero_page_blocks_nobody, EVERYWHERE },
	{ "R5 a store replaces the zero page in every mapping",
	  store_replaces_zero_page, EVERYWHERE },
	{ "R5 write(2) replaces the zero page in a mapping", write_replaces_zero_page, EVERYWHERE },
	{ "R5 unwritten blocks never show old data", unwritten_reads_zero, EVERYWHERE },
	{ "R5 a private store into a hole allocates nothing", private_hole, EVERYWHERE },
	{ "R5 faults past the end raise SIGBUS", past_the_end, EVERYWHERE },
	{ }
};

GROUP(holes, tests);
