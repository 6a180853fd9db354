// SPDX-License-Identifier: GPL-2.0
/* What the randomized run over files does with one page. See random_files.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random_files.h"

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

	pthread_mutex_lock(&run.pipes.lock);
	for (int i = 0; i < MAX_PINS && slot < 0; i++)
		if (!run.pipes.used[i])
			slot = i;
	if (slot >= 0) {
		pin_pages(&run.pipes.pin[slot], t->f->map[v] + t->page * PAGE, 1);
		run.pipes.used[slot] = true;
	}
	pthread_mutex_unlock(&run.pipes.lock);
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

	n = pwrite(run.scratch, page, PAGE, pos);
	if (n < 0 && errno == EINTR)
		return;
	check(n == (ssize_t)PAGE, "direct write: %m");
	n = pread(run.scratch, buf, PAGE, pos);
	check(n == (ssize_t)PAGE, "direct read: %m");
	for (size_t i = 0; i < ARRAY_SIZE(buf); i++)
		check(buf[i] == t->f->model[t->page][i / WORDS],
		      "seed %lu: a direct write took %#llx, not %#llx", run.env->seed,
		      (unsigned long long)buf[i],
		      (unsigned long long)t->f->model[t->page][i / WORDS]);
	put_words(buf, new_stamp(TAG_DATA), ARRAY_SIZE(buf));
	check(pwrite(run.scratch, buf, PAGE, pos) == (ssize_t)PAGE, "direct write: %m");
	check(pread(run.scratch, page, PAGE, pos) == (ssize_t)PAGE, "direct read: %m");
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
	check(!status, "seed %lu: a child saw other data, status %#x", run.env->seed, status);
	set_model(t, stamp);
}

void own_page(struct rng *r, unsigned int who, struct random_file *f)
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
