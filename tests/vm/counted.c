// SPDX-License-Identifier: GPL-2.0
/* What debugfs counts of the faults of a mount: exactly those that there were. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debugfs.h"
#include "inject.h"

/* The columns behind device and file system. */
static const char *const columns[] = {
	"read.0", "write.0", "hole.0", "sync.0", "read.9", "write.9", "hole.9", "sync.9",
	"read.18", "write.18", "hole.18", "sync.18",
	"fallback.fit.9", "fallback.extent.9", "fallback.entries.9", "fallback.shared.9",
	"fallback.other_order.9", "fallback.no_memory.9", "fallback.device.9",
	"fallback.filesystem.9",
	"fallback.fit.18", "fallback.extent.18", "fallback.entries.18", "fallback.shared.18",
	"fallback.other_order.18", "fallback.no_memory.18", "fallback.device.18",
	"fallback.filesystem.18", "copy", "retried", "failed",
	"around",
};

/* The kernel asks for 1 GiB wherever it has no page table yet, for the smallest mapping. */
#define NO_PAGE_TABLE	"fallback.fit.18"

struct ended {
	unsigned long n[ARRAY_SIZE(columns)];
};

static void check_header(FILE *f)
{
	char line[1024], wanted[1024] = "dev s_id fs";

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		strcat(wanted, " ");
		strcat(wanted, columns[i]);
	}
	strcat(wanted, "\n");
	check(fgets(line, sizeof(line), f) && !strcmp(line, wanted), "faults begins with %s", line);
}

static struct ended read_ended(const struct env *e)
{
	char line[1024], wanted[16], key[32];
	struct ended ended;
	bool found = false;
	FILE *f;

	dev_of(e, wanted);
	snprintf(key, sizeof(key), "%s %s %s ", wanted, strrchr(e->dev, '/') + 1, e->fs);
	f = fopen(DEBUGFS "/faults", "re");
	check(f, DEBUGFS "/faults: %m");
	check_header(f);
	while (fgets(line, sizeof(line), f)) {
		char *at = line + strlen(key);

		if (strncmp(line, key, strlen(key)))
			continue;
		check(!found, "two lines for %s", wanted);
		found = true;
		for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
			char *end;

			ended.n[i] = strtoul(at, &end, 10);
			check(end > at && *end == (i + 1 < ARRAY_SIZE(columns) ? ' ' : '\n'),
			      "faults has the line %s", line);
			at = end + 1;
		}
	}
	fclose(f);
	check(found, "faults has no line for %s", key);
	return ended;
}

/*
 * Pairs of a column and how much more it has than before, with NULL at the end; no other column
 * may have more but NO_PAGE_TABLE. It is taken for what was before the next time.
 */
static void check_ended(const struct env *e, struct ended *before, const char *what, ...)
{
	struct ended now = read_ended(e);
	unsigned long wanted[ARRAY_SIZE(columns)] = { 0 };
	const char *column;
	va_list ap;

	va_start(ap, what);
	while ((column = va_arg(ap, const char *))) {
		size_t i = 0;

		while (i < ARRAY_SIZE(columns) && strcmp(columns[i], column))
			i++;
		check(i < ARRAY_SIZE(columns), "there is no column %s", column);
		wanted[i] = va_arg(ap, int);
	}
	va_end(ap);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		unsigned long more = now.n[i] - before->n[i];

		check(more == wanted[i] || !strcmp(columns[i], NO_PAGE_TABLE),
		      "%s: %s has %lu more, not %lu", what, columns[i], more, wanted[i]);
	}
	*before = now;
}

static void load(const char *p, size_t page)
{
	(void)*(volatile const char *)(p + page * PAGE);
}

/*
 * One fault, for which the kernel holds the lock of all mappings. Else, where the file system has
 * no map_pages(), it begins with the lock of this one, and begins again when a fault falls back.
 */
static void fault(char *p, size_t page, int advice)
{
	check(!madvise(p + page * PAGE, PAGE, advice), "populate: %m");
}

static void pages_are_counted(const struct env *e)
{
	int fd = create_whole(e, "f", N, OLD);
	struct ended before = read_ended(e);
	char *p = map_file(fd, N, RW), *q;
	size_t around;

	/* Else a load maps what is behind it, too. */
	must(madvise(p, N * PAGE, MADV_RANDOM));
	for (size_t i = 0; i < N; i++)
		load(p, i);
	check_ended(e, &before, "loads", "read.0", (int)N, NULL);
	for (size_t i = 0; i < 4; i++)
		fill_page(p + i * PAGE, NEW + i);
	check_ended(e, &before, "stores", "write.0", 4, NULL);
	must(fsync(fd));
	fill_page(p, NEW);
	fill_page(p, NEW);
	check_ended(e, &before, "a store after fsync", "write.0", 1, NULL);

	q = map_skewed(fd, N, 0, RW, MAP_PRIVATE);
	must(madvise(q, N * PAGE, MADV_RANDOM));
	q[5 * PAGE] = 1;
	load(q, 6);
	check_ended(e, &before, "private", "copy", 1, "read.0", 1, NULL);

	/* A load behind another one, and what is left of 64 KiB then. */
	must(madvise(q, N * PAGE, MADV_NORMAL));
	around = 15 - 7;
	load(q, 7);
	check_ended(e, &before, "in sequence", "read.0", 1, "around",
		    (int)(around < N - 8 ? around : N - 8), NULL);

	must(munmap(p, N * PAGE));
	must(ftruncate(fd, 2 * N * PAGE));
	p = map_file(fd, 3 * N, RW);
	load(p, N + 1);
	check_ended(e, &before, "a hole", "hole.0", 1, NULL);
	check(try_load(p + 2 * N * PAGE, NULL) == SIGBUS, "no SIGBUS past the end");
	check_ended(e, &before, "past the end", "failed", 1, NULL);
}

static void huge_pages_are_counted(const struct env *e)
{
	int fd = create_huge(e, "f", 4), hole = create_file(e, "hole", 0, 0);
	struct ended before = read_ended(e);
	char *p = map_file_huge(fd, 4 * HUGE, RW);

	for (size_t i = 0; i < 4 * HUGE; i++)
		p[i * PAGE] = 1;
	check_ended(e, &before, "stores", "write.9", 4, NULL);
	p = map_file_huge(fd, 4 * HUGE, PROT_READ);
	for (size_t i = 0; i < 3 * HUGE; i++)
		load(p, i);
	check_ended(e, &before, "loads", "read.9", 3, NULL);
	must(ftruncate(hole, 2 * HUGE * PAGE));
	p = map_file_huge(hole, 2 * HUGE, PROT_READ);
	for (size_t i = 0; i < 2 * HUGE; i++)
		load(p, i);
	check_ended(e, &before, "a hole", "hole.9", 2, NULL);
}

static char *map_sync(int fd, size_t pages, int advice)
{
	char *room = map_file_huge(fd, pages, PROT_NONE);
	char *p = mmap(room, pages * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, advice));
	return p;
}

/* The blocks were allocated and not written: each store changes that. */
static void syncs_are_counted(const struct env *e)
{
	int fd = create_huge(e, "f", 1), other = create_huge(e, "g", 2);
	struct ended before = read_ended(e);
	char *p = map_sync(fd, HUGE, MADV_NOHUGEPAGE);

	p[0] = 1;
	p[9 * PAGE] = 1;
	p[9 * PAGE + 1] = 2;
	check_ended(e, &before, "pages", "sync.0", 2, "write.0", 2, NULL);
	p = map_sync(other, 2 * HUGE, MADV_HUGEPAGE);
	p[0] = 1;
	p[(HUGE + 1) * PAGE] = 1;
	p[(HUGE + 2) * PAGE] = 1;
	check_ended(e, &before, "2 MiB", "sync.9", 2, "write.9", 2, NULL);
}

static char *map_beside(int fd, size_t pages, size_t skew, int flags)
{
	char *room = map_file_huge(fd, pages + HUGE, PROT_NONE);
	char *p = mmap(room + skew * PAGE, pages * PAGE, RW, flags | MAP_FIXED, fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, MADV_HUGEPAGE));
	must(madvise(p, pages * PAGE, MADV_RANDOM));
	return p;
}

static void fallbacks_are_counted(const struct env *e)
{
	int fd = create_huge(e, "f", 2), small = create_file(e, "small", 1, OLD);
	struct ended before;
	char *p, *q;

	p = map_file_huge(fd, 2 * HUGE, RW);
	for (size_t i = 0; i < 2; i++)
		p[i * HUGE * PAGE] = 1;
	must(munmap(p, 2 * HUGE * PAGE));
	before = read_ended(e);

	q = map_beside(fd, HUGE, 1, MAP_SHARED);
	fault(q, 0, MADV_POPULATE_READ);
	fault(q, 1, MADV_POPULATE_READ);
	check_ended(e, &before, "not aligned", "fallback.fit.9", 1, "read.0", 2, NULL);
	q = map_beside(fd, HUGE, 0, MAP_PRIVATE);
	fault(q, 3, MADV_POPULATE_WRITE);
	check_ended(e, &before, "a private store", "fallback.fit.9", 1, "copy", 1, NULL);
	q = map_beside(fd, 100, 0, MAP_SHARED);
	fault(q, 0, MADV_POPULATE_READ);
	check_ended(e, &before, "a short mapping", "fallback.fit.9", 1, "read.0", 1, NULL);

	must(ftruncate(small, HUGE * PAGE));
	q = map_file_huge(small, HUGE, PROT_READ);
	fault(q, 0, MADV_POPULATE_READ);
	check_ended(e, &before, "an extent of a page", "fallback.extent.9", 1, "read.0", 1, NULL);

	must(do_op(OP_PUNCH, fd, 0, HUGE));
	must(do_op(OP_ALLOCATE, fd, 0, HUGE));
	before = read_ended(e);
	q = map_file(fd, HUGE, RW);
	fault(q, 5, MADV_POPULATE_WRITE);
	p = map_file_huge(fd, HUGE, RW);
	fault(p, 6, MADV_POPULATE_WRITE);
	check_ended(e, &before, "beside an entry of a page", "write.0", 2, "fallback.entries.9", 1,
		    NULL);
}

static void fallbacks_of_clones_are_counted(const struct env *e)
{
	int fd = create_huge(e, "f", 1), clone = create_file(e, "g", 0, 0);
	struct ended before;
	char *p, *q;

	for (size_t i = 0; i < HUGE; i++) {
		char buf[PAGE];

		fill_page(buf, OLD + i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
	}
	must(fsync(fd));
	must(ioctl(clone, FICLONE, fd));
	before = read_ended(e);
	p = map_file(fd, HUGE, PROT_READ);
	fault(p, 5, MADV_POPULATE_READ);
	q = map_file_huge(clone, HUGE, RW);
	fault(q, 6, MADV_POPULATE_READ);
	check_ended(e, &before, "a clone has a page of it", "read.0", 2,
		    "fallback.other_order.9", 1, NULL);
	must(munmap(p, HUGE * PAGE));
	must(munmap(q, HUGE * PAGE));

	must(ftruncate(clone, 0));
	must(ioctl(clone, FICLONE, fd));
	before = read_ended(e);
	q = map_file_huge(clone, HUGE, RW);
	fault(q, 7, MADV_POPULATE_WRITE);
	check_ended(e, &before, "a store to a clone", "write.9", 1, NULL);
}

/* The first call of this kind fails. */
static void arm_point(const char *name)
{
	char buf[4096], text[32], *at, *line = buf;
	unsigned int point = 0;

	check(read_text(DEBUGFS "/points", buf, sizeof(buf)), "no points: %m");
	while ((line = strchr(line, '\n')) && line[1]) {
		at = ++line;
		if (!strncmp(at, name, strlen(name)) && at[strlen(name)] == ' ')
			break;
		point++;
	}
	check(line && line[1], "there is no point %s", name);
	snprintf(text, sizeof(text), "%#x", 1u << point);
	check(write_text(DEBUGFS "/fail/points", text), "points: %m");
	arm(BY_POINT, 1);
}

static void fallbacks_after_failures_are_counted(const struct env *e)
{
	int fd, hole;
	struct ended before;
	char *p, *q;

	if (access(DEBUGFS "/points", F_OK))
		skip("the kernel has no fault injection");
	fd = create_huge(e, "f", 2);
	hole = create_file(e, "hole", 0, 0);
	must(ftruncate(hole, HUGE * PAGE));
	p = map_file_huge(fd, 2 * HUGE, RW);
	q = map_file_huge(hole, HUGE, PROT_READ);
	set_pass(BY_POINT);
	before = read_ended(e);
	arm_point("begin");
	fault(p, 0, MADV_POPULATE_WRITE);
	check(disarm(BY_POINT), "begin did not fail");
	check_ended(e, &before, "begin", "fallback.filesystem.9", 1, "write.0", 1, NULL);
	arm_point("access");
	fault(p, HUGE, MADV_POPULATE_WRITE);
	check(disarm(BY_POINT), "access did not fail");
	check_ended(e, &before, "access", "fallback.device.9", 1, "write.0", 1, NULL);
	arm_point("huge_zero");
	fault(q, 0, MADV_POPULATE_READ);
	check(disarm(BY_POINT), "huge_zero did not fail");
	check_ended(e, &before, "huge_zero", "fallback.no_memory.9", 1, "hole.0", 1, NULL);
	set_pass(BY_POINT);
}

#define THREADS	3
#define PAGES	((size_t)1024)

struct faulter {
	pthread_t thread;
	char *map;
};

static void *fault_all(void *arg)
{
	struct faulter *f = arg;

	for (size_t i = 0; i < PAGES; i++)
		f->map[i * PAGE] = 1;
	return NULL;
}

static void threads_are_counted(const struct env *e)
{
	struct faulter faulters[THREADS];
	struct ended before;
	char name[16];

	for (int i = 0; i < THREADS; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		faulters[i].map = map_file(create_file(e, name, PAGES, OLD), PAGES, RW);
	}
	before = read_ended(e);
	for (int i = 0; i < THREADS; i++)
		check(!pthread_create(&faulters[i].thread, NULL, fault_all, &faulters[i]),
		      "no thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(faulters[i].thread, NULL);
	check_ended(e, &before, "threads", "write.0", (int)(THREADS * PAGES), NULL);
}

static const struct test tests[] = {
	{ "faults of pages are counted", pages_are_counted, BOUND_ONLY },
	{ "faults of 2 MiB are counted", huge_pages_are_counted, BOUND_ONLY },
	{ "faults with MAP_SYNC are counted", syncs_are_counted, BOUND_ONLY },
	{ "why faults fall back is counted", fallbacks_are_counted, BOUND_ONLY },
	{ "why faults of clones fall back is counted", fallbacks_of_clones_are_counted,
	  BOUND_ONLY | XFS_ONLY },
	{ "faults that fall back since a call failed are counted",
	  fallbacks_after_failures_are_counted, BOUND_ONLY },
	{ "R23 faults of several threads are all counted",
	  threads_are_counted, BOUND_ONLY | RACES },
	{ }
};

GROUP(counted, tests);
