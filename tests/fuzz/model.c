// SPDX-License-Identifier: GPL-2.0
/* What the files of a program should hold, who looks at that, and what was flushed. See fuzz.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../vm/lib.h"
#include "fuzz.h"

#define TRACING	"/sys/kernel/tracing"
#define BUFFER	TRACING "/instances/fsdax_fuzz"
#define PROBE	"fsdax_fuzz/flush"

struct shared *sh;
struct order now;
unsigned int me;

void bad(const char *kind, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!atomic_exchange(&sh->failed, true))
		dprintf(1, "FAILED %s: line %u: %s\n", kind, now.number, text);
	_exit(1);
}

bool allowed(uint64_t word)
{
	return !word || word / MAX_VALUE == stamp_base / MAX_VALUE;
}

static size_t end_of(size_t sector, size_t sectors)
{
	return sector + sectors < MAX_SECTORS ? sector + sectors : MAX_SECTORS;
}

static void make_hot(struct file_model *m, size_t sector, size_t end)
{
	size_t first = sector / IN_PAGE, last = (end + IN_PAGE - 1) / IN_PAGE;

	for (size_t i = first ? first - 1 : 0; i <= last && i < MAX_PAGES; i++)
		if (i <= first + 2 || i + 3 >= last || !(i % 64))
			m->hot[i] = true;
}

/*
 * The operation may change these sectors: false if it has to leave it, since we only mark, or
 * since others rely on the sectors.
 */
bool claims(int f, size_t sector, size_t sectors)
{
	struct file_model *m = &sh->file[f];
	size_t end = end_of(sector, sectors);

	make_hot(m, sector, end);
	if (now.phase == ALONE || sh->dead || m->spoilt)
		return now.phase != MARK;
	for (size_t i = sector; i < end; i++) {
		if (now.phase == MARK)
			m->word[i] = LOOSE;
		else if (m->word[i] != LOOSE)
			return false;
	}
	if (now.phase == MARK)
		forget_dirty(f, sector / IN_PAGE, (end - sector) / IN_PAGE + 1);
	return now.phase == TOGETHER;
}

void put(int f, size_t sector, size_t sectors, uint64_t word)
{
	struct file_model *m = &sh->file[f];
	size_t size = m->size / SECTOR, end = end_of(sector, sectors);

	for (size_t i = sector; i < end && i < size; i++)
		m->word[i] = word;
}

void stored(int f, size_t sector, size_t sectors, uint64_t word)
{
	put(f, sector, sectors, word);
	for (size_t i = sector / IN_PAGE; i <= (sector + sectors - 1) / IN_PAGE; i++)
		sh->file[f].dirty[i] = 2 * now.number + 1;
}

void forget_dirty(int f, size_t page, size_t pages)
{
	for (size_t i = page; i < page + pages && i < MAX_PAGES; i++)
		sh->file[f].dirty[i] = 0;
}

void move(int f, size_t to, int from, size_t sector, size_t sectors)
{
	memmove(&sh->file[f].word[to], &sh->file[from].word[sector], sectors * sizeof(uint64_t));
	memmove(&sh->file[f].dirty[to / IN_PAGE], &sh->file[from].dirty[sector / IN_PAGE],
		sectors / IN_PAGE * sizeof(uint32_t));
}

/* Not by a mapping: what is there decides, if it may be there. */
void learn(int f, size_t page, size_t pages)
{
	struct file_model *m = &sh->file[f];
	uint64_t buf[PAGE / 8];

	for (size_t i = page; i < page + pages && (off_t)(i * PAGE) < m->size; i++) {
		ssize_t n = pread(fd[f], buf, PAGE, i * PAGE);

		if (n <= 0 && (sh->dead || m->spoilt))
			return;
		if (n <= 0)
			bad("errno", "read of file %d page %zu: %m", f, i);
		for (size_t k = 0; k < IN_PAGE && k < n / SECTOR; k++) {
			uint64_t *word = &m->word[i * IN_PAGE + k];
			const uint64_t *seen = &buf[k * SECTOR / 8];

			if (*word != LOOSE)
				continue;
			*word = seen[0];
			for (size_t j = 0; j < SECTOR / 8; j++) {
				if (!allowed(seen[j]))
					bad("foreign", "file %d page %zu sector %zu has %#llx", f,
					    i, k, (unsigned long long)seen[j]);
				if (seen[j] != seen[0])
					*word = LOOSE;
			}
		}
	}
}

static void compare_sectors(int f, size_t sector, const char *buf, size_t sectors)
{
	const struct file_model *m = &sh->file[f];

	for (size_t i = 0; i < sectors; i++) {
		const uint64_t *seen = (const void *)(buf + i * SECTOR), want = m->word[sector + i];

		for (size_t k = 0; k < SECTOR / 8; k += SECTOR / 8 - 1)
			if (want == LOOSE ? !allowed(seen[k]) : seen[k] != want)
				bad("data",
				    "file %d page %zu sector %zu by read is %#llx, not %#llx",
				    f, (sector + i) / IN_PAGE, (sector + i) % IN_PAGE,
				    (unsigned long long)seen[k], (unsigned long long)want);
	}
}

void compare_model(int f)
{
	static char buf[64 * PAGE];
	struct file_model *m = &sh->file[f];
	off_t at = 0;
	ssize_t n;

	if (sh->dead || m->spoilt)
		return;
	if (file_size(fd[f]) != m->size)
		bad("size", "file %d has %lld bytes, not %lld", f, (long long)file_size(fd[f]),
		    (long long)m->size);
	while ((n = pread(fd[f], buf, sizeof(buf), at)) > 0) {
		compare_sectors(f, at / SECTOR, buf, n / SECTOR);
		at += n;
	}
	if (n < 0)
		bad("errno", "read of file %d: %m", f);
}

static sigjmp_buf escape;
static volatile sig_atomic_t armed;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (armed)
		siglongjmp(escape, sig);
	/* A memory failure, or the removal of a device under XFS. */
	if (sig == SIGBUS && (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO))
		return;
	bad("signal", "signal %d of code %d at %p", sig, info->si_code, info->si_addr);
}

static void on_interrupt(int sig)
{
	(void)sig;
}

void catch_faults(void)
{
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction interrupt = { .sa_handler = on_interrupt };

	must(sigaction(SIGBUS, &fault, NULL));
	must(sigaction(SIGSEGV, &fault, NULL));
	must(sigaction(SIGUSR1, &interrupt, NULL));
}

int faulting_load(const void *at, uint64_t *word)
{
	int sig = sigsetjmp(escape, 1);

	if (!sig) {
		armed = 1;
		*word = *(const volatile uint64_t *)at;
	}
	armed = 0;
	return sig;
}

int faulting_store(long s, long page, long sector, long sectors, long value)
{
	int sig = sigsetjmp(escape, 1);

	if (!sig) {
		armed = 1;
		do_store(s, page, sector, sectors, value);
	}
	armed = 0;
	return sig;
}

static void look_at_sector(size_t s, const struct view *v, size_t page, size_t sector)
{
	const struct file_model *m = &sh->file[v->file];
	const size_t there = v->page + page;
	const char *at = slot[s].addr + page * PAGE + sector * SECTOR;
	const bool inside = (off_t)(there * PAGE) < m->size && there < MAX_PAGES;
	const bool sure = !sh->dead && !m->spoilt && !m->loose_size;

	for (size_t k = 0; k < SECTOR / 8; k += SECTOR / 8 - 1) {
		uint64_t seen, want;
		int sig = faulting_load(at + k * 8, &seen);

		if (sig == SIGSEGV || (sure && !sig != inside && !v->own[page]))
			bad("signal", "process %u mapping %zu page %zu: %s", me, s, page,
			    sig ? strsignal(sig) : "no SIGBUS behind the end of the file");
		if (sig || v->own[page] || sh->dead || m->spoilt || there >= MAX_PAGES)
			return;
		want = m->word[there * IN_PAGE + sector];
		if (want == LOOSE ? !allowed(seen) : seen != want)
			bad("data",
			    "process %u mapping %zu page %zu sector %zu is %#llx, not %#llx",
			    me, s, page, sector, (unsigned long long)seen,
			    (unsigned long long)want);
	}
}

/* Pages of a mapping of this process: the data of the model, or SIGBUS where it should be. */
void look(size_t s, size_t page, size_t pages)
{
	const struct view *v = &sh->view[me][s];

	for (size_t i = page; i < page + pages; i++)
		for (size_t k = 0; k < IN_PAGE && v->prot[i] < NOTHING; k++)
			look_at_sector(s, v, i, k);
}

void look_at_hot(void)
{
	for (size_t s = 0; s < SLOTS; s++) {
		const struct view *v = &sh->view[me][s];

		for (size_t i = 0; v->used && i < v->pages && v->page + i < MAX_PAGES; i++)
			if (sh->file[v->file].hot[v->page + i])
				look(s, i, 1);
	}
}

/* Flushes of the cache lines of a page are seen by a probe, in order. */
static int trace = -1;
static uint64_t first_block;

void flushes_set_up(void)
{
	const char *probe = "p:" PROBE " arch_wb_cache_pmem addr=%di:x64 size=%si:u64\n";
	int file = must(open(TRACING "/kprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC));

	check(write(file, probe, strlen(probe)) > 0, "no probe: %m");
	close(file);
	must(mkdir(BUFFER, 0700));
	set_text(BUFFER "/buffer_size_kb", "4096");
	set_text(BUFFER "/events/" PROBE "/enable", "1");
	trace = must(open(BUFFER "/trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

static uint64_t flushed_last;

static void flush_seen(const char *text, unsigned int when)
{
	const char *addr = strstr(text, " addr="), *size = strstr(text, " size=");
	uint64_t from, bytes;

	if (!addr || !size)
		return;
	from = strtoull(addr + 6, NULL, 0);
	bytes = strtoull(size + 6, NULL, 0);
	if (bytes == SECTOR)
		flushed_last = from;
	for (uint64_t at = from; at + PAGE <= from + bytes; at += PAGE) {
		uint64_t block = (at - first_block) / PAGE;

		if (first_block && at >= first_block && block < MAX_BLOCKS)
			sh->flushed[block] = when;
	}
}

void flushes_drain(unsigned int when)
{
	static char buf[8192];
	static size_t have;
	ssize_t n;

	while ((n = read(trace, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *line = buf, *end;

		buf[have + n] = '\0';
		while ((end = strchr(line, '\n'))) {
			*end = '\0';
			flush_seen(line, when);
			line = end + 1;
		}
		have = strlen(line);
		memmove(buf, line, have);
	}
}

/* Where the driver has the first block of the device, by a part of a page that fs/dax.c zeroes. */
void flushes_calibrate(void)
{
	const struct env e = { .dir = place.dir };
	int file = create_file(&e, "probe", 1, 1);

	first_block = 0;
	flushes_drain(0);
	flushed_last = 0;
	must(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SECTOR));
	flushes_drain(0);
	check(flushed_last, "a flush was not seen");
	first_block = flushed_last - file_block(file, 0) * PAGE;
	close(file);
	must(unlink(in_dir(&e, "probe")));
}

static uint64_t block_of(int f, size_t page)
{
	static struct {
		struct fiemap map;
		struct fiemap_extent extent[MAX_PAGES];
	} all;

	memset(&all.map, 0, sizeof(all.map));
	all.map.fm_start = page * PAGE;
	all.map.fm_length = PAGE;
	all.map.fm_extent_count = 1;
	must(ioctl(fd[f], FS_IOC_FIEMAP, &all));
	if (!all.map.fm_mapped_extents)
		return MAX_BLOCKS;
	return (all.extent[0].fe_physical + page * PAGE - all.extent[0].fe_logical) / PAGE;
}

void expect_flushed(int f, size_t page, size_t pages)
{
	struct file_model *m = &sh->file[f];

	flushes_drain(2 * now.number);
	for (size_t i = page; i < page + pages && i < MAX_PAGES; i++) {
		uint64_t block;

		if (!m->dirty[i])
			continue;
		block = block_of(f, i);
		if (block >= MAX_BLOCKS || sh->flushed[block] < m->dirty[i])
			bad("flush", "file %d page %zu was stored to and is not flushed", f, i);
		m->dirty[i] = 0;
	}
}

/*
 * What a pipe has is of this program, and what the file has if nothing moved. That is not asked
 * while an operation is at work, which may be done and not yet in the model.
 */
void drain_pipe(int q, bool at_rest)
{
	struct pipe_model old = sh->pipe[q];
	uint64_t buf[PAGE / 8];
	size_t at = 0;

	/* Who waits for one of these pages may go on from now on. */
	sh->pipe[q].used = 0;
	atomic_thread_fence(memory_order_seq_cst);
	for (; read(pipes[q][0], buf, PAGE) == (ssize_t)PAGE; at++) {
		const struct piece *p = at < old.used ? &old.piece[at] : NULL;

		for (size_t i = 0; i < PAGE / 8; i++) {
			uint64_t want = LOOSE;

			if (at_rest && p && p->sure && p->moves == sh->moves)
				want = sh->file[p->file].word[p->page * IN_PAGE + i * 8 / SECTOR];
			if (!allowed(buf[i]) || (want != LOOSE && buf[i] != want))
				bad("pipe", "pipe %d page %zu byte %zu is %#llx, not %#llx", q, at,
				    i * 8, (unsigned long long)buf[i],
				    (unsigned long long)want);
		}
	}
}

/* What the coordinator drained while an operation waited is not as that operation left it. */
void settle_pipes(void)
{
	for (int q = 0; q < PIPES; q++) {
		struct pipe_model *m = &sh->pipe[q];
		int bytes = 0;

		must(ioctl(pipes[q][0], FIONREAD, &bytes));
		if (m->used == bytes / PAGE)
			continue;
		m->used = bytes / PAGE < PIPE_PAGES ? bytes / PAGE : PIPE_PAGES;
		for (size_t i = 0; i < m->used; i++)
			m->piece[i] = (struct piece) { .file = -1 };
	}
}

/* Sure pins of blocks that go; asked before and after. */
size_t pinned(int f, size_t page, size_t pages)
{
	size_t n = 0;

	for (size_t q = 0; q < PIPES; q++)
		for (size_t i = 0; i < sh->pipe[q].used; i++) {
			const struct piece *p = &sh->pipe[q].piece[i];

			n += p->sure && p->file == f && p->moves == sh->moves && p->page >= page &&
			     p->page < page + pages;
		}
	return n;
}

/* Blocks of whole pages went: who had them in a pipe must not have any more. */
void expect_unpinned(size_t before, size_t after)
{
	if (before && after == before && !sh->shares && !sh->dead)
		bad("pin", "blocks went with %zu of their pages in pipes", before);
}
