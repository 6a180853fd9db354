// SPDX-License-Identifier: GPL-2.0
/* A randomized run over files of 2 MiB pages: the model, the rounds. See random_files.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "random_files.h"

static const char *const view_name[] = {
	"4 KiB mapping", "2 MiB mapping", "MAP_SYNC mapping", "private mapping", "read(2)",
};

struct run run = { .pipes.lock = PTHREAD_MUTEX_INITIALIZER };

uint64_t new_stamp(uint64_t tag)
{
	return STAMP(tag, ++run.serial);
}

bool tag_allowed(uint64_t word)
{
	return !word || TAG(word) == TAG_DATA || TAG(word) == TAG_LATE;
}

void put_words(void *to, uint64_t stamp, size_t words)
{
	uint64_t *w = to;

	for (size_t i = 0; i < words; i++)
		w[i] = stamp;
}

static uint64_t word_of(const struct random_file *f, size_t page, size_t word, enum view v)
{
	uint64_t buf[PAGE / 8] = { 0 };

	if (v != READ)
		return ((volatile uint64_t *)(f->map[v] + page * PAGE))[word];
	if (pread(f->fd, buf, PAGE, page * PAGE) != (ssize_t)PAGE)
		return -1;
	return buf[word];
}

static void disagrees(const struct random_file *f, size_t page, size_t word, enum view v,
		      uint64_t seen)
{
	printf("# seed %lu round %u file %s:", run.env->seed, run.round, f->name);
	for (enum view i = 0; i < VIEWS; i++)
		printf(" %s %#llx,", view_name[i], (unsigned long long)word_of(f, page, word, i));
	printf(" 2 MiB: %s\n",
	       huge_pages(f->map[LARGE] + page / HUGE * HUGE * PAGE, 1) ? "yes" : "no");
	fflush(stdout);
	fail("seed %lu round %u: file %s page %zu byte %zu by %s is %#llx, not %#llx",
	     run.env->seed, run.round, f->name, page, word * 8, view_name[v],
	     (unsigned long long)seen,
	     (unsigned long long)f->model[page][word / WORDS]);
}

void compare(const struct random_file *f, size_t page, enum view v)
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

void compare_file(const struct random_file *f)
{
	for (size_t i = 0; i < f->size; i++)
		for (enum view v = 0; v < VIEWS; v++)
			compare(f, i, v);
}

/* Mappings of a file, made anew: at 2 MiB boundaries but the private one. */
void map_views(struct random_file *f)
{
	f->map[SMALL] = map_file(f->fd, PAGES, RW);
	f->map[LARGE] = map_file_huge(f->fd, PAGES, RW);
	f->map[SYNC] = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, f->fd, 0);
	f->map[PRIVATE] = mmap(NULL, PAGES * PAGE, RW, MAP_PRIVATE, f->fd, 0);
	check(f->map[SYNC] != MAP_FAILED && f->map[PRIVATE] != MAP_FAILED, "mmap: %m");
}

void map_large_first(struct random_file *f)
{
	for (size_t i = 0; i + HUGE <= f->size; i += HUGE) {
		volatile char *p = f->map[LARGE] + i * PAGE;

		*p = *p;
	}
}

void unmap_views(struct random_file *f)
{
	for (enum view v = 0; v < READ; v++)
		must(munmap(f->map[v], PAGES * PAGE));
}

void forget(struct random_file *f, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		memset(f->model[i], 0, sizeof(f->model[i]));
		f->late[i] = false;
	}
}

void new_random_file(struct random_file *f)
{
	close(create_huge(run.env, f->name, 2));
	f->fd = must(open(in_dir(run.env, f->name), O_RDWR | O_CLOEXEC));
	f->size = PAGES;
	forget(f, 0, PAGES);
	map_views(f);
	map_large_first(f);
}

bool pick(struct rng *r, unsigned int who, struct random_file *f, struct target *t)
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

void set_model(const struct target *t, uint64_t stamp)
{
	for (size_t i = 0; i < t->chunks; i++)
		t->f->model[t->page][t->chunk + i] = stamp;
}

off_t offset_of(const struct target *t)
{
	return t->page * PAGE + t->chunk * CHUNK;
}

bool was_interrupted(int rc, const char *what)
{
	if (!rc)
		return false;
	check(errno == EINTR, "%s: %m", what);
	run.interrupted++;
	return true;
}

static void *worker(void *arg)
{
	unsigned int who = (long)arg;
	struct rng r = rng_of(run.env->seed, run.round, who);

	for (unsigned long i = 0; i < run.ops; i++) {
		struct random_file *f = &run.file[rnd(&r, FILES)];

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

	run.stop = 0;
	for (long i = 0; i < WORKERS; i++)
		check(!pthread_create(&run.thread[i], NULL, worker, (void *)i), "no thread");
	for (size_t i = 0; i < ARRAY_SIZE(fn); i++)
		check(!pthread_create(&side[i], NULL, fn[i], NULL), "no thread");
	/* The drainer goes on until nobody can wait for a pin any more. */
	for (size_t i = 0; i < WORKERS; i++) {
		while (pthread_tryjoin_np(run.thread[i], NULL))
			usleep(1000);
		run.thread[i] = pthread_self();
	}
	run.stop = 1;
	for (size_t i = 0; i < ARRAY_SIZE(fn); i++)
		pthread_join(side[i], NULL);
}

/* Everything that was stored is on the medium, whoever serves the mount. */
static void remount(void)
{
	for (size_t i = 0; i < FILES; i++) {
		unmap_views(&run.file[i]);
		close(run.file[i].fd);
	}
	must(umount(run.env->dir));
	check(!mount_fs(run.env->fs, run.env->dev, run.env->dir, NULL), "mount: %m");
	for (size_t i = 0; i < FILES; i++) {
		run.file[i].fd = must(open(in_dir(run.env, run.file[i].name), O_RDWR | O_CLOEXEC));
		map_views(&run.file[i]);
	}
}

static void randomized(const struct env *e)
{
	struct sigaction sa = { .sa_handler = nothing };

	run.env = e;
	run.xfs = !strcmp(e->fs, "xfs");
	run.ops = e->ops / WORKERS / ROUNDS;
	if (e->ko)
		module_bind(e->bound);
	must(sigaction(SIGUSR1, &sa, NULL));
	run.scratch = open_scratch();
	slow_file_start(&run.slow, 0);
	for (size_t i = 0; i < FILES; i++) {
		struct random_file *f = &run.file[i];

		pthread_rwlock_init(&f->lock, NULL);
		snprintf(f->name, sizeof(f->name), "file%zu", i);
		new_random_file(f);
	}
	for (run.round = 0; run.round < ROUNDS; run.round++) {
		run_round();
		for (size_t i = 0; i < FILES; i++)
			compare_file(&run.file[i]);
		remount();
		for (size_t i = 0; i < FILES; i++) {
			map_large_first(&run.file[i]);
			compare_file(&run.file[i]);
			/* Pages of 2 MiB do not come back by themselves. */
			if (rnd(&(struct rng) { run.round + i + 1 }, 2)) {
				unmap_views(&run.file[i]);
				close(run.file[i].fd);
				must(unlink(in_dir(e, run.file[i].name)));
				new_random_file(&run.file[i]);
			}
		}
	}
	slow_file_stop(&run.slow);
	close(run.scratch);
	for (size_t i = 0; i < FILES; i++) {
		unmap_views(&run.file[i]);
		close(run.file[i].fd);
	}
	check(run.large, "seed %lu: no page was ever mapped in 2 MiB", e->seed);
	printf("# seed %lu, %lu operations, %lu interrupted, pages of 2 MiB seen %lu times\n",
	       e->seed, run.ops * WORKERS * ROUNDS, run.interrupted, run.large);
}

static const struct test tests[] = {
	{ "R1-R17 a randomized run with 2 MiB pages agrees with its model",
	  randomized, BOUND_ONLY | RACES },
	{ }
};

GROUP(random_files, tests);
