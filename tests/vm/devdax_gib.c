// SPDX-License-Identifier: GPL-2.0
/*
 * DAX devices of 1 GiB pages: whole ones are mapped, and nothing else; what is used is waited for.
 * The namespace has to have room for two of them, from a boundary of 1 GiB on.
 *
 * Who reads the page table of a process has a huge PUD split. So what is mapped is seen by what it
 * adds to RssFile, and by the number of faults.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus.h"
#include "dax_device.h"
#include "debugfs.h"
#include "lib.h"
#include "module.h"

#define GIB	((size_t)1 << 30)
#define GIB_KIB	((long)(GIB >> 10))
#define PUD	(GIB / PAGE)
#define STAMP	1000

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* Of 1 GiB: the ends of it, of a PMD, of what has struct pages of its own, and somewhere. */
static const size_t some[] = { 0, 1, 127, 128, HUGE - 1, HUGE, 300 * HUGE + 5, PUD - 1 };

static void fill(char *map, size_t stamp)
{
	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		fill_page(map + some[i] * PAGE, stamp + i);
}

static void expect(const char *map, size_t stamp, const char *what)
{
	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		check_page(map + some[i] * PAGE, stamp + i, what);
}

/* A load or a store of one page has @kib more mapped, by at most @faults. */
static void touch(char *page, bool store, long kib, long faults, const char *what)
{
	long rss = rss_file_kib(), n = minor_faults();

	if (store)
		*(volatile char *)page = *page;
	else
		(void)*(volatile char *)page;
	n = minor_faults() - n;
	rss = rss_file_kib() - rss;
	/* Text and libraries are files, too. */
	check(rss >= kib && rss < kib + 1024, "%s: %ld KiB more are mapped, not %ld", what, rss,
	      kib);
	check(n <= faults, "%s: %ld faults, not %ld", what, n, faults);
}

/* The device, mapped, of which the first 1 GiB was touched and stamped. */
static void start(const struct env *e, struct device *d, size_t size)
{
	make_device(e, "1G", d);
	map_device(d, size);
	touch(d->map + 5 * PAGE, true, GIB_KIB, 3, "first store");
	fill(d->map, STAMP);
}

/* Nobody uses it any more: the driver goes at once. */
static void end(struct device *d)
{
	struct job job = unbind_start(d);

	job_start(&job);
	job_succeeds(&job);
	must_unload();
}

static void comes_and_goes(const struct env *e)
{
	struct device d;

	make_device(e, "1G", &d);
	for (size_t round = 0; round < 3; round++) {
		map_device(&d, 2 * GIB);
		touch(d.map + 9 * PAGE, round != 1, GIB_KIB, 3, "first access");
		touch(d.map + 400 * HUGE * PAGE, false, 0, 1, "load of another page");
		touch(d.map + 11 * PAGE, true, 0, 3, "store to another page");
		touch(d.map + GIB + 7 * PAGE, round != 2, GIB_KIB, 3, "next GiB");
		if (round) {
			expect(d.map, STAMP + round - 1, "first GiB");
			expect(d.map + GIB, 2 * STAMP + round - 1, "second GiB");
		}
		fill(d.map, STAMP + round);
		fill(d.map + GIB, 2 * STAMP + round);
		unmap_device(&d);
	}
	end(&d);
}

/* A request and an end for each time that it was in use, however often it was mapped. */
static void in_use_once(const struct env *e)
{
	unsigned long pfn;
	struct device d;
	char *again;

	make_device(e, "1G", &d);
	pfn = dax_address(d.name) / PAGE;
	trace_start();
	for (int round = 0; round < 2; round++) {
		map_device(&d, GIB);
		fill(d.map, STAMP);
		again = must(mmap(NULL, GIB, PROT_READ, MAP_SHARED, d.fd, 0));
		expect(again, STAMP, "second mapping");
		unmap_device(&d);
		expect(again, STAMP, "what is left");
		check_traced(round, "free", "pfn=%#lx order=18", pfn);
		must(munmap(again, GIB));
	}
	trace_stop();
	check_traced(2, "request", "pfn=%#lx order=18", pfn);
	check_traced(2, "free", "pfn=%#lx order=18", pfn);
	end(&d);
}

static void wait_for(pid_t child)
{
	int status;

	must(waitpid(child, &status, 0));
	check(WIFEXITED(status) && !WEXITSTATUS(status), "a child failed: status %#x", status);
}

/* What fork() copies and what it leaves to faults, which a guard region decides. */
static void forked(const struct env *e, bool copied)
{
	int kmsg = kmsg_open();
	struct device d;
	pid_t child;

	start(e, &d, 2 * GIB);
	if (copied)
		must(madvise(d.map + GIB, PAGE, MADV_GUARD_INSTALL));
	for (size_t round = 0; round < 3; round++) {
		child = must(fork());
		if (!child) {
			expect(d.map, STAMP + round, "child");
			fill(d.map, STAMP + round + 1);
			if (round)
				munmap(d.map, 2 * GIB);
			_exit(0);
		}
		wait_for(child);
		expect(d.map, STAMP + round + 1, "parent");
	}
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	unmap_device(&d);
	end(&d);
}

static void fork_leaves_it(const struct env *e)
{
	forked(e, false);
}

static void fork_copies_page_tables(const struct env *e)
{
	forked(e, true);
}

/* Address space for @size bytes from a boundary of 1 GiB on, and @off bytes more. */
static char *room(size_t size, size_t off)
{
	char *p = mmap(NULL, size + 2 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	check(p != MAP_FAILED, "mmap: %m");
	return (char *)(((uintptr_t)p + GIB - 1) / GIB * GIB) + off;
}

static char *move(char *from, char *to)
{
	char *p = mremap(from, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	check(p == to, "mremap: %m");
	return p;
}

/* It is moved and stays mapped, and every reference is dropped when it goes. */
static void moved(const struct env *e)
{
	long before = rss_file_kib(), rss;
	int kmsg = kmsg_open();
	struct device d;

	start(e, &d, GIB);
	rss = rss_file_kib();
	for (int round = 0; round < 3; round++) {
		d.map = move(d.map, room(GIB, 0));
		check(rss_file_kib() == rss, "%ld KiB are mapped, not %ld", rss_file_kib(), rss);
		touch(d.map + 99 * PAGE, true, 0, 1, "moved");
		expect(d.map, STAMP, "moved");
	}
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	unmap_device(&d);
	check(rss_file_kib() < before + 1024, "%ld KiB are still mapped", rss_file_kib() - before);
	end(&d);
}

/* Where no huge PUD fits there is nothing, and it is there again when it is moved back. */
static void moved_to_where_it_does_not_fit(const struct env *e)
{
	int kmsg = kmsg_open();
	struct device d;

	start(e, &d, GIB);
	d.map = move(d.map, room(GIB, 2 * MIB));
	check(try_load(d.map, NULL) == SIGBUS, "a page of 1 GiB is mapped at %p", d.map);
	d.map = move(d.map, room(GIB, 0));
	expect(d.map, STAMP, "moved back");
	check(!kmsg_has(kmsg, "bad pud", NULL), "a bad pud");
	unmap_device(&d);
	end(&d);
}

static void mapped_in_pieces(const struct env *e)
{
	struct device d;
	char *p;

	start(e, &d, 2 * GIB);
	fill(d.map + GIB, 2 * STAMP);
	check(munmap(d.map + 2 * MIB, 2 * MIB) && errno == EINVAL, "a part of 1 GiB is unmapped");
	check(mprotect(d.map, 2 * MIB, PROT_READ) && errno == EINVAL, "a part is protected");
	must(munmap(d.map, GIB));
	expect(d.map + GIB, 2 * STAMP, "behind what was unmapped");
	must(mprotect(d.map + GIB, GIB, PROT_READ));
	expect(d.map + GIB, 2 * STAMP, "read only");
	p = must(mmap(d.map, GIB, RW, MAP_SHARED | MAP_FIXED, d.fd, 0));
	expect(p, STAMP, "mapped again");
	must(madvise(p, GIB, MADV_DONTNEED));
	expect(p, STAMP, "faulted again");
	unmap_device(&d);
	end(&d);
}

/* It stops where it has nothing but an inaccessible mapping, and then needs all of it. */
static void be_read(struct device *d)
{
	must(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	for (size_t round = 0; round < 3; round++) {
		/* The first time nothing has been mapped yet. */
		if (round)
			expect(d->map, STAMP + round - 1, "accessible");
		must(mprotect(d->map, GIB, PROT_NONE));
		raise(SIGSTOP);
		must(mprotect(d->map, GIB, RW));
		fill(d->map, STAMP + round);
	}
	_exit(0);
}

/* A debugger reads there: it is told that it cannot, and nothing is in the way afterwards. */
static void inaccessible(const struct env *e)
{
	struct device d;
	int status;
	pid_t child;

	start(e, &d, GIB);
	child = must(fork());
	if (!child)
		be_read(&d);
	for (int round = 0; round < 3; round++) {
		must(waitpid(child, &status, 0));
		check(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "the child ended: %#x",
		      status);
		errno = 0;
		check(ptrace(PTRACE_PEEKDATA, child, d.map + 128 * PAGE, NULL) == -1 && errno,
		      "a debugger reads what no page table has");
		must(ptrace(PTRACE_CONT, child, NULL, NULL));
	}
	wait_for(child);
	expect(d.map, STAMP + 2, "parent");
	unmap_device(&d);
	end(&d);
}

/* The driver goes when the pin has gone, also if nobody maps the page any more. */
static void pin_is_waited_for(const struct env *e, bool mapped)
{
	struct device d;
	struct job job;
	struct pin pin;
	char buf[PAGE];

	start(e, &d, GIB);
	pin_pages(&pin, d.map + some[6] * PAGE, 1);
	if (!mapped)
		unmap_device(&d);
	job = unbind_start(&d);
	job_start(&job);
	check(job_sleeps(&job), "the driver went with a page in a pipe");
	if (mapped)
		check(try_load(d.map + 128 * PAGE, NULL) == SIGBUS,
		      "a page is there that has no device");
	unpin_page(&pin, buf);
	check_page(buf, STAMP + 6, "page in the pipe");
	job_succeeds(&job);
	if (mapped)
		unmap_device(&d);
	must_unload();
}

static void pin_of_mapped(const struct env *e)
{
	pin_is_waited_for(e, true);
}

static void pin_alone(const struct env *e)
{
	pin_is_waited_for(e, false);
}

/* What is pinned by a page of it can be mapped again. */
static void mapped_again(const struct env *e)
{
	struct device d;
	struct pin pin;
	char buf[PAGE];

	start(e, &d, GIB);
	pin_pages(&pin, d.map + 300 * HUGE * PAGE + 5 * PAGE, 1);
	unmap_device(&d);
	map_device(&d, GIB);
	expect(d.map, STAMP, "mapped again");
	fill(d.map, STAMP + 50);
	unpin_page(&pin, buf);
	check_page(buf, STAMP + 56, "page in the pipe after a store");
	unmap_device(&d);
	end(&d);
}

/* A mapping outlives the driver, and the module; the next one finds what was stored. */
static void mapping_outlives_the_driver(const struct env *e)
{
	struct device d;

	start(e, &d, 2 * GIB);
	check(!unbind_device(&d), "unbind failed");
	check(try_load(d.map, NULL) == SIGBUS, "a page is there that has no device");
	must_unload();
	check(try_load(d.map + GIB, NULL) == SIGBUS, "a page is there that has no device");
	unmap_device(&d);
	/* Not before, see D40. */
	check(dax_bind(d.name, "device_dax"), "bind %s: %m", d.name);
	map_device(&d, GIB);
	expect(d.map, STAMP, "with the next driver, without the module");
	unmap_device(&d);
	check(!unbind_device(&d), "unbind failed");
}

/* All of it is lost to who maps it, but one page is bad, also where struct pages are shared. */
static void one_page_fails(const struct env *e)
{
	struct device d;
	char *bad;

	start(e, &d, GIB);
	listen_for_bus();
	for (int round = 1; round <= 2; round++) {
		bad = d.map + (size_t)(round * 50 * HUGE + 77) * PAGE;
		must(madvise(bad, PAGE, MADV_HWPOISON));
		expect_bus(BUS_MCEERR_AR, bad, GIB_LSB, "page of 1 GiB");
		expect(d.map, STAMP, "beside the bad page");
	}
	unmap_device(&d);
	end(&d);
}

/* The first byte of a mapping has to be the first one of a page of the device. */
static void wrong_offset(const struct env *e)
{
	static const off_t offsets[] = { PAGE, 2 * MIB, GIB / 2 + PAGE, GIB - PAGE };
	struct device d;

	start(e, &d, GIB);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		check(mmap(room(GIB, 0), GIB, RW, MAP_SHARED | MAP_FIXED, d.fd, offsets[i]) ==
		      MAP_FAILED && errno == EINVAL, "a mapping at %#jx: %m",
		      (intmax_t)offsets[i]);
	expect(d.map, STAMP, "beside it");
	unmap_device(&d);
	end(&d);
}

/* The same for a device that its driver serves. */
#define BY_DRIVER(run) \
	static void run##_by_driver(const struct env *e) \
	{ \
		struct env own = *e; \
	\
		own.bound = false; \
		run(&own); \
	}

BY_DRIVER(comes_and_goes)
BY_DRIVER(fork_leaves_it)
BY_DRIVER(fork_copies_page_tables)
BY_DRIVER(moved)
BY_DRIVER(moved_to_where_it_does_not_fit)
BY_DRIVER(mapped_in_pieces)
BY_DRIVER(inaccessible)
BY_DRIVER(mapped_again)
BY_DRIVER(mapping_outlives_the_driver)
BY_DRIVER(one_page_fails)
BY_DRIVER(wrong_offset)

static const struct test tests[] = {
	{ "R20 a DAX device of 1 GiB pages comes and goes", comes_and_goes, BOUND_ONLY },
	{ "R20, R2 1 GiB of a DAX device is one folio", in_use_once, BOUND_ONLY },
	{ "R20 fork() with 1 GiB of a DAX device", fork_leaves_it, BOUND_ONLY },
	{ "R20 fork() with 1 GiB of a DAX device and a guard region", fork_copies_page_tables,
	  BOUND_ONLY },
	{ "R20 mremap() of 1 GiB of a DAX device", moved, BOUND_ONLY },
	{ "R20 mremap() of 1 GiB of a DAX device to where it does not fit",
	  moved_to_where_it_does_not_fit, BOUND_ONLY },
	{ "R20 1 GiB of a DAX device is mapped as a whole", mapped_in_pieces, BOUND_ONLY },
	{ "R20 a mapping of 1 GiB of a DAX device is inaccessible", inaccessible, BOUND_ONLY },
	{ "R20 a mapping of a DAX device begins at 1 GiB", wrong_offset, BOUND_ONLY },
	{ "D50 a mapping of a DAX device begins at 1 GiB, served by the driver",
	  wrong_offset_by_driver, BOUND_ONLY },
	{ "R20, R14 the unbind of a DAX device waits for a pin, 1 GiB", pin_of_mapped,
	  BOUND_ONLY },
	{ "R20, R14 the unbind of a DAX device waits for a pin of what nobody maps, 1 GiB",
	  pin_alone, BOUND_ONLY },
	{ "R20, R7 1 GiB of a DAX device that is pinned is mapped again", mapped_again,
	  BOUND_ONLY },
	{ "R20, R16 a mapping of 1 GiB of a DAX device outlives driver and module",
	  mapping_outlives_the_driver, BOUND_ONLY },
	{ "R20, R13 a page of 1 GiB of a DAX device fails", one_page_fails, BOUND_ONLY },
	{ "R16 1 GiB pages that the driver serves come and go",
	  comes_and_goes_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves: fork()", fork_leaves_it_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves: fork() and a guard region (D47)",
	  fork_copies_page_tables_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves: mremap() (D45)", moved_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves: mremap() to where they do not fit",
	  moved_to_where_it_does_not_fit_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves are mapped as a whole",
	  mapped_in_pieces_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves are inaccessible",
	  inaccessible_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves, pinned, are mapped again",
	  mapped_again_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves: the driver goes",
	  mapping_outlives_the_driver_by_driver, EVERYWHERE },
	{ "R16 1 GiB pages that the driver serves: one page fails",
	  one_page_fails_by_driver, EVERYWHERE },
	{ }
};

GROUP_UNMOUNTED(devdax_gib, tests);
