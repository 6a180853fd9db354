// SPDX-License-Identifier: GPL-2.0
/* Page contents, files, mappings, SIGBUS. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "job.h"

void fill_page(void *page, uint64_t stamp)
{
	uint64_t *w = page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		w[i] = stamp;
}

bool page_is(const void *page, uint64_t stamp)
{
	const uint64_t *w = page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] != stamp)
			return false;
	return true;
}

void check_page_at(const char *file, int line, const void *page,
		   uint64_t stamp, const char *what)
{
	const uint64_t *w = page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] != stamp)
			fail_at(file, line, "%s: word %zu is %#llx, not %#llx",
				what, i, (unsigned long long)w[i],
				(unsigned long long)stamp);
}

const char *in_dir(const struct env *e, const char *name)
{
	static __thread char path[8][256];
	static __thread unsigned int next;
	char *p = path[next++ % ARRAY_SIZE(path)];

	snprintf(p, sizeof(path[0]), "%s/%s", e->dir, name);
	return p;
}

int create_file(const struct env *e, const char *name, size_t pages,
		uint64_t stamp)
{
	int fd = must(open(in_dir(e, name), O_RDWR | O_CREAT | O_TRUNC, 0644));
	char buf[PAGE];

	for (size_t i = 0; i < pages; i++) {
		fill_page(buf, stamp + i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE,
		      "write to %s: %m", name);
	}
	must(fsync(fd));
	return fd;
}

void check_file_page(int fd, size_t index, uint64_t stamp, const char *what)
{
	char buf[PAGE];

	check(pread(fd, buf, PAGE, index * PAGE) == (ssize_t)PAGE,
	      "%s: read page %zu: %m", what, index);
	check_page(buf, stamp, what);
}

/*
 * What a fault maps besides its own page depends on where in 64 KiB of the address space it is, so
 * that each mapping has a place that does not change from run to run.
 */
static char *map_at_skew(int fd, size_t pages, size_t skew, int prot, int flags)
{
	const size_t align = 2 * MIB, size = pages * PAGE, room_size = size + 2 * align;
	char *room = mmap(NULL, room_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p, *end;

	check(room != MAP_FAILED, "mmap: %m");
	p = (char *)(((uintptr_t)room + align - 1) / align * align) + skew * PAGE;
	p = mmap(p, size, prot, flags | MAP_FIXED, fd, 0);
	check(p != MAP_FAILED, "mmap: %m");
	end = p + size;
	if (p > room)
		must(munmap(room, p - room));
	must(munmap(end, room + room_size - end));
	return p;
}

char *map_skewed(int fd, size_t pages, size_t skew, int prot, int flags)
{
	char *p = map_at_skew(fd, pages, skew, prot, flags);

	must(madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	return p;
}

char *map_file(int fd, size_t pages, int prot)
{
	return map_skewed(fd, pages, 0, prot, MAP_SHARED);
}

char *map_file_huge(int fd, size_t pages, int prot)
{
	char *p = map_at_skew(fd, pages, 0, prot, MAP_SHARED);

	must(madvise(p, pages * PAGE, MADV_HUGEPAGE));
	return p;
}

int create_pieces(const struct env *e, const char *name, size_t pieces)
{
	int fd = create_huge(e, name, 1), gaps = create_huge(e, "gaps", 1);
	char *piece = malloc(HUGE * PAGE);

	check(piece, "no memory");
	for (size_t i = 0; i < pieces; i++) {
		for (size_t k = 0; k < HUGE; k++)
			fill_page(piece + k * PAGE, 100 + i);
		must(do_op(OP_ALLOCATE, fd, i * HUGE, HUGE));
		must(do_op(OP_ALLOCATE, gaps, i * HUGE, HUGE));
		check(pwrite(fd, piece, HUGE * PAGE, i * HUGE * PAGE) == (ssize_t)(HUGE * PAGE),
		      "write: %m");
	}
	free(piece);
	must(fsync(fd));
	must(close(gaps));
	must(unlink(in_dir(e, "gaps")));
	return fd;
}

void *read_pieces(void *reader)
{
	struct piece_reader *r = reader;

	while (!r->stop) {
		must(madvise(r->map, r->pieces * HUGE * PAGE, MADV_DONTNEED));
		for (size_t i = r->pieces; i--;)
			r->failures += !!try_load(r->map + i * HUGE * PAGE, NULL);
		r->laps++;
	}
	return NULL;
}

off_t file_size(int fd)
{
	struct stat st;

	must(fstat(fd, &st));
	return st.st_size;
}

uint64_t file_block(int fd, size_t index)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} req = {
		.map = {
			.fm_start = index * PAGE,
			.fm_length = PAGE,
			.fm_extent_count = 1,
		},
	};

	must(ioctl(fd, FS_IOC_FIEMAP, &req));
	if (!req.map.fm_mapped_extents)
		return 0;
	return (req.extent.fe_physical + index * PAGE - req.extent.fe_logical) / PAGE;
}

void check_all_pages(int fd, uint64_t stamp, const char *what)
{
	static __thread char buf[1 << 18];
	size_t pages = file_size(fd) / PAGE;

	for (size_t i = 0; i < pages; ) {
		ssize_t n = pread(fd, buf, sizeof(buf), i * PAGE);

		check(n > 0 && n % PAGE == 0, "%s: read at page %zu: %m", what, i);
		for (char *p = buf; p < buf + n; p += PAGE, i++)
			check_page(p, stamp, what);
	}
}

static __thread sigjmp_buf bus_return;
static __thread volatile sig_atomic_t bus_armed;

static void on_sigbus(int sig)
{
	if (bus_armed)
		siglongjmp(bus_return, 1);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void arm_sigbus(void)
{
	struct sigaction sa = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };

	must(sigaction(SIGBUS, &sa, NULL));
}

int try_store(char *addr, char value)
{
	arm_sigbus();
	if (sigsetjmp(bus_return, 1)) {
		bus_armed = 0;
		return SIGBUS;
	}
	bus_armed = 1;
	*(volatile char *)addr = value;
	bus_armed = 0;
	return 0;
}

int try_load(const char *addr, char *value)
{
	char c;

	arm_sigbus();
	if (sigsetjmp(bus_return, 1)) {
		bus_armed = 0;
		return SIGBUS;
	}
	bus_armed = 1;
	c = *(const volatile char *)addr;
	bus_armed = 0;
	if (value)
		*value = c;
	return 0;
}

int open_loop_device(int file, bool read_only)
{
	struct loop_config config = { .fd = file };
	int control, n, fd;
	char path[32];

	config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
	control = must(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
	n = must(ioctl(control, LOOP_CTL_GET_FREE));
	snprintf(path, sizeof(path), "/dev/loop%d", n);
	fd = must(open(path, O_RDWR | O_CLOEXEC));
	must(ioctl(fd, LOOP_CONFIGURE, &config));
	n = must(open(path, (read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC));
	close(fd);
	close(control);
	return n;
}

/* A file of one extent. */
int create_whole(const struct env *e, const char *name, size_t pages, uint64_t stamp)
{
	int fd = create_file(e, name, 0, 0);
	char buf[PAGE];

	/* What was just freed may be given out again only now. */
	must(syncfs(fd));
	must(do_op(OP_ALLOCATE, fd, 0, pages));
	for (size_t i = 0; i < pages; i++) {
		fill_page(buf, stamp + i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
	}
	must(fsync(fd));
	for (size_t i = 1; i < pages; i++)
		check(file_block(fd, i) == file_block(fd, 0) + i,
		      "page %zu is in another extent", i);
	return fd;
}
