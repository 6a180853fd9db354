// SPDX-License-Identifier: GPL-2.0
/*
 * Memory failure: who has the page mapped is told so, with the address of the
 * very page, and nobody else; what is done to the file then works again.
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
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
static void poison(char *page)
{
	must(madvise(page, PAGE, MADV_HWPOISON));
}

/* The file is a file like others after the failure. */
static void recovers(int fd, char *p, size_t pages, size_t bad, uint64_t stamp)
{
	char buf[PAGE];

	for (size_t i = 0; i < pages; i++)
		if (i != bad)
			check_page(p + i * PAGE, stamp + i, "beside the bad page");
	fill_page(buf, 7);
	check(pwrite(fd, buf, PAGE, bad * PAGE) == (ssize_t)PAGE, "write over the bad page: %m");
	check_page(p + bad * PAGE, 7, "bad page written over");
	fill_page(p + bad * PAGE, 8);
	must(fsync(fd));
	check_file_page(fd, bad, 8, "store to the page that was bad");
	must(do_op(OP_PUNCH, fd, bad, 1));
	check_page(p + bad * PAGE, 0, "punched");
	fill_page(p + bad * PAGE, 9);
	check_file_page(fd, bad, 9, "store after the punch");
	must(ftruncate(fd, 0));
	check(!bus.count, "another SIGBUS");
}

static void own_page(const struct env *e)
{
	int fd = create_file(e, "f", N, 100);
	char *p = map_file(fd, N, RW);

	listen_for_bus();
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "before");
	poison(p + 5 * PAGE);
	expect_bus(BUS_MCEERR_AR, p + 5 * PAGE, SMALL_LSB, "own page");
	recovers(fd, p, N, 5, 100);
}

static char *stamped_huge(const struct env *e, int *fd)
{
	char *p;

	*fd = create_huge(e, "f", 2);
	p = map_file_huge(*fd, 2 * HUGE, RW);
	for (size_t i = 0; i < 2 * HUGE; i++)
		fill_page(p + i * PAGE, 100 + i);
	check(huge_pages(p, 2 * HUGE) == 2 * HUGE, "not mapped in 2 MiB");
	return p;
}

/* The whole of 2 MiB is lost to the process, but one page of it is bad. */
static void own_huge_page(const struct env *e)
{
	int fd;
	char *p = stamped_huge(e, &fd);

	listen_for_bus();
	poison(p + (HUGE + 77) * PAGE);
	expect_bus(BUS_MCEERR_AR, p + (HUGE + 77) * PAGE, HUGE_LSB, "page of 2 MiB");
	recovers(fd, p, 2 * HUGE, HUGE + 77, 100);
}

static void small_mapping_of_a_huge_page(const struct env *e)
{
	int fd;
	char *p = stamped_huge(e, &fd), *s = map_file(fd, 2 * HUGE, RW);

	must(munmap(p, 2 * HUGE * PAGE));
	check_page(s + 33 * PAGE, 133, "small mapping");
	listen_for_bus();
	poison(s + 33 * PAGE);
	expect_bus(BUS_MCEERR_AR, s + 33 * PAGE, SMALL_LSB, "4 KiB mapping of 2 MiB");
	recovers(fd, s, 2 * HUGE, 33, 100);
}

/* Another process that waits for SIGBUS, or must not get one. */
struct witness {
	pid_t pid;
	int ready, stop;
};

static void witness_start(struct witness *w, int fd, size_t first, size_t pages, ssize_t bad,
			  bool huge)
{
	int ready[2], stop[2];
	char c = 0, *p;

	must(pipe2(ready, O_CLOEXEC));
	must(pipe2(stop, O_CLOEXEC));
	w->pid = must(fork());
	if (w->pid) {
		close(ready[1]);
		close(stop[0]);
		w->ready = ready[0];
		w->stop = stop[1];
		check(read(w->ready, &c, 1) == 1, "the other process died");
		return;
	}
	close(stop[1]);
	if (huge) {
		p = map_file_huge(fd, pages, RW);
	} else {
		p = mmap(NULL, pages * PAGE, RW, MAP_SHARED, fd, first * PAGE);
		check(p != MAP_FAILED, "mmap: %m");
		must(madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	}
	for (size_t i = 0; i < pages; i++)
		try_load(p + i * PAGE, NULL);
	listen_for_bus();
	must(write(ready[1], &c, 1));
	while (read(stop[0], &c, 1) < 0 && errno == EINTR)
		;
	if (bad >= 0)
		expect_bus(BUS_MCEERR_AO, p + bad * PAGE, huge ? HUGE_LSB : SMALL_LSB,
			   "other process");
	check(!bus.count, "SIGBUS in a process that does not map the page");
	_exit(0);
}

static void witness_agrees(struct witness *w, const char *what)
{
	int status;

	/* Not by closing it: later children hold it too. */
	must(write(w->stop, "", 1));
	must(waitpid(w->pid, &status, 0));
	close(w->stop);
	check(WIFEXITED(status) && !WEXITSTATUS(status), "%s: status %#x", what, status);
	close(w->ready);
}

static void who_is_told(const struct env *e)
{
	int fd = create_file(e, "f", N, 100), other = create_file(e, "g", N, 200);
	struct witness same, shifted, beside, elsewhere;
	char *p = map_file(fd, N, RW);

	check_page(p + 5 * PAGE, 105, "before");
	witness_start(&same, fd, 0, N, 5, false);
	witness_start(&shifted, fd, 4, 4, 1, false);
	witness_start(&beside, fd, 6, 4, -1, false);
	witness_start(&elsewhere, other, 0, N, -1, false);
	listen_for_bus();
	poison(p + 5 * PAGE);
	expect_bus(BUS_MCEERR_AR, p + 5 * PAGE, SMALL_LSB, "own page");
	witness_agrees(&same, "the same mapping");
	witness_agrees(&shifted, "a mapping of a part");
	witness_agrees(&beside, "a mapping beside the page");
	witness_agrees(&elsewhere, "a mapping of another file");
	recovers(fd, p, N, 5, 100);
}

static void who_is_told_of_2m(const struct env *e)
{
	struct witness huge, small;
	int fd;
	char *p = stamped_huge(e, &fd);

	witness_start(&huge, fd, 0, 2 * HUGE, HUGE + 9, true);
	witness_start(&small, fd, HUGE, 20, 9, false);
	listen_for_bus();
	poison(p + (HUGE + 9) * PAGE);
	expect_bus(BUS_MCEERR_AR, p + (HUGE + 9) * PAGE, HUGE_LSB, "own page");
	witness_agrees(&huge, "a mapping of 2 MiB pages");
	witness_agrees(&small, "a mapping of 4 KiB pages");
	recovers(fd, p, 2 * HUGE, HUGE + 9, 100);
}

/* Files that share the bad block are told through the reverse map. */
static void who_is_told_of_clones(const struct env *e)
{
	int a = create_file(e, "a", N, 100), b = create_file(e, "b", 0, 0);
	int c = create_file(e, "c", 0, 0);
	char *p = map_file(a, N, RW);
	struct witness clone, copied;

	must(ioctl(b, FICLONE, a));
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "a");
	must(ioctl(c, FICLONE, a));
	must(fallocate(c, FALLOC_FL_UNSHARE_RANGE, 5 * PAGE, PAGE));
	witness_start(&clone, b, 3, 8, 2, false);
	witness_start(&copied, c, 3, 8, -1, false);
	listen_for_bus();
	poison(p + 5 * PAGE);
	expect_bus(BUS_MCEERR_AR, p + 5 * PAGE, SMALL_LSB, "own page");
	witness_agrees(&clone, "a mapping of the clone");
	witness_agrees(&copied, "a mapping of a clone whose page was copied since");
	recovers(a, p, N, 5, 100);
	must(ftruncate(b, 0));
	must(ftruncate(c, 0));
}

/*
 * More files than the reverse map is asked for at a time, and processes that go on
 * faulting the bad page of them: these read the AGF with the lock of its entry held.
 * Not on fs/dax.c, where each fault of a shared page unmaps it from all others, and
 * who does not have it mapped is not told.
 */
#define MANY	((size_t)24)
#define READERS	((size_t)8)

static pid_t reader(const int *fds, size_t who)
{
	pid_t pid = must(fork());
	char *p[MANY / READERS];

	if (pid)
		return pid;
	signal(SIGBUS, SIG_DFL);
	must(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = map_file(fds[i * READERS + who], N, PROT_READ);
	for (size_t i = 0;; i = (i + 1) % ARRAY_SIZE(p)) {
		must(madvise(p[i] + 5 * PAGE, PAGE, MADV_DONTNEED));
		(void)*(volatile char *)(p[i] + 5 * PAGE);
	}
}

static void who_is_told_of_many_clones(const struct env *e)
{
	int a = create_file(e, "a", N, 100), fds[MANY], status;
	char *p = map_file(a, N, RW), name[16];
	struct witness witness[MANY];
	pid_t readers[READERS];

	check_page(p + 5 * PAGE, 105, "before");
	for (size_t i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "clone%zu", i);
		fds[i] = create_file(e, name, 0, 0);
		must(ioctl(fds[i], FICLONE, a));
	}
	for (size_t i = 0; i < MANY; i++)
		witness_start(&witness[i], fds[i], 3, 8, 2, false);
	for (size_t i = 0; i < READERS; i++)
		readers[i] = reader(fds, i);
	usleep(50000);
	listen_for_bus();
	poison(p + 5 * PAGE);
	expect_bus(BUS_MCEERR_AR, p + 5 * PAGE, SMALL_LSB, "own page");
	for (size_t i = 0; i < READERS; i++) {
		must(waitpid(readers[i], &status, 0));
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
		      "a reader of the bad page: status %#x", status);
	}
	for (size_t i = 0; i < MANY; i++) {
		witness_agrees(&witness[i], "a mapping of a clone");
		must(ftruncate(fds[i], 0));
	}
	recovers(a, p, N, 5, 100);
}

#define INJECT "/sys/kernel/debug/hwpoison/corrupt-pfn"
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

static uint64_t pfn_of(const char *page)
{
	int fd = must(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	uint64_t entry;

	check(pread(fd, &entry, 8, (uintptr_t)page / PAGE * 8) == 8, "pagemap: %m");
	close(fd);
	check(entry >> 63, "not mapped");
	return entry & ((1ull << 55) - 1);
}

static bool inject(const char *file, uint64_t pfn)
{
	char text[32];

	if (access(INJECT, F_OK))
		check(!system("modprobe hwpoison-inject"), "no hwpoison-inject in this kernel");
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)pfn);
	return write_text(file, text);
}

/* A page that a truncate waits for: its entry is there, and so must be the lock. */
static void pinned_and_zapped(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char *p, buf[PAGE];
	struct pin pin;
	uint64_t pfn;

	job.fd = create_file(e, "f", N, 100);
	p = map_file(job.fd, N, RW);
	check_page(p + 5 * PAGE, 105, "before");
	pfn = pfn_of(p + 5 * PAGE);
	pin_pages(&pin, p + 5 * PAGE, 1);
	listen_for_bus();
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	inject(INJECT, pfn);
	check(job_sleeps(&job), "the failure ended the wait for the pin");
	bus.count = 0;
	unpin_page(&pin, buf);
	job_succeeds(&job);
	check(file_size(job.fd) == 0, "the size");
	must(ftruncate(job.fd, N * PAGE));
	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, i);
	must(ftruncate(job.fd, 0));
}

/* Mapped once: the process that has the range mapped is told. */
static void without_a_mapping(const struct env *e)
{
	int fd = create_file(e, "f", N, 100);
	char *p = map_file(fd, N, RW);
	uint64_t pfn;

	check_page(p + 5 * PAGE, 105, "before");
	pfn = pfn_of(p + 5 * PAGE);
	must(munmap(p, N * PAGE));
	listen_for_bus();
	inject(INJECT, pfn);
	check(!bus.count, "SIGBUS in a process that does not map the page");
	p = map_file(fd, N, RW);
	recovers(fd, p, N, 5, 100);
	/* The block is free, or never had a page: an error, nothing more. */
	if (!strcmp(e->fs, "ext4"))
		inject(INJECT, pfn);
	inject(UNPOISON, pfn);
}

/* Failures while others fault, store, and break. */
struct disturber {
	int fd;
	char *map;
	atomic_int stop;
};

static void *disturb(void *arg)
{
	struct disturber *d = arg;

	while (!d->stop) {
		for (size_t i = 0; i < N; i++)
			((volatile char *)d->map)[i * PAGE] = 1;
		must(do_op(OP_PUNCH, d->fd, 3, 4));
		must(fsync(d->fd));
	}
	return NULL;
}

static void failures_race(const struct env *e)
{
	struct disturber d = { .fd = create_file(e, "f", N, 100) };
	pthread_t thread;
	char *p = map_file(d.fd, N, RW);

	d.map = map_file(d.fd, N, RW);
	listen_for_bus();
	check(!pthread_create(&thread, NULL, disturb, &d), "no thread");
	for (int round = 0; round < 40; round++) {
		p[round % N * PAGE + 9] = 1;
		check(!madvise(p + round % N * PAGE, PAGE, MADV_HWPOISON) || errno == EBUSY ||
		      errno == EFAULT, "madvise: %m");
	}
	d.stop = 1;
	pthread_join(thread, NULL);
	check(bus.count > 0, "no SIGBUS");
	bus.count = 0;
	must(ftruncate(d.fd, 0));
}

static const struct test tests[] = {
	{ "R13 a bad page is reported with its address", own_page, EVERYWHERE },
	{ "R13 a bad page of 2 MiB is reported with its own address", own_huge_page, BOUND_ONLY },
	{ "R13 a bad page of 2 MiB mapped in 4 KiB", small_mapping_of_a_huge_page, BOUND_ONLY },
	{ "R13 who maps the bad page is told, who does not is not", who_is_told, EVERYWHERE },
	{ "R13 who maps the bad page of 2 MiB is told", who_is_told_of_2m, BOUND_ONLY },
	{ "R13 who maps a clone of the bad page is told", who_is_told_of_clones, XFS_ONLY },
	{ "D27 who maps one of many clones of the bad page is told, whoever reads it",
	  who_is_told_of_many_clones, BOUND_ONLY | XFS_ONLY },
	{ "R13 a page that a truncate waits for goes bad", pinned_and_zapped, BOUND_ONLY },
	{ "R13 a page that nobody maps goes bad", without_a_mapping, BOUND_ONLY },
	{ "R13 failures race with faults, punches and fsync", failures_race, BOUND_ONLY | RACES },
	{ }
};

/* Bad pages stay bad. */
GROUP_LAST(poison, tests);
