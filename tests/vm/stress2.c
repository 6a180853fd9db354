// SPDX-License-Identifier: GPL-2.0
/*
 * A randomized run over files of 2 MiB pages, with a model of every page.
 *
 * Each page of each file belongs to one thread: to it alone a page of a file
 * is subject to stores, writes, direct I/O. What moves pages or takes them
 * away (truncate, collapse, insert, clone, dedupe, exchange, a file renamed
 * over, an unlink) has the file for itself, as the model must follow; pins, the
 * answers of direct reads and the filling of free space do not care for that
 * lock, so that such an operation meets them. What waits for a pin must not
 * let its block go: pages in a pipe and filled free space have tags that never
 * may be seen in each other.
 *
 * The seed says what each thread does; how the threads meet is up to the
 * machine.
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
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW		(PROT_READ | PROT_WRITE)
#define FILES		3
#define PAGES		(2 * HUGE)
#define WORKERS		3
/* The last owner is the thread whose direct reads are answered late. */
#define OWNERS		(WORKERS + 1)
#define ROUNDS		4
#define CHUNK		((size_t)512)
#define CHUNKS		(PAGE / CHUNK)
#define WORDS		(CHUNK / sizeof(uint64_t))
#define MAX_PINS	12
#define SCRATCH		((size_t)64)	/* pages of the block device */
#define SPARE		(24 * MIB)	/* free space that the filler leaves */

/* The top byte of a word says who wrote it. */
#define TAG(word)	((word) >> 56)
#define TAG_DATA	0x10ull
#define TAG_LATE	0x20ull
#define TAG_FILL	0xeeull
#define STAMP(tag, n)	((tag) << 56 | (n))

enum view { SMALL, LARGE, SYNC, PRIVATE, READ, VIEWS };

static const char *const view_name[] = {
	"4 KiB mapping", "2 MiB mapping", "MAP_SYNC mapping", "private mapping", "read(2)",
};

struct file {
	pthread_rwlock_t lock;
	char name[16];
	int fd;
	size_t size;			/* in pages */
	char *map[READ];
	uint64_t model[PAGES][CHUNKS];
	bool late[PAGES];		/* a direct read is in flight to it */
};

static struct {
	const struct env *env;
	struct file file[FILES];
	int scratch;
	bool xfs;
	atomic_int stop;
	atomic_ulong interrupted, large;
	atomic_uint_fast64_t serial;
	unsigned long ops;		/* of a worker in a round */
	unsigned int round;
	pthread_t thread[WORKERS];
	struct slow_file slow;
	struct {
		pthread_mutex_t lock;
		struct pin pin[MAX_PINS];
		bool used[MAX_PINS];
	} pipes;
} s = { .pipes.lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t new_stamp(uint64_t tag)
{
	return STAMP(tag, ++s.serial);
}

static bool tag_allowed(uint64_t word)
{
	return !word || TAG(word) == TAG_DATA || TAG(word) == TAG_LATE;
}

static void put_words(void *to, uint64_t stamp, size_t words)
{
	uint64_t *w = to;

	for (size_t i = 0; i < words; i++)
		w[i] = stamp;
}

static uint64_t word_of(const struct file *f, size_t page, size_t word, enum view v)
{
	uint64_t buf[PAGE / 8] = { 0 };

	if (v != READ)
		return ((volatile uint64_t *)(f->map[v] + page * PAGE))[word];
	if (pread(f->fd, buf, PAGE, page * PAGE) != (ssize_t)PAGE)
		return -1;
	return buf[word];
}

static void disagrees(const struct file *f, size_t page, size_t word, enum view v, uint64_t seen)
{
	printf("# seed %lu round %u file %s:", s.env->seed, s.round, f->name);
	for (enum view i = 0; i < VIEWS; i++)
		printf(" %s %#llx,", view_name[i], (unsigned long long)word_of(f, page, word, i));
	printf(" 2 MiB: %s\n",
	       huge_pages(f->map[LARGE] + page / HUGE * HUGE * PAGE, 1) ? "yes" : "no");
	fflush(stdout);
	fail("seed %lu round %u: file %s page %zu byte %zu by %s is %#llx, not %#llx", s.env->seed,
	     s.round, f->name, page, word * 8, view_name[v], (unsigned long long)seen,
	     (unsigned long long)f->model[page][word / WORDS]);
}

/* The caller owns the page, or has the file for itself. */
static void compare(const struct file *f, size_t page, enum view v)
{
	char buf[PAGE];
	const uint64_t *data = (const void *)buf;

	if (v == READ)
		check(pread(f->fd, buf, PAGE, page * PAGE) == (ssize_t)PAGE, "read: %m");
	else
		data = (const void *)(f->map[v] + page * PAGE);
	for (size_t i = 0; i < PAGE / 8; i++)
		if (f->late[page] ? !tag_allowed(data[i]) : data[i] != f->model[page][i / WORDS])
			disagrees(f, page, i, v, data[i]);
}

static void compare_file(const struct file *f)
{
	for (size_t i = 0; i < f->size; i++)
		for (enum view v = 0; v < VIEWS; v++)
			compare(f, i, v);
}

/* Mappings of a file, made anew: at 2 MiB boundaries but the private one. */
static void map_views(struct file *f)
{
	f->map[SMALL] = map_file(f->fd, PAGES, RW);
	f->map[LARGE] = map_file_huge(f->fd, PAGES, RW);
	f->map[SYNC] = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, f->fd, 0);
	f->map[PRIVATE] = mmap(NULL, PAGES * PAGE, RW, MAP_PRIVATE, f->fd, 0);
	check(f->map[SYNC] != MAP_FAILED && f->map[PRIVATE] != MAP_FAILED, "mmap: %m");
}

/* The first fault decides on the size. The caller has the file for itself. */
static void map_large_first(struct file *f)
{
	for (size_t i = 0; i + HUGE <= f->size; i += HUGE) {
		volatile char *p = f->map[LARGE] + i * PAGE;

		*p = *p;
	}
}

static void unmap_views(struct file *f)
{
	for (enum view v = 0; v < READ; v++)
		must(munmap(f->map[v], PAGES * PAGE));
}

static void forget(struct file *f, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		memset(f->model[i], 0, sizeof(f->model[i]));
		f->late[i] = false;
	}
}

static void new_file(struct file *f)
{
	close(create_huge(s.env, f->name, 2));
	f->fd = must(open(in_dir(s.env, f->name), O_RDWR | O_CLOEXEC));
	f->size = PAGES;
	forget(f, 0, PAGES);
	map_views(f);
	map_large_first(f);
}

/* Pages of one owner: nobody else changes them. */
struct target {
	struct file *f;
	size_t page, chunk, chunks;
};

static bool pick(struct rng *r, unsigned int who, struct file *f, struct target *t)
{
	t->f = f;
	t->page = rnd(r, PAGES / OWNERS) * OWNERS + who;
	/* Most of the work in a part of the file, so that it meets there. */
	if (rnd(r, 3))
		t->page %= 64 * OWNERS;
	t->chunk = rnd(r, 3) ? 0 : rnd(r, CHUNKS);
	t->chunks = t->chunk ? 1 + rnd(r, CHUNKS - t->chunk) : CHUNKS;
	return t->page < f->size;
}

static void set_model(const struct target *t, uint64_t stamp)
{
	for (size_t i = 0; i < t->chunks; i++)
		t->f->model[t->page][t->chunk + i] = stamp;
}

static off_t offset_of(const struct target *t)
{
	return t->page * PAGE + t->chunk * CHUNK;
}

static bool was_interrupted(int rc, const char *what)
{
	if (!rc)
		return false;
	check(errno == EINTR, "%s: %m", what);
	s.interrupted++;
	return true;
}

static void discard(const struct target *t, int mode)
{
	if (!was_interrupted(fallocate(t->f->fd, mode | FALLOC_FL_KEEP_SIZE, offset_of(t),
				       t->chunks * CHUNK), "fallocate"))
		set_model(t, 0);
	else
		compare(t->f, t->page, SMALL);
}

static void put_in_pipe(const struct target *t, enum view v)
{
	int slot = -1;

	pthread_mutex_lock(&s.pipes.lock);
	for (int i = 0; i < MAX_PINS && slot < 0; i++)
		if (!s.pipes.used[i])
			slot = i;
	if (slot >= 0) {
		pin_pages(&s.pipes.pin[slot], t->f->map[v] + t->page * PAGE, 1);
		s.pipes.used[slot] = true;
	}
	pthread_mutex_unlock(&s.pipes.lock);
}

static void drain_one(int slot)
{
	uint64_t buf[PAGE / 8];
	struct pin pin;

	pthread_mutex_lock(&s.pipes.lock);
	pin = s.pipes.pin[slot];
	if (!s.pipes.used[slot])
		pin.pages = 0;
	s.pipes.used[slot] = false;
	pthread_mutex_unlock(&s.pipes.lock);
	if (!pin.pages)
		return;
	unpin_page(&pin, buf);
	close(pin.rd);
	close(pin.wr);
	for (size_t i = 0; i < ARRAY_SIZE(buf); i++)
		check(tag_allowed(buf[i]), "seed %lu: a pipe has foreign data %#llx", s.env->seed,
		      (unsigned long long)buf[i]);
}

static void *drainer(void *arg)
{
	struct rng r = rng_of(s.env->seed, s.round, 100);

	while (!s.stop) {
		usleep(500 + rnd(&r, 4000));
		drain_one(rnd(&r, MAX_PINS));
	}
	for (int i = 0; i < MAX_PINS; i++)
		drain_one(i);
	return arg;
}

/* Takes what others freed, and sees to it that nobody writes there. */
static void *filler(void *arg)
{
	static char buf[64 * PAGE];
	struct rng r = rng_of(s.env->seed, s.round, 102);

	while (!s.stop) {
		int fd = must(open(in_dir(s.env, "fill"), O_RDWR | O_CREAT | O_TRUNC, 0644));
		uint64_t stamp = STAMP(TAG_FILL, rnd(&r, 1 << 20));
		struct statvfs st;
		size_t room, pages;

		must(fstatvfs(fd, &st));
		room = st.f_bavail * st.f_frsize;
		pages = room > SPARE ? (room - SPARE) / PAGE : 0;
		pages -= pages > 2048 ? 2048 : 0;	/* for small files */
		if (pages > 4096 && rnd(&r, 8))
			pages = 4096;
		put_words(buf, stamp, sizeof(buf) / 8);
		for (size_t i = 0; i + 64 <= pages; i += 64)
			check(pwrite(fd, buf, sizeof(buf), i * PAGE) == (ssize_t)sizeof(buf),
			      "fill: %m");
		if (room > SPARE + 4096 * PAGE && !rnd(&r, 3)) {
			fill_small_files(s.env, stamp);
			usleep(rnd(&r, 20000));
			check_small_files(s.env, stamp);
		}
		usleep(rnd(&r, 20000));
		check_all_pages(fd, stamp, "filled free space");
		must(ftruncate(fd, 0));
		close(fd);
		usleep(rnd(&r, 3000));
	}
	return arg;
}

static void *pest(void *arg)
{
	struct rng r = rng_of(s.env->seed, s.round, 101);

	while (!s.stop) {
		usleep(3000 + rnd(&r, 10000));
		pthread_kill(s.thread[rnd(&r, WORKERS)], SIGUSR1);
	}
	return arg;
}

static void *syncer(void *arg)
{
	struct rng r = rng_of(s.env->seed, s.round, 103);

	while (!s.stop) {
		struct file *f = &s.file[rnd(&r, FILES)];

		usleep(rnd(&r, 20000));
		pthread_rwlock_rdlock(&f->lock);
		if (rnd(&r, 2))
			must(fsync(f->fd));
		else
			must(msync(f->map[LARGE], PAGES * PAGE, MS_SYNC));
		s.large += huge_pages(f->map[LARGE], PAGES) / HUGE;
		pthread_rwlock_unlock(&f->lock);
	}
	return arg;
}

/* A direct read whose answer comes when nobody holds the file any more. */
struct late_read {
	int fd;
	char *buf;
	ssize_t rc;
	int err;
};

static void *late_main(void *arg)
{
	struct late_read *l = arg;

	l->rc = pread(l->fd, l->buf, PAGE, 0);
	l->err = errno;
	return NULL;
}

static void *late_reader(void *arg)
{
	struct late_read l = { .fd = must(open(s.slow.path, O_RDONLY | O_DIRECT | O_CLOEXEC)) };
	struct rng r = rng_of(s.env->seed, s.round, 104);

	while (!s.stop) {
		struct file *f = &s.file[rnd(&r, FILES)];
		pthread_t thread;
		struct target t;

		pthread_rwlock_rdlock(&f->lock);
		if (!pick(&r, WORKERS, f, &t)) {
			pthread_rwlock_unlock(&f->lock);
			usleep(1000);
			continue;
		}
		s.slow.stamp = new_stamp(TAG_LATE);
		s.slow.release = 0;
		l.buf = f->map[rnd(&r, 3)] + t.page * PAGE;
		compare(f, t.page, LARGE);
		/* From now on it has the old data, or the new. */
		f->late[t.page] = true;
		check(!pthread_create(&thread, NULL, late_main, &l), "no thread");
		slow_file_wait_held(&s.slow);
		set_model(&(struct target) { f, t.page, 0, CHUNKS }, s.slow.stamp);
		pthread_rwlock_unlock(&f->lock);
		usleep(rnd(&r, 15000));
		slow_file_release(&s.slow);
		pthread_join(thread, NULL);
		check(l.rc == (ssize_t)PAGE, "direct read: %s",
		      l.rc < 0 ? strerror(l.err) : "short");
		/* The only read in flight: wherever the page is now, it has the data. */
		for (size_t k = 0; k < FILES; k++) {
			pthread_rwlock_rdlock(&s.file[k].lock);
			for (size_t i = 0; i < PAGES; i++)
				s.file[k].late[i] = false;
			pthread_rwlock_unlock(&s.file[k].lock);
		}
	}
	close(l.fd);
	return arg;
}

static void store_privately(const struct target *t, uint64_t stamp)
{
	char *p = t->f->map[PRIVATE] + t->page * PAGE;

	put_words(p + t->chunk * CHUNK, stamp, t->chunks * WORDS);
	compare(t->f, t->page, SMALL);
	must(madvise(p, PAGE, MADV_DONTNEED));
	compare(t->f, t->page, PRIVATE);
}

/* Out of the mapping to a device, from the device into the mapping. */
static void direct_io(struct rng *r, const struct target *t, unsigned int who)
{
	const off_t pos = (who * (SCRATCH / OWNERS) + rnd(r, SCRATCH / OWNERS)) * PAGE;
	char *page = t->f->map[rnd(r, 3)] + t->page * PAGE;
	uint64_t buf[PAGE / 8] __attribute__((aligned(4096)));
	ssize_t n;

	n = pwrite(s.scratch, page, PAGE, pos);
	if (n < 0 && errno == EINTR)
		return;
	check(n == (ssize_t)PAGE, "direct write: %m");
	n = pread(s.scratch, buf, PAGE, pos);
	check(n == (ssize_t)PAGE, "direct read: %m");
	for (size_t i = 0; i < ARRAY_SIZE(buf); i++)
		check(buf[i] == t->f->model[t->page][i / WORDS],
		      "seed %lu: a direct write took %#llx, not %#llx", s.env->seed,
		      (unsigned long long)buf[i],
		      (unsigned long long)t->f->model[t->page][i / WORDS]);
	put_words(buf, new_stamp(TAG_DATA), ARRAY_SIZE(buf));
	check(pwrite(s.scratch, buf, PAGE, pos) == (ssize_t)PAGE, "direct write: %m");
	check(pread(s.scratch, page, PAGE, pos) == (ssize_t)PAGE, "direct read: %m");
	set_model(&(struct target) { t->f, t->page, 0, CHUNKS }, buf[0]);
}

/* A child sees its parent's pages; what it stores, the parent sees. */
static void fork_and_look(const struct target *t, uint64_t stamp)
{
	int status;
	pid_t pid = must(fork());

	if (!pid) {
		for (enum view v = 0; v < READ; v++) {
			const uint64_t *w = (void *)(t->f->map[v] + t->page * PAGE);

			for (size_t i = 0; i < PAGE / 8; i++)
				if (w[i] != t->f->model[t->page][i / WORDS])
					_exit(2);
		}
		put_words(t->f->map[LARGE] + offset_of(t), stamp, t->chunks * WORDS);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		check(errno == EINTR, "waitpid: %m");
	check(!status, "seed %lu: a child saw other data, status %#x", s.env->seed, status);
	set_model(t, stamp);
}

static void own_page(struct rng *r, unsigned int who, struct file *f)
{
	uint64_t stamp = new_stamp(TAG_DATA);
	char buf[PAGE] __attribute__((aligned(8)));
	struct target t;
	ssize_t n;

	if (!pick(r, who, f, &t))
		return;
	switch (rnd(r, 20)) {
	case 0 ... 1:
		put_words(f->map[SMALL] + offset_of(&t), stamp, t.chunks * WORDS);
		set_model(&t, stamp);
		break;
	case 2 ... 4:
		put_words(f->map[LARGE] + offset_of(&t), stamp, t.chunks * WORDS);
		set_model(&t, stamp);
		break;
	case 5:
		put_words(f->map[SYNC] + offset_of(&t), stamp, t.chunks * WORDS);
		set_model(&t, stamp);
		break;
	case 6 ... 8:
		put_words(buf, stamp, t.chunks * WORDS);
		/* A write to a shared block waits for its pins. */
		n = pwrite(f->fd, buf, t.chunks * CHUNK, offset_of(&t));
		if (was_interrupted(n < 0, "write"))
			break;
		check(n == (ssize_t)(t.chunks * CHUNK), "write: only %zd bytes", n);
		set_model(&t, stamp);
		break;
	case 9:
		discard(&t, FALLOC_FL_PUNCH_HOLE);
		break;
	case 10:
		discard(&t, FALLOC_FL_ZERO_RANGE);
		break;
	case 11:
		direct_io(r, &t, who);
		break;
	case 12 ... 13:
		put_in_pipe(&t, rnd(r, READ));
		break;
	case 14:
		store_privately(&t, stamp);
		break;
	case 15:
		must(madvise(f->map[rnd(r, 3)] + t.page / 16 * 16 * PAGE, 16 * PAGE,
			     MADV_DONTNEED));
		break;
	case 16:
		if (!rnd(r, 8))
			fork_and_look(&t, stamp);
		break;
	default:
		compare(f, t.page, rnd(r, VIEWS));
	}
}

/* From here on, the caller has the files for itself. */

static void resize(struct rng *r, struct file *f)
{
	size_t size = rnd(r, 3) ? PAGES / 2 + rnd(r, PAGES / 2 + 1) : rnd(r, PAGES + 1);

	if (was_interrupted(ftruncate(f->fd, size * PAGE), "truncate"))
		return;
	forget(f, size, PAGES);
	f->size = size;
	if (rnd(r, 3))
		return;
	must(ftruncate(f->fd, PAGES * PAGE));
	f->size = PAGES;
	if (rnd(r, 2))
		check(!do_op(OP_ALLOCATE, f->fd, 0, PAGES) || errno == EINTR, "allocate: %m");
	if (rnd(r, 2))
		map_large_first(f);
}

static void punch_many(struct rng *r, struct file *f)
{
	size_t at = rnd(r, PAGES), n = 1 + rnd(r, rnd(r, 4) ? 40 : PAGES - at);
	const int mode = rnd(r, 2) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	n = at + n > PAGES ? PAGES - at : n;
	if (!was_interrupted(fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, at * PAGE, n * PAGE),
			     "punch"))
		forget(f, at, at + n);
}

static void move_rows(struct file *f, size_t to, size_t from, size_t n)
{
	memmove(f->model[to], f->model[from], n * sizeof(f->model[0]));
	memmove(&f->late[to], &f->late[from], n * sizeof(f->late[0]));
}

static void collapse(struct rng *r, struct file *f)
{
	size_t at, n = 1 + rnd(r, 32);

	if (f->size < 64)
		return;
	at = rnd(r, f->size - n - 1);
	if (was_interrupted(do_op(OP_COLLAPSE, f->fd, at, n), "collapse"))
		return;
	move_rows(f, at, at + n, f->size - at - n);
	f->size -= n;
	forget(f, f->size, PAGES);
}

static void insert(struct rng *r, struct file *f)
{
	size_t at, n;

	if (f->size < 64 || f->size >= PAGES)
		return;
	n = 1 + rnd(r, PAGES - f->size);
	at = rnd(r, f->size - 1);
	if (was_interrupted(do_op(OP_INSERT, f->fd, at, n), "insert"))
		return;
	move_rows(f, at + n, at, f->size - at);
	forget(f, at, at + n);
	f->size += n;
}

/* The old file goes, with its pins, when the last reference does. */
static void replace(struct rng *r, struct file *f)
{
	const bool over = rnd(r, 2);
	char path[256];

	if (over) {
		snprintf(path, sizeof(path), "%s.new", in_dir(s.env, f->name));
		close(must(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644)));
		must(rename(path, in_dir(s.env, f->name)));
	} else {
		must(unlink(in_dir(s.env, f->name)));
	}
	for (size_t i = 0; i < f->size; i += 37)
		compare(f, i, LARGE);
	unmap_views(f);
	close(f->fd);
	f->fd = must(open(in_dir(s.env, f->name), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	must(ftruncate(f->fd, PAGES * PAGE));
	if (rnd(r, 2))
		check(!do_op(OP_ALLOCATE, f->fd, 0, PAGES) || errno == EINTR, "allocate: %m");
	f->size = PAGES;
	forget(f, 0, PAGES);
	map_views(f);
	map_large_first(f);
}

static void clone_file(struct file *f, struct file *from)
{
	if (was_interrupted(ioctl(f->fd, FICLONE, from->fd), "clone"))
		return;
	/* A clone of a larger file over a smaller one, and the other way round. */
	if (from->size > f->size)
		f->size = from->size;
	memcpy(f->model, from->model, from->size * sizeof(f->model[0]));
	memset(f->late, 0, from->size * sizeof(f->late[0]));
}

static void clone_part(struct rng *r, struct file *f, struct file *from)
{
	size_t least = f->size < from->size ? f->size : from->size;
	struct file_clone_range range = { .src_fd = from->fd };
	size_t at, n;

	if (least < 2)
		return;
	at = rnd(r, least - 1);
	n = 1 + rnd(r, least - at);
	n = n > 200 ? 200 : n;
	range.src_offset = at * PAGE;
	range.dest_offset = at * PAGE;
	range.src_length = n * PAGE;
	if (was_interrupted(ioctl(f->fd, FICLONERANGE, &range), "clone range"))
		return;
	memcpy(f->model[at], from->model[at], n * sizeof(f->model[0]));
	memset(&f->late[at], 0, n * sizeof(f->late[0]));
}

static void dedupe(struct rng *r, struct file *f, struct file *from)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range = { .head = { .dest_count = 1 }, .info = { .dest_fd = f->fd } };
	size_t least = f->size < from->size ? f->size : from->size, at, n = 0;

	/* What is equal already, by what clones have left. */
	at = least ? rnd(r, least) : 0;
	while (at + n < least && n < 64 &&
	       !memcmp(f->model[at + n], from->model[at + n], sizeof(f->model[0])))
		n++;
	if (!n)
		return;
	range.head.src_offset = at * PAGE;
	range.info.dest_offset = at * PAGE;
	range.head.src_length = n * PAGE;
	if (was_interrupted(ioctl(from->fd, FIDEDUPERANGE, &range), "dedupe"))
		return;
	if (range.info.status == -EINTR) {
		s.interrupted++;
		return;
	}
	/* A late answer may have made them differ meanwhile. */
	check(range.info.status == FILE_DEDUPE_RANGE_SAME ||
	      range.info.status == FILE_DEDUPE_RANGE_DIFFERS, "dedupe: status %d",
	      range.info.status);
}

static void unshare_part(struct rng *r, struct file *f)
{
	size_t at = rnd(r, PAGES), n = 1 + rnd(r, 64);

	if (at >= f->size)
		return;
	n = at + n > f->size ? f->size - at : n;
	was_interrupted(fallocate(f->fd, FALLOC_FL_UNSHARE_RANGE, at * PAGE, n * PAGE), "unshare");
}

static void whole_file(struct rng *r, struct file *f)
{
	struct file *other = &s.file[rnd(r, FILES)], *first = f, *second = other;
	unsigned int what = rnd(r, s.xfs ? 16 : 8);

	if (other < f) {
		first = other;
		second = f;
	}
	pthread_rwlock_wrlock(&first->lock);
	if (other != f)
		pthread_rwlock_wrlock(&second->lock);
	switch (what) {
	case 0 ... 1:
		resize(r, f);
		break;
	case 2 ... 3:
		punch_many(r, f);
		break;
	case 4:
		collapse(r, f);
		break;
	case 5 ... 6:
		insert(r, f);
		break;
	case 7:
		replace(r, f);
		break;
	case 8 ... 9:
		if (other != f)
			clone_file(f, other);
		break;
	case 10 ... 12:
		if (other != f)
			clone_part(r, f, other);
		break;
	case 13 ... 14:
		if (other != f)
			dedupe(r, f, other);
		break;
	default:
		unshare_part(r, f);
	}
	if (!rnd(r, 8))
		for (size_t i = rnd(r, 16); i < f->size; i += 16)
			for (enum view v = 0; v < VIEWS; v++)
				compare(f, i, v);
	if (other != f)
		pthread_rwlock_unlock(&second->lock);
	pthread_rwlock_unlock(&first->lock);
}

static void *worker(void *arg)
{
	unsigned int who = (long)arg;
	struct rng r = rng_of(s.env->seed, s.round, who);

	for (unsigned long i = 0; i < s.ops; i++) {
		struct file *f = &s.file[rnd(&r, FILES)];

		if (!rnd(&r, 24)) {
			whole_file(&r, f);
			continue;
		}
		pthread_rwlock_rdlock(&f->lock);
		own_page(&r, who, f);
		pthread_rwlock_unlock(&f->lock);
	}
	return NULL;
}

static int open_scratch(void)
{
	int fd, file = must(open("/tmp", O_TMPFILE | O_RDWR, 0600));

	must(ftruncate(file, SCRATCH * PAGE));
	fd = open_loop_device(file, false);
	close(file);
	return fd;
}

static void nothing(int sig)
{
	(void)sig;
}

static void run_round(void)
{
	void *(*const fn[])(void *) = { drainer, filler, pest, syncer, late_reader };
	pthread_t side[ARRAY_SIZE(fn)];

	s.stop = 0;
	for (long i = 0; i < WORKERS; i++)
		check(!pthread_create(&s.thread[i], NULL, worker, (void *)i), "no thread");
	for (size_t i = 0; i < ARRAY_SIZE(fn); i++)
		check(!pthread_create(&side[i], NULL, fn[i], NULL), "no thread");
	/* The drainer goes on until nobody can wait for a pin any more. */
	for (size_t i = 0; i < WORKERS; i++) {
		while (pthread_tryjoin_np(s.thread[i], NULL))
			usleep(1000);
		s.thread[i] = pthread_self();
	}
	s.stop = 1;
	for (size_t i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_join(side[i], NULL);
}

/* Everything that was stored is on the medium, whoever serves the mount. */
static void remount(void)
{
	for (size_t i = 0; i < FILES; i++) {
		unmap_views(&s.file[i]);
		close(s.file[i].fd);
	}
	must(umount(s.env->dir));
	check(!mount_fs(s.env->fs, s.env->dev, s.env->dir, NULL), "mount: %m");
	for (size_t i = 0; i < FILES; i++) {
		s.file[i].fd = must(open(in_dir(s.env, s.file[i].name), O_RDWR | O_CLOEXEC));
		map_views(&s.file[i]);
	}
}

static void randomized(const struct env *e)
{
	struct sigaction sa = { .sa_handler = nothing };

	s.env = e;
	s.xfs = !strcmp(e->fs, "xfs");
	s.ops = e->ops / WORKERS / ROUNDS;
	if (e->ko)
		module_bind(e->bound);
	must(sigaction(SIGUSR1, &sa, NULL));
	s.scratch = open_scratch();
	slow_file_start(&s.slow, 0);
	for (size_t i = 0; i < FILES; i++) {
		struct file *f = &s.file[i];

		pthread_rwlock_init(&f->lock, NULL);
		snprintf(f->name, sizeof(f->name), "file%zu", i);
		new_file(f);
	}
	for (s.round = 0; s.round < ROUNDS; s.round++) {
		run_round();
		for (size_t i = 0; i < FILES; i++)
			compare_file(&s.file[i]);
		remount();
		for (size_t i = 0; i < FILES; i++) {
			map_large_first(&s.file[i]);
			compare_file(&s.file[i]);
			/* Pages of 2 MiB do not come back by themselves. */
			if (rnd(&(struct rng) { s.round + i + 1 }, 2)) {
				unmap_views(&s.file[i]);
				close(s.file[i].fd);
				must(unlink(in_dir(e, s.file[i].name)));
				new_file(&s.file[i]);
			}
		}
	}
	slow_file_stop(&s.slow);
	close(s.scratch);
	for (size_t i = 0; i < FILES; i++) {
		unmap_views(&s.file[i]);
		close(s.file[i].fd);
	}
	check(s.large, "seed %lu: no page was ever mapped in 2 MiB", e->seed);
	printf("# seed %lu, %lu operations, %lu interrupted, pages of 2 MiB seen %lu times\n",
	       e->seed, s.ops * WORKERS * ROUNDS, s.interrupted, s.large);
}

static const struct test tests[] = {
	{ "R1-R17 a randomized run with 2 MiB pages agrees with its model",
	  randomized, BOUND_ONLY },
	{ }
};

GROUP(stress2, tests);
