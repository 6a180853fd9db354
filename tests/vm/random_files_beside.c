// SPDX-License-Identifier: GPL-2.0
/* The threads beside the workers of the randomized run over files. See random_files.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "random_files.h"

static void drain_one(int slot)
{
	uint64_t buf[PAGE / 8];
	struct pin pin;

	pthread_mutex_lock(&run.pipes.lock);
	pin = run.pipes.pin[slot];
	if (!run.pipes.used[slot])
		pin.pages = 0;
	run.pipes.used[slot] = false;
	pthread_mutex_unlock(&run.pipes.lock);
	if (!pin.pages)
		return;
	unpin_page(&pin, buf);
	close(pin.rd);
	close(pin.wr);
	for (size_t i = 0; i < ARRAY_SIZE(buf); i++)
		check(tag_allowed(buf[i]), "seed %lu: a pipe has foreign data %#llx", run.env->seed,
		      (unsigned long long)buf[i]);
}

void *drainer(void *arg)
{
	struct rng r = rng_of(run.env->seed, run.round, 100);

	while (!run.stop) {
		usleep(500 + rnd(&r, 4000));
		drain_one(rnd(&r, MAX_PINS));
	}
	for (int i = 0; i < MAX_PINS; i++)
		drain_one(i);
	return arg;
}

/* Takes what others freed, and sees to it that nobody writes there. */
void *filler(void *arg)
{
	static char buf[64 * PAGE];
	struct rng r = rng_of(run.env->seed, run.round, 102);

	while (!run.stop) {
		int fd = must(open(in_dir(run.env, "fill"), O_RDWR | O_CREAT | O_TRUNC, 0644));
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
			fill_small_files(run.env, stamp);
			usleep(rnd(&r, 20000));
			check_small_files(run.env, stamp);
		}
		usleep(rnd(&r, 20000));
		check_all_pages(fd, stamp, "filled free space");
		must(ftruncate(fd, 0));
		close(fd);
		usleep(rnd(&r, 3000));
	}
	return arg;
}

void *pest(void *arg)
{
	struct rng r = rng_of(run.env->seed, run.round, 101);

	while (!run.stop) {
		usleep(3000 + rnd(&r, 10000));
		pthread_kill(run.thread[rnd(&r, WORKERS)], SIGUSR1);
	}
	return arg;
}

void *syncer(void *arg)
{
	struct rng r = rng_of(run.env->seed, run.round, 103);

	while (!run.stop) {
		struct random_file *f = &run.file[rnd(&r, FILES)];

		usleep(rnd(&r, 20000));
		pthread_rwlock_rdlock(&f->lock);
		if (rnd(&r, 2))
			must(fsync(f->fd));
		else
			must(msync(f->map[LARGE], PAGES * PAGE, MS_SYNC));
		run.large += huge_pages(f->map[LARGE], PAGES) / HUGE;
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

void *late_reader(void *arg)
{
	struct late_read l = { .fd = must(open(run.slow.path, O_RDONLY | O_DIRECT | O_CLOEXEC)) };
	struct rng r = rng_of(run.env->seed, run.round, 104);

	while (!run.stop) {
		struct random_file *f = &run.file[rnd(&r, FILES)];
		pthread_t thread;
		struct target t;

		pthread_rwlock_rdlock(&f->lock);
		if (!pick(&r, WORKERS, f, &t)) {
			pthread_rwlock_unlock(&f->lock);
			usleep(1000);
			continue;
		}
		run.slow.stamp = new_stamp(TAG_LATE);
		run.slow.release = 0;
		l.buf = f->map[rnd(&r, 3)] + t.page * PAGE;
		compare(f, t.page, LARGE);
		/* From now on it has the old data, or the new. */
		f->late[t.page] = true;
		check(!pthread_create(&thread, NULL, late_main, &l), "no thread");
		slow_file_wait_held(&run.slow);
		set_model(&(struct target) { f, t.page, 0, CHUNKS }, run.slow.stamp);
		pthread_rwlock_unlock(&f->lock);
		usleep(rnd(&r, 15000));
		slow_file_release(&run.slow);
		pthread_join(thread, NULL);
		check(l.rc == (ssize_t)PAGE, "direct read: %s",
		      l.rc < 0 ? strerror(l.err) : "short");
		/* The only read in flight: wherever the page is now, it has the data. */
		for (size_t k = 0; k < FILES; k++) {
			pthread_rwlock_rdlock(&run.file[k].lock);
			for (size_t i = 0; i < PAGES; i++)
				run.file[k].late[i] = false;
			pthread_rwlock_unlock(&run.file[k].lock);
		}
	}
	close(l.fd);
	return arg;
}
