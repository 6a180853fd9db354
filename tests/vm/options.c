// SPDX-License-Identifier: GPL-2.0
/*
 * What distributions switch on: the table of its scenarios, and those that
 * look at page tables: write tracking, soft-dirty, advice for a part of 2 MiB,
 * private faults of both sizes. See options.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

static struct known known_file(const struct env *e, const char *name, int fd, char *map,
			       size_t pages)
{
	struct known f = { e, name, fd, map, pages, malloc(pages * sizeof(*f.want)) };

	check(f.want, "no memory");
	for (size_t i = 0; i < pages; i++)
		f.want[i] = 100 + i;
	return f;
}

struct known new_small(const struct env *e, const char *name, size_t pages)
{
	int fd = create_file(e, name, pages, 100);

	return known_file(e, name, fd, map_file(fd, pages, RW), pages);
}

struct known new_huge(const struct env *e, const char *name, size_t huge)
{
	const size_t pages = huge * HUGE;
	int fd = create_huge(e, name, huge);
	struct known f = known_file(e, name, fd, map_file_huge(fd, pages, RW), pages);

	for (size_t i = 0; i < pages; i++)
		fill_page(f.map + i * PAGE, f.want[i]);
	check(huge_pages(f.map, pages) == pages, "%zu of %zu pages are mapped in 2 MiB",
	      huge_pages(f.map, pages), pages);
	return f;
}

void store_page(struct known *f, size_t page, uint64_t stamp)
{
	fill_page(f->map + page * PAGE, stamp);
	f->want[page] = stamp;
}

static void check_content(const struct known *f, const char *what)
{
	for (size_t i = 0; i < f->pages; i++)
		check_file_page(f->fd, i, f->want[i], what);
}

void check_known(const struct known *f, const char *what)
{
	for (size_t i = 0; i < f->pages; i++)
		check_page(f->map + i * PAGE, f->want[i], what);
	check_content(f, what);
}

void expect_flush_of(const struct known *f, long pages, const char *what)
{
	long n;

	flush_count_start();
	must(fsync(f->fd));
	n = flush_count_stop();
	check(n == pages, "fsync %s: %ld pages written back, not %ld", what, n, pages);
}

void remount(const struct env *e, const char *options)
{
	must(umount(e->dir));
	if (e->ko)
		module_bind(e->bound);
	check(!mount_fs(e->fs, e->dev, e->dir, options), "mount %s: %m", e->dev);
	check(mount_is_bound(e->dir) == e->bound, "the new mount is %sserved by the module",
	      e->bound ? "not " : "");
}

void drop_known(struct known *f)
{
	check_known(f, "at the end");
	must(munmap(f->map, f->pages * PAGE));
	close(f->fd);
}

void end_known(struct known *f)
{
	drop_known(f);
	remount(f->env, NULL);
	f->fd = must(open(in_dir(f->env, f->name), O_RDWR));
	f->map = map_file(f->fd, f->pages, RW);
	check_known(f, "after a mount");
	must(ftruncate(f->fd, 0));
	must(munmap(f->map, f->pages * PAGE));
	close(f->fd);
	free(f->want);
}

long figure_of(const char *path, const char *key)
{
	const size_t n = strlen(key);
	FILE *f = fopen(path, "re");
	char line[256];
	long value = -1;

	check(f, "%s: %m", path);
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, n) && (line[n] == ' ' || !n))
			value = atol(line + n);
	fclose(f);
	check(value >= 0, "no %s in %s", key, path);
	return value;
}

bool comes_true(bool (*fn)(void *arg), void *arg)
{
	for (int i = 0; i < 3000; i++) {
		if (fn(arg))
			return true;
		usleep(10000);
	}
	return false;
}

/* Which pages were stored to since they were protected; protects these again if asked to. */
static void expect_written(const char *map, size_t pages, bool *want, bool again, const char *what)
{
	struct page_region region[HUGE];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_CHECK_WPASYNC | (again ? PM_SCAN_WP_MATCHING : 0),
		.start = (uintptr_t)map,
		.end = (uintptr_t)map + pages * PAGE,
		.vec = (uintptr_t)region,
		.vec_len = ARRAY_SIZE(region),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int fd = must(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	int n = must(ioctl(fd, PAGEMAP_SCAN, &arg));
	bool written[HUGE] = { false };

	close(fd);
	check(pages <= HUGE && arg.walk_end == arg.end, "the scan stopped early");
	for (int k = 0; k < n; k++)
		for (uint64_t at = region[k].start; at < region[k].end; at += PAGE)
			written[(at - (uintptr_t)map) / PAGE] = true;
	for (size_t i = 0; i < pages; i++)
		check(written[i] == want[i], "%s: page %zu is %sreported as written", what, i,
		      written[i] ? "" : "not ");
	if (again)
		memset(want, 0, pages * sizeof(*want));
}

static int track_writes(char *map, size_t pages)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = {
		.range = { (uintptr_t)map, pages * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = { reg.range, UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = must(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));

	must(ioctl(fd, UFFDIO_API, &api));
	must(ioctl(fd, UFFDIO_REGISTER, &reg));
	must(ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	return fd;
}

static void tracked_store(struct known *f, size_t page, uint64_t stamp, bool *written)
{
	store_page(f, page, stamp);
	written[page] = true;
}

static void writes_are_tracked(const struct env *e)
{
	struct known f = new_small(e, "f", N);
	bool written[N] = { false };
	char buf[PAGE];
	int uffd;

	/* Half of it is populated: by loads, one for each page, and by a store that was synced. */
	must(madvise(f.map, N * PAGE, MADV_RANDOM));
	for (size_t i = 0; i < N / 2; i++)
		check_page(f.map + i * PAGE, f.want[i], "before");
	store_page(&f, 1, 1001);
	must(fsync(f.fd));
	check(present_pages(f.map, N) == N / 2, "%zu pages are mapped", present_pages(f.map, N));
	uffd = track_writes(f.map, N);
	expect_written(f.map, N, written, false, "at the start");
	for (size_t i = 0; i < N; i += 3)
		check_page(f.map + i * PAGE, f.want[i], "tracked load");
	expect_written(f.map, N, written, false, "after loads");

	/* Populated or not, loaded or not. */
	tracked_store(&f, 1, 2001, written);
	tracked_store(&f, 3, 2003, written);
	tracked_store(&f, N - 4, 2012, written);
	tracked_store(&f, N - 3, 2013, written);
	expect_written(f.map, N, written, false, "after stores");
	expect_flush_of(&f, 4, "of tracked stores");
	expect_written(f.map, N, written, true, "after a sync");
	expect_written(f.map, N, written, false, "protected again");
	check_known(&f, "tracked");

	/* Not through the mapping. */
	fill_page(buf, 3000);
	check(pwrite(f.fd, buf, PAGE, 0) == (ssize_t)PAGE, "write: %m");
	f.want[0] = 3000;
	tracked_store(&f, 2, 3002, written);
	tracked_store(&f, 3, 3003, written);
	expect_written(f.map, N, written, true, "of the second time");
	expect_flush_of(&f, 2, "of stores after the second time");

	/* What a punch unmaps has markers again. */
	must(do_op(OP_PUNCH, f.fd, 8, 4));
	for (size_t i = 8; i < 12; i++)
		f.want[i] = 0;
	check_page(f.map + 8 * PAGE, 0, "punched");
	store_page(&f, 9, 4009);
	store_page(&f, 8, 4008);
	check_known(&f, "after a punch");
	close(uffd);
	store_page(&f, 4, 5004);
	store_page(&f, 10, 5010);
	end_known(&f);
}

static void writes_to_huge_pages_are_tracked(const struct env *e)
{
	struct known f = new_huge(e, "f", 1);
	bool written[HUGE] = { false };
	int uffd;

	must(fsync(f.fd));
	/* First as it is, in 2 MiB, then with nothing mapped. */
	for (int round = 0; round < 2; round++) {
		uffd = track_writes(f.map, HUGE);
		expect_written(f.map, HUGE, written, false, "2 MiB at the start");
		for (size_t i = 1; i < HUGE; i += 50)
			check_page(f.map + i * PAGE, f.want[i], "tracked load");
		expect_written(f.map, HUGE, written, false, "2 MiB after loads");
		tracked_store(&f, 7, 2000 + round, written);
		tracked_store(&f, 51, 3000 + round, written);
		tracked_store(&f, HUGE - 1, 4000 + round, written);
		expect_written(f.map, HUGE, written, true, "2 MiB after stores");
		expect_written(f.map, HUGE, written, false, "2 MiB protected again");
		check_known(&f, "tracked");
		close(uffd);
		must(munmap(f.map, HUGE * PAGE));
		f.map = map_file_huge(f.fd, HUGE, RW);
	}
	end_known(&f);
}

static void expect_soft_dirty(const char *map, size_t pages, const bool *want, const char *what)
{
	int fd = must(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));

	for (size_t i = 0; i < pages; i++) {
		uint64_t entry;
		bool dirty;

		check(pread(fd, &entry, sizeof(entry),
			    ((uintptr_t)map / PAGE + i) * sizeof(entry)) == sizeof(entry),
		      "pagemap: %m");
		dirty = entry >> 55 & 1;
		check(dirty == want[i], "%s: page %zu is %ssoft-dirty", what, i,
		      dirty ? "" : "not ");
	}
	close(fd);
}

/* What was stored since the last time, of a page that was mapped, loaded or never seen. */
static void soft_dirty(const struct env *e)
{
	struct known f = new_small(e, "f", N);

	for (size_t i = 0; i < N / 2; i++)
		store_page(&f, i, 1000 + i);
	for (uint64_t round = 1; round < 3; round++) {
		const size_t page[] = { 2 * round, 6, N - 3 * round };
		bool stored[N] = { false };

		set_text("/proc/self/clear_refs", "4");
		for (size_t i = 0; i < N; i += 3)
			check_page(f.map + i * PAGE, f.want[i], "load");
		expect_soft_dirty(f.map, N, stored, "loads");
		for (size_t k = 0; k < ARRAY_SIZE(page); k++) {
			store_page(&f, page[k], 1000 * round + k);
			stored[page[k]] = true;
		}
		expect_soft_dirty(f.map, N, stored, "stores");
		check_known(&f, "stored");
	}
	/* The bit goes together with the right to write: fsync must still see each store. */
	must(fsync(f.fd));
	set_text("/proc/self/clear_refs", "4");
	store_page(&f, 3, 7003);
	expect_flush_of(&f, 1, "of a store after clear_refs");
	end_known(&f);
}

/* A page is what is mapped. */
static void soft_dirty_huge(const struct env *e)
{
	struct known f = new_huge(e, "f", 2);

	for (uint64_t round = 1; round < 3; round++) {
		bool stored[2 * HUGE] = { false };

		set_text("/proc/self/clear_refs", "4");
		for (size_t i = 0; i < 2 * HUGE; i += 50)
			check_page(f.map + i * PAGE, f.want[i], "load");
		expect_soft_dirty(f.map, 2 * HUGE, stored, "loads");
		store_page(&f, HUGE + 9 * round, 5000 + round);
		memset(stored + HUGE, true, HUGE);
		expect_soft_dirty(f.map, 2 * HUGE, stored, "stores");
		check(huge_pages(f.map, 2 * HUGE) == 2 * HUGE, "no longer mapped in 2 MiB");
		check_known(&f, "stored");
	}
	expect_flush_of(&f, 2 * HUGE, "of 2 MiB pages");
	set_text("/proc/self/clear_refs", "4");
	store_page(&f, 3, 7003);
	expect_flush_of(&f, HUGE, "of a store after clear_refs");
	end_known(&f);
}

static void advice_for_a_part(const struct env *e)
{
	static const struct {
		const char *name;
		int advice, err;
	} tries[] = {
		{ "MADV_COLD", MADV_COLD, 0 },
		{ "MADV_PAGEOUT", MADV_PAGEOUT, 0 },
		{ "MADV_FREE", MADV_FREE, EINVAL },
		{ "MADV_DONTNEED", MADV_DONTNEED, 0 },
		{ "MADV_WILLNEED", MADV_WILLNEED, 0 },
	};
	struct known f = new_huge(e, "f", 2);
	char *q;

	must(fsync(f.fd));
	for (size_t k = 0; k < 2 * ARRAY_SIZE(tries); k++) {
		const char *name = tries[k / 2].name;
		int rc;

		/* Of a clean page of 2 MiB, then of a dirty one. */
		if (k % 2)
			store_page(&f, 105, 1000 + k);
		errno = 0;
		rc = madvise(f.map + 100 * PAGE, 10 * PAGE, tries[k / 2].advice);
		check((rc ? errno : 0) == tries[k / 2].err, "%s: %m", name);
		check_known(&f, name);
		expect_flush_of(&f, k % 2 ? (long)HUGE : 0, name);
		store_page(&f, 101, 2000 + k);
		store_page(&f, HUGE + 101, 2000 + k);
		expect_flush_of(&f, 2 * HUGE, name);
		check(huge_pages(f.map, 2 * HUGE) == 2 * HUGE, "%s: no longer mapped in 2 MiB",
		      name);
	}

	/* Copies of a private mapping, and the pages of the file between them. */
	q = mmap(NULL, 2 * HUGE * PAGE, RW, MAP_PRIVATE, f.fd, 0);
	check(q != MAP_FAILED, "mmap: %m");
	for (size_t i = 0; i < HUGE; i += 2)
		fill_page(q + i * PAGE, 9000 + i);
	must(madvise(q + 50 * PAGE, HUGE * PAGE, MADV_COLD));
	must(madvise(q + 50 * PAGE, HUGE * PAGE, MADV_PAGEOUT));
	check(madvise(q, HUGE * PAGE, MADV_FREE) < 0 && errno == EINVAL, "MADV_FREE: %m");
	for (size_t i = 0; i < 2 * HUGE; i++)
		check_page(q + i * PAGE, i < HUGE && i % 2 == 0 ? 9000 + i : f.want[i], "private");
	must(madvise(q + 10 * PAGE, 10 * PAGE, MADV_DONTNEED));
	for (size_t i = 0; i < HUGE; i++)
		check_page(q + i * PAGE, i % 2 == 0 && (i < 10 || i >= 20) ? 9000 + i : f.want[i],
			   "private, after MADV_DONTNEED");
	must(munmap(q, 2 * HUGE * PAGE));
	end_known(&f);
}

struct racer {
	char *map;
	bool store;
	unsigned int from;
	atomic_int stop;
	pthread_t thread;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	volatile char sum = 0;

	for (unsigned int i = r->from; !r->stop; i += 7) {
		if (r->store)
			r->map[i % HUGE * PAGE] = i;
		else
			sum += r->map[i % HUGE * PAGE];
	}
	return NULL;
}

/* Loads map 2 MiB, stores copy 4 KiB, and the mapping is emptied again and again. */
static void private_faults_race(const struct env *e)
{
	struct known f = new_huge(e, "f", 1);
	struct racer r[4] = { 0 };
	int kmsg = kmsg_open();
	char *p;

	p = mmap(f.map, HUGE * PAGE, RW, MAP_PRIVATE | MAP_FIXED, f.fd, 0);
	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, HUGE * PAGE, MADV_HUGEPAGE));
	check_page(p + PAGE, f.want[1], "before");
	check(huge_pages(p, HUGE) == HUGE, "loads do not map 2 MiB");
	for (size_t k = 0; k < ARRAY_SIZE(r); k++) {
		r[k].map = p;
		r[k].store = k & 1;
		r[k].from = k;
		check(!pthread_create(&r[k].thread, NULL, race, &r[k]), "no thread");
	}
	for (int i = 0; i < 20000; i++)
		must(madvise(p, HUGE * PAGE, MADV_DONTNEED));
	for (size_t k = 0; k < ARRAY_SIZE(r); k++)
		r[k].stop = 1;
	for (size_t k = 0; k < ARRAY_SIZE(r); k++)
		pthread_join(r[k].thread, NULL);
	check(!kmsg_has(kmsg, "VM_FAULT_OOM leaked", NULL), "a fault had no answer");
	must(madvise(p, HUGE * PAGE, MADV_DONTNEED));
	end_known(&f);
}

static const struct test tests[] = {
	{ "R25 writes are tracked by userfaultfd", writes_are_tracked, EVERYWHERE },
	{ "R25 writes to 2 MiB are tracked by userfaultfd",
	  writes_to_huge_pages_are_tracked, EVERYWHERE },
	{ "R25 soft-dirty is what was stored", soft_dirty, EVERYWHERE },
	{ "R25 soft-dirty is what was stored in 2 MiB", soft_dirty_huge, EVERYWHERE },
	{ "R25 advice for a part of 2 MiB", advice_for_a_part, EVERYWHERE },
	{ "R25 private faults of both sizes race", private_faults_race, RACES },
	{ }
};

GROUP(options, tests);
