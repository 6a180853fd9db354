// SPDX-License-Identifier: GPL-2.0
/* Reads what the module says about itself, strictly: see debugfs.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "debugfs.h"

#define MOUNTS_HEADER \
	"dev s_id fs provider tracked.0 zapped.0 busy.0 shared.0 " \
	"tracked.9 zapped.9 busy.9 shared.9 tracked.18 zapped.18 busy.18 shared.18\n"
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

size_t read_busy(ino_t ino, struct busy *all, size_t max)
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

size_t read_waiters(ino_t ino, struct waiter *all, size_t max)
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

void dev_of(const struct env *e, char dev[16])
{
	struct stat st;

	must(stat(e->dir, &st));
	snprintf(dev, 16, "%u:%u", major(st.st_dev), minor(st.st_dev));
}

bool read_mount_orders(const struct env *e, struct counts counts[3])
{
	FILE *f = open_table("mounts", MOUNTS_HEADER);
	char line[256], wanted[16];
	bool found = false;

	dev_of(e, wanted);
	while (fgets(line, sizeof(line), f)) {
		char dev[16], id[80], fs[80], provider[80];
		int end, got;

		got = sscanf(line, "%15s %79s %79s %79s%n", dev, id, fs, provider, &end);
		check(got == 4, "mounts has the line %s", line);
		if (strcmp(dev, wanted))
			continue;
		check(!found, "two lines for %s", dev);
		found = true;
		check(!strcmp(id, strrchr(e->dev, '/') + 1), "s_id is %s", id);
		check(!strcmp(fs, e->fs), "fs is %s", fs);
		check(!strcmp(provider, MODULE_NAME), "provider is %s", provider);
		for (int i = 0; i < 3; i++) {
			struct counts *c = &counts[i];
			int next;

			got = sscanf(line + end, " %ld %ld %ld %ld%n", &c->tracked, &c->zapped,
				     &c->busy, &c->shared, &next);
			check(got == 4, "mounts has the line %s", line);
			end += next;
		}
		check(line[end] == '\n', "mounts has the line %s", line);
	}
	fclose(f);
	return found;
}

bool read_mount(const struct env *e, struct counts *small, struct counts *large)
{
	struct counts counts[3] = {};
	bool found = read_mount_orders(e, counts);

	*small = counts[0];
	*large = counts[1];
	return found;
}

static void check_count(int order, const struct counts *is, const struct counts *wanted)
{
	check(!memcmp(is, wanted, sizeof(*is)),
	      "order %d: %ld %ld %ld %ld are tracked, zapped, busy, shared, not %ld %ld %ld %ld",
	      order, is->tracked, is->zapped, is->busy, is->shared, wanted->tracked,
	      wanted->zapped, wanted->busy, wanted->shared);
}

void check_counts(const struct env *e, struct counts small, struct counts large)
{
	struct counts s, l;

	check(read_mount(e, &s, &l), "the mount is not listed");
	check_count(0, &s, &small);
	check_count(9, &l, &large);
}

ino_t inode_of(int fd)
{
	struct stat st;

	must(fstat(fd, &st));
	return st.st_ino;
}

void start_bound(const struct env *e)
{
	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	check_counts(e, (struct counts){}, (struct counts){});
}

void end_bound(const struct env *e)
{
	struct counts s, l;

	must(umount(e->dir));
	check(!read_busy(0, NULL, 0), "a page is busy without a mount");
	check(!read_waiters(0, NULL, 0), "somebody waits without a mount");
	check(!read_mount(e, &s, &l), "the mount is listed after umount");
	check(!module_unload(), "cannot unload the module: %m");
}

#define TRACING	"/sys/kernel/tracing/"

void trace_start(void)
{
	if (access(TRACING "trace", F_OK))
		must(mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL));
	check(write_text(TRACING "trace", ""), "cannot empty the trace");
	check(write_text(TRACING "events/" MODULE_NAME "/enable", "1"),
	      "cannot enable the tracepoints: %m");
}

void trace_stop(void)
{
	check(write_text(TRACING "events/" MODULE_NAME "/enable", "0"),
	      "cannot disable the tracepoints: %m");
}

void check_traced(int expected, const char *event, const char *fmt, ...)
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
