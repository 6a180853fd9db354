// SPDX-License-Identifier: GPL-2.0
/* What the randomized run over files does with whole files, alone with them. See random_files.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "random_files.h"

static void resize(struct rng *r, struct random_file *f)
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

static void punch_many(struct rng *r, struct random_file *f)
{
	size_t at = rnd(r, PAGES), n = 1 + rnd(r, rnd(r, 4) ? 40 : PAGES - at);
	const int mode = rnd(r, 2) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	n = at + n > PAGES ? PAGES - at : n;
	if (!was_interrupted(fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, at * PAGE, n * PAGE),
			     "punch"))
		forget(f, at, at + n);
}

static void move_rows(struct random_file *f, size_t to, size_t from, size_t n)
{
	memmove(f->model[to], f->model[from], n * sizeof(f->model[0]));
	memmove(&f->late[to], &f->late[from], n * sizeof(f->late[0]));
}

static void collapse(struct rng *r, struct random_file *f)
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

static void insert(struct rng *r, struct random_file *f)
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
static void replace(struct rng *r, struct random_file *f)
{
	const bool over = rnd(r, 2);
	char path[256];

	if (over) {
		snprintf(path, sizeof(path), "%s.new", in_dir(run.env, f->name));
		close(must(open(path, O_RDWR | O_CREAT | O_TRUNC, 0644)));
		must(rename(path, in_dir(run.env, f->name)));
	} else {
		must(unlink(in_dir(run.env, f->name)));
	}
	for (size_t i = 0; i < f->size; i += 37)
		compare(f, i, LARGE);
	unmap_views(f);
	close(f->fd);
	f->fd = must(open(in_dir(run.env, f->name), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	must(ftruncate(f->fd, PAGES * PAGE));
	if (rnd(r, 2))
		check(!do_op(OP_ALLOCATE, f->fd, 0, PAGES) || errno == EINTR, "allocate: %m");
	f->size = PAGES;
	forget(f, 0, PAGES);
	map_views(f);
	map_large_first(f);
}

static void clone_file(struct random_file *f, struct random_file *from)
{
	if (was_interrupted(ioctl(f->fd, FICLONE, from->fd), "clone"))
		return;
	/* A clone of a larger file over a smaller one, and the other way round. */
	if (from->size > f->size)
		f->size = from->size;
	memcpy(f->model, from->model, from->size * sizeof(f->model[0]));
	memset(f->late, 0, from->size * sizeof(f->late[0]));
}

static void clone_part(struct rng *r, struct random_file *f, struct random_file *from)
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

static void dedupe(struct rng *r, struct random_file *f, struct random_file *from)
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
		run.interrupted++;
		return;
	}
	/* A late answer may have made them differ meanwhile. */
	check(range.info.status == FILE_DEDUPE_RANGE_SAME ||
	      range.info.status == FILE_DEDUPE_RANGE_DIFFERS, "dedupe: status %d",
	      range.info.status);
}

static void unshare_part(struct rng *r, struct random_file *f)
{
	size_t at = rnd(r, PAGES), n = 1 + rnd(r, 64);

	if (at >= f->size)
		return;
	n = at + n > f->size ? f->size - at : n;
	was_interrupted(fallocate(f->fd, FALLOC_FL_UNSHARE_RANGE, at * PAGE, n * PAGE), "unshare");
}

void whole_file(struct rng *r, struct random_file *f)
{
	struct random_file *other = &run.file[rnd(r, FILES)], *first = f, *second = other;
	unsigned int what = rnd(r, run.xfs ? 16 : 8);

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
