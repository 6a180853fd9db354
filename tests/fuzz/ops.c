// SPDX-License-Identifier: GPL-2.0
/*
 * What each operation does to the model. Any arguments are right: what cannot be done is refused,
 * so that a program stays one when lines of it go. See fuzz.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../vm/lib.h"
#include "fuzz.h"

/* How an operation ends: it must have succeeded if nobody else is at work. */
static bool succeeded(long rc, const char *what)
{
	int err = errno;

	if (now.phase == TOGETHER || sh->dead)
		return false;
	if (rc < 0)
		bad("errno", "%s: %s", what, strerror(err));
	return true;
}

static void refuse(void)
{
	if (now.phase != MARK)
		sh->refused++;
}

static bool spoilt(int f)
{
	return sh->dead || sh->file[f].spoilt;
}

/* Pages of a mapping: false if it has none of them. */
static struct view *part_of(const long *a, size_t *pages)
{
	struct view *v = &sh->view[me][a[0]];

	if (!v->used || (size_t)a[1] >= v->pages) {
		refuse();
		return NULL;
	}
	*pages = (size_t)a[1] + *pages > v->pages ? v->pages - a[1] : *pages;
	return v;
}

static bool all_are(const struct view *v, size_t page, size_t pages, enum protection most)
{
	for (size_t i = page; i < page + pages; i++)
		if (v->prot[i] > most || (most == READ_WRITE && v->kind == READ_ONLY)) {
			refuse();
			return false;
		}
	return true;
}

/* All of it lies in the file, or may: if others change the size now. */
static bool in_file(const struct view *v, size_t page, size_t pages)
{
	const struct file_model *m = &sh->file[v->file];
	const off_t end = (v->page + page + pages) * PAGE;

	if (end <= (now.phase == ALONE || !m->loose_size ? m->size : (off_t)(MAX_PAGES * PAGE)))
		return true;
	refuse();
	return false;
}

static bool has_pages(int f, size_t page, size_t pages)
{
	if ((off_t)((page + pages) * PAGE) <= sh->file[f].size && page + pages <= MAX_PAGES)
		return true;
	refuse();
	return false;
}

static void op_map(const long *a)
{
	struct view *v = &sh->view[me][a[0]];

	if (now.phase == MARK)
		return;
	v->used = false;
	if (do_map(a[0], a[1], a[2], a[3], a[4])) {
		succeeded(-1, "mmap");
		return;
	}
	*v = (struct view) { true, false, a[1], a[4], a[2], a[3], { 0 }, { 0 } };
	if (a[4] == READ_ONLY)
		memset(v->prot, READ_ALONE, v->pages);
}

static void op_unmap(const long *a)
{
	size_t pages = a[2];
	struct view *v = part_of(a, &pages);

	if (!v || now.phase == MARK)
		return;
	must(do_unmap(a[0], a[1], pages));
	memset(&v->prot[a[1]], UNMAPPED, pages);
}

static void op_remap(const long *a)
{
	struct view *v = &sh->view[me][a[0]];
	size_t pages = a[1], was = v->pages;

	if (!v->used || now.phase != ALONE)
		return refuse();
	for (size_t i = 0; i < was; i++)
		if (v->prot[i] != v->prot[0] || v->prot[0] == UNMAPPED)
			return refuse();
	if (do_remap(a[0], pages, a[2])) {
		if (errno == EFAULT && v->pieces)
			return refuse();
		succeeded(-1, "mremap");
		return;
	}
	v->pages = pages;
	for (size_t i = was; i < pages; i++) {
		v->prot[i] = v->prot[0];
		v->own[i] = false;
	}
}

static void op_protect(const long *a)
{
	size_t pages = a[2];
	struct view *v = part_of(a, &pages);

	if (!v || now.phase == MARK || !all_are(v, a[1], pages, NOTHING))
		return;
	must(do_protect(a[0], a[1], pages, a[3]));
	v->pieces |= pages < v->pages;
	memset(&v->prot[a[1]], a[3], pages);
}

enum { DONTNEED = 0, HUGEPAGE = 1, NOHUGEPAGE = 2, POPULATE_WRITE = 5, MERGEABLE = 9 };

/* It is kept in the flags of a mapping. */
static bool splits(long advice)
{
	return advice == HUGEPAGE || advice == NOHUGEPAGE || advice == MERGEABLE;
}

static void op_advise(const long *a)
{
	size_t pages = a[2];
	struct view *v = part_of(a, &pages);

	if (!v || now.phase == MARK)
		return;
	do_advise(a[0], a[1], pages, a[3]);
	v->pieces |= splits(a[3]) && pages < v->pages;
	/* It may be that only a part of it was done. */
	for (size_t i = a[1]; v->kind == PRIVATE && a[3] == POPULATE_WRITE && i < a[1] + pages; i++)
		v->own[i] = true;
	if (a[3] == DONTNEED && all_are(v, a[1], pages, NOTHING))
		memset(&v->own[a[1]], 0, pages);
}

static void op_load(const long *a)
{
	size_t pages = a[2];

	if (part_of(a, &pages) && now.phase != MARK)
		look(a[0], a[1], pages);
}

static void op_store(const long *a)
{
	size_t pages = 1, sectors = a[2] + a[3] > (long)IN_PAGE ? IN_PAGE - a[2] : (size_t)a[3], at;
	struct view *v = part_of(a, &pages);
	int sig;

	if (!v || !all_are(v, a[1], 1, READ_WRITE) || !in_file(v, a[1], 1))
		return;
	at = (v->page + a[1]) * IN_PAGE + a[2];
	if (v->kind == PRIVATE ? now.phase == MARK : !claims(v->file, at, sectors))
		return;
	if (v->kind == PRIVATE)
		v->own[a[1]] = true;
	sig = faulting_store(a[0], a[1], a[2], sectors, a[4]);
	if (sig && !spoilt(v->file) && !sh->file[v->file].loose_size)
		bad("signal", "process %u mapping %ld page %ld: a store: %s", me, a[0], a[1],
		    strsignal(sig));
	if (v->kind != PRIVATE && now.phase == ALONE)
		stored(v->file, at, sectors, STAMP(a[4]));
}

static void op_sync(const long *a)
{
	size_t pages = a[2];
	struct view *v = part_of(a, &pages);

	if (!v || now.phase == MARK || !all_are(v, a[1], pages, NOTHING) || spoilt(v->file))
		return;
	if (succeeded(do_sync(a[0], a[1], pages), "msync") && v->kind != PRIVATE)
		expect_flushed(v->file, v->page + a[1], pages);
}

static void moved(void)
{
	sh->moves++;
}

static void discard(int f, size_t sector, size_t sectors, long (*call)(const long *a),
		    const long *a, const char *what)
{
	const size_t first = (sector + IN_PAGE - 1) / IN_PAGE, end = (sector + sectors) / IN_PAGE;
	size_t pins, left;
	long rc;

	if (!claims(f, sector, sectors))
		return moved();
	pins = end > first ? pinned(f, first, end - first) : 0;
	rc = call(a);
	left = end > first ? pinned(f, first, end - first) : 0;
	moved();
	if (!succeeded(rc, what) || spoilt(f))
		return;
	if (strcmp(what, "zero range"))
		expect_unpinned(pins, left);
	put(f, sector, sectors, 0);
	if (end > first)
		forget_dirty(f, first, end - first);
	if (sh->shares)
		forget_dirty(f, sector / IN_PAGE, (sectors + IN_PAGE) / IN_PAGE + 1);
}

static long call_punch(const long *a)
{
	return do_punch(a[0], a[1], a[2], a[3]);
}

static long call_zero(const long *a)
{
	return do_zero(a[0], a[1], a[2], a[3]);
}

static long call_remove(const long *a)
{
	return do_remove(a[0], a[1], a[2]);
}

static void op_punch(const long *a)
{
	discard(a[0], a[1] * IN_PAGE + a[2], a[3], call_punch, a, "punch");
}

static void op_zero(const long *a)
{
	discard(a[0], a[1] * IN_PAGE + a[2], a[3], call_zero, a, "zero range");
}

static void op_remove(const long *a)
{
	size_t pages = a[2];
	struct view *v = part_of(a, &pages);

	if (v && v->kind != PRIVATE && v->kind != READ_ONLY && all_are(v, a[1], pages, READ_WRITE))
		discard(v->file, (v->page + a[1]) * IN_PAGE, pages * IN_PAGE, call_remove,
			(const long[]) { a[0], a[1], pages }, "MADV_REMOVE");
}

/* From there to the end of the file all may change, and the size. */
static bool claims_rest(int f, size_t page)
{
	moved();
	if (now.phase == MARK)
		sh->file[f].loose_size = true;
	return claims(f, page * IN_PAGE, MAX_SECTORS) && !sh->file[f].spoilt;
}

static void op_collapse(const long *a)
{
	struct file_model *m = &sh->file[a[0]];
	size_t at = a[1] * IN_PAGE, n = a[2] * IN_PAGE;

	if ((off_t)((at + n) * SECTOR) >= m->size)
		return refuse();
	if (!claims_rest(a[0], a[1]) || !succeeded(do_collapse(a[0], a[1], a[2]), "collapse"))
		return;
	move(a[0], at, a[0], at + n, MAX_SECTORS - at - n);
	m->size -= n * SECTOR;
	memset(&m->word[MAX_SECTORS - n], 0, n * sizeof(m->word[0]));
	forget_dirty(a[0], MAX_PAGES - a[2], a[2]);
}

static void op_insert(const long *a)
{
	struct file_model *m = &sh->file[a[0]];
	size_t at = a[1] * IN_PAGE, n = a[2] * IN_PAGE;

	if ((off_t)(at * SECTOR) >= m->size || m->size + n * SECTOR > MAX_PAGES * PAGE)
		return refuse();
	if (!claims_rest(a[0], a[1]) || !succeeded(do_insert(a[0], a[1], a[2]), "insert"))
		return;
	m->size += n * SECTOR;
	move(a[0], at + n, a[0], at, MAX_SECTORS - at - n);
	put(a[0], at, n, 0);
	forget_dirty(a[0], a[1], a[2]);
}

static void grow(int f, off_t end)
{
	if (sh->file[f].size < end)
		sh->file[f].size = end;
}

static void op_allocate(const long *a)
{
	const off_t end = (a[1] + a[2]) * PAGE;

	if (end > (off_t)(MAX_PAGES * PAGE))
		return refuse();
	if (now.phase == MARK && end > sh->file[a[0]].size)
		sh->file[a[0]].loose_size = true;
	if (now.phase == MARK || (now.phase == TOGETHER && !sh->file[a[0]].loose_size &&
				  end > sh->file[a[0]].size))
		return;
	if (succeeded(do_allocate(a[0], a[1], a[2]), "fallocate"))
		grow(a[0], end);
}

static void op_truncate(const long *a)
{
	struct file_model *m = &sh->file[a[0]];
	const off_t size = a[1] * PAGE + a[2] * SECTOR;
	const size_t first = a[1] + !!a[2];
	size_t pins, left;
	bool may;
	long rc;

	pins = pinned(a[0], first, MAX_PAGES);
	may = claims(a[0], size / SECTOR, MAX_SECTORS);
	if (now.phase == MARK)
		m->loose_size = true;
	if (!may) {
		moved();
		return;
	}
	rc = do_truncate(a[0], a[1], a[2]);
	left = pinned(a[0], first, MAX_PAGES);
	moved();
	if (!succeeded(rc, "truncate") || m->spoilt)
		return;
	expect_unpinned(pins, left);
	if (size < m->size) {
		put(a[0], size / SECTOR, MAX_SECTORS, 0);
		forget_dirty(a[0], a[1] + !!a[2], MAX_PAGES);
		if (sh->shares)
			forget_dirty(a[0], a[1], 1);
	}
	m->size = size;
}

static void op_unshare(const long *a)
{
	if (!has_pages(a[0], a[1], a[2]))
		return;
	moved();
	if (now.phase == MARK)
		forget_dirty(a[0], 0, MAX_PAGES);
	else if (!spoilt(a[0]))
		succeeded(do_unshare(a[0], a[1], a[2]), "unshare");
}

/* Two files, or two parts of one. */
static bool claims_two(const long *a, bool other_changes)
{
	if (!has_pages(a[0], a[1], a[4]) || !has_pages(a[2], a[3], a[4]))
		return false;
	if (a[0] == a[2] && a[1] < a[3] + a[4] && a[3] < a[1] + a[4]) {
		refuse();
		return false;
	}
	moved();
	sh->shares = true;
	if (now.phase == MARK)
		forget_dirty(a[2], 0, MAX_PAGES);
	if (other_changes && !claims(a[2], a[3] * IN_PAGE, a[4] * IN_PAGE) && now.phase != MARK)
		return false;
	if (sh->file[a[2]].spoilt)
		sh->file[a[0]].spoilt = true;
	if (sh->file[a[0]].spoilt && other_changes)
		sh->file[a[2]].spoilt = true;
	return claims(a[0], a[1] * IN_PAGE, a[4] * IN_PAGE);
}

static void op_clone(const long *a)
{
	if (claims_two(a, false) && !spoilt(a[0]) &&
	    succeeded(do_clone(a[0], a[1], a[2], a[3], a[4]), "clone"))
		move(a[0], a[1] * IN_PAGE, a[2], a[3] * IN_PAGE, a[4] * IN_PAGE);
}

enum sameness { DIFFERENT, SAME, UNSURE };

/* fs/dax.c takes a hole and zeroes for different. */
static enum sameness compare_models(const long *a)
{
	const uint64_t *to = &sh->file[a[0]].word[a[1] * IN_PAGE];
	const uint64_t *from = &sh->file[a[2]].word[a[3] * IN_PAGE];
	enum sameness found = SAME;

	for (size_t i = 0; i < a[4] * IN_PAGE; i++) {
		if (to[i] == LOOSE || from[i] == LOOSE || (!to[i] && !from[i]))
			found = UNSURE;
		else if (to[i] != from[i])
			return DIFFERENT;
	}
	return found;
}

static void op_dedupe(const long *a)
{
	enum sameness was;
	long rc;

	if (!has_pages(a[0], a[1], a[4]) || !has_pages(a[2], a[3], a[4]))
		return;
	was = compare_models(a);
	if (!claims_two(a, false) || spoilt(a[0]))
		return;
	rc = do_dedupe(a[0], a[1], a[2], a[3], a[4]);
	if (now.phase == TOGETHER || sh->dead)
		return;
	if (rc && (errno != EILSEQ || was == SAME))
		succeeded(rc, "dedupe");
	if (!rc && was == DIFFERENT)
		bad("data", "a dedupe of pages that differ");
	if (rc)
		return forget_dirty(a[0], a[1], a[4]);
	move(a[0], a[1] * IN_PAGE, a[2], a[3] * IN_PAGE, a[4] * IN_PAGE);
}

static void swap_models(const long *a)
{
	struct file_model *to = &sh->file[a[0]], *from = &sh->file[a[2]];

	for (size_t i = 0; i < a[4] * IN_PAGE; i++) {
		uint64_t word = to->word[a[1] * IN_PAGE + i];

		to->word[a[1] * IN_PAGE + i] = from->word[a[3] * IN_PAGE + i];
		from->word[a[3] * IN_PAGE + i] = word;
	}
	for (long i = 0; i < a[4]; i++) {
		uint32_t dirty = to->dirty[a[1] + i];

		to->dirty[a[1] + i] = from->dirty[a[3] + i];
		from->dirty[a[3] + i] = dirty;
	}
}

static void op_exchange(const long *a)
{
	if (claims_two(a, true) && !spoilt(a[0]) && !spoilt(a[2]) &&
	    succeeded(do_exchange(a[0], a[1], a[2], a[3], a[4]), "exchange"))
		swap_models(a);
}

static void op_write(const long *a)
{
	const size_t at = a[1] * IN_PAGE + a[2], end = at + a[3];
	const off_t size = end * SECTOR;

	if (end > MAX_SECTORS)
		return refuse();
	if (now.phase == MARK && size > sh->file[a[0]].size)
		sh->file[a[0]].loose_size = true;
	if (now.phase == TOGETHER && !sh->file[a[0]].loose_size && size > sh->file[a[0]].size)
		return refuse();
	if (!claims(a[0], at, a[3]) || spoilt(a[0]))
		return;
	if (!succeeded(do_write(a[0], a[1], a[2], a[3], a[4]), "write"))
		return;
	grow(a[0], size);
	put(a[0], at, a[3], STAMP(a[4]));
	if (sh->shares)
		forget_dirty(a[0], a[1], (a[2] + a[3]) / IN_PAGE + 1);
	else if (end / IN_PAGE > (at + IN_PAGE - 1) / IN_PAGE)
		forget_dirty(a[0], (at + IN_PAGE - 1) / IN_PAGE,
			     end / IN_PAGE - (at + IN_PAGE - 1) / IN_PAGE);
}

static void op_read(const long *a)
{
	if (now.phase == ALONE)
		compare_model(a[0]);
	else if (now.phase == TOGETHER)
		do_read(a[0], a[1], a[2]);
}

static void op_fsync(const long *a)
{
	if (now.phase == MARK || spoilt(a[0]))
		return;
	if (succeeded(do_fsync(a[0]), "fsync"))
		expect_flushed(a[0], 0, MAX_PAGES);
}

static void op_reopen(const long *a)
{
	char name[128];

	if (now.phase == MARK || sh->dead)
		return;
	snprintf(name, sizeof(name), "%s/f%ld", place.dir, a[0]);
	close(fd[a[0]]);
	fd[a[0]] = open(name, O_RDWR | O_CLOEXEC | (a[1] ? O_DIRECT : 0));
	succeeded(fd[a[0]], "open");
}

static void op_child(const long *a)
{
	size_t pages = a[2];
	struct view *v = part_of(a, &pages);

	if (v && now.phase != MARK && all_are(v, a[1], pages, READ_ALONE) &&
	    in_file(v, a[1], pages) && !spoilt(v->file) && !sh->file[v->file].loose_size)
		succeeded(do_child(a[0], a[1], pages), "fork");
}

/* A page of a file that cannot be a hole. */
static bool has_data(int f, size_t page)
{
	for (size_t i = 0; i < IN_PAGE; i++)
		if (sh->file[f].word[page * IN_PAGE + i] &&
		    sh->file[f].word[page * IN_PAGE + i] != LOOSE)
			return true;
	return false;
}

/* The coordinator may drain a pipe while an operation waits. */
static bool spliced(long n, const char *what)
{
	return (n >= 0 || errno != EAGAIN) && succeeded(n, what);
}

static void op_vmsplice(const long *a)
{
	size_t pages = a[2] < 8 ? a[2] : 8;
	struct view *v = part_of(a, &pages);
	struct pipe_model *q = &sh->pipe[a[3]];
	long n;

	if (!v || !all_are(v, a[1], pages, READ_ALONE) || !in_file(v, a[1], pages))
		return;
	if (now.phase == MARK)
		sh->loose_pipes = true;
	if (now.phase == MARK || sh->dead || (now.phase == ALONE && q->used + pages > PIPE_PAGES))
		return refuse();
	for (size_t i = a[1]; i < a[1] + pages; i++)
		if (v->own[i])
			return refuse();
	n = do_vmsplice(a[0], a[1], pages, a[3]);
	if (spoilt(v->file) || !spliced(n, "vmsplice"))
		return;
	for (long i = 0; i < n / (long)PAGE && q->used < PIPE_PAGES; i++) {
		const size_t page = v->page + a[1] + i;

		q->piece[q->used++] = (struct piece) {
			v->file, page, has_data(v->file, page) && !sh->shares, sh->moves
		};
	}
}

static void op_drain(const long *a)
{
	if (now.phase != MARK)
		drain_pipe(a[0], now.phase == ALONE);
}

static void op_tee(const long *a)
{
	struct pipe_model *from = &sh->pipe[a[0]], *to = &sh->pipe[a[1]];
	long n;

	if (now.phase == MARK)
		sh->loose_pipes = true;
	if (a[0] == a[1] || now.phase == MARK || !from->used || to->used == PIPE_PAGES)
		return refuse();
	n = do_tee(a[0], a[1]);
	if (!spliced(n, "tee"))
		return;
	for (long i = 0; i < n / (long)PAGE && to->used < PIPE_PAGES; i++)
		to->piece[to->used++] = from->piece[i];
}

/*
 * Not onto shared blocks: a write there waits until the page is out of the pipe, which the write
 * itself keeps locked.
 */
static void op_splice_out(const long *a)
{
	struct pipe_model *q = &sh->pipe[a[0]];
	size_t pages = q->used;
	long n;

	if (now.phase != ALONE || sh->shares || !pages || a[2] + pages > MAX_PAGES || spoilt(a[1]))
		return refuse();
	n = do_splice_out(a[0], a[1], a[2]);
	moved();
	if (!spliced(n, "splice"))
		return;
	pages = n / PAGE;
	q->used = q->used > pages ? q->used - pages : 0;
	memmove(q->piece, q->piece + pages, q->used * sizeof(q->piece[0]));
	grow(a[1], a[2] * PAGE + n);
	claims(a[1], a[2] * IN_PAGE, pages * IN_PAGE);
	put(a[1], a[2] * IN_PAGE, pages * IN_PAGE, LOOSE);
	forget_dirty(a[1], a[2], pages);
	learn(a[1], a[2], pages);
}

static void op_splice_in(const long *a)
{
	struct pipe_model *q = &sh->pipe[a[3]];
	size_t pages = a[2] < 8 ? a[2] : 8;
	long n;

	if (!has_pages(a[0], a[1], pages) || spoilt(a[0]))
		return;
	/* Beside others: see _NOT_TOGETHER of scripts/fsdaxlib/fuzzing.py. */
	if (now.phase != ALONE || q->used + pages > PIPE_PAGES)
		return refuse();
	n = do_splice_in(a[0], a[1], pages, a[3]);
	if (!spliced(n, "splice"))
		return;
	for (long i = 0; i < n / (long)PAGE && q->used < PIPE_PAGES; i++)
		q->piece[q->used++] = (struct piece) { -1, 0, false, 0 };
}

static void op_direct_write(const long *a)
{
	size_t pages = a[2] < 16 ? a[2] : 16;
	struct view *v = part_of(a, &pages);
	uint64_t buf[PAGE / 8] __attribute__((aligned(4096)));

	if (!v || now.phase == MARK || !all_are(v, a[1], pages, READ_ALONE) ||
	    !in_file(v, a[1], pages) || spoilt(v->file))
		return;
	if (!succeeded(do_direct_write(a[0], a[1], pages), "direct write"))
		return;
	for (size_t i = 0; i < pages; i++) {
		must(pread(scratch, buf, PAGE, i * PAGE));
		for (size_t k = 0; k < IN_PAGE && !v->own[a[1] + i]; k++) {
			uint64_t want = sh->file[v->file].word[(v->page + a[1] + i) * IN_PAGE + k];

			if (want != LOOSE && buf[k * SECTOR / 8] != want)
				bad("direct", "process %u mapping %ld page %ld sector %zu: %#llx",
				    me, a[0], a[1] + i, k,
				    (unsigned long long)buf[k * SECTOR / 8]);
		}
	}
}

static void read_directly(const long *a, long (*call)(long s, long page, long pages, long value))
{
	size_t pages = a[2] < 16 ? a[2] : 16, at;
	struct view *v = part_of(a, &pages);

	if (!v || !all_are(v, a[1], pages, READ_WRITE) || !in_file(v, a[1], pages))
		return;
	at = (v->page + a[1]) * IN_PAGE;
	if (v->kind == PRIVATE ? now.phase == MARK : !claims(v->file, at, pages * IN_PAGE))
		return;
	if (v->kind == PRIVATE)
		memset(&v->own[a[1]], true, pages);
	if (!spoilt(v->file) && succeeded(call(a[0], a[1], pages, a[3]), "direct read") &&
	    v->kind != PRIVATE)
		stored(v->file, at, pages * IN_PAGE, STAMP(a[3]));
}

static void op_direct_read(const long *a)
{
	read_directly(a, do_direct_read);
}

static void op_uring_read(const long *a)
{
	read_directly(a, do_uring_read);
}

static void op_protect_writes(const long *a)
{
	size_t pages = a[2];

	if (part_of(a, &pages) && now.phase != MARK)
		do_protect_writes(a[0], a[1], pages, a[3]);
}

static void op_scan(const long *a)
{
	size_t pages = a[2];

	if (part_of(a, &pages) && now.phase != MARK)
		do_scan(a[0], a[1], pages, a[3]);
}

static void op_interrupt(const long *a)
{
	if (now.phase == TOGETHER && a[0] != (long)me && sh->pid[a[0]])
		kill(sh->pid[a[0]], SIGUSR1);
	else
		refuse();
}

static void op_look_inside(const long *a)
{
	char text[4096];
	glob_t found;

	(void)a;
	if (now.phase == MARK || glob("/sys/kernel/debug/rust_fsdax/*", 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		read_text(found.gl_pathv[i], text, sizeof(text));
	globfree(&found);
}

static void op_freeze(const long *a)
{
	(void)a;
	if (now.phase != MARK && do_freeze())
		succeeded(now.phase == ALONE ? -1 : 0, "freeze");
}

/* The block may be one of many files. */
static void op_poison(const long *a)
{
	size_t pages = 1;
	struct view *v = part_of(a, &pages);

	if (!v || !in_file(v, a[1], 1) || v->own[a[1]] || v->prot[a[1]] > READ_ALONE)
		return;
	sh->file[v->file].spoilt = true;
	sh->dead |= sh->shares || now.phase != ALONE;
	sh->new_device = true;
	moved();
	if (now.phase != MARK)
		do_poison(a[0], a[1]);
}

static void op_shut_down(const long *a)
{
	sh->dead = true;
	sh->new_fs = true;
	if (now.phase != MARK)
		do_shut_down(a[0]);
}

static void op_unbind(const long *a)
{
	uint64_t word;

	(void)a;
	sh->dead = true;
	sh->new_device = true;
	if (now.phase == MARK || !device_unbind(place.device))
		return;
	for (size_t s = 0; s < SLOTS; s++) {
		const struct view *v = &sh->view[me][s];

		for (size_t i = 0; v->used && v->kind != PRIVATE && i < v->pages; i++) {
			/* ext4 knows of a hole without the device. */
			if (v->prot[i] >= NOTHING || v->page + i >= MAX_PAGES ||
			    !has_data(v->file, v->page + i))
				continue;
			if (faulting_load(slot[s].addr + i * PAGE, &word) != SIGBUS)
				bad("removal", "process %u mapping %zu page %zu is there", me, s,
				    i);
		}
	}
}

#define op_FORK		NULL
#define op_REMOUNT	NULL
#define op_TOGETHER	NULL
#define op_JOIN		NULL
#define ANY		false
#define XFS		true
#define OP(name, weight, kinds, where) { #name, kinds, op_##name, (where) && (weight) },

const struct operation ops[] = {
#include "ops.h"
};

const size_t op_count = ARRAY_SIZE(ops);

int op_named(const char *name)
{
	for (size_t i = 0; i < op_count; i++)
		if (!strcmp(ops[i].name, name))
			return i;
	return -1;
}
