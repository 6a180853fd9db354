// SPDX-License-Identifier: GPL-2.0
/*
 * What distributions switch on, and what accounts, reclaims and watches
 * memory: cgroups, their writeback, MGLRU, DAMON. See options.h.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
#define CGROUPS	"/sys/fs/cgroup"
#define OURS	CGROUPS "/fsdax"
#define LRU_GEN	"/sys/kernel/mm/lru_gen/enabled"
#define DAMON	"/sys/kernel/mm/damon/admin/kdamonds"

static void cgroup_new(const char *limit)
{
	if (access(CGROUPS "/cgroup.procs", F_OK))
		must(mount("cgroup2", CGROUPS, "cgroup2", 0, NULL));
	set_text(CGROUPS "/cgroup.subtree_control", "+memory +io");
	if (access(OURS, F_OK))
		must(mkdir(OURS, 0755));
	set_text(OURS "/memory.max", limit);
}

/* Who has ended may still be in it for a moment. */
static bool cgroup_left(void *arg)
{
	(void)arg;
	return !rmdir(OURS);
}

static void cgroup_gone(void)
{
	check(comes_true(cgroup_left, NULL), "cannot remove the cgroup: %m");
}

/* The status of a process that does it in the cgroup. */
static int in_cgroup(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid = must(fork());

	if (!pid) {
		set_text(OURS "/cgroup.procs", "0");
		_exit(fn(arg));
	}
	must(waitpid(pid, &status, 0));
	return status;
}

struct big {
	const struct env *env;
	size_t pages;
};

/* Page cache, which is charged: pages of DAX files are not. */
static char *map_page_cache(const struct env *e, size_t size)
{
	int dev = must(open(e->dev, O_RDONLY));
	char *cache = mmap(NULL, size, PROT_READ, MAP_SHARED, dev, 0);

	check(cache != MAP_FAILED, "mmap: %m");
	close(dev);
	/* What is cached already is charged to somebody else. */
	set_text("/proc/sys/vm/drop_caches", "3");
	return cache;
}

static int store_and_write(void *arg)
{
	const struct big *b = arg;
	volatile char *cache = map_page_cache(b->env, b->pages * PAGE);
	int fd = create_file(b->env, "stored", 0, 0), written;
	volatile char sum = 0;
	char *p;

	must(do_op(OP_ALLOCATE, fd, 0, b->pages));
	p = map_file(fd, b->pages, RW);
	for (size_t i = 0; i < b->pages; i++) {
		sum += cache[i * PAGE];
		fill_page(p + i * PAGE, 1000 + i);
	}
	written = create_file(b->env, "written", b->pages, 5000);
	for (size_t i = 0; i < b->pages; i++) {
		check_page(p + i * PAGE, 1000 + i, "stored");
		check_file_page(written, i, 5000 + i, "written");
	}
	must(fsync(fd));
	return 0;
}

static int take_memory(void *arg)
{
	const struct big *b = arg;
	char *p = mmap(NULL, b->pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; i < b->pages; i++)
		((volatile char *)p)[i * PAGE] = 1;
	return 0;
}

static void cgroup_at_its_limit(const struct env *e)
{
	const size_t limit = 8 * MIB;
	struct big b = { e, limit / PAGE * 3 / 2 };
	char text[32];
	int fd, status;

	snprintf(text, sizeof(text), "%zu", limit);
	cgroup_new(text);
	status = in_cgroup(store_and_write, &b);
	check(!status, "the process in the cgroup ended with %#x", status);
	check(!figure_of(OURS "/memory.events", "oom_kill") &&
	      !figure_of(OURS "/memory.events", "oom"), "pages of a file used up the limit");
	check(figure_of(OURS "/memory.events", "max") > 0, "the limit was not met");
	/* The limit is one. */
	status = in_cgroup(take_memory, &b);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "memory beyond the limit: %#x", status);
	check(figure_of(OURS "/memory.events", "oom_kill") == 1, "nobody was killed");
	remount(e, NULL);
	for (int k = 0; k < 2; k++) {
		fd = must(open(in_dir(e, k ? "written" : "stored"), O_RDWR));
		for (size_t i = 0; i < b.pages; i++)
			check_file_page(fd, i, (k ? 5000 : 1000) + i, "after a mount");
		must(ftruncate(fd, 0));
		close(fd);
	}
	cgroup_gone();
}

#define FILES	24

static void numbered(char *name, size_t size, int round, int i)
{
	snprintf(name, size, "r%d.%d", round, i);
}

struct dirtier {
	const struct env *env;
	int round;
};

/* All in 4 KiB: two of the pages of each file, all of the first. */
static int make_dirty(void *arg)
{
	const struct dirtier *d = arg;
	char name[32];

	for (int i = 0; i < FILES; i++) {
		int fd;
		char *p;

		numbered(name, sizeof(name), d->round, i);
		fd = create_file(d->env, name, N, 100);
		p = map_file(fd, N, RW);
		for (size_t k = 0; k < N; k += i ? N / 2 : 1)
			fill_page(p + k * PAGE, 1000 * i + k);
		close(fd);
	}
	return 0;
}

/* Whether the device has writeback of its own for the cgroup. */
static bool has_writeback(const struct env *e, unsigned long cgroup)
{
	char path[128], id[32];
	unsigned long ino;
	char line[256];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/%s/dev", strrchr(e->dev, '/') + 1);
	check(read_text(path, id, sizeof(id)), "%s: %m", path);
	id[strcspn(id, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/kernel/debug/bdi/%s/wb_stats", id);
	f = fopen(path, "re");
	check(f, "%s: %m", path);
	while (fgets(line, sizeof(line), f))
		found |= sscanf(line, "WbCgIno: %lu", &ino) == 1 && ino == cgroup;
	fclose(f);
	return found;
}

/*
 * Inodes that are attached to the writeback of a cgroup that has gone. The
 * kernel hands over those of other files when the next one goes;
 * inode_prepare_wbs_switch() leaves out DAX inodes.
 */
static void cgroup_that_goes(const struct env *e)
{
	const size_t dirty = N + 2 * (FILES - 1);
	struct job job = { .op = OP_PUNCH, .first = 4, .pages = 4 };
	struct dirtier d = { .env = e };
	char name[32], *p = NULL, buf[PAGE];
	struct pin pin;
	struct stat st;

	for (d.round = 0; d.round < 3; d.round++) {
		size_t n;

		cgroup_new("max");
		must(stat(OURS, &st));
		check(!in_cgroup(make_dirty, &d), "the process in the cgroup failed");
		check(has_writeback(e, st.st_ino), "there is no writeback of the cgroup");
		cgroup_gone();
		if (p) {
			/* A punch of the last round sleeps on, and has marked what it takes. */
			usleep(200000);
			check(!job.done, "the punch did not wait any longer");
			unpin_page(&pin, buf);
			check_page(buf, 5, "page in the pipe");
			job_succeeds(&job);
			must(munmap(p, N * PAGE));
			close(job.fd);
			close(pin.rd);
			close(pin.wr);
		}
		flush_count_start();
		sync();
		n = flush_count_stop();
		check(n == dirty, "%zu pages written back, not %zu", n, dirty);
		numbered(name, sizeof(name), d.round, 0);
		job.fd = must(open(in_dir(e, name), O_RDWR));
		p = map_file(job.fd, N, RW);
		pin_pages(&pin, p + 5 * PAGE, 1);
		job_start(&job);
		check(job_sleeps(&job), "the punch did not wait");
	}
	unpin_page(&pin, buf);
	job_succeeds(&job);
	must(munmap(p, N * PAGE));
	close(job.fd);
	remount(e, NULL);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < FILES; i++) {
			int fd;

			numbered(name, sizeof(name), round, i);
			fd = must(open(in_dir(e, name), O_RDWR));
			for (size_t k = 0; k < N; k++) {
				uint64_t want = !i || k % (N / 2) == 0 ? 1000 * i + k : 100 + k;

				check_file_page(fd, k, !i && k >= 4 && k < 8 ? 0 : want, name);
			}
			close(fd);
		}
	}
}

struct ageing {
	struct known *small, *huge;
	const struct env *env;
};

/* Let the kernel look at the page tables of the cgroup for what is young. */
static void age_generations(void)
{
	unsigned long id = 0, ours = 0, seq = 0;
	char line[512], path[256];
	int nid = -1;
	FILE *f = fopen("/sys/kernel/debug/lru_gen", "re");

	check(f, "no lru_gen in debugfs: %m");
	while (fgets(line, sizeof(line), f)) {
		int node;

		if (sscanf(line, "memcg %lu %255s", &id, path) == 2)
			ours = strcmp(path, "/fsdax") ? ours : id;
		else if (sscanf(line, " node %d", &node) == 1)
			nid = ours == id ? node : nid;
		else if (ours && ours == id && !nid)
			seq = strtoul(line, NULL, 10);
	}
	fclose(f);
	check(ours && seq, "the cgroup has no generations");
	snprintf(line, sizeof(line), "+ %lu 0 %lu 1 1", ours, seq);
	set_text("/sys/kernel/debug/lru_gen", line);
}

static int be_reclaimed(void *arg)
{
	struct ageing *a = arg;
	char *cache = map_page_cache(a->env, 8 * MIB);
	volatile char sum = 0;

	/* Mapped by this process, or nobody looks at it. */
	a->small->map = map_file(a->small->fd, a->small->pages, RW);
	a->huge->map = map_file_huge(a->huge->fd, a->huge->pages, RW);
	for (uint64_t round = 0; round < 3; round++) {
		long before;

		for (size_t i = 0; i < a->small->pages; i++)
			fill_page(a->small->map + i * PAGE, 1000 + i);
		for (size_t i = 0; i < a->huge->pages; i++)
			fill_page(a->huge->map + i * PAGE, 2000 + i);
		for (size_t i = 0; i < 8 * MIB; i += PAGE)
			sum += cache[i];
		must(madvise(cache, 8 * MIB, MADV_DONTNEED));
		for (int i = 0; i < 3; i++)
			age_generations();
		before = figure_of(OURS "/memory.stat", "file");
		write_text(OURS "/memory.reclaim", "6M");
		check(figure_of(OURS "/memory.stat", "file") <= before - (long)(3 * MIB),
		      "nothing was reclaimed of %ld bytes", before);
		set_text("/proc/sys/vm/drop_caches", "3");
		check_page(a->small->map + PAGE, 1001, "after reclaim");
		check(huge_pages(a->huge->map, HUGE) == HUGE, "2 MiB were unmapped");
	}
	return 0;
}

static void generations(const struct env *e)
{
	struct known small = new_small(e, "small", 256), huge = new_huge(e, "huge", 2);
	struct ageing a = { &small, &huge, e };
	char old[32];
	int status;

	must(fsync(huge.fd));
	check(read_text(LRU_GEN, old, sizeof(old)), "no generations: %m");
	set_text(LRU_GEN, "y");
	cgroup_new("max");
	status = in_cgroup(be_reclaimed, &a);
	check(!status, "the process in the cgroup ended with %#x", status);
	set_text(LRU_GEN, old);
	cgroup_gone();
	for (size_t i = 0; i < small.pages; i++)
		small.want[i] = 1000 + i;
	for (size_t i = 0; i < huge.pages; i++)
		huge.want[i] = 2000 + i;
	expect_flush_of(&small, small.pages, "after reclaim");
	expect_flush_of(&huge, huge.pages, "after reclaim");
	drop_known(&small);
	end_known(&huge);
}

static void damon(const char *file, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), DAMON "/%s", file);
	set_text(path, text);
}

static void damon_number(const char *file, unsigned long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", number);
	damon(file, text);
}

static const char *const damon_schemes[] = { "stat", "cold", "pageout" };

static bool all_tried(void *arg)
{
	struct known *f = arg;
	char path[256];
	bool all = true;

	/* Something is young in between. */
	for (size_t i = 0; i < f->pages; i += 9)
		fill_page(f->map + i * PAGE, f->want[i]);
	damon("0/state", "update_schemes_stats");
	for (size_t k = 0; k < ARRAY_SIZE(damon_schemes); k++) {
		snprintf(path, sizeof(path), DAMON "/0/contexts/0/schemes/%zu/stats/nr_tried", k);
		all &= figure_of(path, "") > 10;
	}
	return all;
}

static void access_monitor(const struct env *e)
{
	struct known f = new_huge(e, "f", 2);
	bool worked;

	damon("nr_kdamonds", "1");
	damon("0/contexts/nr_contexts", "1");
	/* The operations of processes, on addresses that stay as given. */
	damon("0/contexts/0/operations", "fvaddr");
	damon("0/contexts/0/monitoring_attrs/intervals/sample_us", "1000");
	damon("0/contexts/0/monitoring_attrs/intervals/aggr_us", "10000");
	damon("0/contexts/0/monitoring_attrs/intervals/update_us", "100000");
	damon("0/contexts/0/targets/nr_targets", "1");
	damon_number("0/contexts/0/targets/0/pid_target", getpid());
	damon("0/contexts/0/targets/0/regions/nr_regions", "1");
	damon_number("0/contexts/0/targets/0/regions/0/start", (uintptr_t)f.map);
	damon_number("0/contexts/0/targets/0/regions/0/end", (uintptr_t)f.map + f.pages * PAGE);
	damon_number("0/contexts/0/schemes/nr_schemes", ARRAY_SIZE(damon_schemes));
	for (size_t k = 0; k < ARRAY_SIZE(damon_schemes); k++) {
		static const char *const limit[] = { "sz", "nr_accesses", "age" };
		char path[256];

		snprintf(path, sizeof(path), "0/contexts/0/schemes/%zu/action", k);
		damon(path, damon_schemes[k]);
		for (size_t i = 0; i < ARRAY_SIZE(limit); i++) {
			snprintf(path, sizeof(path),
				 "0/contexts/0/schemes/%zu/access_pattern/%s/max", k, limit[i]);
			damon_number(path, 1ul << 31);
		}
	}
	damon("0/state", "on");
	worked = comes_true(all_tried, &f);
	check_known(&f, "while DAMON watches");
	damon("0/state", "off");
	damon("nr_kdamonds", "0");
	check(worked, "DAMON did not look at the mapping");
	expect_flush_of(&f, f.pages, "of what DAMON has seen");
	end_known(&f);
}

static const struct test tests[] = {
	{ "R25 a memory cgroup at its limit stores and writes", cgroup_at_its_limit, EVERYWHERE },
	{ "R25 dirty files outlive their cgroup", cgroup_that_goes, EVERYWHERE },
	{ "R25 memory is reclaimed from generations", generations, EVERYWHERE },
	{ "R25 DAMON watches a mapping", access_monitor, EVERYWHERE },
	{ }
};

GROUP(options_cgroup, tests);
