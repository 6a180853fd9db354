// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of 1 GiB on XFS: which faults map one, and what takes it apart. The file system has one
 * piece of that size that is aligned, and each case writes it anew. The device has to have 3 GiB.
 *
 * Who reads the page table of a process, as PAGEMAP_SCAN and smaps do, has a huge PUD split. So
 * what is mapped is seen by what it adds to RssFile, and by the number of faults.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "debugfs.h"
#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define GIB	((size_t)1 << 30)
#define GIB_KIB	((long)(GIB >> 10))
#define PUD	(GIB / PAGE)
#define STAMP	1000

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* Page i has STAMP + i where i is one of these, and 0 elsewhere. */
static const size_t some[] = { 0, 1, HUGE, 7 * HUGE + 5, 300 * HUGE, PUD - 1 };

static uint64_t stamp_of(size_t page)
{
	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		if (some[i] == page)
			return STAMP + page;
	return 0;
}

static void make_mount(const struct env *e)
{
	char cmd[256];

	/* What the case before has left, whose process is gone: nothing keeps that. */
	if (module_loaded()) {
		if (umount(e->dir))
			check(errno == EINVAL, "umount: %m");
		check(!module_unload(), "cannot unload the module: %m");
	}
	/* The inodes are put to the first boundary of a stripe: 2 GiB from the start are free. */
	snprintf(cmd, sizeof(cmd), "mkfs.xfs -q -f --unsupported %s %s",
		 "-m reflink=1 -d agcount=1,su=1g,sw=1 -l size=64m,su=4k", e->dev);
	check(!system(cmd), "cannot make XFS on %s", e->dev);
	check(!module_load(e->ko), "cannot load the module: %m");
	check(!mount_fs("xfs", e->dev, e->dir, NULL), "mount: %m");
}

/* The file "f" with 1 GiB in one aligned piece, all of it written. */
static int make_gib(const struct env *e)
{
	static char buf[2 * MIB];
	int fd;

	make_mount(e);
	fd = must(open(in_dir(e, "f"), O_RDWR | O_CREAT | O_TRUNC, 0600));
	must(fallocate(fd, 0, 0, GIB));
	for (size_t page = 0; page < PUD; page += HUGE) {
		for (size_t i = 0; i < ARRAY_SIZE(some); i++)
			if (some[i] / HUGE == page / HUGE)
				fill_page(buf + some[i] % HUGE * PAGE, STAMP + some[i]);
		check(pwrite(fd, buf, sizeof(buf), page * PAGE) == sizeof(buf), "write: %m");
		memset(buf, 0, sizeof(buf));
	}
	must(fsync(fd));
	check(file_block(fd, 0) % PUD == 0 &&
	      file_block(fd, PUD - 1) == file_block(fd, 0) + PUD - 1,
	      "the file begins at block %lu and ends at %lu", file_block(fd, 0),
	      file_block(fd, PUD - 1));
	return fd;
}

/* @len bytes of the address space from a boundary of 1 GiB on, and @off bytes more. */
static char *room(size_t len, size_t off)
{
	char *p = mmap(NULL, len + 3 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	check(p != MAP_FAILED, "mmap: %m");
	return (char *)(((uintptr_t)p + GIB - 1) / GIB * GIB) + off;
}

static char *map_at(char *p, int fd, size_t len, int prot, int flags)
{
	p = mmap(p, len, prot, flags | MAP_FIXED, fd, 0);
	check(p != MAP_FAILED, "mmap: %m");
	return p;
}

static char *map_gib(int fd, int prot)
{
	return map_at(room(GIB, 0), fd, GIB, prot, MAP_SHARED);
}

static void expect(const char *p, size_t from, size_t to, const char *what)
{
	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		if (some[i] >= from && some[i] < to)
			check_page(p + (some[i] - from) * PAGE, STAMP + some[i], what);
	check_page(p, stamp_of(from), what);
	check_page(p + (to - from - 1) * PAGE, stamp_of(to - 1), what);
}

/* Entries of the mount: of 1 GiB, tracked; of 2 MiB, tracked and zapped. */
static void expect_entries(const struct env *e, long gib, long tracked, long zapped,
			   const char *what)
{
	struct counts c[3] = {};

	check(read_mount_orders(e, c), "the mount is not listed");
	check(c[2].tracked == gib && c[1].tracked == tracked && c[1].zapped == zapped,
	      "%s: %ld tracked entries of 1 GiB, %ld of 2 MiB and %ld zapped, not %ld, %ld, %ld",
	      what, c[2].tracked, c[1].tracked, c[1].zapped, gib, tracked, zapped);
}

/* A load or a store of one page has @kib more mapped, by at most @faults. */
static void touch(char *page, bool store, long kib, long faults, const char *what)
{
	long rss = rss_file_kib(), n = minor_faults();

	if (store)
		*(volatile char *)page = *page;
	else
		(void)*(volatile char *)page;
	n = minor_faults() - n;
	rss = rss_file_kib() - rss;
	/* Text and libraries are files, too. */
	check(rss >= kib && rss < kib + 1024, "%s: %ld KiB more are mapped, not %ld", what, rss,
	      kib);
	check(n <= faults, "%s: %ld faults, not %ld", what, n, faults);
}

static char *map_touched(const struct env *e, int *fd)
{
	char *p;

	*fd = make_gib(e);
	p = map_gib(*fd, RW);
	touch(p + 5 * PAGE, true, GIB_KIB, 3, "first store");
	return p;
}

static void faults_map_all_of_it(const struct env *e)
{
	int fd = make_gib(e);
	char *p = map_gib(fd, RW), *q = map_gib(fd, PROT_READ);

	touch(p + 9 * PAGE, false, GIB_KIB, 3, "load");
	touch(p + 400 * HUGE * PAGE, false, 0, 1, "another load");
	touch(p + 11 * PAGE, true, 0, 3, "store");
	touch(p + 401 * HUGE * PAGE, true, 0, 1, "another store");
	touch(q + (PUD - 1) * PAGE, false, GIB_KIB, 3, "second mapping");
	expect_entries(e, 1, 0, 0, "mapped twice");
	expect(p, 0, PUD, "first mapping");
	expect(q, 0, PUD, "second mapping");
	fill_page(p + 300 * HUGE * PAGE, 5);
	check_page(q + 300 * HUGE * PAGE, 5, "second mapping");
	check_file_page(fd, 300 * HUGE, 5, "read(2)");
	must(munmap(p, GIB));
	must(munmap(q, GIB));
	close(fd);
}

static void dirty_until_it_is_flushed(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd);
	long n;

	for (int i = 0; i < 2; i++) {
		flush_count_start();
		must(fsync(fd));
		n = flush_count_stop();
		check(n == (long)PUD, "fsync() flushed %ld pages", n);
		flush_count_start();
		must(fsync(fd));
		n = flush_count_stop();
		check(!n, "the next fsync() flushed %ld pages", n);
		expect_entries(e, 1, 0, 0, "flushed");
		/* It was unmapped, so that the next store is seen. */
		touch(p + 77 * PAGE, i == 0, GIB_KIB, 3, "after fsync()");
		if (i)
			touch(p + 77 * PAGE, true, 0, 3, "store after the load");
	}
	close(fd);
}

static void what_is_not_there_falls_back(const struct env *e)
{
	int fd = make_gib(e), hole;
	struct stat st;
	char *p;

	/* Unwritten blocks of the same place, and a hole. */
	must(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, GIB));
	p = map_gib(fd, RW);
	check_page(p + 7 * HUGE * PAGE, 0, "unwritten");
	expect_entries(e, 0, 0, 0, "unwritten");
	hole = must(open(in_dir(e, "hole"), O_RDWR | O_CREAT, 0600));
	must(ftruncate(hole, GIB));
	p = map_gib(hole, RW);
	check_page(p + 9 * PAGE, 0, "hole");
	fill_page(p + 2 * HUGE * PAGE, 3);
	must(fsync(hole));
	must(fstat(hole, &st));
	check(st.st_blocks <= (blkcnt_t)(4 * MIB / 512), "a store allocated %ld KiB",
	      (long)st.st_blocks / 2);
	/* Too short. */
	must(ftruncate(hole, GIB - PAGE));
	check_page(p + 9 * PAGE, 0, "short file");
	close(hole);
	close(fd);
}

/* The first thing that happens is a store, where no page table has been yet. */
static void stores_allocate_no_gib(const struct env *e)
{
	int fd = make_gib(e), hole;
	struct stat st;

	must(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, GIB));
	flush_count_start();
	touch(map_gib(fd, RW) + 5 * PAGE, true, 2048, 4, "store to unwritten blocks");
	check(flush_count_stop() <= (long)HUGE, "more than 2 MiB were zeroed");
	expect_entries(e, 0, 1, 0, "a store to unwritten blocks");
	hole = must(open(in_dir(e, "hole"), O_RDWR | O_CREAT, 0600));
	must(ftruncate(hole, GIB));
	fill_page(map_gib(hole, RW) + 5 * PAGE, 3);
	must(fstat(hole, &st));
	check(st.st_blocks <= (blkcnt_t)(2 * MIB / 512), "a store allocated %ld KiB",
	      (long)st.st_blocks / 2);
	close(hole);
	close(fd);
}

static void private_falls_back(const struct env *e)
{
	int fd = make_gib(e), status;
	char *p = map_at(room(GIB, 0), fd, GIB, RW, MAP_PRIVATE);
	pid_t pid;

	touch(p + 9 * PAGE, false, 2048, 4, "private load");
	fill_page(p + 9 * PAGE, 6);
	expect(p, 0, PUD, "private");
	pid = must(fork());
	if (!pid) {
		check_page(p + 9 * PAGE, 6, "child");
		fill_page(p + 10 * PAGE, 7);
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	check(WIFEXITED(status) && !WEXITSTATUS(status), "the child failed");
	check_page(p + 10 * PAGE, 0, "parent");
	check_file_page(fd, 9, 0, "file");
	must(munmap(p, GIB));
	close(fd);
}

static void what_is_watched_falls_back(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd);

	/* Clears the soft-dirty bits: what is stored to afterwards has to be seen. */
	check(write_text("/proc/self/clear_refs", "4"), "clear_refs: %m");
	touch(p + 3 * HUGE * PAGE, true, 2048, 4, "store that soft-dirty bits are to see");
	check(huge_pages(p, PUD) == HUGE, "%zu pages are mapped in 2 MiB", huge_pages(p, PUD));
	expect(p, 0, PUD, "watched");
	close(fd);
}

static void fork_and_guards(const struct env *e)
{
	int fd = make_gib(e), status;
	char *p = map_at(room(2 * GIB, 0), fd, GIB + 2 * MIB, RW, MAP_SHARED);
	int kmsg = kmsg_open();
	pid_t pid;

	touch(p + 5 * PAGE, true, GIB_KIB, 3, "store");
	/* From now on fork() copies the page tables of this mapping. */
	if (madvise(p + GIB, PAGE, MADV_GUARD_INSTALL))
		check(errno == EINVAL, "guard: %m");
	for (int i = 0; i < 3; i++) {
		pid = must(fork());
		if (!pid) {
			expect(p, 0, PUD, "child");
			fill_page(p + (8 + i) * PAGE, i);
			_exit(0);
		}
		must(waitpid(pid, &status, 0));
		check(WIFEXITED(status) && !WEXITSTATUS(status), "the child failed");
		check_page(p + (8 + i) * PAGE, i, "parent");
	}
	expect_entries(e, 1, 0, 0, "after fork()");
	must(munmap(p, GIB + 2 * MIB));
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	close(fd);
}

static void moved(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd), *to = room(GIB, 0);
	int kmsg = kmsg_open();
	long rss = rss_file_kib();

	p = mremap(p, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	check(p == to, "mremap: %m");
	check(rss_file_kib() == rss, "%ld KiB are mapped, not %ld", rss_file_kib(), rss);
	touch(p + 99 * PAGE, true, 0, 1, "moved");
	expect(p, 0, PUD, "moved");
	/* To where it does not fit, and then a part of it. */
	to = room(GIB, 2 * MIB);
	p = mremap(p, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	check(p == to, "mremap: %m");
	expect(p, 0, PUD, "moved by 2 MiB");
	to = room(GIB, 0);
	p = mremap(p, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	check(p == to, "mremap: %m");
	expect(p, 0, PUD, "moved back");
	to = mremap(p + 4 * MIB, 8 * MIB, 8 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, room(GIB, 0));
	check(to != MAP_FAILED, "mremap: %m");
	expect(to, 2 * HUGE, 6 * HUGE, "a part");
	expect(p, 0, 2 * HUGE, "before the part");
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	close(fd);
}

/* Whether the rest is still dirty is seen by what is flushed. */
static void expect_flushed(int fd, size_t pages, const char *what)
{
	long n;

	flush_count_start();
	must(fsync(fd));
	n = flush_count_stop();
	check(n == (long)pages, "%s: %ld pages flushed, not %zu", what, n, pages);
}

static void partly_unmapped(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd);
	int kmsg = kmsg_open();

	flush_count_start();
	must(munmap(p + 2 * MIB, 2 * MIB));
	expect(p, 0, HUGE, "before");
	expect(p + 4 * MIB, 2 * HUGE, PUD, "behind");
	check(!flush_count_stop(), "something was flushed");
	must(mprotect(p + 8 * MIB, PAGE, PROT_READ));
	expect(p + 4 * MIB, 2 * HUGE, PUD, "behind");
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	expect_flushed(fd, PUD, "fsync()");
	must(munmap(p, GIB));
	close(fd);
}

/* A child that loads or stores there gets SIGSEGV. */
static void expect_segv(char *page, bool store)
{
	int status;
	pid_t pid = must(fork());

	if (!pid) {
		if (store)
			*(volatile char *)page = 1;
		else
			(void)*(volatile char *)page;
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "no SIGSEGV");
}

static void protected(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd);

	must(mprotect(p, GIB, PROT_NONE));
	expect_segv(p, false);
	must(mprotect(p, GIB, PROT_READ));
	expect(p, 0, PUD, "read only");
	expect_segv(p, true);
	must(mprotect(p, GIB, RW));
	fill_page(p + 3 * PAGE, 3);
	expect(p, 0, PUD, "writable");
	/* Parts, which split mapping and PUD. */
	must(mprotect(p + 512 * MIB, PAGE, PROT_READ));
	expect_segv(p + 512 * MIB, true);
	expect(p, 0, PUD, "a page is read only");
	fill_page(p + 4 * PAGE, 4);
	check_file_page(fd, 4, 4, "read(2)");
	close(fd);
}

/* A debugger reads what the process may not, and comes to an end. */
static void inaccessible(const struct env *e)
{
	int fd = make_gib(e), status;
	char *p = map_gib(fd, PROT_NONE), *q = map_gib(fd, PROT_READ);
	pid_t pid = must(fork());

	if (!pid) {
		must(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
		expect(q, 0, PUD, "readable");
		must(mprotect(q, GIB, PROT_NONE));
		raise(SIGSTOP);
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	check(WIFSTOPPED(status), "the process ended with %#x", status);
	for (int i = 0; i < 2; i++) {
		long word = ptrace(PTRACE_PEEKDATA, pid, (i ? q : p) + PAGE, NULL);

		check(word == STAMP + 1, "a debugger reads %ld", word);
	}
	must(ptrace(PTRACE_DETACH, pid, NULL, NULL));
	must(waitpid(pid, &status, 0));
	expect_segv(p, false);
	close(fd);
}

static void read_only(const struct env *e)
{
	int fd = make_gib(e), reader = must(open(in_dir(e, "f"), O_RDONLY));
	char *p = map_at(room(GIB, 0), reader, GIB, PROT_READ, MAP_SHARED);

	touch(p + 9 * PAGE, false, GIB_KIB, 3, "load of a file that is open for reading");
	expect(p, 0, PUD, "read only");
	close(reader);
	close(fd);
}

/* What was mapped before it was watched, when that ends. */
static void watch_ends(const struct env *e)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = {};
	int fd, uffd;
	char *p = map_touched(e, &fd);

	reg.range.start = (uintptr_t)p;
	reg.range.len = GIB;
	wp.range = reg.range;
	for (int i = 0; i < 3; i++) {
		uffd = must(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
		must(ioctl(uffd, UFFDIO_API, &api));
		must(ioctl(uffd, UFFDIO_REGISTER, &reg));
		if (i == 1)
			must(ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
		else if (i == 2)
			must(ioctl(uffd, UFFDIO_UNREGISTER, &reg.range));
		close(uffd);
		touch(p + 5 * PAGE, true, GIB_KIB, 3, "a store when it has ended");
		expect(p, 0, PUD, "not watched any more");
	}
	close(fd);
}

static void punched(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd);
	long n;

	flush_count_start();
	must(do_op(OP_PUNCH, fd, 7 * HUGE, HUGE));
	n = flush_count_stop();
	check(!n, "the punch flushed %ld pages", n);
	expect_entries(e, 0, 0, 511, "punched");
	check_page(p + (7 * HUGE + 5) * PAGE, 0, "the hole");
	expect(p, 0, 7 * HUGE, "before");
	expect(p + 8 * HUGE * PAGE, 8 * HUGE, PUD, "behind");
	fill_page(p + (7 * HUGE + 5) * PAGE, 9);
	must(fsync(fd));
	check_file_page(fd, 7 * HUGE + 5, 9, "store to the hole");
	must(ftruncate(fd, 0));
	check(try_load(p, NULL) == SIGBUS, "no SIGBUS past the end");
	close(fd);
}

static void rest_of_a_punch_is_flushed(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd);

	must(do_op(OP_PUNCH, fd, 7 * HUGE, 1));
	check_page(p + 7 * HUGE * PAGE, 0, "the hole");
	check_page(p + (7 * HUGE + 5) * PAGE, STAMP + 7 * HUGE + 5, "beside the hole");
	/* Of the 2 MiB around the page, what is left was flushed by the punch. */
	expect_flushed(fd, PUD - HUGE, "fsync() after a punch");
	must(ftruncate(fd, GIB / 2));
	expect(p, 0, 7 * HUGE, "before");
	expect(p + 8 * HUGE * PAGE, 8 * HUGE, PUD / 2, "behind");
	check(try_load(p + GIB / 2, NULL) == SIGBUS, "no SIGBUS past the end");
	close(fd);
}

static void pinned(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = HUGE, .pages = HUGE };
	char buf[PAGE];
	struct pin pin;
	char *p;

	p = map_touched(e, &job.fd);
	pin_pages(&pin, p + 300 * HUGE * PAGE, 1);
	job_start(&job);
	check(job_sleeps(&job), "the punch does not wait for a pin of the same 1 GiB");
	/* Faults are served meanwhile. */
	check_page(p + (PUD - 1) * PAGE, STAMP + PUD - 1, "while the punch waits");
	fill_page(p + 8 * PAGE, 8);
	unpin_page(&pin, buf);
	check_page(buf, STAMP + 300 * HUGE, "from the pipe");
	job_succeeds(&job);
	check_page(p + HUGE * PAGE, 0, "punched");
	check_page(p + 8 * PAGE, 8, "stored while the punch waited");
	expect(p + 7 * HUGE * PAGE, 7 * HUGE, PUD, "the rest");
	close(job.fd);
}

static void mapped_where_it_does_not_fit(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd), *q, buf[PAGE];
	struct pin pin;

	pin_pages(&pin, p + 300 * HUGE * PAGE, 1);
	q = map_at(room(2 * GIB, 2 * MIB), fd, GIB, RW, MAP_SHARED);
	check_page(q + PAGE, STAMP + 1, "beside a pin");
	expect_entries(e, 1, 0, 0, "pages of it are mapped");
	unpin_page(&pin, buf);
	check_page(q + 300 * HUGE * PAGE, STAMP + 300 * HUGE, "2 MiB of it");
	expect_entries(e, 0, 1, 511, "2 MiB of it are mapped");
	expect(q, 0, PUD, "at 2 MiB");
	expect(p, 0, PUD, "at 1 GiB");
	expect_flushed(fd, PUD, "fsync()");
	close(fd);
}

/* Pages of 1 GiB that are mapped by 4 KiB: a fault has those behind it that the entry has. */
static void mapped_around(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd), *q;
	long faults;

	q = map_skewed(fd, HUGE, 5, PROT_READ, MAP_SHARED);
	check_page(q + PAGE, STAMP + 1, "first page");
	faults = minor_faults();
	for (size_t i = 2; i < HUGE; i++)
		(void)*(volatile char *)(q + i * PAGE);
	faults = minor_faults() - faults;
	check(faults <= (long)HUGE / 16 + 8, "%ld faults in sequence", faults);
	expect_entries(e, 1, 0, 0, "mapped around");
	expect(q, 0, HUGE, "mapped around");
	fill_page(p + 8 * PAGE, 8);
	check_page(q + 8 * PAGE, 8, "stored to by 1 GiB");
	must(munmap(q, HUGE * PAGE));
	/* Its last pages, and what the mapping has beyond the file. */
	q = map_skewed(fd, PUD, 5, PROT_READ, MAP_SHARED);
	for (size_t i = PUD - 7; i < PUD; i++)
		check_page(q + i * PAGE, stamp_of(i), "at the end");
	expect_entries(e, 1, 0, 0, "at the end");
	must(do_op(OP_PUNCH, fd, PUD - 4, 1));
	check_page(q + (PUD - 4) * PAGE, 0, "punched");
	check_page(q + (PUD - 3) * PAGE, stamp_of(PUD - 3), "not punched");
	must(ftruncate(fd, 0));
	expect_entries(e, 0, 0, 0, "truncated");
	close(fd);
}

static void one_page_fails(const struct env *e)
{
	int fd;
	char *p = map_touched(e, &fd), *bad = p + (5 * HUGE + 77) * PAGE;

	listen_for_bus();
	must(madvise(bad, PAGE, MADV_HWPOISON));
	expect_bus(BUS_MCEERR_AR, bad, GIB_LSB, "page of 1 GiB");
	expect(p, 0, PUD, "beside the bad page");
	must(ftruncate(fd, 0));
	check(!bus.count, "another SIGBUS");
	close(fd);
}

static void synchronous(const struct env *e)
{
	int fd = make_gib(e);
	char *p = map_at(room(GIB, 0), fd, GIB, RW, MAP_SHARED_VALIDATE | MAP_SYNC);

	must(fchmod(fd, 0640));	/* something to sync */
	touch(p + 9 * PAGE, true, GIB_KIB, 3, "MAP_SYNC store");
	fill_page(p + 9 * PAGE, 4);
	check_file_page(fd, 9, 4, "read(2)");
	expect_entries(e, 1, 0, 0, "MAP_SYNC");
	close(fd);
}

static void cloned(const struct env *e)
{
	int fd, to;
	char *p = map_touched(e, &fd), *q;

	to = must(open(in_dir(e, "clone"), O_RDWR | O_CREAT, 0600));
	fill_page(p + 20 * PAGE, 20);
	must(ioctl(to, FICLONE, fd));
	q = map_gib(to, RW);
	expect(q, 0, PUD, "clone");
	check_page(q + 20 * PAGE, 20, "clone");
	fill_page(p + 20 * PAGE, 21);
	check_page(q + 20 * PAGE, 20, "clone after a store to the source");
	fill_page(q + 7 * HUGE * PAGE, 22);
	check_page(p + 7 * HUGE * PAGE, 0, "source after a store to the clone");
	expect(p, 0, PUD, "source");
	expect(q, 0, PUD, "clone");
	must(munmap(q, GIB));
	close(to);
	close(fd);
}

static struct {
	char *map;
	atomic_int stop;
} racer;

static void *race(void *arg)
{
	unsigned int n = (uintptr_t)arg;

	while (!racer.stop) {
		char *page = racer.map + (n++ * 7919 % PUD) * PAGE;

		if (n % 3)
			(void)*(volatile char *)page;
		else
			*(volatile char *)page = *page;
	}
	return NULL;
}

/* Faults race with what takes the PUD apart, with slow GUP, and with who walks over page tables. */
static void races(const struct env *e)
{
	int fd, kmsg = kmsg_open(), mem = must(open("/proc/self/mem", O_RDONLY));
	char *p = map_touched(e, &fd), buf[PAGE];
	pthread_t thread[2];

	racer.map = p;
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		check(!pthread_create(&thread[i], NULL, race, (void *)(i * 1000)), "no thread");
	for (int i = 0; i < 300; i++) {
		must(madvise(p + 2 * MIB, PAGE << (i % 12), MADV_DONTNEED));
		check(pread(mem, buf, PAGE, (off_t)(uintptr_t)(p + PAGE)) == (ssize_t)PAGE,
		      "mem: %m");
		check_page(buf, STAMP + 1, "by /proc/self/mem");
		if (i % 10 == 0)
			(void)rss_kib(p, PUD);
		if (i % 50 == 25)
			must(fsync(fd));
	}
	racer.stop = 1;
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
	expect(p, 0, PUD, "after the race");
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	must(munmap(p, GIB));
	close(fd);
}

static void device_goes(const struct env *e)
{
	struct job job = { .op = OP_CALL };
	char name[64], buf[PAGE];
	struct pin pin;
	char *p = map_touched(e, &job.fd);

	device_name(e->dev, name, sizeof(name));
	pin_pages(&pin, p + 9 * PAGE, 1);
	unpin_page(&pin, buf);
	check(device_unbind(name), "unbind: %m");
	check(try_load(p + PAGE, NULL) == SIGBUS, "no SIGBUS without the device");
	must(munmap(p, GIB));
	close(job.fd);
	must(umount(e->dir));
	check(!module_unload(), "cannot unload the module: %m");
	check(device_bind(name), "bind: %m");
}

static const struct test tests[] = {
	{ "R20: a fault of 1 GiB maps all of it, by loads and stores", faults_map_all_of_it,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20, R9: 1 GiB is dirty until it is flushed, and clean then", dirty_until_it_is_flushed,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: holes and unwritten blocks are not mapped by 1 GiB", what_is_not_there_falls_back,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: a store that falls back from 1 GiB has none allocated", stores_allocate_no_gib,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: private mappings have no 1 GiB", private_falls_back, XFS_ONLY | BOUND_ONLY },
	{ "R20, R25: what soft-dirty bits watch has no 1 GiB", what_is_watched_falls_back,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: fork() with 1 GiB, and with guard regions", fork_and_guards,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: mremap() of 1 GiB, and of a part", moved, XFS_ONLY | BOUND_ONLY },
	{ "R20, R9: munmap() of a part of 1 GiB, the rest stays dirty", partly_unmapped,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: mprotect() of 1 GiB, and of a part", protected, XFS_ONLY | BOUND_ONLY },
	{ "R20: 1 GiB that is inaccessible, and read by others", inaccessible,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: 1 GiB of a file that is open for reading only", read_only, XFS_ONLY | BOUND_ONLY },
	{ "R20, R25: 1 GiB that userfaultfd has watched", watch_ends, XFS_ONLY | BOUND_ONLY },
	{ "R20, R9: a punch of 2 MiB leaves 511 dirty entries", punched, XFS_ONLY | BOUND_ONLY },
	{ "R20, R9: what a punch of a page leaves is flushed", rest_of_a_punch_is_flushed,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20, R7: a punch waits for a pin of 1 GiB, and faults do not", pinned,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: 2 MiB are mapped of what others map by 1 GiB", mapped_where_it_does_not_fit,
	  XFS_ONLY | BOUND_ONLY },
	{ "R20: pages are mapped around within 1 GiB", mapped_around, XFS_ONLY | BOUND_ONLY },
	{ "R20, R13: memory failure of a page of 1 GiB", one_page_fails, XFS_ONLY | BOUND_ONLY },
	{ "R20: MAP_SYNC of 1 GiB", synchronous, XFS_ONLY | BOUND_ONLY },
	{ "R20, R24: a clone of 1 GiB", cloned, XFS_ONLY | BOUND_ONLY },
	{ "R20: faults of 1 GiB race with what splits it", races, XFS_ONLY | BOUND_ONLY | RACES },
	{ "R20, R14: the device of 1 GiB goes away", device_goes, XFS_ONLY | BOUND_ONLY },
	{}
};

GROUP_UNMOUNTED(gib, tests);
