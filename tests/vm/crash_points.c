// SPDX-License-Identifier: GPL-2.0
/*
 * Power failures in the middle of calls: all sequences of two calls on a small file, and what the
 * medium has on the way. What was durable before a call that changes something else is
 * there in the middle of it, and what a call changes is as before or as after it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch.h"
#include "lib.h"
#include "medium.h"

#define RW	(PROT_READ | PROT_WRITE)
#define PAGES	((size_t)8)	/* of a file at first */
#define MOST	((size_t)16)	/* of a file ever */
#define SHIFT	((size_t)2)	/* by which a file becomes shorter */
#define STAMPS	6
#define CALLS	2
/* With as many random operations as in make powerfail all states are looked at, else some. */
#define ALL_OPS		2000ul
#define SOME_STATES	((size_t)8)	/* of a sequence */
/* The sequence by which fs/dax.c loses data: a punch, then fsync(). */
#define FIRST		1

/*
 * What a power failure may leave of a page: words of these stamps. Of one that is durable there is
 * one.
 */
struct page {
	uint64_t now, stamp[STAMPS];
	size_t stamps;
};

struct promise {
	struct page page[MOST];
	size_t size;		/* now */
	uint32_t sizes;		/* a bit for each that it may have */
};

enum { FILE_ITSELF, ITS_CLONE, FILES };

struct world {
	const struct env *e;
	int fd[FILES];
	char *map, *sync_map;
	struct promise file[FILES];
	size_t moved;		/* by so much, which a power failure may undo */
};

static const char *const name[FILES] = { "f", "clone" };
static uint64_t last_stamp;

static void may_be(struct page *page, uint64_t stamp)
{
	for (size_t k = 0; k < page->stamps; k++)
		if (page->stamp[k] == stamp)
			return;
	check(page->stamps < STAMPS, "a page has too many stamps");
	page->stamp[page->stamps++] = stamp;
}

static void may_be_as(struct page *page, const struct page *other)
{
	for (size_t k = 0; k < other->stamps; k++)
		may_be(page, other->stamp[k]);
}

static void becomes(struct page *page, uint64_t stamp)
{
	page->now = stamp;
	may_be(page, stamp);
}

static void is_durable(struct page *page)
{
	page->stamp[0] = page->now;
	page->stamps = 1;
}

/* Data goes to where the page is, which may become another one if a move is undone. */
static void written(struct world *w, size_t i)
{
	struct promise *f = &w->file[FILE_ITSELF];

	becomes(&f->page[i], ++last_stamp);
	if (w->moved)
		may_be(&f->page[i + w->moved], f->page[i].now);
}

static void resize(struct promise *f, size_t size)
{
	for (size_t i = size; i < MOST; i++)
		becomes(&f->page[i], 0);
	f->size = size;
	f->sizes |= 1u << size;
}

/*
 * The effect of a call on what may be there from its beginning on, the call, and what holds when it
 * has ended.
 */
static void store_effect(struct world *w)
{
	for (size_t i = 3; i < 5; i++)
		written(w, i);
}

static void store(const struct world *w)
{
	for (size_t i = 3; i < 5; i++)
		fill_page(w->map + i * PAGE, w->file[FILE_ITSELF].page[i].now);
}

static void msync_some(const struct world *w)
{
	must(msync(w->map, 4 * PAGE, MS_SYNC));
}

static void msync_end(struct world *w)
{
	for (size_t i = 0; i < 4; i++)
		is_durable(&w->file[FILE_ITSELF].page[i]);
}

static void fsync_all(const struct world *w)
{
	must(fsync(w->fd[FILE_ITSELF]));
}

static void fsync_end(struct world *w)
{
	struct promise *f = &w->file[FILE_ITSELF];

	for (size_t i = 0; i < MOST; i++)
		is_durable(&f->page[i]);
	f->sizes = 1u << f->size;
	w->moved = 0;
}

static void zeros_at(struct world *w, size_t first)
{
	for (size_t i = first; i < first + 2; i++)
		becomes(&w->file[FILE_ITSELF].page[i], 0);
}

static void punch_effect(struct world *w)
{
	zeros_at(w, 2);
}

static void punch(const struct world *w)
{
	must(do_op(OP_PUNCH, w->fd[FILE_ITSELF], 2, 2));
}

static void zero_effect(struct world *w)
{
	zeros_at(w, 4);
}

static void zero(const struct world *w)
{
	must(do_op(OP_ZERO, w->fd[FILE_ITSELF], 4, 2));
}

/* First a hole, then what is behind it moves, or a part of that, and there is a hole at the end. */
static void collapse_effect(struct world *w)
{
	struct promise *f = &w->file[FILE_ITSELF];
	const struct promise before = *f;

	for (size_t i = 1; i < f->size; i++) {
		if (i + SHIFT < f->size) {
			f->page[i].now = before.page[i + SHIFT].now;
			may_be_as(&f->page[i], &before.page[i + SHIFT]);
		}
		if (i < 1 + SHIFT)
			may_be(&f->page[i], 0);
	}
	resize(f, f->size - SHIFT);
	w->moved += SHIFT;
}

static void collapse(const struct world *w)
{
	must(do_op(OP_COLLAPSE, w->fd[FILE_ITSELF], 1, SHIFT));
}

static void truncate_effect(struct world *w)
{
	resize(&w->file[FILE_ITSELF], w->file[FILE_ITSELF].size - SHIFT);
}

static void grow_effect(struct world *w)
{
	resize(&w->file[FILE_ITSELF], w->file[FILE_ITSELF].size + SHIFT);
}

static void set_size(const struct world *w)
{
	must(ftruncate(w->fd[FILE_ITSELF], w->file[FILE_ITSELF].size * PAGE));
}

static void write_effect(struct world *w)
{
	written(w, 3);
}

static void write_page(const struct world *w)
{
	char buf[PAGE];

	fill_page(buf, w->file[FILE_ITSELF].page[3].now);
	check(pwrite(w->fd[FILE_ITSELF], buf, PAGE, 3 * PAGE) == (ssize_t)PAGE, "write: %m");
}

static void sync_store_effect(struct world *w)
{
	written(w, 5);
}

static void sync_store(const struct world *w)
{
	char *page = w->sync_map + 5 * PAGE;

	fill_page(page, w->file[FILE_ITSELF].page[5].now);
	for (char *line = page; line < page + PAGE; line += 64)
		clean_line(line);
	lines_written();
}

static void sync_store_end(struct world *w)
{
	is_durable(&w->file[FILE_ITSELF].page[5]);
}

static void clone_effect(struct world *w)
{
	const struct promise *f = &w->file[FILE_ITSELF];
	struct promise *to = &w->file[ITS_CLONE];

	for (size_t i = 0; i < f->size; i++) {
		to->page[i].now = f->page[i].now;
		may_be_as(&to->page[i], &f->page[i]);
	}
	if (to->size < f->size)
		to->size = f->size;
	to->sizes |= 1u << to->size;
}

static void clone_file(const struct world *w)
{
	must(ioctl(w->fd[ITS_CLONE], FICLONE, w->fd[FILE_ITSELF]));
}

static const struct call {
	const char *name;
	void (*effect)(struct world *w);
	void (*run)(const struct world *w);
	void (*end)(struct world *w);
	bool clones;
} calls[] = {
	{ .name = "punch", .effect = punch_effect, .run = punch },
	{ .name = "fsync", .run = fsync_all, .end = fsync_end },
	{ .name = "store", .effect = store_effect, .run = store },
	{ .name = "msync", .run = msync_some, .end = msync_end },
	{ .name = "zero", .effect = zero_effect, .run = zero },
	{ .name = "collapse", .effect = collapse_effect, .run = collapse },
	{ .name = "truncate", .effect = truncate_effect, .run = set_size },
	{ .name = "grow", .effect = grow_effect, .run = set_size },
	{ .name = "write", .effect = write_effect, .run = write_page },
	{ .name = "MAP_SYNC store", .effect = sync_store_effect, .run = sync_store,
	  .end = sync_store_end },
	{ .name = "clone", .effect = clone_effect, .run = clone_file, .clones = true },
};

static char *map_with(int fd, int flags)
{
	char *p = mmap(NULL, MOST * PAGE, RW, flags, fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, MOST * PAGE, MADV_NOHUGEPAGE));
	return p;
}

static void set_up_file(struct world *w, int file)
{
	struct promise *f = &w->file[file];
	char buf[PAGE];

	w->fd[file] = create_file(w->e, name[file], 0, 0);
	*f = (struct promise){ .size = PAGES, .sizes = 1u << PAGES };
	for (size_t i = 0; i < MOST; i++) {
		f->page[i].now = i < PAGES ? ++last_stamp : 0;
		is_durable(&f->page[i]);
		fill_page(buf, f->page[i].now);
		if (i < PAGES)
			check(pwrite(w->fd[file], buf, PAGE, i * PAGE) == (ssize_t)PAGE,
			      "write: %m");
	}
	must(fsync(w->fd[file]));
}

/* All of it is durable, but what was stored to some pages since. */
static void set_up(struct world *w)
{
	set_up_file(w, FILE_ITSELF);
	set_up_file(w, ITS_CLONE);
	w->map = map_with(w->fd[FILE_ITSELF], MAP_SHARED);
	w->sync_map = map_with(w->fd[FILE_ITSELF], MAP_SHARED_VALIDATE | MAP_SYNC);
	for (size_t i = 1; i < PAGES; i += 3) {
		struct page *page = &w->file[FILE_ITSELF].page[i];

		becomes(page, ++last_stamp);
		fill_page(w->map + i * PAGE, page->now);
	}
}

static void tear_down(struct world *w)
{
	must(munmap(w->map, MOST * PAGE));
	must(munmap(w->sync_map, MOST * PAGE));
	for (int file = 0; file < FILES; file++) {
		close(w->fd[file]);
		must(unlink(in_dir(w->e, name[file])));
	}
}

static bool is_allowed(const struct page *page, uint64_t word)
{
	for (size_t k = 0; k < page->stamps; k++)
		if (page->stamp[k] == word)
			return true;
	return false;
}

/* The first page of a file that is not what was promised, or -1; MOST is its size. */
static int broken_page(const struct promise *f, const char *dir, int file)
{
	uint64_t word[PAGE / sizeof(uint64_t)];
	char path[128];
	off_t size;
	int fd, found = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, name[file]);
	fd = must(open(path, O_RDONLY));
	size = file_size(fd) / PAGE;
	if (size > (off_t)MOST || !(f->sizes >> size & 1))
		found = MOST;
	for (off_t i = 0; i < size && found < 0; i++) {
		check(pread(fd, word, PAGE, i * PAGE) == (ssize_t)PAGE, "read: %m");
		for (size_t k = 0; k < ARRAY_SIZE(word); k++)
			if (!is_allowed(&f->page[i], word[k]))
				found = i;
	}
	close(fd);
	return found;
}

/* A sequence that was run: in which state each call ended, and what holds in it and after it. */
struct sequence {
	const struct call *call[CALLS];
	size_t end[CALLS];
	struct world start, during[CALLS], after[CALLS];
};

static void run_sequence(const struct env *e, struct sequence *s)
{
	struct world *w = &s->start;

	*w = (struct world){ .e = e };
	set_up(w);
	medium_record(e);
	for (int k = 0; k < CALLS; k++) {
		s->during[k] = *w;
		if (s->call[k]->effect)
			s->call[k]->effect(&s->during[k]);
		s->call[k]->run(&s->during[k]);
		s->after[k] = s->during[k];
		if (s->call[k]->end)
			s->call[k]->end(&s->after[k]);
		s->end[k] = medium_states(e);
		w = &s->after[k];
	}
}

/* What must hold in a state. */
static const struct world *promised(const struct sequence *s, size_t state)
{
	const struct world *w = state ? NULL : &s->start;

	for (int k = 0; k < CALLS; k++) {
		if (s->end[k] == state)
			w = &s->after[k];
		else if (!w && s->end[k] > state)
			w = &s->during[k];
	}
	return w;
}

static bool state_is_right(const struct sequence *s, size_t state)
{
	const struct world *w = promised(s, state);
	const char *dir = medium_in_state(w->e, state);
	bool right = true;

	for (int file = 0; file < FILES; file++) {
		int page = broken_page(&w->file[file], dir, file);

		right &= page < 0;
		check(page < 0 || !w->e->bound,
		      "%s, %s: after %zu of %zu steps %s has %s %d that was not promised",
		      s->call[0]->name, s->call[1]->name, state, s->end[CALLS - 1], name[file],
		      page == (int)MOST ? "a size, not page" : "page", page);
	}
	medium_unmount();
	return right;
}

static bool possible(const struct env *e, const struct call *call)
{
	return !call->clones || !strcmp(e->fs, "xfs");
}

/* All of them, those but the first in an order that depends on the seed. */
static size_t nth_sequence(const struct env *e, size_t n)
{
	const size_t all = ARRAY_SIZE(calls) * ARRAY_SIZE(calls), step = 37;
	const size_t rest = (n * step + e->seed) % (all - 1);

	if (!n)
		return FIRST;
	return rest < FIRST ? rest : rest + 1;
}

static void crash_points(const struct env *e)
{
	const size_t all = ARRAY_SIZE(calls) * ARRAY_SIZE(calls);
	const bool all_states = e->ops >= ALL_OPS;
	size_t states = 0, sequences = 0, wrong = 0, lossy = 0;
	static struct sequence s;

	check(medium_watched(), "the guest does not run under the plugin: see scripts/vm --medium");
	last_stamp = (uint64_t)getpid() << 32;
	for (size_t n = 0; n < all && (all_states || states < e->ops / 4); n++) {
		const size_t number = nth_sequence(e, n);
		size_t count, last, before = wrong;

		s.call[0] = &calls[number / ARRAY_SIZE(calls)];
		s.call[1] = &calls[number % ARRAY_SIZE(calls)];
		if (!possible(e, s.call[0]) || !possible(e, s.call[1]))
			continue;
		run_sequence(e, &s);
		last = s.end[CALLS - 1];
		count = last + 1;
		if (!all_states && count > SOME_STATES)
			count = SOME_STATES;
		/* The first and the last one, and those between that are as far apart. */
		for (size_t i = 0; i < count; i++, states++)
			wrong += !state_is_right(&s, last * i / (count > 1 ? count - 1 : 1));
		tear_down(&s.start);
		sequences++;
		lossy += wrong > before;
		if (wrong > before)
			printf("# fs/dax.c: %s, %s: wrong in %zu of %zu states\n", s.call[0]->name,
			       s.call[1]->name, wrong - before, count);
	}
	printf("# %zu sequences, %zu states: %zu sequences and %zu states are not as promised\n",
	       sequences, states, lossy, wrong);
	check(e->bound || wrong, "fs/dax.c lost nothing: does this check see anything?");
}

static const struct test tests[] = {
	{ "power failure: in the middle of two calls", crash_points, EVERYWHERE },
	{ }
};

GROUP(crash_points, tests);
