// SPDX-License-Identifier: GPL-2.0
/* What debugfs says about busy pages and those who wait, and that it may always be asked. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
#define HUGE	((size_t)512)
#define DEBUGFS	"/sys/kernel/debug/" MODULE_NAME

struct busy {
	char dev[16];
	unsigned long ino, index, pfn, order;
	long refcount, mapcount, pins, age_ms, pid;
};

struct waiter {
	long pid;
	char comm[80], what[16], dev[16];
	unsigned long ino, index, pfn;
	long waited_ms;
};

struct counts {
	long tracked, zapped, busy, shared;
};

#define MOUNTS_HEADER \
	"dev s_id fs provider tracked.0 zapped.0 busy.0 shared.0 tracked.9 zapped.9 busy.9 shared.9\n"
#define BUSY_HEADER	"dev ino index pfn order refcount mapcount pins age_ms waiter_pid\n"
#define WAITERS_HEADER	"pid comm what dev ino index pfn waited_ms\n"

static FILE *open_table(const char *name, const char *header)
{
	char path[128], line[256];
	FILE *f;

	if (access(DEBUGFS, F_OK))
		mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	snprintf(path, sizeof(path), DEBUGFS "/%s", name);
	f = fopen(path, "re");
	check(f, "%s: %m", path);
	check(fgets(line, sizeof(line), f), "%s is empty", path);
	check(!strcmp(line, header), "%s begins with %s", path, line);
	return f;
}

/* The lines about an inode (0: any), at most @max of them are stored; how many there are. */
static size_t read_busy(ino_t ino, struct busy *all, size_t max)
{
	FILE *f = open_table("busy", BUSY_HEADER);
	char line[256];
	size_t n = 0;

	while (fgets(line, sizeof(line), f)) {
		struct busy b;
		int end, got;

		if (!strcmp(line, "more\n"))
			continue;
		got = sscanf(line, "%15s %lu %lu %lx %lu %ld %ld %ld %ld %ld%n", b.dev, &b.ino,
			     &b.index, &b.pfn, &b.order, &b.refcount, &b.mapcount, &b.pins,
			     &b.age_ms, &b.pid, &end);
		check(got == 10 && line[end] == '\n', "busy has the line %s", line);
		if (ino && b.ino != ino)
			continue;
		if (n < max)
			all[n] = b;
		n++;
	}
	fclose(f);
	return n;
}

static size_t read_waiters(ino_t ino, struct waiter *all, size_t max)
{
	FILE *f = open_table("waiters", WAITERS_HEADER);
	char line[256];
	size_t n = 0;

	while (fgets(line, sizeof(line), f)) {
		struct waiter w;
		int end, got;

		got = sscanf(line, "%ld %79s %15s %15s %lu %lu %lx %ld%n", &w.pid, w.comm, w.what,
			     w.dev, &w.ino, &w.index, &w.pfn, &w.waited_ms, &end);
		check(got == 8 && line[end] == '\n', "waiters has the line %s", line);
		if (ino && w.ino != ino)
			continue;
		if (n < max)
			all[n] = w;
		n++;
	}
	fclose(f);
	return n;
}

static void dev_of(const struct env *e, char *dev)
{
	struct stat st;

	must(stat(e->dir, &st));
	snprintf(dev, 16, "%u:%u", major(st.st_dev), minor(st.st_dev));
}

/* Whether the mount is listed, and its counts by order (0, 9). */
static bool read_mount(const struct env *e, struct counts *small, struct counts *large)
{
	FILE *f = open_table("mounts", MOUNTS_HEADER);
	char line[256], wanted[16];
	bool found = false;

	dev_of(e, wanted);
	while (fgets(line, sizeof(line), f)) {
		char dev[16], id[80], fs[80], provider[80];
		struct counts s, l;
		int end, got;

		got = sscanf(line, "%15s %79s %79s %79s %ld %ld %ld %ld %ld %ld %ld %ld%n", dev,
			     id, fs, provider, &s.tracked, &s.zapped, &s.busy, &s.shared,
			     &l.tracked, &l.zapped, &l.busy, &l.shared, &end);
		check(got == 12 && line[end] == '\n', "mounts has the line %s", line);
		if (strcmp(dev, wanted))
			continue;
		check(!found, "two lines for %s", dev);
		found = true;
		check(!strcmp(id, strrchr(e->dev, '/') + 1), "s_id is %s", id);
		check(!strcmp(fs, e->fs), "fs is %s", fs);
		check(!strcmp(provider, MODULE_NAME), "provider is %s", provider);
		*small = s;
		*large = l;
	}
	fclose(f);
	return found;
}

static void check_count(int order, const struct counts *is, const struct counts *wanted)
{
	check(!memcmp(is, wanted, sizeof(*is)),
	      "order %d: %ld %ld %ld %ld are tracked, zapped, busy, shared, not %ld %ld %ld %ld",
	      order, is->tracked, is->zapped, is->busy, is->shared, wanted->tracked,
	      wanted->zapped, wanted->busy, wanted->shared);
}

static void check_counts(const struct env *e, struct counts small, struct counts large)
{
	struct counts s, l;

	check(read_mount(e, &s, &l), "the mount is not listed");
	check_count(0, &s, &small);
	check_count(9, &l, &large);
}

static ino_t inode_of(int fd)
{
	struct stat st;

	must(fstat(fd, &st));
	return st.st_ino;
}

static void start(const struct env *e)
{
	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	check_counts(e, (struct counts){}, (struct counts){});
}

static void end(const struct env *e)
{
	struct counts s, l;

	must(umount(e->dir));
	check(!read_busy(0, NULL, 0), "a page is busy without a mount");
	check(!read_waiters(0, NULL, 0), "somebody waits without a mount");
	check(!read_mount(e, &s, &l), "the mount is listed after umount");
	check(!module_unload(), "cannot unload the module: %m");
}

static void truncate_is_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 2 };
	struct waiter w[4];
	struct busy b[8];
	char dev[16];
	struct pin pin;
	long age;
	ino_t ino;
	char *p;

	start(e);
	dev_of(e, dev);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	check_counts(e, (struct counts){ .tracked = N }, (struct counts){});
	pin_pages(&pin, p + 4 * PAGE, 3);
	check(!read_busy(ino, NULL, 0), "a page is busy that the file uses");

	/* The job has the same name. */
	must(prctl(PR_SET_NAME, "a b\\\n\377"));
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 3, "busy has not the 3 pages");
	for (size_t i = 0; i < 3; i++) {
		check(!strcmp(b[i].dev, dev), "device %s, not %s", b[i].dev, dev);
		check(b[i].index == 4 + i, "page %lu, not %zu", b[i].index, 4 + i);
		check(b[i].order == 0, "order %lu", b[i].order);
		check(b[i].refcount == 1 && !b[i].mapcount && !b[i].pins,
		      "refcount %ld, mapcount %ld, pins %ld of a page in a pipe",
		      b[i].refcount, b[i].mapcount, b[i].pins);
		check(b[i].pid == (i ? 0 : (long)job.tid), "task %ld waits for page %lu, not %d",
		      b[i].pid, b[i].index, job.tid);
	}
	check(b[0].pfn && b[0].pfn != b[1].pfn && b[1].pfn != b[2].pfn, "pfns");
	check(read_waiters(ino, w, ARRAY_SIZE(w)) == 1, "not one waiter");
	check(w[0].pid == job.tid && !strcmp(w[0].what, "break") && !strcmp(w[0].dev, dev) &&
	      w[0].index == 4 && w[0].pfn == b[0].pfn, "task %ld waits to %s page %lu",
	      w[0].pid, w[0].what, w[0].index);
	check(!strcmp(w[0].comm, "a\\040b\\134\\012\\377"), "the waiter is named %s", w[0].comm);
	check_counts(e, (struct counts){ .tracked = 2, .zapped = N - 2, .busy = 3 },
		     (struct counts){});

	/* Time passes for all of them. */
	age = b[2].age_ms;
	do {
		usleep(10000);
		check(read_busy(ino, b, ARRAY_SIZE(b)) == 3, "busy has not the 3 pages");
		check(b[2].age_ms >= age && b[2].age_ms < 120000, "the age went from %ld to %ld",
		      age, b[2].age_ms);
	} while (b[2].age_ms < age + 100);
	read_waiters(ino, w, ARRAY_SIZE(w));
	check(w[0].waited_ms >= 100 && w[0].waited_ms < 120000, "waited for %ld ms",
	      w[0].waited_ms);

	unpin_page(&pin, NULL);
	check(job_sleeps(&job), "truncate did not wait for the rest");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 2 && b[0].index == 5 && b[0].pid == job.tid,
	      "after the first pin is gone, page %lu", b[0].index);
	unpin_all(&pin);
	job_succeeds(&job);
	check(!read_busy(ino, NULL, 0), "busy after truncate");
	check(!read_waiters(ino, NULL, 0), "somebody waits after truncate");
	check_counts(e, (struct counts){ .tracked = 2 }, (struct counts){});
	munmap(p, N * PAGE);
	close(job.fd);
	end(e);
}

#define TRACING	"/sys/kernel/tracing/"

static void trace_start(void)
{
	if (access(TRACING "trace", F_OK))
		must(mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL));
	check(write_text(TRACING "trace", ""), "cannot empty the trace");
	check(write_text(TRACING "events/" MODULE_NAME "/enable", "1"),
	      "cannot enable the tracepoints: %m");
}

static void trace_stop(void)
{
	check(write_text(TRACING "events/" MODULE_NAME "/enable", "0"),
	      "cannot disable the tracepoints: %m");
}

/* Check how many lines of the trace have an event with these arguments. */
static void check_traced(int expected, const char *event, const char *fmt, ...)
{
	char line[512], args[128], wanted[192];
	va_list ap;
	FILE *f;
	int n = 0;

	va_start(ap, fmt);
	vsnprintf(args, sizeof(args), fmt, ap);
	va_end(ap);
	snprintf(wanted, sizeof(wanted), ": " MODULE_NAME "_%s: %s", event, args);
	f = fopen(TRACING "trace", "re");
	check(f, "no trace: %m");
	while (fgets(line, sizeof(line), f))
		if (strstr(line, wanted))
			n++;
	fclose(f);
	check(n == expected, "%d events%s, not %d", n, wanted, expected);
}

static void break_is_traced(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 4, .pages = 8 };
	char dev[16];
	struct pin pin;
	ino_t ino;
	char *p;

	start(e);
	dev_of(e, dev);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 5 * PAGE, 2);
	trace_start();
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	check_traced(1, "break_begin", "dev=%s ino=%lu first=4 last=11\n", dev, ino);
	check_traced(2, "break_busy", "dev=%s ino=%lu index=", dev, ino);
	check_traced(1, "break_busy", "dev=%s ino=%lu index=5 ", dev, ino);
	check_traced(1, "wait_begin", "dev=%s ino=%lu index=5 ", dev, ino);
	check_traced(0, "wait_end", "dev=%s ino=%lu ", dev, ino);
	check_traced(0, "break_end", "dev=%s ino=%lu ", dev, ino);
	job_signal(&job);
	job_join(&job);
	check_traced(1, "wait_end", "dev=%s ino=%lu index=5 ", dev, ino);
	check_traced(1, "break_end", "dev=%s ino=%lu first=4 last=11 error=-512\n", dev, ino);
	unpin_all(&pin);
	must(do_op(OP_PUNCH, job.fd, 4, 8));
	check_traced(1, "break_end", "dev=%s ino=%lu first=4 last=11 error=0\n", dev, ino);
	trace_stop();
	munmap(p, N * PAGE);
	close(job.fd);
	end(e);
}

static void interrupted_break_leaves_busy(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 4, .pages = 4 };
	struct busy b[4];
	struct pin pin;
	ino_t ino;
	char *p, c;

	start(e);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 5 * PAGE, 2);
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	job_signal(&job);
	job_join(&job);
	check(!read_waiters(ino, NULL, 0), "a waiter that was interrupted is listed");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 2 && !b[0].pid && !b[1].pid,
	      "not two pages that nobody waits for");
	/* The file uses one of them again. */
	check(!try_load(p + 5 * PAGE, &c), "fault");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1 && b[0].index == 6, "after a fault");
	unpin_all(&pin);
	check(!read_busy(ino, NULL, 0), "busy without a pin");
	check_counts(e, (struct counts){ .tracked = 1, .zapped = 1 }, (struct counts){});
	munmap(p, N * PAGE);
	close(job.fd);
	end(e);
}

static void huge_is_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct counts s, l;
	struct busy b[2];
	struct pin pin;
	ino_t ino;
	char *p;
	int fd;

	start(e);
	fd = must(open(in_dir(e, "f"), O_RDWR | O_CREAT, 0644));
	must(fallocate(fd, 0, 0, 4 * HUGE * PAGE));
	ino = inode_of(fd);
	p = map_file_huge(fd, 4 * HUGE, RW);
	for (size_t i = 0; i < 4; i++)
		p[i * HUGE * PAGE] = 1;
	check(read_mount(e, &s, &l), "the mount is not listed");
	if (!l.tracked) {
		printf("# no fault was served with 2 MiB\n");
		goto out;
	}
	/* One in the midst of the first 2 MiB that are mapped as such. */
	pin_pages(&pin, p + (HUGE + 77) * PAGE, 1);
	job.fd = fd;
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1, "not one busy folio");
	if (b[0].order)
		check(b[0].order == 9 && b[0].index == HUGE && b[0].pfn % HUGE == 0,
		      "order %lu, page %lu", b[0].order, b[0].index);
	check(b[0].refcount == 1, "refcount %ld", b[0].refcount);
	check_counts(e, (struct counts){ .zapped = s.tracked, .busy = !b[0].order },
		     (struct counts){ .zapped = l.tracked, .busy = !!b[0].order });
	unpin_all(&pin);
	job_succeeds(&job);
	check_counts(e, (struct counts){}, (struct counts){});
out:
	munmap(p, 4 * HUGE * PAGE);
	close(fd);
	end(e);
}

struct transfer {
	int fd;
	char *buf;
	pthread_t thread;
};

static void *transfer_main(void *arg)
{
	struct transfer *t = arg;

	return (void *)pread(t->fd, t->buf, PAGE, 0);
}

/* Unlike a pipe it takes pins that count as such: GUP_PIN_COUNTING_BIAS is 1024. */
static void direct_io_is_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct transfer t;
	struct slow_file slow;
	struct busy b[2];
	void *got;
	ino_t ino;
	char *p;

	start(e);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	slow_file_start(&slow, 700);
	t.fd = must(open(slow.path, O_RDONLY | O_DIRECT));
	t.buf = p + 9 * PAGE;
	check(!pthread_create(&t.thread, NULL, transfer_main, &t), "no thread");
	slow_file_wait_held(&slow);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1 && b[0].index == 9, "not page 9");
	check(b[0].pins == 1 && b[0].refcount == 1024, "%ld pins, refcount %ld", b[0].pins,
	      b[0].refcount);
	slow_file_release(&slow);
	pthread_join(t.thread, &got);
	check(got == (void *)PAGE, "the read failed");
	job_succeeds(&job);
	close(t.fd);
	slow_file_stop(&slow);
	munmap(p, N * PAGE);
	close(job.fd);
	end(e);
}

static void shared_is_seen(const struct env *e)
{
	char *p[2], sum = 0;
	int fd[2];

	if (strcmp(e->fs, "xfs")) {
		printf("# %s shares no blocks\n", e->fs);
		return;
	}
	start(e);
	fd[0] = create_file(e, "f", N, 100);
	fd[1] = must(open(in_dir(e, "g"), O_RDWR | O_CREAT, 0644));
	must(ioctl(fd[1], FICLONE, fd[0]));
	for (size_t k = 0; k < 2; k++) {
		p[k] = map_file(fd[k], N, PROT_READ);
		for (size_t i = 0; i < N - k; i++)
			sum += *(volatile char *)(p[k] + i * PAGE);
	}
	/* Page N - 1 has an entry in the first file only. */
	check_counts(e, (struct counts){ .tracked = 2 * N - 1, .shared = 2 * (N - 1) },
		     (struct counts){});
	must(ftruncate(fd[1], PAGE));
	check_counts(e, (struct counts){ .tracked = N + 1, .shared = 2 }, (struct counts){});
	for (size_t k = 0; k < 2; k++) {
		munmap(p[k], N * PAGE);
		close(fd[k]);
	}
	end(e);
}

static void eviction_is_seen(const struct env *e)
{
	struct job job = { .op = OP_UNLINK, .path = in_dir(e, "f") };
	struct waiter w[2];
	struct busy b[4];
	struct pin pin;
	ino_t ino;
	char *p;
	int fd;

	start(e);
	fd = create_file(e, "f", N, 100);
	ino = inode_of(fd);
	p = map_file(fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 2);
	must(munmap(p, N * PAGE));
	close(fd);
	job_start(&job);
	check(job_sleeps(&job), "unlink did not wait");
	/* No list of inodes has it any more. */
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 2 && b[0].index == 3 && b[1].index == 4,
	      "busy has not the 2 pages");
	check(b[0].pid == job.tid, "task %ld waits, not %d", b[0].pid, job.tid);
	check(read_waiters(ino, w, ARRAY_SIZE(w)) == 1 && !strcmp(w[0].what, "evict") &&
	      w[0].pid == job.tid, "no eviction waits");
	check_counts(e, (struct counts){ .zapped = 2, .busy = 2 }, (struct counts){});
	unpin_all(&pin);
	job_succeeds(&job);
	check_counts(e, (struct counts){}, (struct counts){});
	end(e);
}

static void removal_is_seen(const struct env *e)
{
	struct waiter w[2];
	struct busy b[4];
	struct pin pin;
	char name[64];
	int fd, status;
	pid_t pid;
	ino_t ino;
	char *p;

	start(e);
	fd = create_file(e, "f", N, 100);
	ino = inode_of(fd);
	p = map_file(fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	must(munmap(p, N * PAGE));
	device_name(e->dev, name, sizeof(name));
	trace_start();
	pid = must(fork());
	if (!pid) {
		close(pin.rd);
		close(pin.wr);
		close(fd);
		_exit(!device_unbind(name));
	}
	check(task_sleeps(pid, pid, NULL), "unbind did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1 && b[0].index == 3 && b[0].pid == pid,
	      "task %ld waits, not %d", b[0].pid, pid);
	check(read_waiters(0, w, ARRAY_SIZE(w)) == 1 && !strcmp(w[0].what, "removal") &&
	      w[0].pid == pid && w[0].pfn == b[0].pfn && !w[0].ino, "no removal waits");
	check_traced(1, "removal_begin", "first=0x");
	check_traced(1, "removal_revoked", "first=0x");
	check_traced(0, "removal_end", "first=0x");
	unpin_all(&pin);
	must(waitpid(pid, &status, 0));
	check(!status, "the unbind failed");
	check_traced(1, "removal_end", "first=0x");
	trace_stop();
	check(!read_busy(0, NULL, 0), "a page of no device is busy");
	close(fd);
	end(e);
	check(device_bind(name), "cannot bind %s again: %m", name);
	while (access(e->dev, F_OK))
		usleep(10000);
}

static char *output_of(const char *cmd, int *status)
{
	static char buf[1 << 16];
	FILE *f = popen(cmd, "r");
	size_t n;

	check(f, "popen: %m");
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	*status = pclose(f);
	return buf;
}

/* Runs in the checkout. */
static void command_names_the_file(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char path[256], *out, *p;
	struct pin pin;
	int status;

	if (access("scripts/fsdax-pins", X_OK) || system("python3 -c 1 2>/dev/null")) {
		printf("# no python3 or no scripts/fsdax-pins here\n");
		return;
	}
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	check(WEXITSTATUS(status) == 3 && strstr(out, "not loaded"), "without the module: %s", out);
	start(e);
	must(mkdir(in_dir(e, "a dir"), 0755));
	snprintf(path, sizeof(path), "%s", in_dir(e, "a dir/the file"));
	job.fd = create_file(e, "a dir/the file", N, 100);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	check(!status && strstr(out, "No page is busy"), "before: %s", out);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	check(!status && strstr(out, path), "no %s: %s", path, out);
	check(strstr(out, "break, "), "nobody waits: %s", out);
	printf("# %s", "what fsdax-pins prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	out = output_of("scripts/fsdax-pins --json 2>&1", &status);
	check(!status && strstr(out, path) && strstr(out, "\"what\": \"break\""), "%s", out);
	out = output_of("scripts/fsdax-pins --json --no-paths 2>&1", &status);
	check(!status && !strstr(out, path), "a path in spite of --no-paths");
	unpin_all(&pin);
	job_succeeds(&job);
	munmap(p, N * PAGE);
	close(job.fd);
	end(e);
}

/* Reads what the child prints until it has @words, or ends (NULL). */
static bool reads_until(FILE *from, const char *words, char *all, size_t size)
{
	size_t n = strlen(all);
	int c;

	while (n + 1 < size && (c = fgetc(from)) != EOF) {
		all[n++] = c;
		all[n] = '\0';
		if (c == '\n' && words && strstr(all, words))
			return true;
	}
	return !words;
}

static void bpftrace_prints_a_histogram(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	static char out[1 << 16];
	char wanted[64], dev[16], *colon;
	int status, fds[2];
	struct pin pin;
	FILE *from;
	pid_t pid;
	char *p;

	if (access("scripts/break-waits.bt", R_OK) || system("command -v bpftrace >/dev/null")) {
		printf("# no bpftrace or no scripts/break-waits.bt here\n");
		return;
	}
	start(e);
	trace_start();
	trace_stop();
	dev_of(e, dev);
	job.fd = create_file(e, "f", N, 100);
	colon = strchr(dev, ':');
	*colon = '\0';
	snprintf(wanted, sizeof(wanted), "@waited_us[%s, %s, %lu]:", dev, colon + 1,
		 inode_of(job.fd));
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);

	must(pipe2(fds, O_CLOEXEC));
	pid = must(fork());
	if (!pid) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		execlp("bpftrace", "bpftrace", "-B", "line", "scripts/break-waits.bt", NULL);
		_exit(127);
	}
	close(fds[1]);
	from = fdopen(fds[0], "re");
	check(reads_until(from, "Ctrl-C ends", out, sizeof(out)), "bpftrace: %s", out);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	unpin_all(&pin);
	job_succeeds(&job);
	must(kill(pid, SIGINT));
	reads_until(from, NULL, out, sizeof(out));
	must(waitpid(pid, &status, 0));
	check(!status, "bpftrace ended with %#x: %s", status, out);
	check(strstr(out, wanted), "no %s in %s", wanted, out);
	printf("# %s", "what break-waits.bt prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	fclose(from);
	munmap(p, N * PAGE);
	close(job.fd);
	end(e);
}

static void open_file_holds_the_module(const struct env *e)
{
	char buf[64];
	int fd;

	start(e);
	must(umount(e->dir));
	fd = must(open(DEBUGFS "/busy", O_RDONLY | O_CLOEXEC));
	check(module_unload(), "the module went from under an open file");
	check(read(fd, buf, sizeof(buf)) > 0, "read: %m");
	must(close(fd));
	check(!module_unload(), "cannot unload the module: %m");
	check(access(DEBUGFS, F_OK), "the directory outlives the module");
}

/* More lines than one buffer or one batch holds. */
#define MANY	((size_t)1500)

static void many_are_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	static struct busy b[MANY + 1];
	static struct pin pins[MANY / 250];
	ino_t ino;
	char *p;

	start(e);
	job.fd = create_file(e, "f", MANY, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, MANY, RW);
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		pin_pages(&pins[i], p + i * 250 * PAGE, 250);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, MANY) == MANY, "not %zu lines", MANY);
	for (size_t i = 0; i < MANY; i++)
		check(b[i].index == i, "line %zu has page %lu", i, b[i].index);
	check_counts(e, (struct counts){ .zapped = MANY, .busy = MANY }, (struct counts){});
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		unpin_all(&pins[i]);
	job_succeeds(&job);
	munmap(p, MANY * PAGE);
	close(job.fd);
	end(e);
}

#define STRESS_FILES	4
#define STRESS_SECONDS	8
#define STRESS_PAGES	((size_t)64)

struct stress {
	const struct env *e;
	pthread_t thread;
	unsigned int id;
};

static atomic_int stress_over;

/* Each on a file of its own, so that nobody waits for itself. */
static void *stress_main(void *arg)
{
	struct stress *s = arg;
	time_t over = time(NULL) + STRESS_SECONDS;
	unsigned int seed = s->id + 1;
	char name[16];

	snprintf(name, sizeof(name), "f%u", s->id);
	for (int round = 0; round < 3 || time(NULL) < over; round++) {
		struct job job = { .op = round % 2 ? OP_PUNCH : OP_TRUNCATE };
		size_t at = rand_r(&seed) % (STRESS_PAGES - 4);
		struct pin pin;
		char *p;

		job.fd = create_file(s->e, name, STRESS_PAGES, 100);
		p = map_file(job.fd, STRESS_PAGES, RW);
		pin_pages(&pin, p + at * PAGE, 4);
		if (round % 3 == 0) {
			must(munmap(p, STRESS_PAGES * PAGE));
			close(job.fd);
			job = (struct job){ .op = OP_UNLINK, .path = in_dir(s->e, name) };
			p = NULL;
		} else {
			job.pages = STRESS_PAGES;
		}
		job_start(&job);
		usleep(rand_r(&seed) % 3000);
		if (p)
			try_load(p + at * PAGE, NULL);
		unpin_all(&pin);
		job_join(&job);
		if (p) {
			must(munmap(p, STRESS_PAGES * PAGE));
			close(job.fd);
		}
		close(pin.rd);
		close(pin.wr);
	}
	return NULL;
}

static void *reader_main(void *arg)
{
	const struct env *e = arg;
	struct counts s, l;
	long reads = 0;

	while (!stress_over) {
		read_busy(0, NULL, 0);
		read_waiters(0, NULL, 0);
		check(read_mount(e, &s, &l), "the mount is not listed");
		reads++;
	}
	return (void *)reads;
}

static void reading_during_a_stress(const struct env *e)
{
	struct stress stress[STRESS_FILES];
	pthread_t readers[2];
	void *reads;

	start(e);
	for (unsigned int i = 0; i < STRESS_FILES; i++) {
		stress[i] = (struct stress){ .e = e, .id = i };
		check(!pthread_create(&stress[i].thread, NULL, stress_main, &stress[i]), "thread");
	}
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		check(!pthread_create(&readers[i], NULL, reader_main, (void *)e), "thread");
	for (size_t i = 0; i < STRESS_FILES; i++)
		pthread_join(stress[i].thread, NULL);
	stress_over = 1;
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		pthread_join(readers[i], &reads);
		check(reads, "nothing was read");
		printf("# %ld reads\n", (long)reads);
	}
	check(!read_busy(0, NULL, 0), "busy after the stress");
	check(!read_waiters(0, NULL, 0), "somebody waits after the stress");
	end(e);
}

/* What is the same on each file system. */
#define ONCE	(BOUND_ONLY | FIRST_ONLY)

static const struct test tests[] = {
	{ "a truncate and the pages that it waits for are seen", truncate_is_seen, BOUND_ONLY },
	{ "the tracepoints of a break are seen", break_is_traced, ONCE },
	{ "pages stay busy after an interrupted punch", interrupted_break_leaves_busy,
	  BOUND_ONLY },
	{ "2 MiB that are busy are seen as one", huge_is_seen, ONCE },
	{ "pins of direct I/O are seen as such", direct_io_is_seen, ONCE },
	{ "R11 folios that files share are counted", shared_is_seen, BOUND_ONLY },
	{ "R12 an eviction and its pages are seen", eviction_is_seen, BOUND_ONLY },
	{ "R14 a removal and its pages are seen", removal_is_seen, ONCE },
	{ "R15 an open file of debugfs holds the module", open_file_holds_the_module, ONCE },
	{ "more busy pages than a batch holds are seen", many_are_seen, ONCE },
	{ "R10 debugfs is read during a stress", reading_during_a_stress, ONCE },
	{ }
};

static const struct test tools_tests[] = {
	{ "fsdax-pins names the file and who waits", command_names_the_file, ONCE },
	{ "break-waits.bt prints a histogram", bpftrace_prints_a_histogram, ONCE },
	{ }
};

GROUP_UNMOUNTED(observe, tests);
GROUP_UNMOUNTED(tools, tools_tests);
