// SPDX-License-Identifier: GPL-2.0
/* Files that know what of them a power failure must leave: see pf_file.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch.h"
#include "lib.h"
#include "medium.h"
#include "pf_file.h"

#define RW	(PROT_READ | PROT_WRITE)

static uint64_t last_stamp;

static char *map_sync(int fd)
{
	char *p = mmap(NULL, PF_MOST * PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

	check(p != MAP_FAILED, "mmap MAP_SYNC: %m");
	must(madvise(p, PF_MOST * PAGE, MADV_NOHUGEPAGE));
	return p;
}

void pf_open(struct pf_file *f, const struct env *e, const char *name, size_t huge)
{
	check(medium_watched(), "the guest does not run under the plugin: see scripts/vm --medium");
	memset(f, 0, sizeof(*f));
	/* Blocks of earlier cases must not have the right data by chance. */
	if (!last_stamp)
		last_stamp = (uint64_t)getpid() << 32;
	f->e = e;
	f->name = name;
	if (huge) {
		f->fd = create_huge(e, name, huge);
		f->map = map_file_huge(f->fd, PF_MOST, RW);
	} else {
		f->fd = create_file(e, name, 0, 0);
		f->map = map_file(f->fd, PF_MOST, RW);
	}
	f->pages = huge * HUGE;
	f->sync_map = map_sync(f->fd);
}

static void close_file(struct pf_file *f)
{
	printf("# %s: %zu times synced, %zu power failures; %zu lines unflushed, %zu pages lost\n",
	       f->name, f->syncs, f->failures, f->unflushed, f->lost);
	must(munmap(f->map, PF_MOST * PAGE));
	must(munmap(f->sync_map, PF_MOST * PAGE));
	close(f->fd);
}

/* The range has other data or none from now on, and nobody asked to keep it. */
static void changed(struct pf_file *f, size_t first, size_t pages)
{
	for (size_t i = first; i < first + pages && i < PF_MOST; i++)
		f->durable[i] = false;
}

static void zeroed(struct pf_file *f, size_t first, size_t pages)
{
	changed(f, first, pages);
	for (size_t i = first; i < first + pages && i < PF_MOST; i++)
		f->stamp[i] = 0;
}

void pf_store(struct pf_file *f, size_t first, size_t pages)
{
	changed(f, first, pages);
	for (size_t i = first; i < first + pages; i++) {
		f->stamp[i] = ++last_stamp;
		fill_page(f->map + i * PAGE, f->stamp[i]);
	}
}

void pf_store_sync(struct pf_file *f, size_t i)
{
	changed(f, i, 1);
	f->stamp[i] = ++last_stamp;
	fill_page(f->sync_map + i * PAGE, f->stamp[i]);
}

void pf_store_and_flush(struct pf_file *f, size_t i)
{
	char *page = f->sync_map + i * PAGE;

	pf_store_sync(f, i);
	for (char *line = page; line < page + PAGE; line += 64)
		clean_line(line);
	lines_written();
	f->durable[i] = true;
}

void pf_store_same(struct pf_file *f, size_t i)
{
	*(volatile uint64_t *)(f->map + i * PAGE) = f->stamp[i];
}

void pf_store_same_and_flush(struct pf_file *f, size_t i)
{
	char *line = f->sync_map + i * PAGE;

	*(volatile uint64_t *)line = f->stamp[i];
	clean_line(line);
	lines_written();
}

void pf_write_same(struct pf_file *f, size_t i)
{
	check(pwrite(f->fd, &f->stamp[i], sizeof(f->stamp[i]), i * PAGE + 1024) ==
	      sizeof(f->stamp[i]), "write: %m");
}

void pf_write_page(struct pf_file *f, size_t i)
{
	char buf[PAGE];

	changed(f, i, 1);
	f->stamp[i] = ++last_stamp;
	fill_page(buf, f->stamp[i]);
	check(pwrite(f->fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
}

void pf_set_size(struct pf_file *f, size_t pages)
{
	must(ftruncate(f->fd, pages * PAGE));
	zeroed(f, pages, PF_MOST - pages);
	f->pages = pages;
	f->durable_size = false;
}

void pf_punch(struct pf_file *f, size_t first, size_t pages)
{
	must(do_op(OP_PUNCH, f->fd, first, pages));
	zeroed(f, first, pages);
}

void pf_zero(struct pf_file *f, size_t first, size_t pages)
{
	must(do_op(OP_ZERO, f->fd, first, pages));
	zeroed(f, first, pages);
}

void pf_collapsed(struct pf_file *f, size_t first, size_t pages)
{
	memmove(&f->stamp[first], &f->stamp[first + pages],
		(PF_MOST - first - pages) * sizeof(f->stamp[0]));
	zeroed(f, PF_MOST - pages, pages);
	changed(f, first, PF_MOST - first);
	f->pages -= pages;
	f->durable_size = false;
}

void pf_collapse(struct pf_file *f, size_t first, size_t pages)
{
	must(do_op(OP_COLLAPSE, f->fd, first, pages));
	pf_collapsed(f, first, pages);
}

void pf_insert(struct pf_file *f, size_t first, size_t pages)
{
	must(do_op(OP_INSERT, f->fd, first, pages));
	memmove(&f->stamp[first + pages], &f->stamp[first],
		(PF_MOST - first - pages) * sizeof(f->stamp[0]));
	zeroed(f, first, pages);
	changed(f, first, PF_MOST - first);
	f->pages += pages;
	f->durable_size = false;
}

void pf_cloned(struct pf_file *f)
{
	/* What a larger one has behind stays. */
	memcpy(f->clone->stamp, f->stamp, f->pages * sizeof(f->stamp[0]));
	changed(f->clone, 0, f->pages);
	if (f->clone->pages < f->pages) {
		f->clone->pages = f->pages;
		f->clone->durable_size = false;
	}
}

/* fs/dax.c must lose what it is known to lose, or the checks see nothing. */
static bool may_lose(const struct pf_file *f)
{
	return f->defect && !f->e->bound;
}

void pf_sync(struct pf_file *f)
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

void pf_sync_range(struct pf_file *f, size_t first, size_t pages)
{
	must(msync(f->map + first * PAGE, pages * PAGE, MS_SYNC));
	f->syncs++;
	for (size_t i = first; i < first + pages; i++)
		f->durable[i] = true;
}

static void look_at(struct pf_file *f, const char *dir)
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

void pf_power_failure(struct pf_file *f)
{
	const char *dir = medium_after_power_failure(f->e);

	for (; f; f = f->clone)
		look_at(f, dir);
	medium_unmount();
}

void pf_expect(struct pf_file *f)
{
	if (may_lose(f)) {
		printf("# fs/dax.c loses data: %s\n", f->defect);
		check(f->lost, "%s: fs/dax.c lost nothing: does this check see anything?",
		      f->defect);
	}
	for (; f; f = f->clone)
		close_file(f);
}

void pf_dirty(struct pf_file *f, const struct env *e, const char *name, size_t pages)
{
	pf_open(f, e, name, 0);
	pf_set_size(f, pages);
	pf_store(f, 0, pages);
	pf_sync(f);
	pf_store(f, 0, pages);
}
