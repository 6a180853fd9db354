// SPDX-License-Identifier: GPL-2.0
/*
 * Failures on demand: the first, the second, ... n-th call that can fail does
 * so, until an operation has no n-th one. The operation then says what failed,
 * or copes; done again, it works, and the data is right; nothing is left
 * behind: no locked entry, no reference, no memory.
 *
 * The kernel counts the calls of a task in /proc/thread-self/fail-nth. Which
 * calls these are is a pass: the points of the module (src/inject.rs), the
 * allocations below its functions, one by one or all of them, or all
 * allocations of the system call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
/* The page that an operation is about; layout operations take COUNT from it on. */
#define AT	((size_t)4)
#define COUNT	((size_t)4)
#define OLD	((uint64_t)100)	/* stamp of page 0 before */
#define NEW	((uint64_t)900)	/* stamp of what an operation stores */

#define DEBUG	"/sys/kernel/debug/"
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
	{ "copy", EFAULT, 0, 0 },
	{ "map_page", ENOMEM, 0, 0 },
	{ "map_huge", 0, ENOMEM, 0 },
	{ "huge_zero", 0, 0, 0 },
	{ "finish", ENOMEM, 0, 0 },
	{ "sync", EFAULT, EFAULT, 0 },
	{ "wait", EFAULT, EFAULT, EINTR },
};

static void set(const char *path, const char *text)
{
	check(write_text(path, text), "write '%s' to %s: %m", text, path);
}

static void set_number(const char *path, unsigned long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", number);
	set(path, text);
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

enum pass { BY_POINT, BY_MODULE, ALL_OF_MODULE, BY_ALLOCATION, PASSES };

static const char *const pass_name[] = {
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

static void set_pass(enum pass by)
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
		set(path, "N");
		snprintf(path, sizeof(path), "%s/task-filter", dir);
		set(path, "Y");
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
	set(DEBUG "fail_page_alloc/ignore-gfp-highmem", "N");
	set_in(DEBUG "fail_page_alloc", "min-order", 0);
	set(DEBUG "failslab/cache-filter", "N");
	if (fail_nth == -1)
		fail_nth = must(open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));
	if (make_it_fail == -1)
		make_it_fail = must(open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC));
}

/* From here on the @n-th call of this task fails, or all. */
static void arm(enum pass by, unsigned int n)
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

/* Whether a call failed since then. */
static bool disarm(enum pass by)
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

/* What an operation works on. */
struct scene {
	const struct env *e;
	enum pass by;
	int fd, other;		/* a file, one that shares its blocks */
	size_t pages;
	char *map;		/* of all of it */
	char *room;		/* for mremap() */
	uint64_t want[N];	/* the stamps of its pages; of a large file, of the first */
	bool private;		/* the mapping differs from the file at AT */
	bool flushed;		/* nothing may be left to flush */

	struct pin pin;
	bool pinned;
	pthread_t helper;
	atomic_int done;
};

enum kind {
	CALL = 0,
	FAULT = 1,
	LARGE = 2,	/* fault of 2 MiB, which may fall back */
	HALF = 4,	/* a failed allocation may leave it half done, not to be repeated */
	SYNC = 8,	/* fault that inserts its entry, syncs and then maps */
};

struct action {
	const char *name;
	unsigned int kind;	/* of enum kind */
	void (*prepare)(struct scene *s);
	int (*run)(struct scene *s);	/* 0 or -1 with errno */
	void (*after)(struct scene *s);	/* what the data is now */
};

static int pwrite_page(int fd, size_t page, uint64_t stamp)
{
	static char buf[PAGE];
	ssize_t n;

	fill_page(buf, stamp);
	n = pwrite(fd, buf, PAGE, page * PAGE);
	if (n == (ssize_t)PAGE)
		return 0;
	if (n >= 0)
		errno = ENOMEM;	/* a short write: there was a failure */
	return -1;
}

/* Files. */
static void prepare_data(struct scene *s)
{
	s->fd = create_file(s->e, "f", N, OLD);
	for (size_t i = 0; i < N; i++)
		s->want[i] = OLD + i;
	s->map = map_file(s->fd, N, RW);
}

static void prepare_hole(struct scene *s)
{
	s->fd = create_file(s->e, "f", 0, 0);
	must(ftruncate(s->fd, N * PAGE));
	s->map = map_file(s->fd, N, RW);
}

static void load_all(struct scene *s)
{
	must(madvise(s->map, s->pages * PAGE, MADV_POPULATE_READ));
}

static void prepare_data_loaded(struct scene *s)
{
	prepare_data(s);
	load_all(s);
}

static void prepare_hole_loaded(struct scene *s)
{
	prepare_hole(s);
	load_all(s);
}

static void remap(struct scene *s, int flags)
{
	must(munmap(s->map, s->pages * PAGE));
	s->map = mmap(NULL, s->pages * PAGE, RW, flags, s->fd, 0);
	check(s->map != MAP_FAILED, "mmap: %m");
	must(madvise(s->map, s->pages * PAGE, MADV_NOHUGEPAGE));
}

static void prepare_private(struct scene *s)
{
	prepare_data(s);
	remap(s, MAP_PRIVATE);
}

static void prepare_private_hole(struct scene *s)
{
	prepare_hole(s);
	remap(s, MAP_PRIVATE);
}

static void prepare_synced(struct scene *s)
{
	prepare_hole(s);
	remap(s, MAP_SHARED_VALIDATE | MAP_SYNC);
}

static void prepare_huge(struct scene *s)
{
	s->pages = HUGE;
	s->fd = create_huge(s->e, "f", 1);
	s->map = map_file_huge(s->fd, HUGE, RW);
}

static void prepare_huge_data(struct scene *s)
{
	static char zeroes[2 * MIB];

	prepare_huge(s);
	/* All of it must be written for a page of 2 MiB. */
	check(pwrite(s->fd, zeroes, sizeof(zeroes), 0) == (ssize_t)sizeof(zeroes), "write: %m");
	for (size_t i = 0; i < N; i++) {
		must(pwrite_page(s->fd, i, OLD + i));
		s->want[i] = OLD + i;
	}
}

static void prepare_huge_loaded(struct scene *s)
{
	prepare_huge(s);
	load_all(s);
}

static void prepare_huge_synced(struct scene *s)
{
	const char *at;

	prepare_huge(s);
	at = mmap(s->map, HUGE * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, s->fd, 0);
	check(at == s->map, "mmap: %m");
	must(madvise(s->map, HUGE * PAGE, MADV_HUGEPAGE));
}

static void dirty_all(struct scene *s)
{
	for (size_t i = 0; i < N; i++) {
		s->want[i] = NEW + i;
		fill_page(s->map + i * PAGE, s->want[i]);
	}
}

static void prepare_dirty(struct scene *s)
{
	prepare_data(s);
	dirty_all(s);
}

static void prepare_huge_dirty(struct scene *s)
{
	prepare_huge(s);
	dirty_all(s);
	check(huge_pages(s->map, HUGE) == HUGE, "no page of 2 MiB");
}

/* Whether this task sleeps just now. */
static bool sleeps(void)
{
	char buf[4096], *state;

	check(read_text("/proc/self/status", buf, sizeof(buf)), "no status: %m");
	state = strstr(buf, "State:\t");
	return state && strchr("SD", state[7]);
}

/*
 * Lets the pin go when the operation waits for it: it sleeps and sleeps. A waiter
 * that did not get memory is not among those in debugfs.
 */
static void *unpin(void *arg)
{
	struct scene *s = arg;
	int seen = 0;

	while (!s->done && seen < 10) {
		if (sleeps())
			seen++;
		usleep(5000);
	}
	unpin_all(&s->pin);
	return NULL;
}

static void pin(struct scene *s)
{
	pin_pages(&s->pin, s->map + AT * PAGE, 1);
	s->pinned = true;
	check(!pthread_create(&s->helper, NULL, unpin, s), "no thread");
}

static void prepare_pinned(struct scene *s)
{
	prepare_dirty(s);
	pin(s);
}

static void prepare_huge_pinned(struct scene *s)
{
	prepare_huge_dirty(s);
	pin(s);
}

/* The punch that would wait for the pin is interrupted: what was dirty is so still. */
static void prepare_zapped(struct scene *s)
{
	prepare_dirty(s);
	pin_pages(&s->pin, s->map + AT * PAGE, 1);
	set_pass(BY_POINT);
	arm(BY_POINT, 1);
	check(do_op(OP_PUNCH, s->fd, AT, COUNT) && errno == EINTR, "the punch was not interrupted");
	check(disarm(BY_POINT), "no point failed");
	set_pass(s->by);
}

static void share(struct scene *s)
{
	s->other = create_file(s->e, "g", 0, 0);
	must(ioctl(s->other, FICLONE, s->fd));
}

static void prepare_shared(struct scene *s)
{
	prepare_data(s);
	share(s);
}

static void prepare_shared_loaded(struct scene *s)
{
	prepare_shared(s);
	load_all(s);
}

static void prepare_shared_pinned(struct scene *s)
{
	prepare_shared(s);
	load_all(s);
	pin(s);
}

static void prepare_same(struct scene *s)
{
	prepare_data(s);
	s->other = create_file(s->e, "g", N, OLD);
	load_all(s);
}

/* With room to move the mapping to. */
static void prepare_forked(struct scene *s)
{
	prepare_dirty(s);
	s->room = mmap(NULL, N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(s->room != MAP_FAILED, "mmap: %m");
}

/* Operations. */
static int load_page(struct scene *s)
{
	return madvise(s->map + AT * PAGE, PAGE, MADV_POPULATE_READ);
}

static int store_page(struct scene *s)
{
	return madvise(s->map + AT * PAGE, PAGE, MADV_POPULATE_WRITE);
}

/* By the CPU: the kernel tries again for want of memory. */
static int store_byte(struct scene *s)
{
	if (!try_store(s->map + AT * PAGE, 0))
		return 0;
	errno = EFAULT;
	return -1;
}

static int write_page(struct scene *s)
{
	return pwrite_page(s->fd, AT, NEW);
}

static int run_fsync(struct scene *s)
{
	return fsync(s->fd);
}

static int run_msync(struct scene *s)
{
	return msync(s->map, s->pages * PAGE, MS_SYNC);
}

static int run_truncate(struct scene *s)
{
	return do_op(OP_TRUNCATE, s->fd, AT, 0);
}

static int run_punch(struct scene *s)
{
	return do_op(OP_PUNCH, s->fd, AT, COUNT);
}

static int run_zero(struct scene *s)
{
	return do_op(OP_ZERO, s->fd, AT, COUNT);
}

static int run_collapse(struct scene *s)
{
	return do_op(OP_COLLAPSE, s->fd, AT, COUNT);
}

static int run_insert(struct scene *s)
{
	return do_op(OP_INSERT, s->fd, AT, COUNT);
}

static int run_unlink(struct scene *s)
{
	int rc;

	/* The last reference to the inode: closing evicts it. */
	if (s->map)
		munmap(s->map, s->pages * PAGE);
	s->map = NULL;
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
	rc = unlink(in_dir(s->e, "f"));
	return rc && errno == ENOENT ? 0 : rc;
}

static int run_dedupe(struct scene *s)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range = {
		.head = { .src_length = N * PAGE, .dest_count = 1 },
		.info = { .dest_fd = s->other },
	};

	if (ioctl(s->fd, FIDEDUPERANGE, &range))
		return -1;
	if (range.info.status < 0) {
		errno = -range.info.status;
		return -1;
	}
	return 0;
}

static int run_clone(struct scene *s)
{
	return ioctl(s->other, FICLONE, s->fd);
}

static int run_fork(struct scene *s)
{
	const pid_t pid = fork();
	int status;

	if (pid == -1)
		return -1;
	if (!pid) {
		for (size_t i = 0; i < N; i++)
			if (!page_is(s->map + i * PAGE, s->want[i]))
				_exit(1);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && !status, "the child sees other data");
	return 0;
}

static int run_mremap(struct scene *s)
{
	char *p = mremap(s->map, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, s->room);

	if (p == MAP_FAILED)
		return -1;
	s->map = p;
	return 0;
}

static int read_debugfs(struct scene *s)
{
	static const char *const files[] = { "mounts", "busy", "waiters", "points" };
	static char buf[4096];

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[128];
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), DEBUG MODULE_NAME "/%s", files[i]);
		fd = open(path, O_RDONLY);
		if (fd == -1)
			return -1;
		n = read(fd, buf, sizeof(buf));
		close(fd);
		if (n < 0)
			return -1;
		check(n, "%s is empty", files[i]);
	}
	return 0;
}

/* Data afterwards. */
static void stored(struct scene *s)
{
	s->want[AT] = NEW;
	fill_page(s->map + AT * PAGE, NEW);
}

static void stored_privately(struct scene *s)
{
	s->private = true;
	fill_page(s->map + AT * PAGE, NEW);
}

static void written(struct scene *s)
{
	s->want[AT] = NEW;
}

/* All of it is dirty, as it was. */
static void kept_dirty(struct scene *s)
{
	unpin_all(&s->pin);
	close(s->pin.rd);
	close(s->pin.wr);
	flush_count_start();
	must(fsync(s->fd));
	check(flush_count_stop() == N, "dirty pages were forgotten");
}

static void stored_zapped(struct scene *s)
{
	stored(s);
	kept_dirty(s);
}

static void flushed(struct scene *s)
{
	s->flushed = true;
}

static void discarded(struct scene *s)
{
	memset(s->want + AT, 0, COUNT * sizeof(s->want[0]));
}

static void truncated(struct scene *s)
{
	check(file_size(s->fd) == (off_t)(AT * PAGE), "size after truncate");
	/* What comes back has no data. */
	must(ftruncate(s->fd, N * PAGE));
	memset(s->want + AT, 0, (N - AT) * sizeof(s->want[0]));
}

static void collapsed(struct scene *s)
{
	check(file_size(s->fd) == (off_t)((s->pages - COUNT) * PAGE), "size after collapse");
	must(ftruncate(s->fd, s->pages * PAGE));
	memmove(s->want + AT, s->want + AT + COUNT, (N - AT - COUNT) * sizeof(s->want[0]));
	memset(s->want + N - COUNT, 0, COUNT * sizeof(s->want[0]));
}

static void inserted(struct scene *s)
{
	check(file_size(s->fd) == (off_t)((s->pages + COUNT) * PAGE), "size after insert");
	memmove(s->want + AT + COUNT, s->want + AT, (N - AT - COUNT) * sizeof(s->want[0]));
	discarded(s);
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
		check(!err || err == ENOMEM || (err == EAGAIN && a->run == run_fork) ||
		      (err == EFAULT && a->kind & FAULT && by == BY_ALLOCATION),
		      "%s, %s %u: %s", a->name, pass_name[by], n, strerror(err));
		return;
	}
	check(point != -1, "%s, point %u: none failed", a->name, n);
	right = !(a->kind & FAULT) ? points[point].call :
		a->kind & LARGE ? points[point].fault_huge : points[point].fault;
	if (right == ENOMEM && a->run == store_byte)
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

static void run_actions(const struct env *e, const struct action *actions)
{
	must(mlockall(MCL_CURRENT));
	for (enum pass by = 0; by < PASSES; by++) {
		set_pass(by);
		for (const struct action *a = actions; a->name; a++) {
			const unsigned int max = by == ALL_OF_MODULE ? 1 : e->ops;
			unsigned int n = 1;

			/* The kernel would try for ever. */
			if (by == ALL_OF_MODULE && a->run == store_byte)
				continue;
			while (n <= max && one(e, a, by, n))
				n++;
			printf("# %s: %u %s\n", a->name, n - 1, pass_name[by]);
			check_idle(e);
		}
	}
	set_pass(BY_POINT);
}

static void faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "load of data", FAULT, prepare_data, load_page, NULL },
		{ "load of a hole", FAULT, prepare_hole, load_page, NULL },
		{ "store to data", FAULT, prepare_data, store_page, stored },
		{ "store to a hole", FAULT, prepare_hole, store_page, stored },
		{ "store to what was loaded", FAULT, prepare_data_loaded, store_page, stored },
		{ "store to a hole that was loaded", FAULT, prepare_hole_loaded, store_page,
		  stored },
		{ "store to a hole by the CPU", FAULT, prepare_hole, store_byte, stored },
		{ "load of a zapped page", FAULT, prepare_zapped, load_page, kept_dirty },
		{ "store to a zapped page", FAULT, prepare_zapped, store_page, stored_zapped },
		{ }
	};

	run_actions(e, actions);
}

static void private_faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "private store to data", FAULT, prepare_private, store_page, stored_privately },
		{ "private store to a hole", FAULT, prepare_private_hole, store_page,
		  stored_privately },
		{ }
	};

	run_actions(e, actions);
}

static void huge_faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "2 MiB load of data", FAULT | LARGE, prepare_huge_data, load_page, NULL },
		{ "2 MiB load of a hole", FAULT | LARGE, prepare_huge, load_page, NULL },
		{ "2 MiB store", FAULT | LARGE, prepare_huge, store_page, stored },
		{ "2 MiB store to a hole that was loaded", FAULT | LARGE, prepare_huge_loaded,
		  store_page, stored },
		{ }
	};

	run_actions(e, actions);
}

static void sync_faults(const struct env *e)
{
	static const struct action actions[] = {
		{ "MAP_SYNC store to a hole", FAULT | SYNC, prepare_synced, store_page, stored },
		{ "2 MiB MAP_SYNC store", FAULT | LARGE | SYNC, prepare_huge_synced, store_page,
		  stored },
		{ }
	};

	run_actions(e, actions);
}

static void writes(const struct env *e)
{
	static const struct action actions[] = {
		{ "write to a hole that was loaded", CALL, prepare_hole_loaded, write_page,
		  written },
		{ "write to a 2 MiB hole that was loaded", CALL, prepare_huge_loaded, write_page,
		  written },
		{ "write to mapped data", CALL, prepare_dirty, write_page, written },
		{ "fsync", CALL, prepare_dirty, run_fsync, flushed },
		{ "fsync of 2 MiB", CALL, prepare_huge_dirty, run_fsync, flushed },
		{ "msync", CALL, prepare_dirty, run_msync, flushed },
		{ }
	};

	run_actions(e, actions);
}

static void layouts(const struct env *e)
{
	static const struct action actions[] = {
		{ "truncate", CALL, prepare_dirty, run_truncate, truncated },
		{ "punch", CALL, prepare_dirty, run_punch, discarded },
		{ "zero range", CALL, prepare_dirty, run_zero, discarded },
		{ "collapse range", HALF, prepare_dirty, run_collapse, collapsed },
		{ "insert range", HALF, prepare_dirty, run_insert, inserted },
		{ "punch of 2 MiB", CALL, prepare_huge_dirty, run_punch, discarded },
		{ "unlink", CALL, prepare_dirty, run_unlink, NULL },
		{ }
	};

	run_actions(e, actions);
}

static void pinned_layouts(const struct env *e)
{
	static const struct action actions[] = {
		{ "truncate of a pinned page", CALL, prepare_pinned, run_truncate, truncated },
		{ "punch of a pinned page", CALL, prepare_pinned, run_punch, discarded },
		{ "collapse of a pinned page", HALF, prepare_pinned, run_collapse, collapsed },
		{ "insert before a pinned page", HALF, prepare_pinned, run_insert, inserted },
		{ "punch of a pinned 2 MiB page", CALL, prepare_huge_pinned, run_punch, discarded },
		{ }
	};

	run_actions(e, actions);
}

static void shared(const struct env *e)
{
	static const struct action actions[] = {
		{ "load of shared data", FAULT, prepare_shared, load_page, NULL },
		{ "store to shared data", FAULT, prepare_shared, store_page, stored },
		{ "store to shared data that was loaded", FAULT, prepare_shared_loaded, store_page,
		  stored },
		{ "store to pinned shared data", FAULT, prepare_shared_pinned, store_page, stored },
		{ "write to shared data", CALL, prepare_shared_loaded, write_page, written },
		{ "punch of shared data", CALL, prepare_shared_loaded, run_punch, discarded },
		{ "dedupe", CALL, prepare_same, run_dedupe, NULL },
		{ "clone", CALL, prepare_same, run_clone, NULL },
		{ }
	};

	run_actions(e, actions);
}

static void mappings(const struct env *e)
{
	static const struct action actions[] = {
		{ "fork", CALL, prepare_forked, run_fork, NULL },
		{ "mremap", CALL, prepare_forked, run_mremap, NULL },
		{ "files of debugfs", CALL, prepare_dirty, read_debugfs, NULL },
		{ }
	};

	run_actions(e, actions);
}

/* What was never reached was not tested. */
static void all_points_failed(const struct env *e)
{
	unsigned long failed[ARRAY_SIZE(points)];

	read_points(failed);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		/* Shared blocks are what is copied. */
		if (!strcmp(points[i].name, "copy") && strcmp(e->fs, "xfs"))
			continue;
		check(failed[i], "point %s never failed", points[i].name);
		printf("# %s failed %lu times\n", points[i].name, failed[i]);
	}
}

static const struct test tests[] = {
	{ "R5 faults whose calls fail", faults, BOUND_ONLY },
	{ "R5 faults of private mappings whose calls fail", private_faults, BOUND_ONLY },
	{ "R5 2 MiB faults whose calls fail", huge_faults, BOUND_ONLY },
	{ "R9 MAP_SYNC faults whose calls fail", sync_faults, BOUND_ONLY },
	{ "R9 writes and flushes whose calls fail", writes, BOUND_ONLY },
	{ "R6 layout changes whose calls fail", layouts, BOUND_ONLY },
	{ "R6 layout changes of pinned pages whose calls fail", pinned_layouts, BOUND_ONLY },
	{ "R17 shared blocks and calls that fail", shared, BOUND_ONLY | XFS_ONLY },
	{ "R12 mappings and debugfs files whose calls fail", mappings, BOUND_ONLY },
	{ "every point has failed", all_points_failed, BOUND_ONLY },
	{ }
};

GROUP(inject, tests);

static void mounts(const struct env *e)
{
	static const enum pass passes[] = { BY_MODULE, ALL_OF_MODULE, BY_ALLOCATION };

	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	for (size_t p = 0; p < ARRAY_SIZE(passes); p++) {
		const enum pass by = passes[p];
		const unsigned int max = by == ALL_OF_MODULE ? 1 : e->ops;
		bool fired = true;
		unsigned int n;

		set_pass(by);
		for (n = 1; n <= max && fired; n += fired) {
			int rc, err;

			arm(by, n);
			rc = mount_fs(e->fs, e->dev, e->dir, NULL);
			err = errno;
			fired = disarm(by);
			check(!rc || err == ENOMEM || (fired && by == BY_ALLOCATION),
			      "mount, %s %u: %s", pass_name[by], n, strerror(err));
			/* Without memory a superblock may not be bound, and is served by C. */
			if (!rc)
				must(umount(e->dir));
			check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount after %s %u: %m",
			      pass_name[by], n);
			check(mount_is_bound(e->dir), "not bound after %s %u", pass_name[by], n);
			arm(by, n);
			rc = umount(e->dir);
			err = errno;
			disarm(by);
			if (rc)
				must(umount(e->dir));
		}
		printf("# mount and umount: %u %s\n", n - 1, pass_name[by]);
	}
	set_pass(BY_POINT);
	check(!module_unload(), "cannot unload the module: %m");
}

/* A folio or a reference that was lost would be waited for. */
static void device_goes(const struct env *e)
{
	char name[64];

	device_name(e->dev, name, sizeof(name));
	check(device_unbind(name), "unbind %s: %m", name);
	check(device_bind(name), "bind %s: %m", name);
}

static void nothing_leaks(const struct env *e)
{
	char buf[4096];

	(void)e;
	/* An object is reported if two scans find no reference to it, and it is old enough. */
	for (int i = 0; i < 2; i++) {
		set(DEBUG "kmemleak", "scan");
		sleep(6);
	}
	set(DEBUG "kmemleak", "scan");
	/* There is nothing to read if nothing leaked. */
	check(!read_text(DEBUG "kmemleak", buf, sizeof(buf)), "memory leaked: %s", buf);
}

static const struct test unmounted_tests[] = {
	{ "R15 mounts whose calls fail", mounts, BOUND_ONLY },
	{ "R2 the device is held by nobody", device_goes, BOUND_ONLY },
	{ "no memory is lost", nothing_leaks, BOUND_ONLY | LAST_ONLY },
	{ }
};

GROUP_UNMOUNTED(injected, unmounted_tests);
