// SPDX-License-Identifier: GPL-2.0
/* DAX devices (/dev/daxX.Y): whose pages are in use, and what happens when the driver goes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dax_device.h"
#include "lib.h"
#include "module.h"

#define PAGES	(4 * HUGE)
#define SIZE	(PAGES * PAGE)

/* Nobody uses a page that nobody maps: the driver goes at once, and what was stored is there. */
static void comes_and_goes(const struct env *e, const char *align)
{
	struct device d;
	struct job job;

	make_device(e, align, &d);
	for (int round = 0; round < 3; round++) {
		map_device(&d, SIZE);
		for (size_t i = 0; i < PAGES; i += 64) {
			if (round)
				check_page(d.map + i * PAGE, 100 + i + round - 1, "before");
			fill_page(d.map + i * PAGE, 100 + i + round);
		}
		unmap_device(&d);
	}
	job = unbind_start(&d);
	job_start(&job);
	job_succeeds(&job);
	must_unload();
}

static void comes_and_goes_4k(const struct env *e)
{
	comes_and_goes(e, "4096");
}

static void comes_and_goes_2m(const struct env *e)
{
	comes_and_goes(e, "2M");
}

/* The driver goes when the pin has gone, also if nobody maps the page any more. */
static void pin_is_waited_for(const struct env *e, const char *align, bool mapped)
{
	struct device d;
	struct job job;
	struct pin pin;
	char buf[PAGE];

	make_device(e, align, &d);
	map_device(&d, SIZE);
	for (size_t i = 0; i < PAGES; i += 64)
		fill_page(d.map + i * PAGE, 100 + i);
	pin_pages(&pin, d.map + 64 * PAGE, 1);
	if (!mapped)
		unmap_device(&d);
	job = unbind_start(&d);
	job_start(&job);
	check(job_sleeps(&job), "the driver went with a page in a pipe");
	if (mapped)
		check(try_load(d.map + 128 * PAGE, NULL) == SIGBUS,
		      "a page is there that has no device");
	unpin_page(&pin, buf);
	check_page(buf, 164, "page in the pipe");
	job_succeeds(&job);
	if (mapped)
		unmap_device(&d);
	must_unload();
}

static void pin_of_mapped_4k(const struct env *e)
{
	pin_is_waited_for(e, "4096", true);
}

static void pin_of_mapped_2m(const struct env *e)
{
	pin_is_waited_for(e, "2M", true);
}

static void pin_alone_4k(const struct env *e)
{
	pin_is_waited_for(e, "4096", false);
}

static void pin_alone_2m(const struct env *e)
{
	pin_is_waited_for(e, "2M", false);
}

/* A page that is pinned can be mapped again; one that another process maps stays its own. */
static void mapped_again(const struct env *e)
{
	struct device d, again;
	struct pin pin;
	char buf[PAGE];
	pid_t child;
	int status;

	make_device(e, "4096", &d);
	map_device(&d, SIZE);
	fill_page(d.map, 1);
	fill_page(d.map + PAGE, 2);
	child = must(fork());
	if (!child) {
		munmap(d.map, SIZE);
		_exit(0);
	}
	must(waitpid(child, &status, 0));
	check_page(d.map, 1, "after the munmap of the child");
	pin_pages(&pin, d.map + PAGE, 1);
	unmap_device(&d);
	memcpy(again.name, d.name, sizeof(d.name));
	map_device(&again, SIZE);
	check_page(again.map + PAGE, 2, "page in the pipe");
	fill_page(again.map + PAGE, 3);
	unpin_page(&pin, buf);
	check_page(buf, 3, "page in the pipe after a store");
	unmap_device(&again);
	unbind_device(&d);
	must_unload();
}

/* What is left of a mapping whose middle is gone, and one that moved, are as they were. */
static void mapped_in_pieces(const struct env *e)
{
	const size_t piece = HUGE * PAGE;
	struct device d;
	struct job job;
	char *moved;

	make_device(e, "2M", &d);
	map_device(&d, SIZE);
	for (size_t i = 0; i < PAGES; i += 64)
		fill_page(d.map + i * PAGE, 100 + i);
	must(munmap(d.map + piece, piece));
	moved = mremap(d.map + 2 * piece, piece, piece, MREMAP_MAYMOVE | MREMAP_FIXED,
		       d.map + piece);
	check(moved == d.map + piece, "mremap: %m");
	for (size_t i = 0; i < HUGE; i += 64) {
		check_page(d.map + i * PAGE, 100 + i, "before the hole");
		check_page(moved + i * PAGE, 100 + 2 * HUGE + i, "moved");
		check_page(d.map + (3 * HUGE + i) * PAGE, 100 + 3 * HUGE + i, "behind the hole");
	}
	must(munmap(d.map, 4 * piece));
	must(close(d.fd));
	job = unbind_start(&d);
	job_start(&job);
	job_succeeds(&job);
	must_unload();
}

/* A mapping outlives the driver, and the module. */
static void mapping_outlives_the_driver(const struct env *e)
{
	struct device d;

	make_device(e, "2M", &d);
	map_device(&d, SIZE);
	fill_page(d.map, 1);
	check(!unbind_device(&d), "unbind failed");
	check(try_load(d.map, NULL) == SIGBUS, "a page is there that has no device");
	must_unload();
	check(try_load(d.map, NULL) == SIGBUS, "a page is there that has no device");
	check(dax_bind(d.name, "device_dax"), "bind %s: %m", d.name);
	check_page(d.map, 1, "with the next driver, without the module");
	unmap_device(&d);
	map_device(&d, SIZE);
	check_page(d.map, 1, "in a mapping of that driver");
	unmap_device(&d);
	check(!unbind_device(&d), "unbind failed");
}

/* Whoever has it open when the driver goes and comes has it open, and nobody else is hurt. */
static void bound_while_open(const struct env *e)
{
	struct device d, again;

	make_device(e, "2M", &d);
	memcpy(again.name, d.name, sizeof(d.name));
	map_device(&d, SIZE);
	fill_page(d.map, 1);
	for (int round = 0; round < 2; round++) {
		check(!unbind_device(&d), "unbind failed");
		check(try_load(d.map, NULL) == SIGBUS, "a page is there that has no device");
		check(dax_bind(d.name, "device_dax"), "bind %s: %m", d.name);
		check_page(d.map, 1, "in the mapping of before");
		map_device(&again, SIZE);
		check_page(again.map, 1, "in a mapping of now");
		if (round)
			unmap_device(&d);
		unmap_device(&again);
	}
	map_device(&again, SIZE);
	check_page(again.map, 1, "when all that had it open are gone");
	unmap_device(&again);
	check(!unbind_device(&d), "unbind failed");
	must_unload();
}

/* Who maps a page that fails is told so, and nobody waits for it afterwards. */
static void memory_fails(const struct env *e, const char *align)
{
	struct device d;
	struct job job;
	pid_t child;
	int status;

	make_device(e, align, &d);
	for (int round = 0; round < 2; round++) {
		child = must(fork());
		if (!child) {
			map_device(&d, SIZE);
			for (size_t i = 0; i < PAGES; i += 64)
				fill_page(d.map + i * PAGE, 100 + i);
			madvise(d.map + (64 + round) * PAGE, PAGE, MADV_HWPOISON);
			_exit(1);
		}
		must(waitpid(child, &status, 0));
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "no SIGBUS: status %#x",
		      status);
	}
	job = unbind_start(&d);
	job_start(&job);
	job_succeeds(&job);
	must_unload();
}

static void memory_of_4k_fails(const struct env *e)
{
	memory_fails(e, "4096");
}

static void memory_of_2m_fails(const struct env *e)
{
	memory_fails(e, "2M");
}

#define MEMORY	"/sys/devices/system/memory/"

static long mem_total_kib(void)
{
	char buf[8192], *line;

	check(read_text("/proc/meminfo", buf, sizeof(buf)), "meminfo: %m");
	line = strstr(buf, "MemTotal:");
	check(line, "meminfo has no MemTotal");
	return atol(line + strlen("MemTotal:"));
}

static uint64_t address_of(const void *page)
{
	int fd = must(open("/proc/self/pagemap", O_RDONLY));
	uint64_t entry;

	check(pread(fd, &entry, sizeof(entry), (uintptr_t)page / PAGE * sizeof(entry)) ==
	      sizeof(entry), "pagemap: %m");
	close(fd);
	return (entry & (((uint64_t)1 << 55) - 1)) * PAGE;
}

/* A page that the kernel took from a range of memory, with a stamp. */
static char *page_from(uint64_t first, uint64_t end, uint64_t stamp)
{
	for (int tries = 0; tries < 50000; tries++) {
		char *p = must(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		uint64_t address;

		fill_page(p, stamp);
		address = address_of(p);
		if (address >= first && address < end)
			return p;
	}
	fail("the kernel does not use the memory");
}

/* Take what is whole blocks of the range from the kernel, which moves what it has there. */
static void set_offline(uint64_t first, uint64_t end)
{
	char path[64], buf[32];
	uint64_t size;

	check(read_text(MEMORY "block_size_bytes", buf, sizeof(buf)), "size of a block: %m");
	size = strtoull(buf, NULL, 16);
	for (uint64_t n = (first + size - 1) / size; n < end / size; n++) {
		snprintf(path, sizeof(path), MEMORY "memory%lu/state", (unsigned long)n);
		set_text(path, "offline");
	}
}

/* The kernel has it as memory for a while, with struct pages of its own, and gives it back. */
static void memory_of_the_kernel(const struct env *e)
{
	uint64_t first, end;
	struct device d;
	struct job job;
	struct pin pin;
	char *page;
	long kib;

	make_device(e, "2M", &d);
	map_device(&d, SIZE);
	for (size_t i = 0; i < PAGES; i += 64)
		fill_page(d.map + i * PAGE, 100 + i);
	unmap_device(&d);
	first = dax_address(d.name);
	end = first + dax_size(d.name);
	set_text(MEMORY "auto_online_blocks", "online_movable");
	kib = mem_total_kib();
	dax_give_to(d.name, "kmem");
	check(mem_total_kib() >= kib + (256 << 10), "%ld KiB are new", mem_total_kib() - kib);
	page = page_from(first, end, 7);

	set_offline(first, end);
	check_page(page, 7, "page that was moved");
	check(address_of(page) < first || address_of(page) >= end, "a page is still there");
	dax_take_from(d.name, "kmem");
	check(mem_total_kib() < kib + (64 << 10), "%ld KiB are left", mem_total_kib() - kib);

	check(dax_bind(d.name, "device_dax"), "bind %s: %m", d.name);
	map_device(&d, SIZE);
	for (size_t i = 0; i < PAGES; i += 64)
		fill_page(d.map + i * PAGE, 200 + i);
	pin_pages(&pin, d.map + 64 * PAGE, 1);
	unmap_device(&d);
	job = unbind_start(&d);
	job_start(&job);
	check(job_sleeps(&job), "the driver went with a page in a pipe");
	unpin_page(&pin, NULL);
	job_succeeds(&job);
	must_unload();
}

static const struct test tests[] = {
	{ "R19 a DAX device of 4 KiB pages comes and goes", comes_and_goes_4k, BOUND_ONLY },
	{ "R19 a DAX device of 2 MiB pages comes and goes", comes_and_goes_2m, BOUND_ONLY },
	{ "R14 the unbind of a DAX device waits for a pin, 4 KiB", pin_of_mapped_4k, BOUND_ONLY },
	{ "R14 the unbind of a DAX device waits for a pin, 2 MiB", pin_of_mapped_2m, BOUND_ONLY },
	{ "R14 the unbind of a DAX device waits for a pin of what nobody maps, 4 KiB", pin_alone_4k,
	  BOUND_ONLY },
	{ "R14 the unbind of a DAX device waits for a pin of what nobody maps, 2 MiB", pin_alone_2m,
	  BOUND_ONLY },
	{ "R7 a pinned page of a DAX device is mapped again", mapped_again, BOUND_ONLY },
	{ "R2 a DAX device is mapped in pieces", mapped_in_pieces, BOUND_ONLY },
	{ "R16 a mapping of a DAX device outlives driver and module", mapping_outlives_the_driver,
	  BOUND_ONLY },
	{ "D40 a DAX device that is open is bound once more", bound_while_open, BOUND_ONLY },
	{ "R13 memory of a DAX device fails, 4 KiB", memory_of_4k_fails, BOUND_ONLY },
	{ "R13 memory of a DAX device fails, 2 MiB", memory_of_2m_fails, BOUND_ONLY },
	{ "R16 a DAX device is memory of the kernel for a while", memory_of_the_kernel,
	  BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(devdax, tests);
