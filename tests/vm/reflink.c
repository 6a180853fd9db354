// SPDX-License-Identifier: GPL-2.0
/*
 * Files that share blocks: both show the right data whoever maps, pins,
 * stores, writes or breaks; a break waits for nobody's business but its own;
 * no block is reused under a pin, even when no entry leads to the page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

/* From fs/xfs/libxfs/xfs_fs.h, which no package without XFS programs brings. */
struct exchange_range {
	int32_t file1_fd;
	uint32_t pad;
	uint64_t file1_offset, file2_offset, length, flags;
};

#define EXCHANGE_RANGE	_IOW('X', 129, struct exchange_range)

struct swapext {
	int64_t version, target, tmp, offset, length;
	char pad[16];
	/* Of struct xfs_bstat: it says how the target was when it was copied. */
	uint64_t ino;
	uint16_t mode, nlink;
	uint32_t uid, gid, rdev;
	int32_t blksize;
	int64_t size;
	struct {
		long sec;
		int32_t nsec;
	} atime, mtime, ctime;
	int64_t blocks;
	char rest[40];
};

#define SWAPEXT_VERSION	0
#define IOC_SWAPEXT	_IOWR('X', 109, struct swapext)

const char *const pair_op_name[] = {
	"clone", "clone range", "dedupe", "exchange", "swap extents",
};

int do_pair(void *arg)
{
	struct pair *p = arg;
	const off_t start = p->first * PAGE, bytes = p->pages * PAGE;

	switch (p->op) {
	case CLONE:
		return ioctl(p->fd, FICLONE, p->other);
	case CLONE_RANGE: {
		struct file_clone_range range = { p->other, start, bytes, start };

		return ioctl(p->fd, FICLONERANGE, &range);
	}
	case DEDUPE: {
		struct {
			struct file_dedupe_range head;
			struct file_dedupe_range_info info;
		} range = {
			.head = { .src_offset = start, .src_length = bytes, .dest_count = 1 },
			.info = { .dest_fd = p->fd, .dest_offset = start },
		};

		if (ioctl(p->other, FIDEDUPERANGE, &range))
			return -1;
		if (range.info.status < 0) {
			errno = -range.info.status;
			return -1;
		}
		if (range.info.status != FILE_DEDUPE_RANGE_SAME ||
		    range.info.bytes_deduped != (uint64_t)bytes) {
			errno = EILSEQ;
			return -1;
		}
		return 0;
	}
	case EXCHANGE: {
		struct exchange_range range = {
			.file1_fd = p->other,
			.file1_offset = start,
			.file2_offset = start,
			.length = bytes,
		};

		return ioctl(p->fd, EXCHANGE_RANGE, &range);
	}
	case SWAPEXT: {
		struct stat st;
		struct swapext swap = {
			.version = SWAPEXT_VERSION,
			.target = p->fd,
			.tmp = p->other,
			.length = bytes,
		};

		must(fstat(p->fd, &st));
		swap.mtime.sec = st.st_mtim.tv_sec;
		swap.mtime.nsec = st.st_mtim.tv_nsec;
		swap.ctime.sec = st.st_ctim.tv_sec;
		swap.ctime.nsec = st.st_ctim.tv_nsec;
		return ioctl(p->fd, IOC_SWAPEXT, &swap);
	}
	}
	return -1;
}

static void clone_all(int fd, int from)
{
	must(ioctl(fd, FICLONE, from));
}

static int new_file(const struct env *e, const char *name)
{
	return create_file(e, name, 0, 0);
}

/* Files "a" and "b" of N pages on the same blocks, page i stamped 100 + i. */
static void make_clones(const struct env *e, int fd[2])
{
	fd[0] = create_file(e, "a", N, 100);
	fd[1] = new_file(e, "b");
	clone_all(fd[1], fd[0]);
	for (size_t i = 0; i < N; i++)
		check(file_block(fd[0], i) == file_block(fd[1], i), "page %zu is not shared", i);
}

static void expect(const char *p, int fd, size_t from, size_t to, uint64_t stamp, const char *what)
{
	for (size_t i = from; i < to; i++) {
		if (p)
			check_page(p + i * PAGE, stamp + i, what);
		check_file_page(fd, i, stamp + i, what);
	}
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

static void write_at(int fd, const void *buf, size_t bytes, off_t pos)
{
	check(pwrite(fd, buf, bytes, pos) == (ssize_t)bytes, "write of %zu at %lld: %m", bytes,
	      (long long)pos);
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
		fill_small_files(e, 0x6666);
		fill = fill_free_space(e, "fill", 0x5555);
		for (size_t i = 0; i < 2; i++) {
			check(!job.done, "the last break ended with a pin there");
			unpin_page(&pin, buf);
			check_page(buf, 103 + i, "page in the pipe");
		}
		job_succeeds(&job);
		check_small_files(e, 0x6666);
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

/* In a process of its own: it waits, SIGKILL ends it. */
static void waits_and_dies(int (*call)(void *), void *arg, const struct pin *pin, const char *what,
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
	fill_small_files(e, 0x6666);
	fill = fill_free_space(e, "fill", 0x5555);
	/* The copies need room, the blocks that they leave may get filled. */
	must(ftruncate(fill, file_size(fill) - 4 * N * PAGE));
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		check_own_data(buf, i);
	}
	job_succeeds(&job);
	check_replaced(&r);
	check_small_files(e, 0x6666);
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

/* 2 MiB of a over live 4 KiB pages of b, and the other way round. */
static void sizes_collide(const struct env *e)
{
	for (int k = 0; k < 2; k++) {
		int a = create_huge(e, "a", 2), b = new_file(e, "b");
		char *big = map_file_huge(a, 2 * HUGE, RW), *small;

		for (size_t i = 0; i < 2 * HUGE; i++)
			fill_page(big + i * PAGE, 100 + i);
		must(fsync(a));
		clone_all(b, a);
		small = map_file(b, 2 * HUGE, RW);
		if (!k)
			for (size_t i = 5; i < 2 * HUGE; i += 100)
				check_page(small + i * PAGE, 100 + i, "4 KiB first");
		for (size_t i = 0; i < 2 * HUGE; i++)
			check_page(big + i * PAGE, 100 + i, "2 MiB");
		if (!k)
			check(!huge_pages(big, 2 * HUGE), "2 MiB mapped over live pages of 4 KiB");
		for (size_t i = 0; i < 2 * HUGE; i++)
			check_page(small + i * PAGE, 100 + i, "4 KiB");
		fill_page(big + 7 * PAGE, 1);
		fill_page(small + (HUGE + 8) * PAGE, 2);
		check_page(small + 7 * PAGE, 107, "b after a store to a");
		check_page(big + (HUGE + 8) * PAGE, 108 + HUGE, "a after a store to b");
		must(do_op(OP_PUNCH, a, 100, 1));
		check_page(small + 100 * PAGE, 200, "b after a punch of a");
		must(ftruncate(k ? a : b, 0));
		for (size_t i = 0; i < 50; i++)
			check_page((k ? small : big) + i * PAGE, i == 7 && !k ? 1 : 100 + i,
				   "after the truncate of the other");
		must(ftruncate(k ? b : a, 0));
		must(munmap(big, 2 * HUGE * PAGE));
		must(munmap(small, 2 * HUGE * PAGE));
		close(a);
		close(b);
		must(unlink(in_dir(e, "a")));
		must(unlink(in_dir(e, "b")));
	}
}

static void shared_in_2m(const struct env *e)
{
	int a = create_huge(e, "a", 2), b = new_file(e, "b");
	char *p = map_file_huge(a, 2 * HUGE, RW), *q, buf[PAGE];
	struct pin pin;

	for (size_t i = 0; i < 2 * HUGE; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(a));
	clone_all(b, a);
	q = map_file_huge(b, 2 * HUGE, RW);
	for (size_t i = 0; i < 2 * HUGE; i++) {
		check_page(p + i * PAGE, 100 + i, "a");
		check_page(q + i * PAGE, 100 + i, "b");
	}
	check(!huge_pages(p, 2 * HUGE) && !huge_pages(q, 2 * HUGE), "mapped in 2 MiB");
	fill_page(p + 9 * PAGE, 1);
	fill_page(q + (HUGE + 9) * PAGE, 2);
	fill_page(buf, 3);
	write_at(a, buf, PAGE, 20 * PAGE);
	write_at(b, buf, 512, (HUGE + 20) * PAGE + 512);
	for (size_t i = 0; i < 2 * HUGE; i++) {
		check_page(p + i * PAGE, i == 9 ? 1 : i == 20 ? 3 : 100 + i, "a after stores");
		if (i != HUGE + 20)
			check_page(q + i * PAGE, i == HUGE + 9 ? 2 : 100 + i, "b after stores");
	}
	must(fsync(a));
	must(fsync(b));
	/* One entry of two goes: the other one needs nobody's pin to end. */
	if (e->bound) {
		pin_pages(&pin, q + 3 * PAGE, 1);
		must(ftruncate(a, 0));
		unpin_page(&pin, buf);
		check_page(buf, 103, "page in the pipe");
	} else {
		must(munmap(q, 2 * HUGE * PAGE));
		must(ftruncate(a, 0));
	}
	check_file_page(b, 9, 109, "b after the truncate of a");
	must(ftruncate(b, 0));
}

struct cloner {
	const struct env *e;
	int fd, master;
	unsigned int id, rounds;
	size_t pages;
};

/* Map, look, copy, clone anew: folios are shared and left all the time. */
static void *use_clone(void *arg)
{
	struct cloner *c = arg;
	char *p = c->id % 2 ? map_file_huge(c->fd, c->pages, RW) : map_file(c->fd, c->pages, RW);

	for (unsigned int round = 0; round < c->rounds; round++) {
		for (size_t i = c->id; i < c->pages; i += 5)
			check_page(p + i * PAGE, 100 + i, "clone");
		for (size_t i = round % 7; i < c->pages; i += 29) {
			fill_page(p + i * PAGE, 1000 + c->id);
			check_page(p + i * PAGE, 1000 + c->id, "own store");
		}
		if (round % 3 == 0)
			must(madvise(p, c->pages * PAGE, MADV_DONTNEED));
		if (round % 4 == 1)
			must(do_op(OP_PUNCH, c->fd, round % c->pages, 3));
		if (round % 8 == 5)
			must(ftruncate(c->fd, 0));
		clone_all(c->fd, c->master);
	}
	for (size_t i = 0; i < c->pages; i++)
		check_page(p + i * PAGE, 100 + i, "clone at the end");
	munmap(p, c->pages * PAGE);
	return NULL;
}

static void clones_in_use(const struct env *e, unsigned int rounds, bool huge)
{
	const size_t pages = huge ? HUGE : 64;
	struct cloner c[3];
	pthread_t thread[3];
	int master = huge ? create_huge(e, "master", 1) : new_file(e, "master");
	char buf[PAGE], *p;

	for (size_t i = 0; i < pages; i++) {
		fill_page(buf, 100 + i);
		write_at(master, buf, PAGE, i * PAGE);
	}
	must(fsync(master));
	p = huge ? map_file_huge(master, pages, PROT_READ) : map_file(master, pages, PROT_READ);
	for (unsigned int t = 0; t < 3; t++) {
		char name[] = { 'c', '0' + t, 0 };

		c[t] = (struct cloner) {
			e, new_file(e, name), master, huge ? t : 2 * t, rounds, pages,
		};
		clone_all(c[t].fd, master);
		check(!pthread_create(&thread[t], NULL, use_clone, &c[t]), "no thread");
	}
	for (unsigned int t = 0; t < 3; t++)
		pthread_join(thread[t], NULL);
	expect(p, master, 0, pages, 100, "master");
	must(ftruncate(master, 0));
	for (unsigned int t = 0; t < 3; t++) {
		expect(NULL, c[t].fd, 0, pages, 100, "clone after the truncate of the master");
		must(ftruncate(c[t].fd, 0));
	}
}

static void clones_race(const struct env *e)
{
	clones_in_use(e, 60, false);
}

static void huge_clones_race(const struct env *e)
{
	clones_in_use(e, 24, true);
}

#define PIECES		((size_t)8)	/* of 2 MiB */
#define READERS		4
#define CLONES		200

/* Read faults of the source make no page that the clone cannot join. */
static void clones_beside_readers(const struct env *e)
{
	int fd = create_pieces(e, "source", PIECES), other = new_file(e, "clone");
	struct piece_reader r = { .pieces = PIECES };
	pthread_t thread[READERS];

	r.map = map_file_huge(fd, PIECES * HUGE, PROT_READ);
	for (int t = 0; t < READERS; t++)
		check(!pthread_create(&thread[t], NULL, read_pieces, &r), "no thread");
	while (!r.laps)
		usleep(1000);
	for (int n = 0; n < CLONES; n++) {
		char *q;

		must(ftruncate(other, 0));
		clone_all(other, fd);
		q = n % 2 ? map_file(other, PIECES * HUGE, PROT_READ) :
			    map_file_huge(other, PIECES * HUGE, PROT_READ);
		for (size_t i = 0; i < PIECES; i++) {
			const char *at = q + (i * HUGE + 7) * PAGE;

			check(!try_load(at, NULL), "piece %zu of clone %d is not readable", i, n);
			check_page(at, 100 + i, "clone");
		}
		must(munmap(q, PIECES * HUGE * PAGE));
	}
	r.stop = 1;
	for (int t = 0; t < READERS; t++)
		pthread_join(thread[t], NULL);
	check(!r.failures, "%d loads of the source failed", r.failures);
}

static void eviction_of_a_clone(const struct env *e)
{
	struct job job = { .op = OP_UNLINK, .path = in_dir(e, "b") };
	char *p[2], buf[PAGE];
	struct pin pin;
	int fd[2], fill;

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

#define XFS	XFS_ONLY
#define BOUND	(XFS_ONLY | BOUND_ONLY)

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
	{ "R12 clone waits for a pin in either file and can be killed", clone_waits, BOUND },
	{ "R12 clone range waits for a pin in either file and can be killed",
	  clone_range_waits, BOUND },
	{ "R12 dedupe waits for a pin in either file and can be killed", dedupe_waits, BOUND },
	{ "R12 dedupe that a signal ends says EINTR", interrupted_dedupe, BOUND },
	{ "R12 exchange waits for a pin in either file and can be killed", exchange_waits, BOUND },
	{ "R12 a swap of extents is refused beside a pin", swapext_is_refused, XFS | C_ONLY },
	{ "R12 a swap of extents waits for a pin in either file and can be killed",
	  swapext_waits_and_dies, BOUND },
	{ "R17 write(2) leaves no block of a clone to a pin", write_waits, BOUND },
	{ "R17 write(2) inside a page leaves no block of a clone to a pin",
	  part_write_waits, BOUND },
	{ "R17 a store leaves no block of a clone to a pin", store_waits, BOUND },
	{ "R17 unshare leaves no block of a clone to a pin", unshare_waits, BOUND },
	{ "R17 write(2) beside a clone that is pinned", replaced_beside_a_clone, BOUND },
	{ "R1 2 MiB and 4 KiB pages of one extent", sizes_collide, BOUND },
	{ "R11 clones of 2 MiB extents are mapped by pages", shared_in_2m, BOUND },
	{ "R11 clones in use by many threads", clones_race, BOUND },
	{ "R11 clones of 2 MiB pages in use by many threads", huge_clones_race, BOUND },
	{ "R24 clones of a file that is read by 2 MiB meanwhile", clones_beside_readers, BOUND },
	{ }
};

GROUP(reflink, tests);
