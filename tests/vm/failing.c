// SPDX-License-Identifier: GPL-2.0
/* Makes calls fail, and checks what an operation does then: see inject.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "inject.h"

#define POINTS	DEBUG MODULE_NAME "/points"

/* In the order of src/inject.rs: what a system call returns if one fails. */
static const struct {
	const char *name;
	int fault, fault_huge, call;
} points[] = {
	{ "store", EFAULT, EFAULT, 0 },
	{ "live", EFAULT, 0, 0 },
	{ "request", 0, 0, 0 },
	{ "begin", EFAULT, 0, 0 },
	{ "access", EFAULT, 0, 0 },
	{ "around", 0, 0, 0 },
	{ "copy", EFAULT, 0, 0 },
	{ "map_page", ENOMEM, 0, 0 },
	{ "map_huge", 0, ENOMEM, 0 },
	{ "huge_zero", 0, 0, 0 },
	{ "finish", ENOMEM, 0, 0 },
	{ "sync", EFAULT, EFAULT, 0 },
	{ "wait", EFAULT, EFAULT, EINTR },
	{ "percpu", 0, 0, 0 },
};

static void set_number(const char *path, unsigned long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", number);
	set_text(path, text);
}

/* How often each point has failed so far. */
static void read_points(unsigned long failed[])
{
	char buf[4096], name[32], *line = buf;

	check(read_text(POINTS, buf, sizeof(buf)), "no %s: %m", POINTS);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		line = strchr(line, '\n');
		check(line && sscanf(++line, "%31s %*u %lu", name, &failed[i]) == 2 &&
		      !strcmp(name, points[i].name), "point %zu is not %s", i, points[i].name);
	}
}

/* Where the functions of the module are, and iomap_iter(), below which the file system is. */
struct range {
	unsigned long first, last;
};

static void find_text(struct range *module, struct range *iter)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	unsigned long address;
	char line[512], name[256], type;
	bool next = false;

	check(f, "no kallsyms: %m");
	*module = (struct range) { -1ul, 0 };
	while (fgets(line, sizeof(line), f)) {
		/* There are a hundred thousand others. */
		if (!next && !strstr(line, " iomap_iter\n") && !strstr(line, "[" MODULE_NAME "]"))
			continue;
		if (sscanf(line, "%lx %c %255s", &address, &type, name) != 3)
			continue;
		if (next && address > iter->first) {
			iter->last = address;
			next = false;
		}
		if (!strcmp(name, "iomap_iter")) {
			iter->first = address;
			next = true;
		}
		if (!strstr(line, "[" MODULE_NAME "]") || (type != 't' && type != 'T'))
			continue;
		if (address < module->first)
			module->first = address;
		if (address > module->last)
			module->last = address;
	}
	fclose(f);
	/* Another module may begin on the next page. */
	module->last = (module->last | (PAGE - 1)) + 1;
	check(module->first < module->last, "the module has no functions");
	check(iter->first && iter->last > iter->first, "no iomap_iter()");
}

const char *const pass_name[] = {
	"points", "allocations of the module", "all allocations of the module",
	"allocations",
};

static const char *const allocators[] = { DEBUG "failslab", DEBUG "fail_page_alloc" };
static int fail_nth = -1, make_it_fail = -1;

static void set_in(const char *dir, const char *file, unsigned long number)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	set_number(path, number);
}

void set_pass(enum pass by)
{
	static struct range module, iter;

	if (!iter.first)
		find_text(&module, &iter);
	set_in(DEBUG MODULE_NAME "/fail", "points", by == BY_POINT ? -1u : 0);
	set_in(DEBUG MODULE_NAME "/fail", "verbose", 0);
	for (size_t i = 0; i < ARRAY_SIZE(allocators); i++) {
		const char *dir = allocators[i];
		bool below = by == BY_MODULE || by == ALL_OF_MODULE;
		char path[128];

		snprintf(path, sizeof(path), "%s/ignore-gfp-wait", dir);
		set_text(path, "N");
		snprintf(path, sizeof(path), "%s/task-filter", dir);
		set_text(path, "Y");
		set_in(dir, "verbose", 0);
		set_in(dir, "times", 0);
		set_in(dir, "probability", by == ALL_OF_MODULE ? 100 : 0);
		set_in(dir, "stacktrace-depth", 32);
		/* No function is at address 1. */
		set_in(dir, "require-start", below ? module.first : by == BY_POINT);
		set_in(dir, "require-end", below ? module.last : by == BY_POINT ? 1 : -1ul);
		/* Some file systems try until there is memory. */
		set_in(dir, "reject-start", by == ALL_OF_MODULE ? iter.first : 0);
		set_in(dir, "reject-end", by == ALL_OF_MODULE ? iter.last : 0);
	}
	set_text(DEBUG "fail_page_alloc/ignore-gfp-highmem", "N");
	set_in(DEBUG "fail_page_alloc", "min-order", 0);
	set_text(DEBUG "failslab/cache-filter", "N");
	if (fail_nth == -1)
		fail_nth = must(open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));
	if (make_it_fail == -1)
		make_it_fail = must(open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC));
}

void arm(enum pass by, unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (by != ALL_OF_MODULE) {
		check(pwrite(fail_nth, text, len, 0) == len, "fail-nth: %m");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(allocators); i++)
		set_in(allocators[i], "times", 1000000);
	check(pwrite(make_it_fail, "1", 1, 0) == 1, "make-it-fail: %m");
}

static unsigned long number_in(const char *dir, const char *file)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	check(read_text(path, text, sizeof(text)), "no %s: %m", path);
	return strtoul(text, NULL, 0);
}

void disarm_child(void)
{
	set_text("/proc/thread-self/make-it-fail", "0");
}

bool disarm(enum pass by)
{
	char text[16] = "";
	bool any = false;

	if (by != ALL_OF_MODULE) {
		check(pread(fail_nth, text, sizeof(text) - 1, 0) > 0, "fail-nth: %m");
		check(pwrite(fail_nth, "0", 1, 0) == 1, "fail-nth: %m");
		return !atoi(text);
	}
	check(pwrite(make_it_fail, "0", 1, 0) == 1, "make-it-fail: %m");
	for (size_t i = 0; i < ARRAY_SIZE(allocators); i++) {
		if (number_in(allocators[i], "times") != 1000000)
			any = true;
		set_in(allocators[i], "times", 0);
	}
	return any;
}

static void check_data(struct scene *s)
{
	if (s->fd == -1)
		return;
	for (size_t i = 0; i < N; i++) {
		check_page(s->map + i * PAGE, s->private && i == AT ? NEW : s->want[i], "mapping");
		check_file_page(s->fd, i, s->want[i], "read(2)");
		/* The other one never changes. */
		if (s->other != -1)
			check_file_page(s->other, i, OLD + i, "the other file");
	}
	if (s->pages > N)
		check_page(s->map + (s->pages - 1) * PAGE, 0, "end of the mapping");
}

static void clean_up(struct scene *s)
{
	if (s->map)
		must(munmap(s->map, s->pages * PAGE));
	if (s->fd != -1) {
		/* Waits for entries that somebody left locked. */
		must(ftruncate(s->fd, 0));
		close(s->fd);
		must(unlink(in_dir(s->e, "f")));
	}
	if (s->other != -1) {
		must(ftruncate(s->other, 0));
		close(s->other);
		must(unlink(in_dir(s->e, "g")));
	}
}

/* What debugfs counts of the mount: pages, and those of 2 MiB. */
enum count { TRACKED, ZAPPED, BUSY, SHARED, TRACKED_HUGE, ZAPPED_HUGE, BUSY_HUGE, SHARED_HUGE,
	     COUNTS };

static void read_counts(const struct env *e, unsigned long n[COUNTS])
{
	char buf[4096], key[32], *line;
	struct stat st;

	must(stat(e->dir, &st));
	snprintf(key, sizeof(key), "\n%u:%u ", major(st.st_dev), minor(st.st_dev));
	check(read_text(DEBUG MODULE_NAME "/mounts", buf, sizeof(buf)), "no mounts: %m");
	line = strstr(buf, key);
	check(line && sscanf(line + 1, "%*s %*s %*s %*s %lu %lu %lu %lu %lu %lu %lu %lu", &n[0],
			     &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]) == 8,
	      "the mount is not in debugfs");
}

/* No entry of the mount has a reference, or waits for one to go. */
static void check_idle(const struct env *e)
{
	unsigned long n[COUNTS];

	read_counts(e, n);
	for (size_t i = 0; i < COUNTS; i++)
		check(!n[i], "%lu entries are left (column %zu)", n[i], i);
}

/* Which point failed, -1 if none. */
static int failed_point(const unsigned long before[], const unsigned long after[])
{
	int which = -1;

	for (size_t i = 0; i < ARRAY_SIZE(points); i++)
		if (after[i] != before[i]) {
			check(after[i] == before[i] + 1 && which == -1,
			      "more than one point failed");
			which = i;
		}
	return which;
}

static void check_errno(const struct action *a, enum pass by, unsigned int n, int err, int point)
{
	int right;

	if (by != BY_POINT) {
		/* EFAULT is what ext4 says if it cannot begin a transaction. */
		check(!err || err == ENOMEM || (err == EAGAIN && a->kind & AGAIN) ||
		      (err == EFAULT && a->kind & FAULT && by == BY_ALLOCATION),
		      "%s, %s %u: %s", a->name, pass_name[by], n, strerror(err));
		return;
	}
	check(point != -1, "%s, point %u: none failed", a->name, n);
	right = !(a->kind & FAULT) ? points[point].call :
		a->kind & LARGE ? points[point].fault_huge : points[point].fault;
	if (right == ENOMEM && a->kind & BY_CPU)
		right = 0;
	/* Where there was no entry, a fault asks twice before it gives up. */
	if (!err && !strcmp(points[point].name, "live"))
		return;
	check(err == right, "%s, %s: %s, not %s", a->name, points[point].name, strerror(err),
	      strerror(right));
}

/* Do it with the @n-th failure; false if there is none. */
static bool one(const struct env *e, const struct action *a, enum pass by, unsigned int n)
{
	unsigned long before[ARRAY_SIZE(points)], now[ARRAY_SIZE(points)];
	struct scene s = {
		.e = e, .by = by, .fd = -1, .other = -1, .pages = N,
	};
	unsigned long had[COUNTS], has[COUNTS];
	int rc, err = 0;
	bool fired;

	a->prepare(&s);
	read_counts(e, had);
	read_points(before);
	arm(by, n);
	rc = a->run(&s);
	if (rc)
		err = errno;
	fired = disarm(by);
	s.done = 1;
	read_points(now);
	if (s.pinned) {
		pthread_join(s.helper, NULL);
		close(s.pin.rd);
		close(s.pin.wr);
	}
	if (fired)
		check_errno(a, by, n, err, failed_point(before, now));
	else
		check(!rc, "%s, %s %u: failed for nothing: %s", a->name, pass_name[by], n,
		      strerror(err));
	if (rc && a->kind & FAULT && !(a->kind & SYNC)) {
		read_counts(e, has);
		check(has[TRACKED] <= had[TRACKED] && has[TRACKED_HUGE] <= had[TRACKED_HUGE],
		      "%s, %s %u: the fault failed and left an entry", a->name, pass_name[by], n);
	}
	if (rc && !(a->kind & HALF && by == BY_ALLOCATION)) {
		rc = a->run(&s);
		check(!rc, "%s, %s %u: %s, and now %m", a->name, pass_name[by], n,
		      strerror(err));
	}
	if (!rc) {
		if (a->after)
			a->after(&s);
		check_data(&s);
	}
	if (s.flushed) {
		flush_count_start();
		must(fsync(s.fd));
		check(!flush_count_stop(), "%s: something was left to flush", a->name);
	}
	clean_up(&s);
	return fired;
}

/* That of make test, which does not go to the end of each operation. */
static bool run_is_short(const struct env *e)
{
	return e->ops < 100;
}

/*
 * On the second file system a short run lets every third allocation below the module fail, of each
 * operation other ones: most are the same there.
 */
static unsigned int step_of(const struct env *e, enum pass by)
{
	return by == BY_MODULE && run_is_short(e) && !e->first ? 3 : 1;
}

void run_actions(const struct env *e, const struct action *actions)
{
	must(mlockall(MCL_CURRENT));
	for (enum pass by = 0; by < PASSES; by++) {
		const unsigned int step = step_of(e, by);

		set_pass(by);
		for (const struct action *a = actions; a->name; a++) {
			unsigned int n = 1 + (a - actions) % step, max = e->ops, failed = 0;

			if (by == ALL_OF_MODULE) {
				n = 1;
				max = 1;
			} else if (by == BY_ALLOCATION && run_is_short(e)) {
				/* Most of these are the file system's. */
				max = (max + 2) / 3;
			}
			/* The kernel would try for ever. */
			if (by == ALL_OF_MODULE && a->kind & BY_CPU)
				continue;
			for (; n <= max && one(e, a, by, n); n += step)
				failed++;
			/* It has fewer than that, or none. */
			if (!failed && n > 1)
				failed += one(e, a, by, 1);
			printf("# %s: %u %s\n", a->name, failed, pass_name[by]);
			check_idle(e);
		}
	}
	set_pass(BY_POINT);
}

void all_points_failed(const struct env *e)
{
	unsigned long failed[ARRAY_SIZE(points)];

	read_points(failed);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		/* Shared blocks are what is copied. */
		if (!strcmp(points[i].name, "copy") && strcmp(e->fs, "xfs"))
			continue;
		/* Mounts are made to fail in injected.c. */
		if (!strcmp(points[i].name, "percpu"))
			continue;
		check(failed[i], "point %s never failed", points[i].name);
		printf("# %s failed %lu times\n", points[i].name, failed[i]);
	}
}
