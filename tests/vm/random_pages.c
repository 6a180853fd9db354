// SPDX-License-Identifier: GPL-2.0
/*
 * A randomized run whose data is checked against a model in plain memory.
 *
 * Threads work on one file. Below HEAD each page belongs to one thread, which
 * stores, writes, punches, zeroes, reads directly from a block device into it,
 * puts it in a pipe, and compares it with the model. Above HEAD the file grows
 * and shrinks all the time; there a page must hold nothing but zeroes and its
 * own stamps. Beside that a thread fills and frees space in another file,
 * which must never change under its hands, one drains the pipes, and one
 * sends signals. Between the rounds, when all threads rest, pages are
 * collapsed and inserted, and the whole file is compared.
 *
 * The seed says what each thread does; how the threads meet is up to the
 * machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW		(PROT_READ | PROT_WRITE)
#define THREADS		4
#define ROUNDS		8
#define HEAD		((size_t)256)
#define TAIL		((size_t)64)
#define CHUNK		((size_t)256)
#define CHUNKS		(PAGE / CHUNK)
#define WORDS		(CHUNK / sizeof(uint64_t))
#define MAX_PINS	8

/* What a word may be: the top byte says who wrote it. */
#define TAG(word)	((word) >> 56)
#define TAG_THREAD	0x10u
#define TAG_TAIL	0x80u
#define TAG_DEVICE	0xd0u
#define TAG_NEIGHBOUR	0xee00000000000000ull

static struct {
	const struct env *env;
	int fd, loop;
	char *map, *sync_map, *private_map;
	uint64_t model[HEAD][CHUNKS];
	atomic_int stop;
	atomic_ulong interrupted;
	unsigned long ops;		/* of a thread in a round */
	unsigned int round;
	pthread_t thread[THREADS];
	struct {
		pthread_mutex_t lock;
		struct pin pin[MAX_PINS];
		bool used[MAX_PINS];
	} pipes;
} w = { .pipes.lock = PTHREAD_MUTEX_INITIALIZER };

static void put_chunks(void *to, uint64_t stamp, size_t chunks)
{
	uint64_t *word = to;

	for (size_t i = 0; i < chunks * WORDS; i++)
		word[i] = stamp;
}

static const struct {
	char **map;	/* NULL: read(2) */
	const char *name;
} view[] = {
	{ &w.map, "mapping" },
	{ &w.sync_map, "mapping with MAP_SYNC" },
	{ &w.private_map, "private mapping" },
	{ NULL, "read(2)" },
};

static uint64_t word_of(size_t page, size_t word, size_t how)
{
	uint64_t buf[PAGE / sizeof(uint64_t)] = {};

	if (view[how].map)
		return ((volatile uint64_t *)(*view[how].map + page * PAGE))[word];
	if (pread(w.fd, buf, PAGE, page * PAGE) != (ssize_t)PAGE)
		return -1;
	return buf[word];
}

/* Says where the data is right and where not, so that one failure tells much. */
static void disagrees(size_t page, size_t word, size_t how, uint64_t seen)
{
	printf("# seed %lu round %u%s:", w.env->seed, w.round, w.stop ? ", at rest" : "");
	for (size_t i = 0; i < ARRAY_SIZE(view); i++)
		printf(" %s %#llx,", view[i].name,
		       (unsigned long long)word_of(page, word, i));
	printf(" model %#llx\n", (unsigned long long)w.model[page][word / WORDS]);
	fflush(stdout);
	fail("seed %lu round %u: page %zu byte %zu read by %s is %#llx, not %#llx",
	     w.env->seed, w.round, page, word * sizeof(uint64_t), view[how].name,
	     (unsigned long long)seen, (unsigned long long)w.model[page][word / WORDS]);
}

static void compare_page(size_t page, size_t how)
{
	char buf[PAGE];
	const uint64_t *data = (const void *)buf;

	if (view[how].map)
		data = (const void *)(*view[how].map + page * PAGE);
	else
		check(pread(w.fd, buf, PAGE, page * PAGE) == (ssize_t)PAGE, "read: %m");
	for (size_t i = 0; i < CHUNKS * WORDS; i++)
		if (data[i] != w.model[page][i / WORDS])
			disagrees(page, i, how, data[i]);
}

/* Has the page mapped for writing. */
static void touch(char *p)
{
	volatile char *byte = p;

	*byte = *byte;
}

/* A run of pages that belong to @who, so that the model needs no lock. */
struct target {
	size_t page, chunk, chunks;
};

static struct target pick(struct rng *r, unsigned int who)
{
	struct target t;

	t.page = rnd(r, HEAD / THREADS) * THREADS + who;
	t.chunk = rnd(r, 3) ? 0 : rnd(r, CHUNKS);
	t.chunks = t.chunk ? 1 + rnd(r, CHUNKS - t.chunk) : CHUNKS;
	return t;
}

static void set_model(const struct target *t, uint64_t stamp)
{
	for (size_t i = 0; i < t->chunks; i++)
		w.model[t->page][t->chunk + i] = stamp;
}

static off_t offset_of(const struct target *t)
{
	return t->page * PAGE + t->chunk * CHUNK;
}

static void discard(const struct target *t, int mode)
{
	if (!fallocate(w.fd, mode | FALLOC_FL_KEEP_SIZE, offset_of(t), t->chunks * CHUNK)) {
		set_model(t, 0);
		return;
	}
	check(errno == EINTR || errno == ENOSPC, "fallocate: %m");
	/* Interrupted: nothing has happened. */
	w.interrupted++;
	compare_page(t->page, 0);
}

static void read_from_device(const struct target *t, struct rng *r)
{
	size_t block = rnd(r, 256);
	ssize_t n = pread(w.loop, w.map + t->page * PAGE, PAGE, block * PAGE);
	const uint64_t stamp = ((uint64_t)TAG_DEVICE << 56) + block;

	if (n < 0 && errno == EINTR)
		return;
	check(n == (ssize_t)PAGE, "direct read: %m");
	set_model(&(struct target) { t->page, 0, CHUNKS }, stamp);
}

static void put_in_pipe(const struct target *t)
{
	int slot = -1;

	pthread_mutex_lock(&w.pipes.lock);
	for (int i = 0; i < MAX_PINS && slot < 0; i++)
		if (!w.pipes.used[i])
			slot = i;
	if (slot >= 0) {
		pin_pages(&w.pipes.pin[slot], w.map + t->page * PAGE, 1);
		w.pipes.used[slot] = true;
	}
	pthread_mutex_unlock(&w.pipes.lock);
}

static bool tag_allowed(uint64_t word)
{
	return !word || (TAG(word) >= TAG_THREAD && TAG(word) < TAG_THREAD + THREADS) ||
	       TAG(word) == TAG_DEVICE || TAG(word) == TAG_TAIL;
}

static void drain_one(int slot)
{
	uint64_t buf[PAGE / sizeof(uint64_t)];
	struct pin pin;

	pthread_mutex_lock(&w.pipes.lock);
	if (!w.pipes.used[slot]) {
		pthread_mutex_unlock(&w.pipes.lock);
		return;
	}
	pin = w.pipes.pin[slot];
	w.pipes.used[slot] = false;
	pthread_mutex_unlock(&w.pipes.lock);
	unpin_page(&pin, buf);
	close(pin.rd);
	close(pin.wr);
	for (size_t i = 0; i < ARRAY_SIZE(buf); i++)
		check(tag_allowed(buf[i]), "seed %lu: a pipe has foreign data %#llx",
		      w.env->seed, (unsigned long long)buf[i]);
}

static void *drainer(void *arg)
{
	struct rng r = rng_of(w.env->seed, w.round, 100);

	while (!w.stop) {
		usleep(500 + rnd(&r, 4000));
		drain_one(rnd(&r, MAX_PINS));
	}
	for (int i = 0; i < MAX_PINS; i++)
		drain_one(i);
	return arg;
}

static void *neighbour(void *arg)
{
	uint64_t stamp = TAG_NEIGHBOUR;
	const size_t pages = 64;
	int fd = create_file(w.env, "neighbour", 0, 0);
	char *p = map_file(fd, pages, RW);

	while (!w.stop) {
		must(ftruncate(fd, pages * PAGE));
		stamp++;
		for (size_t i = 0; i < pages; i++)
			fill_page(p + i * PAGE, stamp);
		sched_yield();
		for (size_t i = 0; i < pages; i++)
			check_page(p + i * PAGE, stamp, "the neighbour's file");
		must(ftruncate(fd, 0));
	}
	close(fd);
	return arg;
}

static void *pest(void *arg)
{
	struct rng r = rng_of(w.env->seed, w.round, 101);

	while (!w.stop) {
		usleep(2000 + rnd(&r, 8000));
		pthread_kill(w.thread[rnd(&r, THREADS)], SIGUSR1);
	}
	return arg;
}

/* A copy that nobody else sees, and that is thrown away. */
static void store_privately(const struct target *t, uint64_t stamp)
{
	char *p = w.private_map + t->page * PAGE;

	put_chunks(p + t->chunk * CHUNK, stamp, t->chunks);
	compare_page(t->page, 0);
	must(madvise(p, PAGE, MADV_DONTNEED));
	compare_page(t->page, 2);
}

/* Pages of other threads change all the time, but never into foreign data. */
static void look_at_others(struct rng *r)
{
	size_t page = rnd(r, HEAD), word = rnd(r, PAGE / 8);

	for (size_t how = 0; how < 3; how++) {
		uint64_t seen = ((volatile uint64_t *)(*view[how].map + page * PAGE))[word];

		check(tag_allowed(seen), "seed %lu: page %zu shows foreign data %#llx",
		      w.env->seed, page, (unsigned long long)seen);
	}
}

static void touch_tail(struct rng *r)
{
	size_t page = HEAD + rnd(r, TAIL);
	uint64_t *at = (uint64_t *)(w.map + page * PAGE) + rnd(r, PAGE / 8);
	uint64_t word = ((uint64_t)TAG_TAIL << 56) + page;
	char c;

	if (!try_load((char *)at + 7, &c))
		check(!c || c == (char)TAG_TAIL, "tail page %zu has foreign data", page);
	/* Store the top byte alone: it is all that is looked at. */
	if (rnd(r, 2))
		try_store((char *)at + 7, (char)(word >> 56));
}

static void resize_tail(struct rng *r)
{
	int rc = ftruncate(w.fd, (HEAD + rnd(r, TAIL + 1)) * PAGE);

	check(!rc || errno == EINTR, "truncate: %m");
	if (rc)
		w.interrupted++;
}

static void step(struct rng *r, unsigned int who, uint64_t *serial)
{
	struct target t = pick(r, who);
	uint64_t stamp = ((uint64_t)(TAG_THREAD + who) << 56) + ++*serial;
	char buf[PAGE];
	ssize_t n;

	switch (rnd(r, 18)) {
	case 0 ... 2:
		put_chunks(w.map + offset_of(&t), stamp, t.chunks);
		set_model(&t, stamp);
		break;
	case 3:
		put_chunks(w.sync_map + offset_of(&t), stamp, t.chunks);
		set_model(&t, stamp);
		break;
	case 4 ... 5:
		put_chunks(buf, stamp, t.chunks);
		/* On stock a mapping that shows the zero page may go on doing so (D21). */
		if (!w.env->bound)
			touch(w.map + t.page * PAGE);
		n = pwrite(w.fd, buf, t.chunks * CHUNK, offset_of(&t));
		check(n == (ssize_t)(t.chunks * CHUNK), "write: %m");
		set_model(&t, stamp);
		break;
	case 6:
		discard(&t, FALLOC_FL_PUNCH_HOLE);
		break;
	case 7:
		discard(&t, FALLOC_FL_ZERO_RANGE);
		break;
	case 8:
		read_from_device(&t, r);
		break;
	case 9:
		put_in_pipe(&t);
		/* Most waits come from here. */
		if (rnd(r, 2))
			discard(&t, FALLOC_FL_PUNCH_HOLE);
		break;
	case 10:
		resize_tail(r);
		break;
	case 11 ... 12:
		touch_tail(r);
		break;
	case 13:
		store_privately(&t, stamp);
		break;
	case 14:
		look_at_others(r);
		break;
	case 15:
		if (rnd(r, 4))
			must(msync(w.map + t.page * PAGE, PAGE, MS_SYNC));
		else
			check(!fsync(w.fd) || errno == EINTR, "fsync: %m");
		break;
	default:
		compare_page(t.page, rnd(r, ARRAY_SIZE(view)));
	}
}

static void *worker(void *arg)
{
	unsigned int who = (long)arg;
	struct rng r = rng_of(w.env->seed, w.round, who);
	uint64_t serial = (uint64_t)w.round << 32;

	for (unsigned long i = 0; i < w.ops; i++)
		step(&r, who, &serial);
	return NULL;
}

static void compare_all(void)
{
	for (size_t i = 0; i < HEAD; i++)
		for (size_t how = 0; how < ARRAY_SIZE(view); how++)
			compare_page(i, how);
}

/* Nobody else is at work: what belongs to whom may move. */
static void move_pages(struct rng *r)
{
	size_t at = rnd(r, HEAD - 40), n = 1 + rnd(r, 32);

	must(ftruncate(w.fd, (HEAD + TAIL) * PAGE));
	must(do_op(OP_COLLAPSE, w.fd, at, n));
	memmove(w.model[at], w.model[at + n], (HEAD - at - n) * sizeof(w.model[0]));
	/* The tail comes in from above: clear it there. */
	must(do_op(OP_PUNCH, w.fd, HEAD - n, TAIL + n));
	memset(w.model[HEAD - n], 0, n * sizeof(w.model[0]));
	compare_all();
	at = rnd(r, HEAD - 40);
	must(do_op(OP_INSERT, w.fd, at, n));
	memmove(w.model[at + n], w.model[at], (HEAD - at - n) * sizeof(w.model[0]));
	memset(w.model[at], 0, n * sizeof(w.model[0]));
	must(ftruncate(w.fd, HEAD * PAGE));
	must(ftruncate(w.fd, (HEAD + TAIL) * PAGE));
	compare_all();
}

static void child_compares(void)
{
	int status;
	pid_t pid = must(fork());

	if (!pid) {
		compare_all();
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	check(!status, "the child saw other data");
}

/* A block device of 256 pages, each with its own stamp. */
static int open_loop(void)
{
	int fd, file = must(open("/tmp", O_TMPFILE | O_RDWR, 0600));
	char buf[PAGE];

	for (size_t i = 0; i < 256; i++) {
		fill_page(buf, ((uint64_t)TAG_DEVICE << 56) + i);
		check(write(file, buf, PAGE) == (ssize_t)PAGE, "write: %m");
	}
	fd = open_loop_device(file, true);
	close(file);
	return fd;
}

static char *map_as(int flags)
{
	char *p = mmap(NULL, (HEAD + TAIL) * PAGE, RW, flags, w.fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, (HEAD + TAIL) * PAGE, MADV_NOHUGEPAGE));
	return p;
}

static void nothing(int sig)
{
	(void)sig;
}

static void run_round(void)
{
	pthread_t side[3];
	void *(*const fn[])(void *) = { drainer, neighbour, pest };

	w.stop = 0;
	for (long i = 0; i < THREADS; i++)
		check(!pthread_create(&w.thread[i], NULL, worker, (void *)i), "no thread");
	for (size_t i = 0; i < ARRAY_SIZE(fn); i++)
		check(!pthread_create(&side[i], NULL, fn[i], NULL), "no thread");
	/* The drainer goes on until no worker can wait for a pin. */
	for (size_t i = 0; i < THREADS; i++) {
		while (pthread_tryjoin_np(w.thread[i], NULL))
			usleep(1000);
		w.thread[i] = pthread_self();
	}
	w.stop = 1;
	for (size_t i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_join(side[i], NULL);
}

static void randomized(const struct env *e)
{
	struct sigaction sa = { .sa_handler = nothing };
	struct rng r;

	w.env = e;
	w.ops = e->ops / THREADS / ROUNDS;
	must(sigaction(SIGUSR1, &sa, NULL));
	w.loop = open_loop();
	w.fd = create_file(e, "f", 0, 0);
	must(ftruncate(w.fd, (HEAD + TAIL) * PAGE));
	w.map = map_file(w.fd, HEAD + TAIL, RW);
	w.sync_map = map_as(MAP_SHARED_VALIDATE | MAP_SYNC);
	w.private_map = map_as(MAP_PRIVATE);
	for (w.round = 0; w.round < ROUNDS; w.round++) {
		run_round();
		r = rng_of(w.env->seed, w.round, 200);
		compare_all();
		move_pages(&r);
		child_compares();
	}
	printf("# seed %lu, %lu operations, %lu interrupted\n", e->seed,
	       w.ops * THREADS * ROUNDS, w.interrupted);
	close(w.loop);
}

static const struct test tests[] = {
	{ "R1-R9 a randomized run agrees with its model", randomized, RACES },
	{ }
};

GROUP(random_pages, tests);
