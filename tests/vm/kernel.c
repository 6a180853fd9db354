// SPDX-License-Identifier: GPL-2.0
/*
 * What the guest programs see and set of the kernel: flushed pages (a kprobe
 * on what writes cache lines back), the kernel log, the module and its
 * parameters, mounts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arch.h"
#include "lib.h"

#define TRACING	"/sys/kernel/tracing"
#define BUFFER	TRACING "/instances/fsdax_test"
#define PROBE	"fsdax_test/flush"
/* What dax_flush() ends in. */
#define FLUSH	"arch_wb_cache_pmem"

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	err = errno;
	close(fd);
	errno = err;
	return n == (ssize_t)strlen(text);
}

bool read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0;
}

void set_text(const char *path, const char *text)
{
	check(write_text(path, text), "write '%s' to %s: %m", text, path);
}

void flush_count_start(void)
{
	if (access(TRACING "/events/" PROBE, F_OK)) {
		int fd = open(TRACING "/kprobe_events", O_WRONLY | O_APPEND);
		const char *probe = "p:" PROBE
				    " " FLUSH " addr=" FIRST_ARGUMENT
				    ":x64 size=" SECOND_ARGUMENT ":u64\n";

		check(fd >= 0, "no kprobe events in this kernel: %m");
		check(write(fd, probe, strlen(probe)) > 0,
		      "cannot probe " FLUSH "(): %m");
		close(fd);
	}
	if (access(BUFFER, F_OK))
		must(mkdir(BUFFER, 0700));
	set_text(BUFFER "/buffer_size_kb", "8192");
	/* Opened for writing anew, the trace is emptied. */
	close(must(open(BUFFER "/trace", O_WRONLY | O_TRUNC)));
	set_text(BUFFER "/events/" PROBE "/enable", "1");
}

/* A lost event would make a figure too small without anybody noticing. */
static void check_no_overrun(void)
{
	char buf[4096];
	glob_t g;

	check(!glob(BUFFER "/per_cpu/cpu*/stats", 0, NULL, &g), "no trace statistics");
	for (size_t i = 0; i < g.gl_pathc; i++) {
		const char *const key[] = { "overrun: ", "dropped events: " };

		check(read_text(g.gl_pathv[i], buf, sizeof(buf)), "%s: %m",
		      g.gl_pathv[i]);
		for (size_t k = 0; k < ARRAY_SIZE(key); k++) {
			char *at = strstr(buf, key[k]);

			check(at && atol(at + strlen(key[k])) == 0,
			      "the trace buffer lost events");
		}
	}
	globfree(&g);
}

/* Parts of a page are zeroing at the edge of a range, not writeback. */
long flush_count_stop(void)
{
	long pages = 0;
	char line[512];
	FILE *f;

	set_text(BUFFER "/events/" PROBE "/enable", "0");
	check_no_overrun();
	f = fopen(BUFFER "/trace", "re");
	check(f, "no trace: %m");
	while (fgets(line, sizeof(line), f)) {
		char *size = strstr(line, " size=");

		if (line[0] != '#' && size && atol(size + 6) % PAGE == 0)
			pages += atol(size + 6) / PAGE;
	}
	fclose(f);
	return pages;
}

int kmsg_open(void)
{
	int fd = must(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));

	must(lseek(fd, 0, SEEK_END));
	return fd;
}

static bool has_words(const char *line, va_list ap)
{
	const char *word;

	while ((word = va_arg(ap, const char *)))
		if (!strstr(line, word))
			return false;
	return true;
}

static bool kmsg_scan(int fd, va_list words)
{
	char line[8192];
	ssize_t n;

	for (;;) {
		va_list ap;
		bool hit;

		n = read(fd, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			continue;	/* overwritten: read on */
		if (n <= 0)
			return false;
		line[n] = 0;
		va_copy(ap, words);
		hit = has_words(line, ap);
		va_end(ap);
		if (hit)
			return true;
	}
}

bool kmsg_has(int fd, ...)
{
	va_list ap;
	bool hit;

	va_start(ap, fd);
	hit = kmsg_scan(fd, ap);
	va_end(ap);
	return hit;
}

bool kmsg_wait(int fd, int seconds, ...)
{
	time_t end = time(NULL) + seconds;
	va_list ap;
	bool hit;

	do {
		va_start(ap, seconds);
		hit = kmsg_scan(fd, ap);
		va_end(ap);
		if (!hit)
			usleep(100000);
	} while (!hit && time(NULL) < end);
	return hit;
}

bool module_loaded(void)
{
	return !access("/sys/module/" MODULE_NAME, F_OK);
}

static void tell_tracer(char what)
{
	const char *fd = getenv(TRACE_FD);

	if (fd)
		check(write(atoi(fd), &what, 1) == 1 && read(atoi(fd), &what, 1) == 1,
		      "the tracer does not answer: %m");
}

int module_load(const char *ko)
{
	int fd = open(ko, O_RDONLY | O_CLOEXEC);
	int rc;

	tell_tracer(TRACE_ENABLE);
	/* The KUnit suites of the module run elsewhere. */
	write_text("/sys/module/kunit/parameters/filter_glob", "no_such_suite");
	if (fd < 0)
		return -1;
	rc = syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return rc;
}

int module_unload(void)
{
	int rc;

	tell_tracer(TRACE_SAVE);
	rc = syscall(SYS_delete_module, MODULE_NAME, O_NONBLOCK);
	if (!rc)
		tell_tracer(TRACE_NEXT);
	return rc;
}

void module_bind(bool on)
{
	set_text("/sys/module/" MODULE_NAME "/parameters/bind", on ? "Y" : "N");
}

static void require_none(void *arg)
{
	(void)arg;
	write_text("/sys/module/fsdax/parameters/require", "N");
}

void require_provider(bool on)
{
	if (on)
		at_fail(require_none, NULL);
	set_text("/sys/module/fsdax/parameters/require", on ? "Y" : "N");
}

bool make_fs(const char *fs, const char *dev)
{
	char cmd[256];

	/*
	 * Small, because some cases fill it (for XFS that is what --unsupported allows); stripes of
	 * 2 MiB for huge pages.
	 */
	if (!strcmp(fs, "ext4"))
		snprintf(cmd, sizeof(cmd), "mkfs.ext4 -q -F -b 4096 -m 0 -E %s %s 128M",
			 "stripe_width=512,lazy_itable_init=0,lazy_journal_init=0", dev);
	else
		snprintf(cmd, sizeof(cmd), "mkfs.xfs -q -f --unsupported %s %s %s",
			 "-m reflink=1,rmapbt=1 -i exchange=1 -l size=24m,su=4k",
			 "-d size=160m,su=2m,sw=1,agcount=2", dev);
	return system(cmd) == 0;
}

int mount_fs(const char *fs, const char *dev, const char *dir,
	     const char *extra)
{
	char opts[128];

	mkdir(dir, 0755);
	snprintf(opts, sizeof(opts), "dax=always%s", extra ?: "");
	return mount(dev, dir, fs, 0, opts);
}

/*
 * Not by what the log says but by what the mount does: fs/dax.c forgets that
 * page 1 is dirty when page 0 is punched.
 */
bool mount_is_bound(const char *dir)
{
	char path[256];
	long flushed;
	char *p;
	int fd;

	snprintf(path, sizeof(path), "%s/.provider", dir);
	fd = must(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644));
	must(ftruncate(fd, 2 * PAGE));
	must(do_op(OP_ALLOCATE, fd, 0, 2));
	must(fsync(fd));
	p = map_file(fd, 2, PROT_READ | PROT_WRITE);
	p[0] = 1;
	p[PAGE] = 1;
	must(do_op(OP_PUNCH, fd, 0, 1));
	flush_count_start();
	must(fsync(fd));
	flushed = flush_count_stop();
	munmap(p, 2 * PAGE);
	close(fd);
	unlink(path);
	check(flushed == 0 || flushed == 1, "%ld pages flushed of 1", flushed);
	return flushed == 1;
}

/* "/dev/pmem1" is "namespace1.0" to the driver. */
void device_name(const char *dev, char *name, size_t size)
{
	char link[128], target[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/block/%s/device", strrchr(dev, '/') + 1);
	n = must(readlink(link, target, sizeof(target) - 1));
	target[n] = 0;
	snprintf(name, size, "%s", strrchr(target, '/') + 1);
}

bool device_unbind(const char *name)
{
	return write_text("/sys/bus/nd/drivers/nd_pmem/unbind", name);
}

bool device_bind(const char *name)
{
	return write_text("/sys/bus/nd/drivers/nd_pmem/bind", name);
}

void make_bad(const struct env *e, uint64_t block)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), "/sys/block/%s/badblocks", strrchr(e->dev, '/') + 1);
	snprintf(text, sizeof(text), "%llu 8\n", (unsigned long long)block * 8);
	set_text(path, text);
}

void forget_bad(const struct env *e)
{
	char name[64];

	device_name(e->dev, name, sizeof(name));
	check(device_unbind(name) && device_bind(name), "bind %s again: %m", name);
	if (e->ko)
		module_bind(e->bound);
	check(make_fs(e->fs, e->dev) && !mount_fs(e->fs, e->dev, e->dir, NULL),
	      "a new file system on %s: %m", e->dev);
}
