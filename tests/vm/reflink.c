// SPDX-License-Identifier: GPL-2.0
/*
 * Files that share blocks: both show the right data whoever maps, stores, writes or
 * moves blocks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reflink.h"

void clone_all(int fd, int from)
{
	must(ioctl(fd, FICLONE, from));
}

int new_file(const struct env *e, const char *name)
{
	return create_file(e, name, 0, 0);
}

void make_clones(const struct env *e, int fd[2])
{
	fd[0] = create_file(e, "a", N, 100);
	fd[1] = new_file(e, "b");
	clone_all(fd[1], fd[0]);
	for (size_t i = 0; i < N; i++)
		check(file_block(fd[0], i) == file_block(fd[1], i), "page %zu is not shared", i);
}

void expect(const char *p, int fd, size_t from, size_t to, uint64_t stamp, const char *what)
{
	for (size_t i = from; i < to; i++) {
		if (p)
			check_page(p + i * PAGE, stamp + i, what);
		check_file_page(fd, i, stamp + i, what);
	}
}

void write_at(int fd, const void *buf, size_t bytes, off_t pos)
{
	check(pwrite(fd, buf, bytes, pos) == (ssize_t)bytes, "write of %zu at %lld: %m", bytes,
	      (long long)pos);
}

void waits_and_dies(int (*call)(void *), void *arg, const struct pin *pin, const char *what,
		    bool (*sleeps)(pid_t, pid_t, atomic_int *))
{
	int status;
	pid_t pid = must(fork());

	if (!pid) {
		close(pin->rd);
		close(pin->wr);
		_exit(call(arg) ? 1 : 2);
	}
	check(sleeps(pid, pid, NULL), "%s did not wait for a page in a pipe", what);
	must(kill(pid, SIGKILL));
	must(waitpid(pid, &status, 0));
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: status %#x", what, status);
}

static long flushed_by_fsync(int fd)
{
	flush_count_start();
	must(fsync(fd));
	return flush_count_stop();
}

static void clones_show_the_data(const struct env *e)
{
	int fd[2], c;
	char *p, *q;

	make_clones(e, fd);
	p = map_file(fd[0], N, PROT_READ);
	q = map_file(fd[1], N, PROT_READ);
	expect(p, fd[0], 0, N, 100, "a");
	expect(q, fd[1], 0, N, 100, "b");
	/* Part of a file, over mapped pages of another. */
	c = create_file(e, "c", N, 500);
	must(munmap(q, N * PAGE));
	q = map_file(c, N, RW);
	expect(q, c, 0, N, 500, "c");
	fill_page(q + 5 * PAGE, 1);
	fill_page(q + 10 * PAGE, 2);
	must(do_pair(&(struct pair) { CLONE_RANGE, c, fd[0], 4, 4 }));
	expect(q, c, 0, 4, 500, "before the range");
	expect(q, c, 4, 8, 100, "cloned range");
	check_page(q + 10 * PAGE, 2, "behind the range");
	expect(q, c, 11, N, 500, "behind the range");
	/* Holes and the zero page. */
	must(do_op(OP_PUNCH, fd[0], 0, 2));
	check_page(p, 0, "punched");
	must(do_pair(&(struct pair) { CLONE_RANGE, c, fd[0], 0, 4 }));
	check_page(q, 0, "cloned hole");
	check_page(q + 3 * PAGE, 103, "cloned beside a hole");
	expect(NULL, fd[1], 0, N, 100, "the clone of what was punched");
}

static void stores_are_cloned(const struct env *e)
{
	int a = create_file(e, "a", N, 100), b = new_file(e, "b");
	char *p = map_file(a, N, RW);

	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	clone_all(b, a);
	expect(p, a, 0, N, 200, "a");
	expect(NULL, b, 0, N, 200, "b");
	/* Not a store made after it. */
	fill_page(p + 3 * PAGE, 7);
	check_file_page(b, 3, 203, "b after a store to a");
	check_file_page(a, 3, 7, "a after a store");
}

/* A store to a shared page that is mapped everywhere. */
static void store_copies(const struct env *e)
{
	int fd[2];
	char *p[2], *late;
	long n;

	make_clones(e, fd);
	for (int k = 0; k < 2; k++) {
		p[k] = map_file(fd[k], N, RW);
		expect(p[k], fd[k], 0, N, 100, "before");
	}
	late = map_file(fd[0], N, PROT_READ);
	check_page(late + 3 * PAGE, 103, "second mapping");
	p[0][3 * PAGE + 8] = 103;	/* the value it has: a copy all the same */
	p[0][3 * PAGE] = 1;
	check(p[0][3 * PAGE] == 1 && p[0][3 * PAGE + 8] == 103, "the rest of the page is lost");
	check(late[3 * PAGE] == 1, "the second mapping of a shows the old page");
	check_page(p[1] + 3 * PAGE, 103, "b after a store to a");
	check(file_block(fd[0], 3) != file_block(fd[1], 3), "one block for two contents");
	fill_page(p[1] + 4 * PAGE, 2);
	check_page(p[0] + 4 * PAGE, 104, "a after a store to b");
	fill_page(p[0] + 5 * PAGE, 3);
	fill_page(p[1] + 5 * PAGE, 4);
	check_page(p[0] + 5 * PAGE, 3, "a, both copied");
	check_page(p[1] + 5 * PAGE, 4, "b, both copied");
	/* Never read before. */
	must(madvise(p[0], N * PAGE, MADV_DONTNEED));
	fill_page(p[0] + 9 * PAGE, 5);
	check_page(p[1] + 9 * PAGE, 109, "b after a store to a");
	n = flushed_by_fsync(fd[0]);
	check(n == 3, "fsync of a: %ld copied pages written back, not 3", n);
	n = flushed_by_fsync(fd[1]);
	check(n == 2, "fsync of b: %ld copied pages written back, not 2", n);
	p[0][3 * PAGE] = 2;
	n = flushed_by_fsync(fd[0]);
	check(n == 1, "fsync of a: %ld pages written back after a store, not 1", n);
	for (size_t i = 0; i < N; i++)
		if (i != 3 && i != 4 && i != 5 && i != 9)
			for (int k = 0; k < 2; k++)
				check_page(p[k] + i * PAGE, 100 + i, "page not stored to");
	must(ftruncate(fd[0], 0));
	expect(NULL, fd[1], 6, 9, 100, "b after the truncate of a");
	must(ftruncate(fd[1], 0));
}

/* Every mapping is there, or none. */
static void writes_copy(const struct env *e, bool mapped)
{
	char buf[4 * PAGE], *p[2] = { NULL, NULL };
	const uint64_t *w;
	int fd[2];
	long n;

	make_clones(e, fd);
	for (int k = 0; k < 2 && mapped; k++) {
		p[k] = map_file(fd[k], N, RW);
		expect(p[k], fd[k], 0, N, 100, "before");
	}
	fill_page(buf, 1);
	write_at(fd[0], buf, PAGE, 3 * PAGE);
	for (int i = 0; i < 4; i++)
		fill_page(buf + i * PAGE, 2);
	/* From inside of a page into another, and a part of a page. */
	write_at(fd[0], buf, 2 * PAGE, 5 * PAGE + 512);
	write_at(fd[0], buf, 16, 9 * PAGE + 64);
	check_file_page(fd[0], 3, 1, "whole page");
	for (int k = mapped ? 0 : 1; k < 2; k++) {
		char page[2][PAGE];

		for (int i = 0; i < 2; i++)
			check(pread(fd[0], page[i], PAGE, (i ? 9 : 5) * PAGE) == (ssize_t)PAGE,
			      "read: %m");
		w = k ? (void *)page[0] : (void *)(p[0] + 5 * PAGE);
		check(w[63] == 105 && w[64] == 2 && w[511] == 2, "head of an unaligned write");
		w = k ? (void *)page[1] : (void *)(p[0] + 9 * PAGE);
		check(w[7] == 109 && w[8] == 2 && w[9] == 2 && w[10] == 109, "write inside a page");
	}
	check_file_page(fd[0], 6, 2, "whole page of an unaligned write");
	for (size_t i = 0; i < N; i++) {
		check_file_page(fd[1], i, 100 + i, "b");
		if (mapped)
			check_page(p[1] + i * PAGE, 100 + i, "mapping of b");
		if (mapped && (i < 3 || i == 4 || i == 8 || i > 9))
			check_page(p[0] + i * PAGE, 100 + i, "mapping of a");
	}
	if (mapped) {
		check_page(p[0] + 3 * PAGE, 1, "mapping after write(2)");
		check_page(p[0] + 6 * PAGE, 2, "mapping after write(2)");
		for (size_t i = 0; i < N; i++)
			p[0][i * PAGE + 16] = 1;
		n = flushed_by_fsync(fd[0]);
		check(n == (long)N, "fsync after the writes: %ld pages written back", n);
		expect(p[1], fd[1], 0, N, 100, "b after stores to a");
	}
	/* Stored, then written over: the copy takes the stores along. */
	clone_all(fd[1], fd[0]);
	if (mapped) {
		fill_page(p[1] + 12 * PAGE, 77);
		write_at(fd[1], buf, 8, 12 * PAGE + 4088);
		w = (void *)(p[1] + 12 * PAGE);
		check(w[510] == 77 && w[511] == 2, "write into a stored page");
	}
	must(ftruncate(fd[0], 0));
	must(ftruncate(fd[1], 0));
}

static void writes_copy_unmapped(const struct env *e)
{
	writes_copy(e, false);
}

static void writes_copy_mapped(const struct env *e)
{
	writes_copy(e, true);
}

/*
 * The buffer ends in a page that is not mapped. What the file shows behind the data is what was
 * there before, and not what the new block had in it.
 */
static void short_writes_copy(const struct env *e)
{
	static const struct {
		size_t pos, bytes, there;
	} writes[] = {
		{ 3 * PAGE, PAGE, 200 },		/* a whole page */
		{ 5 * PAGE + 512, 2 * PAGE, 200 },	/* from inside of a page */
		{ 8 * PAGE, 3 * PAGE, PAGE + 200 },	/* some pages, one of them whole */
		{ 12 * PAGE, PAGE / 2, 200 },		/* to the inside of a page */
	};
	char *buf = must(mmap(NULL, 8 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char was[N * PAGE], now[N * PAGE];
	int fd[2];

	must(munmap(buf + 4 * PAGE, 4 * PAGE));
	memset(buf, 0xa5, 4 * PAGE);
	/* The blocks that become free are not filled with what is expected. */
	leave_free(e, LEFT);
	check_all_pages(fill_free_space(e, "fill", 0x7777), 0x7777, "fill");
	must(unlink(in_dir(e, "fill")));
	make_clones(e, fd);
	must(pread(fd[0], was, sizeof(was), 0));
	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		const char *from = buf + 4 * PAGE - writes[i].there;
		ssize_t n = pwrite(fd[0], from, writes[i].bytes, writes[i].pos);

		check(n > 0 && n <= (ssize_t)writes[i].there, "short write %zu: %zd: %m", i, n);
		memset(was + writes[i].pos, 0xa5, n);
	}
	must(pread(fd[0], now, sizeof(now), 0));
	for (size_t i = 0; i < sizeof(now); i++)
		check(now[i] == was[i], "byte %zu of page %zu is %#x, not %#x", i % PAGE, i / PAGE,
		      (uint8_t)now[i], (uint8_t)was[i]);
	expect(NULL, fd[1], 0, N, 100, "b");
}

static void unshare_copies(const struct env *e)
{
	int fd[2];
	char *p[2];
	long n;

	make_clones(e, fd);
	for (int k = 0; k < 2; k++) {
		p[k] = map_file(fd[k], N, RW);
		expect(p[k], fd[k], 0, N, 100, "before");
	}
	must(fallocate(fd[0], FALLOC_FL_UNSHARE_RANGE, 0, N * PAGE));
	for (size_t i = 0; i < N; i++)
		check(file_block(fd[0], i) != file_block(fd[1], i), "page %zu is still shared", i);
	for (int k = 0; k < 2; k++)
		expect(p[k], fd[k], 0, N, 100, "after");
	for (size_t i = 0; i < N; i++)
		fill_page(p[i % 2] + i * PAGE, 300 + i);
	for (size_t i = 0; i < N; i++)
		for (size_t k = 0; k < 2; k++) {
			check_page(p[k] + i * PAGE, (i % 2 == k ? 300 : 100) + i, "stored to");
			check_file_page(fd[k], i, (i % 2 == k ? 300 : 100) + i, "stored to");
		}
	n = flushed_by_fsync(fd[1]);
	check(n == (long)N / 2, "fsync of b: %ld pages written back, not %zu", n, N / 2);
	must(ftruncate(fd[0], 0));
	must(ftruncate(fd[1], 0));
}

static void dedupe(const struct env *e)
{
	int a = create_file(e, "a", N, 100), b = create_file(e, "b", N, 100);
	char *p = map_file(a, N, RW), *q = map_file(b, N, RW);

	expect(p, a, 0, N, 100, "a");
	expect(q, b, 0, N, 100, "b");
	must(do_pair(&(struct pair) { DEDUPE, b, a, 0, N }));
	for (size_t i = 0; i < N; i++)
		check(file_block(a, i) == file_block(b, i), "page %zu is not shared", i);
	expect(p, a, 0, N, 100, "a, deduped");
	expect(q, b, 0, N, 100, "b, deduped");
	fill_page(q + 2 * PAGE, 1);
	check_page(p + 2 * PAGE, 102, "a after a store to b");
	check(do_pair(&(struct pair) { DEDUPE, b, a, 0, N }) < 0 && errno == EILSEQ,
	      "pages that differ were deduped");
	check_page(q + 2 * PAGE, 1, "b, not deduped");
	check_page(p + 2 * PAGE, 102, "a, not deduped");
	must(ftruncate(a, 0));
	check_page(q + 3 * PAGE, 103, "b after the truncate of a");
}

static void exchange(const struct env *e)
{
	int a = create_file(e, "a", N, 100), b = create_file(e, "b", N, 500);
	struct pair pair = { EXCHANGE, a, b, 0, N };
	char *p = map_file(a, N, RW), *q = map_file(b, N, RW);

	for (size_t i = 0; i < N; i += 2)
		fill_page(p + i * PAGE, 200 + i);
	expect(q, b, 0, N, 500, "b");
	must(do_pair(&pair));
	expect(p, a, 0, N, 500, "a after the exchange");
	for (size_t i = 0; i < N; i++)
		check_page(q + i * PAGE, (i % 2 ? 100 : 200) + i, "b after the exchange");
	fill_page(p, 1);
	check_page(q, 200, "b after a store to a");
}

static const struct test tests[] = {
	{ "R11 clones show the data of what they were made from", clones_show_the_data, XFS },
	{ "R11 stores made before a clone are in it", stores_are_cloned, XFS },
	{ "R11 a store copies the page, for this file alone", store_copies, BOUND },
	{ "R11 write(2) copies the page, for this file alone", writes_copy_unmapped, XFS },
	{ "R11 write(2) over mapped shared pages", writes_copy_mapped, BOUND },
	{ "R11 short write(2) copies what the data does not reach", short_writes_copy, XFS },
	{ "R11 unshare copies and changes nothing", unshare_copies, BOUND },
	{ "R11 dedupe shares blocks under mappings", dedupe, XFS },
	{ "R11 exchange of mapped files", exchange, XFS },
	{ }
};

GROUP(reflink, tests);
