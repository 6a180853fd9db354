// SPDX-License-Identifier: GPL-2.0
/*
 * Power failures: what fsync(), msync() or a flushed MAP_SYNC store made durable is
 * there when the file system is mounted from what was flushed, whatever came between.
 * fs/dax.c loses data in the cases that name a defect; that they see it is checked, too.
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
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"
#include "medium.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)32)
#define MOST	(2 * HUGE)

/* A file, and what it has to hold. */
struct file {
	const struct env *e;
	const char *name;
	const char *defect;	/* of fs/dax.c, which loses data there */
	int fd;
	char *map, *sync_map;	/* of MOST pages */
	size_t pages;
	uint64_t stamp[MOST];	/* 0: reads as zeros */
	bool durable[MOST];	/* the page has its stamp after a power failure */
	bool durable_size;
	struct file *clone;	/* another file to look at, too */
	/* What was checked and what was found. */
	size_t syncs, failures, unflushed, lost;
};

static uint64_t last_stamp;

static char *map_sync(int fd)
{
	char *p = mmap(NULL, MOST * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

	check(p != MAP_FAILED, "mmap MAP_SYNC: %m");
	must(madvise(p, MOST * PAGE, MADV_NOHUGEPAGE));
	return p;
}

static void open_file(struct file *f, const struct env *e, const char *name, size_t huge)
{
	check(medium_watched(), "the guest does not run under the plugin: see scripts/vm --medium");
	memset(f, 0, sizeof(*f));
	f->e = e;
	f->name = name;
	if (huge) {
		f->fd = create_huge(e, name, huge);
		f->map = map_file_huge(f->fd, MOST, RW);
	} else {
		f->fd = create_file(e, name, 0, 0);
		f->map = map_file(f->fd, MOST, RW);
	}
	f->pages = huge * HUGE;
	f->sync_map = map_sync(f->fd);
}

static void close_file(struct file *f)
{
	printf("# %s: %zu times synced, %zu power failures; %zu lines unflushed, %zu pages lost\n",
	       f->name, f->syncs, f->failures, f->unflushed, f->lost);
	must(munmap(f->map, MOST * PAGE));
	must(munmap(f->sync_map, MOST * PAGE));
	close(f->fd);
}

/* The range has other data or none from now on, and nobody asked to keep it. */
static void changed(struct file *f, size_t first, size_t pages)
{
	for (size_t i = first; i < first + pages && i < MOST; i++)
		f->durable[i] = false;
}

static void zeroed(struct file *f, size_t first, size_t pages)
{
	changed(f, first, pages);
	for (size_t i = first; i < first + pages && i < MOST; i++)
		f->stamp[i] = 0;
}

static void store(struct file *f, size_t first, size_t pages)
{
	changed(f, first, pages);
	for (size_t i = first; i < first + pages; i++) {
		f->stamp[i] = ++last_stamp;
		fill_page(f->map + i * PAGE, f->stamp[i]);
	}
}

/* No system call makes this durable: that the mapping is, the fault has seen to. */
static void store_and_flush(struct file *f, size_t i)
{
	char *page = f->sync_map + i * PAGE;

	f->stamp[i] = ++last_stamp;
	fill_page(page, f->stamp[i]);
	for (char *line = page; line < page + PAGE; line += 64)
		asm volatile("clwb %0" : "+m" (*line));
	asm volatile("sfence" : : : "memory");
	f->durable[i] = true;
}

/* Stores of what is there already, to one word: a page that was durable still is. */
static void store_same(struct file *f, size_t i)
{
	*(volatile uint64_t *)(f->map + i * PAGE) = f->stamp[i];
}

static void store_same_and_flush(struct file *f, size_t i)
{
	char *line = f->sync_map + i * PAGE;

	*(volatile uint64_t *)line = f->stamp[i];
	asm volatile("clwb %0; sfence" : "+m" (*line) : : "memory");
}

static void write_same(struct file *f, size_t i)
{
	check(pwrite(f->fd, &f->stamp[i], sizeof(f->stamp[i]), i * PAGE + 1024) ==
	      sizeof(f->stamp[i]), "write: %m");
}

static void write_page(struct file *f, size_t i)
{
	char buf[PAGE];

	changed(f, i, 1);
	f->stamp[i] = ++last_stamp;
	fill_page(buf, f->stamp[i]);
	check(pwrite(f->fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
}

static void set_size(struct file *f, size_t pages)
{
	must(ftruncate(f->fd, pages * PAGE));
	zeroed(f, pages, MOST - pages);
	f->pages = pages;
	f->durable_size = false;
}

static void punch(struct file *f, size_t first, size_t pages)
{
	must(do_op(OP_PUNCH, f->fd, first, pages));
	zeroed(f, first, pages);
}

static void zero(struct file *f, size_t first, size_t pages)
{
	must(do_op(OP_ZERO, f->fd, first, pages));
	zeroed(f, first, pages);
}

static void collapsed(struct file *f, size_t first, size_t pages)
{
	memmove(&f->stamp[first], &f->stamp[first + pages],
		(MOST - first - pages) * sizeof(f->stamp[0]));
	zeroed(f, MOST - pages, pages);
	changed(f, first, MOST - first);
	f->pages -= pages;
	f->durable_size = false;
}

static void collapse(struct file *f, size_t first, size_t pages)
{
	must(do_op(OP_COLLAPSE, f->fd, first, pages));
	collapsed(f, first, pages);
}

static void insert(struct file *f, size_t first, size_t pages)
{
	must(do_op(OP_INSERT, f->fd, first, pages));
	memmove(&f->stamp[first + pages], &f->stamp[first],
		(MOST - first - pages) * sizeof(f->stamp[0]));
	zeroed(f, first, pages);
	changed(f, first, MOST - first);
	f->pages += pages;
	f->durable_size = false;
}

/* fs/dax.c must lose what it is known to lose, or the checks see nothing. */
static bool may_lose(const struct file *f)
{
	return f->defect && !f->e->bound;
}

static void sync_file(struct file *f)
{
	size_t lines;

	must(fsync(f->fd));
	f->syncs++;
	for (size_t i = 0; i < f->pages; i++)
		f->durable[i] = true;
	f->durable_size = true;
	lines = medium_unflushed(f->e, f->fd);
	f->unflushed += lines;
	check(!lines || may_lose(f), "%zu cache lines are not flushed after fsync", lines);
}

/* As fsync(), but with the data of a range only. */
static void sync_range(struct file *f, size_t first, size_t pages)
{
	must(msync(f->map + first * PAGE, pages * PAGE, MS_SYNC));
	f->syncs++;
	for (size_t i = first; i < first + pages; i++)
		f->durable[i] = true;
}

static void look_at(struct file *f, const char *dir)
{
	char path[128], buf[PAGE];
	size_t lost = 0, first = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, f->name);
	fd = must(open(path, O_RDONLY));
	check(!f->durable_size || file_size(fd) == (off_t)(f->pages * PAGE),
	      "the size is %lld after a power failure, not %zu", (long long)file_size(fd),
	      f->pages * PAGE);
	for (size_t i = 0; i < f->pages; i++) {
		if (!f->durable[i])
			continue;
		if (pread(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE && page_is(buf, f->stamp[i]))
			continue;
		if (!lost++)
			first = i;
	}
	close(fd);
	f->failures++;
	f->lost += lost;
	check(!lost || may_lose(f), "%s: %zu pages are lost after a power failure, page %zu first",
	      f->name, lost, first);
}

static void unmount_copy(void *arg)
{
	(void)arg;
	umount2("/mnt/after", MNT_DETACH);
}

static void power_failure(struct file *f)
{
	const char *dir = medium_after_power_failure(f->e);

	at_fail(unmount_copy, NULL);
	for (; f; f = f->clone)
		look_at(f, dir);
	medium_unmount();
}

/* The end of a case: fs/dax.c has lost data if this case is about a defect, nobody else. */
static void expect(struct file *f)
{
	if (may_lose(f)) {
		printf("# fs/dax.c loses data: %s\n", f->defect);
		check(f->lost, "%s: fs/dax.c lost nothing: does this check see anything?",
		      f->defect);
	}
	for (; f; f = f->clone)
		close_file(f);
}

/* All pages stored, synced, and stored again. */
static void dirty_file(struct file *f, const struct env *e, const char *name, size_t pages)
{
	open_file(f, e, name, 0);
	set_size(f, pages);
	store(f, 0, pages);
	sync_file(f);
	store(f, 0, pages);
}

static void the_check_itself(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	sync_file(&f);
	power_failure(&f);
	check(!medium_unflushed(e, f.fd), "lines are not flushed after fsync");
	/* A store that nobody flushes, to three lines of two pages. */
	f.map[0] = 1;
	f.map[PAGE] = 1;
	f.map[PAGE + 64] = 1;
	check(medium_unflushed(e, f.fd) == 3, "%zu cache lines are not flushed, not 3",
	      medium_unflushed(e, f.fd));
	/* The medium has the old data. */
	power_failure(&f);
	asm volatile("clflushopt %0; sfence" : "+m" (f.map[PAGE]));
	check(medium_unflushed(e, f.fd) == 2, "a line that was flushed is not on the medium");
	asm volatile("clflush %0; sfence" : "+m" (f.map[0]));
	f.durable[0] = false;
	f.durable[1] = false;
	power_failure(&f);
	expect(&f);
}

static void synced_data_is_kept(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	sync_file(&f);
	power_failure(&f);
	store(&f, 3, 2);
	sync_file(&f);
	/* Behind the durable pages there are others. */
	store(&f, 10, N - 10);
	sync_range(&f, 10, 4);
	power_failure(&f);
	write_page(&f, 5);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

static void map_sync_stores(const struct env *e)
{
	struct file f;

	open_file(&f, e, "f", 0);
	set_size(&f, N);
	/* Holes: the fault allocates. */
	store_and_flush(&f, 3);
	power_failure(&f);
	store_and_flush(&f, 4);
	store_and_flush(&f, 3);
	power_failure(&f);
	/* Without a flush it is a store like others. */
	f.stamp[3] = ++last_stamp;
	fill_page(f.sync_map + 3 * PAGE, f.stamp[3]);
	sync_file(&f);
	power_failure(&f);
	/* Read first: the store is another fault. */
	check_page(f.sync_map + 6 * PAGE, 0, "hole");
	store_and_flush(&f, 6);
	power_failure(&f);
	/* Preallocated: the store converts the extent. */
	must(do_op(OP_ALLOCATE, f.fd, 8, 8));
	store_and_flush(&f, 9);
	power_failure(&f);
	/* Growth, and a hole that is punched between two stores. */
	set_size(&f, 2 * N);
	store_and_flush(&f, N + 1);
	power_failure(&f);
	punch(&f, 3, 1);
	store_and_flush(&f, 3);
	power_failure(&f);
	expect(&f);
}

static void punched(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	f.defect = "D1";
	punch(&f, 5, 1);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

/* Entries of 2 MiB: what is left of one that loses a page was one dirty entry. */
static void punched_huge(const struct env *e)
{
	struct file f;

	open_file(&f, e, "f", 2);
	f.defect = "D13";
	store(&f, 0, f.pages);
	check(huge_pages(f.map, f.pages) == f.pages, "%zu pages are mapped in 2 MiB, not %zu",
	      huge_pages(f.map, f.pages), f.pages);
	punch(&f, 700, 1);
	sync_file(&f);
	power_failure(&f);
	/* Now one entry of 2 MiB is left, and part of it is zeroed. */
	store(&f, 0, HUGE);
	zero(&f, 100, 8);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

static void zeroed_range(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	f.defect = "D1";
	zero(&f, 5, 3);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

static void truncated(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	f.defect = "D1";
	set_size(&f, N / 2);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

static void grown(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	f.defect = "D2";
	set_size(&f, 2 * N);
	must(do_op(OP_ALLOCATE, f.fd, N, N));
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

static void moved(const struct env *e)
{
	struct file f;

	dirty_file(&f, e, "f", N);
	f.defect = "D1";
	collapse(&f, 8, 4);
	sync_file(&f);
	power_failure(&f);
	store(&f, 0, f.pages);
	insert(&f, 8, 4);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

/*
 * A truncate waits for a page in a pipe: what was durable before is, while it waits and
 * when it was interrupted, and fsync() then finds all that is dirty.
 */
static void interrupted(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	struct file f;

	dirty_file(&f, e, "f", N);
	sync_range(&f, 0, 8);
	pin_pages(&pin, f.map + 20 * PAGE, 1);
	job.fd = f.fd;
	job_start(&job);
	check(job_sleeps(&job), "the truncate did not wait for the pin");
	power_failure(&f);
	/* Faults revive what the break has zapped. */
	store(&f, 4, 2);
	job_signal(&job);
	job_join(&job);
	check(job.rc < 0, "the interrupted truncate succeeded");
	power_failure(&f);
	sync_file(&f);
	power_failure(&f);
	store(&f, 3, 1);
	store(&f, 20, 1);
	sync_file(&f);
	power_failure(&f);
	unpin_all(&pin);
	expect(&f);
}

/* Stores that are made while a collapse waits move with the rest. */
static void moved_during_the_wait(const struct env *e)
{
	struct job job = { .op = OP_COLLAPSE, .first = 8, .pages = 4 };
	struct pin pin;
	struct file f;

	dirty_file(&f, e, "f", N);
	f.defect = "D1";
	sync_file(&f);
	pin_pages(&pin, f.map + 9 * PAGE, 1);
	job.fd = f.fd;
	job_start(&job);
	check(job_sleeps(&job), "the collapse did not wait for the pin");
	store(&f, 16, 5);
	power_failure(&f);
	unpin_all(&pin);
	job_succeeds(&job);
	collapsed(&f, 8, 4);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

static int clone_file(void *arg)
{
	const struct file *f = arg;

	return ioctl(f->clone->fd, FICLONE, f->fd);
}

static void cloned(struct file *f)
{
	/* What a larger one has behind stays. */
	memcpy(f->clone->stamp, f->stamp, f->pages * sizeof(f->stamp[0]));
	changed(f->clone, 0, f->pages);
	if (f->clone->pages < f->pages) {
		f->clone->pages = f->pages;
		f->clone->durable_size = false;
	}
}

/* Two files with the same blocks, all of it durable. */
static void open_clones(struct file *f, struct file *other, const struct env *e)
{
	open_file(f, e, "f", 0);
	open_file(other, e, "clone", 0);
	set_size(f, N);
	store(f, 0, N);
	sync_file(f);
	f->clone = other;
	must(clone_file(f));
	cloned(f);
	sync_file(other);
}

static void clones(const struct env *e)
{
	static struct file other;
	struct file f;

	open_clones(&f, &other, e);
	power_failure(&f);
	store(&f, 0, N / 2);
	store(&other, 4, N / 2);
	sync_file(&f);
	power_failure(&f);
	sync_file(&other);
	power_failure(&f);
	write_page(&f, 1);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

/* What is dirty when a file is cloned belongs to both. */
static void dirty_clones(const struct env *e)
{
	static struct file other;
	struct file f;

	dirty_file(&f, e, "f", N);
	open_file(&other, e, "clone", 0);
	f.clone = &other;
	f.defect = "D1";
	other.defect = "D1";
	must(clone_file(&f));
	cloned(&f);
	sync_file(&f);
	sync_file(&other);
	power_failure(&f);
	expect(&f);
}

/*
 * A store to a shared block makes a copy. When the log goes to the medium on behalf of
 * the other file, the copy is a part of this one; nobody has synced it.
 */
static void copies(const struct env *e)
{
	static struct file other;
	struct file f;

	open_clones(&f, &other, e);
	f.defect = "copies are not flushed";
	for (size_t i = 0; i < 8; i++)
		store_same(&f, i);
	store(&other, 20, 1);
	sync_file(&other);
	power_failure(&f);
	expect(&f);
}

static void map_sync_copies(const struct env *e)
{
	static struct file other;
	struct file f;

	open_clones(&f, &other, e);
	f.defect = "no sync for a copy";
	for (size_t i = 0; i < 4; i++) {
		store_same_and_flush(&f, i);
		power_failure(&f);
		store_and_flush(&f, N - 1 - i);
		power_failure(&f);
	}
	expect(&f);
}

/* write(2) to a part of a shared block copies the rest. */
static void written_copies(const struct env *e)
{
	static struct file other;
	struct file f;

	open_clones(&f, &other, e);
	f.defect = "edges of a copy are not flushed";
	for (size_t i = 0; i < 8; i++)
		write_same(&f, i);
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

/* So does zeroing a part of one. */
static void zeroed_copies(const struct env *e)
{
	static struct file other;
	struct file f;
	size_t lines;

	open_clones(&f, &other, e);
	for (size_t i = 0; i < 8; i++)
		must(fallocate(f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       i * PAGE + 512, 512));
	must(fsync(f.fd));
	lines = medium_unflushed(e, f.fd);
	printf("# %zu lines unflushed\n", lines);
	if (e->bound)
		check(!lines, "%zu cache lines are not flushed", lines);
	changed(&f, 0, 8);
	expect(&f);
}

/* A page of the second file is in use: the first attempt to break it is refused. */
static void refused(const struct env *e)
{
	struct job job = { .op = OP_CALL, .call = clone_file };
	static struct file other;
	struct pin pin;
	struct file f;

	dirty_file(&f, e, "f", N);
	dirty_file(&other, e, "clone", N);
	f.clone = &other;
	sync_range(&f, 0, 4);
	sync_range(&other, 8, 4);
	pin_pages(&pin, other.map + 20 * PAGE, 1);
	job.arg = &f;
	job_start(&job);
	check(job_sleeps(&job), "the clone did not wait for the pin");
	power_failure(&f);
	/* The clone keeps the lock that asking for the extents would want. */
	sync_range(&f, 0, N);
	sync_range(&other, 0, N);
	power_failure(&f);
	unpin_all(&pin);
	job_succeeds(&job);
	cloned(&f);
	sync_file(&f);
	sync_file(&other);
	power_failure(&f);
	expect(&f);
}

static size_t some_of(struct rng *r, size_t most)
{
	return 1 + rnd(r, most < 6 ? most : 6);
}

/* One operation on a file of 2 to 64 pages; 0 if it made nothing durable. */
static bool random_op(struct file *f, struct rng *r)
{
	const size_t i = rnd(r, f->pages), n = some_of(r, f->pages - i);

	switch (rnd(r, 20)) {
	case 0 ... 4:
		store(f, i, n);
		return false;
	case 5:
		store_and_flush(f, i);
		return true;
	case 6:
		write_page(f, i);
		return false;
	case 7:
		punch(f, i, n);
		return false;
	case 8:
		zero(f, i, n);
		return false;
	case 9:
		if (i + n < f->pages && f->pages - n >= 2)
			collapse(f, i, n);
		return false;
	case 10:
		if (f->pages + n <= 2 * N)
			insert(f, i, n);
		return false;
	case 11:
		set_size(f, 2 + rnd(r, 2 * N - 1));
		return false;
	case 12:
		must(do_op(OP_ALLOCATE, f->fd, i, n));
		return false;
	case 13:
		/* Reads map holes, too. */
		for (size_t k = i; k < i + n; k++)
			check_page(f->map + k * PAGE, f->stamp[k], "load");
		return false;
	case 14:
		sync_range(f, i, n);
		return true;
	case 15:
		store_same(f, i);
		return false;
	case 16:
		if (!f->clone)
			return false;
		must(clone_file(f));
		cloned(f);
		if (rnd(r, 2))
			sync_file(f->clone);
		return true;
	default:
		sync_file(f);
		return true;
	}
}

/* A power failure after each so many operations that made something durable. */
#define FAIL_EACH	8

static void randomized(const struct env *e)
{
	const bool has_clones = !strcmp(e->fs, "xfs");
	struct rng r = rng_of(e->seed, 0, 0);
	static struct file other;
	size_t durable = 0;
	struct file f;

	open_file(&f, e, "f", 0);
	f.defect = "D1";
	if (has_clones) {
		open_file(&other, e, "clone", 0);
		f.clone = &other;
		other.defect = "D1";
	}
	set_size(&f, N);
	printf("# seed %lu, %lu operations\n", e->seed, e->ops);
	for (unsigned long op = 0; op < e->ops; op++) {
		durable += random_op(&f, &r);
		if (durable == FAIL_EACH) {
			power_failure(&f);
			durable = 0;
		}
	}
	sync_file(&f);
	power_failure(&f);
	expect(&f);
}

/* The device goes: synced data is on the medium, and fsync() of other data says that it is not. */
static void removed(const struct env *e)
{
	char name[64], cmd[128];
	struct file f;

	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	/* XFS sends it to all who map a file. */
	signal(SIGBUS, SIG_IGN);

	dirty_file(&f, e, "f", N);
	punch(&f, 5, 1);
	sync_file(&f);
	store_and_flush(&f, 7);
	store(&f, 10, 4);
	device_name(e->dev, name, sizeof(name));
	/* By another process: XFS forces the signal on who does it, if that one maps a file. */
	snprintf(cmd, sizeof(cmd), "echo %s > /sys/bus/nd/drivers/nd_pmem/unbind", name);
	check(!system(cmd), "cannot unbind %s", name);
	power_failure(&f);
	check(fsync(f.fd) == -1, "fsync of stores that are lost succeeded");
	check(try_store(f.map, 1) == SIGBUS, "no SIGBUS");
	expect(&f);
	must(umount(e->dir));
	check(device_bind(name), "cannot bind %s: %m", name);
	check(!module_unload(), "cannot unload the module: %m");
}

static const struct test tests[] = {
	{ "power failure: what is not flushed is seen", the_check_itself, EVERYWHERE },
	{ "power failure: fsync and msync", synced_data_is_kept, EVERYWHERE },
	{ "power failure: flushed MAP_SYNC stores", map_sync_stores, EVERYWHERE },
	{ "power failure: fsync after a punch of a page", punched, EVERYWHERE },
	{ "power failure: fsync after a punch in 2 MiB", punched_huge, EVERYWHERE },
	{ "power failure: fsync after zero range", zeroed_range, EVERYWHERE },
	{ "power failure: fsync after truncate", truncated, EVERYWHERE },
	{ "power failure: fsync after growth", grown, EVERYWHERE },
	{ "power failure: fsync after collapse and insert range", moved, EVERYWHERE },
	{ "power failure: an interrupted truncate", interrupted, EVERYWHERE },
	{ "power failure: stores during the wait of a collapse", moved_during_the_wait,
	  EVERYWHERE },
	{ "power failure: clones", clones, XFS_ONLY },
	{ "power failure: clones of dirty files", dirty_clones, XFS_ONLY },
	{ "power failure: copies that nobody synced", copies, XFS_ONLY },
	{ "power failure: MAP_SYNC stores to shared blocks", map_sync_copies, XFS_ONLY },
	{ "power failure: write(2) to a part of a shared block", written_copies, XFS_ONLY },
	{ "power failure: punch of a part of a shared block", zeroed_copies, XFS_ONLY },
	{ "power failure: a refused break", refused, XFS_ONLY | BOUND_ONLY },
	{ "power failure: a randomized sequence", randomized, EVERYWHERE },
	{ }
};

GROUP(powerfail, tests);

static const struct test removal_tests[] = {
	{ "power failure: after the removal of the device", removed, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(powerfail_removal, removal_tests);
