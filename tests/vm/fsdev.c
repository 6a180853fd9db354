// SPDX-License-Identifier: GPL-2.0
/*
 * A file system on DAX devices that the driver fsdev has, as famfs would be: what is stored, sizes,
 * breaks. Each case has two mounts side by side, one that the module serves and one that fs/dax.c
 * serves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debugfs.h"
#include "fsdev_side.h"
#include "huge.h"
#include "module.h"

/* What is stored through one mapping is seen through others, by read(2), and by the next mount. */
static void data_is_kept_on(struct side *s)
{
	char *small = map_file(s->fd, HUGE, RW), *large = map_file_huge(s->fd, PAGES, RW);
	char buf[PAGE];

	stamp(small, 0, 16, 100);
	stamp(large, HUGE, 3 * HUGE, 100);
	expect_huge(large + HUGE * PAGE, 2 * HUGE, "stores");
	if (s->bound)
		check_counts(&s->e, (struct counts) { .tracked = 16 },
			     (struct counts) { .tracked = 2 });
	expect_stamps(large, s->fd, 0, 16, 100, "stored by 4 KiB");
	expect_stamps(NULL, s->fd, HUGE, 3 * HUGE, 100, "stored by 2 MiB");
	fill_page(buf, 7);
	check(pwrite(s->fd, buf, PAGE, 3 * PAGE) == (ssize_t)PAGE, "write: %m");
	check_page(small + 3 * PAGE, 7, "written");

	flush_count_start();
	must(fsync(s->fd));
	check(flush_count_stop() == 16 + 2 * (long)HUGE, "fsync() flushes something else");
	flush_count_start();
	stamp(small, 5, 6, 100);
	must(fsync(s->fd));
	check(flush_count_stop() == 1, "the second fsync() flushes something else");

	must(munmap(small, HUGE * PAGE));
	must(munmap(large, PAGES * PAGE));
	umount_side(s);
	mount_side(s);
	check_file_page(s->fd, 3, 7, "next mount");
	expect_stamps(NULL, s->fd, HUGE, 3 * HUGE, 100, "next mount");
}

static void data_is_kept(const struct env *e)
{
	run_on_each(e, data_is_kept_on);
}

/* Stores are flushed by the umount too. */
static void umount_flushes_on(struct side *s)
{
	char *p = map_file(s->fd, 16, RW);

	stamp(p, 0, 16, 300);
	must(munmap(p, 16 * PAGE));
	flush_count_start();
	umount_side(s);
	check(flush_count_stop() == 16, "umount does not flush");
	mount_side(s);
	expect_stamps(NULL, s->fd, 0, 16, 300, "next mount");
}

static void umount_flushes(const struct env *e)
{
	run_on_each(e, umount_flushes_on);
}

/* D1 is there only where fs/dax.c serves the file. */
static void punch_keeps_dirty_on(struct side *s)
{
	char *p = map_file(s->fd, 16, RW);
	long flushed;

	must(fsync(s->fd));
	stamp(p, 0, 16, 500);
	must(do_op(OP_PUNCH, s->fd, 4, 1));
	flush_count_start();
	must(fsync(s->fd));
	flushed = flush_count_stop();
	check(flushed == (s->bound ? 15 : 0), "%ld pages flushed of 15", flushed);
	check_page(p + 4 * PAGE, 0, "punched");
	check_page(p + 5 * PAGE, 505, "beside what was punched");
	must(munmap(p, 16 * PAGE));
}

static void punch_keeps_dirty(const struct env *e)
{
	run_on_each(e, punch_keeps_dirty_on);
}

/* Sizes, as a file of its own would have them: what was cut off does not come back. */
static void sizes_on(struct side *s)
{
	char *p = map_file_huge(s->fd, 2 * HUGE, RW), buf[PAGE];

	stamp(p, 0, 2 * HUGE, 100);
	must(ftruncate(s->fd, 10 * PAGE + 100));
	check(try_load(p + 11 * PAGE, NULL) == SIGBUS, "a page is there behind the end");
	p[10 * PAGE + 200] = 1;
	must(ftruncate(s->fd, 20 * PAGE));
	check(!memcmp(p + 10 * PAGE, &(uint64_t) { 110 }, 8), "the last page is not kept");
	check(!p[10 * PAGE + 100] && !p[10 * PAGE + 200], "bytes behind the end come back");
	check_page(p + 15 * PAGE, 0, "cut off");
	/* A write far behind the end. */
	fill_page(buf, 9);
	check(pwrite(s->fd, buf, PAGE, 2 * HUGE * PAGE) == (ssize_t)PAGE, "write: %m");
	check_page(p + HUGE * PAGE, 0, "between the end and a write");
	check_file_page(s->fd, 2 * HUGE, 9, "behind the end");
	check(ftruncate(s->fd, (PAGES + 1) * PAGE) == -1 && errno == EFBIG,
	      "the file grows beyond size=");
	check(pwrite(s->fd, buf, PAGE, PAGES * PAGE) == -1 && errno == EFBIG,
	      "a write beyond size=");
	check(fallocate(s->fd, 0, 0, PAGE) == -1 && errno == EOPNOTSUPP, "blocks to allocate");
	must(ftruncate(s->fd, PAGES * PAGE));
	/* Parts of pages. */
	stamp(p, 0, 4, 100);
	must(fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 3 * PAGE));
	check(p[0] == 100 && !p[100], "the first part");
	check_page(p + PAGE, 0, "whole");
	check(!p[3 * PAGE] && p[3 * PAGE + 104] == 103, "the last part");
	must(munmap(p, 2 * HUGE * PAGE));
}

static void sizes(const struct env *e)
{
	signal(SIGXFSZ, SIG_IGN);
	run_on_each(e, sizes_on);
}

/* A punch and a truncate wait for a page in a pipe, which keeps what it has. */
static void breaks_wait_on(struct side *s)
{
	char *p = map_file_huge(s->fd, HUGE, RW), buf[PAGE];

	for (int i = 0; i < 2; i++) {
		struct job job = {
			.op = i ? OP_TRUNCATE : OP_PUNCH, .fd = s->fd, .first = 8, .pages = 8,
		};
		struct pin pin;

		stamp(p, 0, 16, 100);
		pin_pages(&pin, p + 9 * PAGE, 1);
		job_start(&job);
		check(job_sleeps(&job), "%s did not wait", op_name[job.op]);
		unpin_page(&pin, buf);
		check_page(buf, 109, "page in the pipe");
		job_succeeds(&job);
		close(pin.rd);
		close(pin.wr);
		must(ftruncate(s->fd, PAGES * PAGE));
		check_page(p + 7 * PAGE, 107, "in front of it");
		check_page(p + 9 * PAGE, 0, "freed");
	}
	must(munmap(p, HUGE * PAGE));
}

static void breaks_wait(const struct env *e)
{
	run_on_each(e, breaks_wait_on);
}

/* Neither module goes while a mount needs it. */
static void modules_stay(const struct env *e)
{
	struct side side[2];

	start_sides(e, side);
	check(module_unload() && errno == EAGAIN, "the module can be unloaded under a mount");
	check(system("rmmod onefile 2>/dev/null"), "the file system can be unloaded under a mount");
	umount_side(&side[0]);
	must_unload();
	umount_side(&side[1]);
}

/* Who maps bad memory is told. */
static void memory_fails_on(struct side *s)
{
	for (int i = 0; i < 2; i++) {
		pid_t child = must(fork());
		int status;

		if (!child) {
			char *p = i ? map_file_huge(s->fd, 4 * HUGE, RW) :
				  map_file(s->fd, HUGE, RW);

			stamp(p, i * 2 * HUGE, i * 2 * HUGE + HUGE, 100);
			madvise(p + (i * 2 * HUGE + 33) * PAGE, PAGE, MADV_HWPOISON);
			_exit(1);
		}
		must(waitpid(child, &status, 0));
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "no SIGBUS: status %#x",
		      status);
	}
}

static void memory_fails(const struct env *e)
{
	run_on_each(e, memory_fails_on);
}

static const struct test tests[] = {
	{ "R16 an fsdev device serves a file by 4 KiB and 2 MiB", data_is_kept, BOUND_ONLY },
	{ "R16 the umount of an fsdev device flushes", umount_flushes, BOUND_ONLY },
	{ "R9 a punch on an fsdev device keeps other pages dirty", punch_keeps_dirty, BOUND_ONLY },
	{ "R6 what is cut off on an fsdev device does not come back", sizes, BOUND_ONLY },
	{ "R6 a punch and a truncate on an fsdev device wait for a pin", breaks_wait, BOUND_ONLY },
	{ "R15 both modules stay while an fsdev device is mounted", modules_stay, BOUND_ONLY },
	{ "R13 memory of an fsdev device fails", memory_fails, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(fsdev, tests);
