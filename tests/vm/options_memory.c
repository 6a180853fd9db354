// SPDX-License-Identifier: GPL-2.0
/*
 * What distributions switch on, and what merges or moves memory or keeps it
 * apart: KSM, NUMA hinting, secret memory, hugetlb. See options.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "options.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
#define KSM	"/sys/kernel/mm/ksm/"
#define NUMA	"/sys/kernel/debug/sched/numa_balancing/"

/* Newer than the headers of the toolchain. */
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

static bool scanned_more(void *arg)
{
	return figure_of(KSM "full_scans", "") >= *(long *)arg;
}

static bool is_mergeable(const char *map)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool inside = false, mergeable = false;
	unsigned long from, to;
	char line[512];

	check(f, "no smaps: %m");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= (uintptr_t)map && to > (uintptr_t)map;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			mergeable = mergeable || strstr(line, " mg");
	}
	fclose(f);
	return mergeable;
}

static void same_page_merging(const struct env *e)
{
	struct known f = new_small(e, "f", N);
	char *q = mmap(NULL, N * PAGE, RW, MAP_PRIVATE, f.fd, 0), *anon;
	long scans;

	check(q != MAP_FAILED, "mmap: %m");
	anon = mmap(NULL, N * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(anon != MAP_FAILED, "mmap: %m");
	for (size_t i = 0; i < N; i++) {
		store_page(&f, i, 7777);
		fill_page(anon + i * PAGE, 7777);
		if (i % 2)
			fill_page(q + i * PAGE, 7777);
	}
	check(!madvise(f.map, N * PAGE, MADV_MERGEABLE) || errno == EINVAL, "shared: %m");
	check(!madvise(q, N * PAGE, MADV_MERGEABLE) || errno == EINVAL, "private: %m");
	must(madvise(anon, N * PAGE, MADV_MERGEABLE));
	must(prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	check(is_mergeable(anon), "anonymous memory is not mergeable");
	check(!is_mergeable(f.map) && !is_mergeable(q), "pages of a file are mergeable");

	set_text(KSM "pages_to_scan", "10000");
	set_text(KSM "sleep_millisecs", "1");
	scans = figure_of(KSM "full_scans", "") + 4;
	set_text(KSM "run", "1");
	check(comes_true(scanned_more, &scans), "KSM does not scan");
	check(figure_of(KSM "pages_sharing", "") >= (long)N - 2, "nothing was merged");
	expect_flush_of(&f, N, "of pages that look the same");
	for (size_t i = 0; i < N; i++)
		check_page(q + i * PAGE, 7777, "private");
	for (size_t i = 0; i < N; i++) {
		store_page(&f, i, 8000 + i);
		check_page(q + i * PAGE, i % 2 ? 7777 : 8000 + i, "private beside a store");
		fill_page(q + i * PAGE, 9000 + i);
		check_page(anon + i * PAGE, 7777, "anonymous");
	}
	check_known(&f, "with KSM");
	set_text(KSM "run", "2");
	set_text(KSM "run", "0");
	for (size_t i = 0; i < N; i++)
		check_page(q + i * PAGE, 9000 + i, "private, unmerged");
	must(munmap(q, N * PAGE));
	end_known(&f);
}

struct toucher {
	struct known *f;
	char *anon;
	int cpu;
	atomic_int *stop;
	pthread_t thread;
};

/* Each stores to its half, and loads all. */
static void *touch(void *arg)
{
	struct toucher *t = arg;
	const size_t pages = t->f->pages;
	volatile char sum = 0;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(t->cpu, &cpus);
	must(sched_setaffinity(0, sizeof(cpus), &cpus));
	while (!*t->stop) {
		for (size_t i = 0; i < pages; i++) {
			sum += t->f->map[i * PAGE] + t->anon[i * PAGE];
			if (i % 2 == (size_t)t->cpu)
				fill_page(t->f->map + i * PAGE, t->f->want[i]);
		}
	}
	return NULL;
}

static bool hinted(void *arg)
{
	return figure_of("/proc/vmstat", "numa_hint_faults") > *(long *)arg;
}

static void numa_hinting(const struct env *e)
{
	struct known f;
	struct toucher t[2];
	atomic_int stop = 0;
	void *addr[N];
	int node[N], status[N];
	uint64_t block[N];
	long faults;
	char *anon;

	if (access("/sys/devices/system/node/node1", F_OK))
		skip("the guest has one node: start it with --numa");
	f = new_huge(e, "f", 1);
	must(fsync(f.fd));
	anon = mmap(NULL, HUGE * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(anon != MAP_FAILED, "mmap: %m");
	must(madvise(anon, HUGE * PAGE, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < HUGE; i++)
		fill_page(anon + i * PAGE, 3000 + i);
	set_text(NUMA "scan_delay_ms", "10");
	set_text(NUMA "scan_period_min_ms", "10");
	set_text(NUMA "scan_period_max_ms", "20");
	faults = figure_of("/proc/vmstat", "numa_hint_faults") + 100;
	set_text("/proc/sys/kernel/numa_balancing", "1");
	for (int k = 0; k < 2; k++) {
		t[k] = (struct toucher) { .f = &f, .anon = anon, .cpu = k, .stop = &stop };
		check(!pthread_create(&t[k].thread, NULL, touch, &t[k]), "no thread");
	}
	check(comes_true(hinted, &faults), "no hinting faults at all");

	/* Moved on demand: never. */
	for (size_t i = 0; i < N; i++) {
		addr[i] = f.map + i * PAGE;
		node[i] = 1;
		status[i] = 99;
		block[i] = file_block(f.fd, i);
	}
	check(syscall(SYS_move_pages, 0, N, addr, node, status, MPOL_MF_MOVE) >= 0 ||
	      errno == ENOENT, "move_pages: %m");
	check(!syscall(SYS_mbind, f.map, HUGE * PAGE, MPOL_BIND, &(unsigned long){ 2 }, 8,
		       MPOL_MF_MOVE) || errno == EIO, "mbind: %m");
	stop = 1;
	for (int k = 0; k < 2; k++)
		pthread_join(t[k].thread, NULL);
	set_text("/proc/sys/kernel/numa_balancing", "0");
	for (size_t i = 0; i < N; i++) {
		check(status[i] < 0, "page %zu of a file is on node %d now", i, status[i]);
		check(file_block(f.fd, i) == block[i], "page %zu is in another block", i);
	}
	for (size_t i = 0; i < HUGE; i++)
		check_page(anon + i * PAGE, 3000 + i, "anonymous");
	check_known(&f, "with NUMA hinting");
	expect_flush_of(&f, HUGE, "of stores from two nodes");
	end_known(&f);
}

static void special_memory(const struct env *e)
{
	struct known f = new_small(e, "f", N);
	int secret_fd = must(syscall(SYS_memfd_secret, O_CLOEXEC)), pipe_fd[2];
	int mem = must(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
	struct iovec other = { NULL, N * PAGE };
	char old[32], *secret, *huge;
	off_t pos = 0;

	must(ftruncate(secret_fd, N * PAGE));
	secret = mmap(NULL, N * PAGE, RW, MAP_SHARED, secret_fd, 0);
	check(secret != MAP_FAILED, "mmap: %m");
	for (size_t i = 0; i < N; i++)
		fill_page(secret + i * PAGE, 5000 + i);
	must(pipe2(pipe_fd, O_CLOEXEC));
	other.iov_base = secret;
	check(vmsplice(pipe_fd[1], &other, 1, 0) < 0 && errno == EFAULT,
	      "vmsplice of a secret: %m");
	check(pread(mem, f.map, PAGE, (uintptr_t)secret) < 0, "a secret was read from outside");
	check(pwrite(mem, f.map, PAGE, (uintptr_t)secret) < 0, "a secret was written from outside");
	check_known(&f, "beside a secret");
	/* The file is the one whose pages are taken. */
	check(pwrite(mem, secret, N * PAGE, (uintptr_t)f.map) == (ssize_t)(N * PAGE),
	      "write from a secret: %m");
	for (size_t i = 0; i < N; i++)
		f.want[i] = 5000 + i;
	check_known(&f, "written from a secret");
	expect_flush_of(&f, N, "of what a secret was written to");

	check(read_text("/proc/sys/vm/nr_hugepages", old, sizeof(old)), "no hugetlb: %m");
	set_text("/proc/sys/vm/nr_hugepages", "1");
	huge = mmap(NULL, HUGE * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	check(huge != MAP_FAILED, "mmap hugetlb: %m");
	for (size_t i = 0; i < N; i++)
		fill_page(huge + i * PAGE, 6000 + i);
	other.iov_base = huge;
	check(vmsplice(pipe_fd[1], &other, 1, 0) == (ssize_t)(N * PAGE), "vmsplice: %m");
	while (pos < (off_t)(N * PAGE))
		check(splice(pipe_fd[0], NULL, f.fd, &pos, N * PAGE - pos, 0) > 0, "splice: %m");
	for (size_t i = 0; i < N; i++)
		f.want[i] = 6000 + i;
	check_known(&f, "written from a hugetlb page");
	for (size_t i = 0; i < N; i++)
		store_page(&f, i, 6500 + i);
	check(pread(mem, huge, N * PAGE, (uintptr_t)f.map) == (ssize_t)(N * PAGE),
	      "read into a hugetlb page: %m");
	for (size_t i = 0; i < N; i++)
		check_page(huge + i * PAGE, 6500 + i, "hugetlb");
	must(munmap(huge, HUGE * PAGE));
	set_text("/proc/sys/vm/nr_hugepages", old);
	end_known(&f);
}

static const struct test tests[] = {
	{ "R25 KSM leaves file pages alone", same_page_merging, EVERYWHERE },
	{ "R25 NUMA hinting from two nodes", numa_hinting, RACES },
	{ "R25 secret memory and hugetlb pages", special_memory, EVERYWHERE },
	{ }
};

GROUP(options_memory, tests);
