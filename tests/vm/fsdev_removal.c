// SPDX-License-Identifier: GPL-2.0
/* The driver fsdev goes under a file system: with a mapping, a pin, an umount, under load. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsdev_side.h"
#include "huge.h"
#include "module.h"

static int unbind(void *name)
{
	return dax_unbind(name, DRIVER) ? 0 : -1;
}

static struct job unbind_job(struct side *s)
{
	return (struct job) { .op = OP_CALL, .call = unbind, .arg = s->name };
}

static void check_sigbus(char *p, const char *what)
{
	check(try_load(p, NULL) == SIGBUS, "%s: no SIGBUS in a load", what);
	check(try_store(p, 1) == SIGBUS, "%s: no SIGBUS in a store", what);
}

/* The driver goes under a mapping, and comes back with what was synced. */
static void unbind_mapped_on(struct side *s)
{
	char *small = map_file(s->fd, 16, RW), *large = map_file_huge(s->fd, PAGES, RW), c;

	stamp(small, 0, 16, 100);
	stamp(large, HUGE, 2 * HUGE, 100);
	must(fsync(s->fd));
	check(dax_unbind(s->name, DRIVER), "unbind: %m");
	for (size_t i = 0; i < 32; i++)
		check_sigbus(small + i % 16 * PAGE, "4 KiB");
	check_sigbus(large + HUGE * PAGE, "2 MiB");
	check_sigbus(large + 4 * HUGE * PAGE, "not touched before");
	check(pread(s->fd, &c, 1, 0) == -1 && errno == EIO, "read(2) of a device that is gone");
	check(pwrite(s->fd, &c, 1, 0) == -1 && errno == EIO, "write(2) to one");
	check(do_op(OP_PUNCH, s->fd, 0, 1) && errno == EIO, "a punch of one");
	must(munmap(small, 16 * PAGE));
	must(munmap(large, PAGES * PAGE));
	umount_side(s);
	check(dax_bind(s->name, DRIVER), "bind: %m");
	mount_side(s);
	expect_stamps(NULL, s->fd, 0, 16, 100, "synced before the removal");
	expect_stamps(NULL, s->fd, HUGE, 2 * HUGE, 100, "synced before the removal");
}

static void unbind_mapped(const struct env *e)
{
	run_on_each(e, unbind_mapped_on);
}

/* It waits for a pin alone; the mapping is gone at once. */
static void unbind_pinned_on(struct side *s)
{
	char *p = map_file_huge(s->fd, HUGE, RW), buf[PAGE];
	struct job job = unbind_job(s);
	struct pin pin;

	stamp(p, 0, HUGE, 100);
	pin_pages(&pin, p + 9 * PAGE, 2);
	job_start(&job);
	check(job_sleeps(&job), "the driver went with a page in a pipe");
	check_sigbus(p, "while the removal waits");
	check_sigbus(p + 9 * PAGE, "the page in the pipe");
	unpin_page(&pin, buf);
	check_page(buf, 109, "first page in the pipe");
	check(job_sleeps(&job), "the driver went with one more page in a pipe");
	unpin_page(&pin, buf);
	check_page(buf, 110, "second page in the pipe");
	job_succeeds(&job);
	close(pin.rd);
	close(pin.wr);
	must(munmap(p, HUGE * PAGE));
	umount_side(s);
	check(dax_bind(s->name, DRIVER), "bind: %m");
	mount_side(s);
}

static void unbind_pinned(const struct env *e)
{
	run_on_each(e, unbind_pinned_on);
}

static int umount_file(void *path)
{
	return umount(path);
}

/* The same when the file system goes first, and waits for the pin itself. */
static void unbind_beside_umount_on(struct side *s)
{
	char *p = map_file(s->fd, 16, RW), buf[PAGE];
	struct job leave = { .op = OP_CALL, .call = umount_file, .arg = s->path };
	struct job remove = unbind_job(s);
	struct pin pin;

	stamp(p, 0, 16, 100);
	pin_pages(&pin, p, 1);
	must(munmap(p, 16 * PAGE));
	must(close(s->fd));
	job_start(&leave);
	check(job_sleeps(&leave), "the umount did not wait for a page in a pipe");
	job_start(&remove);
	/* It looks again now and then whether the umount still has the superblock locked. */
	job_until_asleep(&remove);
	check(!remove.done && !leave.done, "a page in a pipe was not waited for");
	unpin_page(&pin, buf);
	check_page(buf, 100, "page in the pipe");
	job_succeeds(&leave);
	job_succeeds(&remove);
	close(pin.rd);
	close(pin.wr);
	check(dax_bind(s->name, DRIVER), "bind: %m");
	mount_side(s);
}

static void unbind_beside_umount(const struct env *e)
{
	run_on_each(e, unbind_beside_umount_on);
}

/*
 * A removal does not wait for the umount of another device, which waits for a pin, nor for its
 * removal, which waits for the same.
 */
static void unbind_beside_another(const struct env *e)
{
	struct side side[2];
	struct job leave, follow, remove;
	struct pin pin;
	char *p, *q;

	must_load(e);
	for (int i = 0; i < 2; i++) {
		prepare_side(i ? e->other : e->dev, true, &side[i]);
		mount_side(&side[i]);
	}
	p = map_file(side[1].fd, 1, RW);
	fill_page(p, 1);
	pin_pages(&pin, p, 1);
	must(munmap(p, PAGE));
	must(close(side[1].fd));
	leave = (struct job) { .op = OP_CALL, .call = umount_file, .arg = side[1].path };
	job_start(&leave);
	check(job_sleeps(&leave), "the umount did not wait for a page in a pipe");
	follow = unbind_job(&side[1]);
	job_start(&follow);
	job_until_asleep(&follow);
	q = map_file(side[0].fd, 1, RW);
	fill_page(q, 2);
	remove = unbind_job(&side[0]);
	job_start(&remove);
	job_succeeds(&remove);
	check_sigbus(q, "removed");
	must(munmap(q, PAGE));
	check(!leave.done && !follow.done, "a page in a pipe was not waited for");
	unpin_page(&pin, NULL);
	job_succeeds(&leave);
	job_succeeds(&follow);
	for (int i = 0; i < 2; i++)
		check(dax_bind(side[i].name, DRIVER), "bind: %m");
	umount_side(&side[0]);
	must_unload();
}

/* The device has come back and another mount has it, while the old one is still there. */
static void mounted_again_on(struct side *s)
{
	struct side again = *s;
	char *p = map_file_huge(s->fd, HUGE, RW), *q;

	stamp(p, 0, HUGE, 100);
	must(fsync(s->fd));
	stamp(p, 0, 16, 200);
	check(dax_unbind(s->name, DRIVER), "unbind: %m");
	check(dax_bind(s->name, DRIVER), "bind: %m");
	snprintf(again.path, sizeof(again.path), "/tmp/%s-again", s->name);
	again.e.dir = again.path;
	mount_side(&again);
	q = map_file(again.fd, HUGE, RW);
	stamp(q, 0, HUGE, 300);
	check_sigbus(p, "of the old mount");
	check(pread(s->fd, q, PAGE, 0) == -1 && errno == EIO, "read(2) of the old mount");
	check(do_op(OP_PUNCH, s->fd, 0, 4) && errno == EIO, "a punch of the old mount");
	fsync(s->fd);
	must(munmap(p, HUGE * PAGE));
	umount_side(s);
	expect_stamps(q, again.fd, 0, HUGE, 300, "the new mount, after the umount of the old one");
	flush_count_start();
	must(fsync(again.fd));
	check(flush_count_stop() == (long)HUGE, "the new mount lost dirty pages");
	must(munmap(q, HUGE * PAGE));
	umount_side(&again);
	mount_side(s);
	expect_stamps(NULL, s->fd, 0, HUGE, 300, "after all");
}

static void mounted_again(const struct env *e)
{
	run_on_each(e, mounted_again_on);
}

/* What goes on while the driver goes: processes, which may die of SIGBUS. */
static void keep_storing(struct side *s)
{
	char *p = map_file_huge(s->fd, PAGES, RW);

	for (size_t i = 0;; i = (i + 37) % PAGES)
		p[i * PAGE] = 1;
}

static void keep_pinning(struct side *s)
{
	char *p = map_file(s->fd, PAGES, RW);
	struct pin pin;

	for (size_t i = 0;; i = (i + 31) % PAGES) {
		pin_pages(&pin, p + i * PAGE, 1);
		unpin_all(&pin);
		close(pin.rd);
		close(pin.wr);
	}
}

static void keep_changing(struct side *s)
{
	for (size_t i = 0;; i = (i + 1) % 64)
		if (do_op(OP_PUNCH, s->fd, i, 4) || ftruncate(s->fd, (HUGE + i) * PAGE) ||
		    ftruncate(s->fd, PAGES * PAGE) || (i % 8 == 0 && fsync(s->fd)))
			_exit(0);
}

static void keep_writing(struct side *s)
{
	char buf[PAGE] = { 1 };

	for (size_t i = 0;; i = (i + 3) % PAGES)
		if (pwrite(s->fd, buf, PAGE, i * PAGE) < 0 || pread(s->fd, buf, PAGE, i * PAGE) < 0)
			_exit(0);
}

static void under_load_on(struct side *s)
{
	static void (*const busy[])(struct side *) = {
		keep_storing, keep_pinning, keep_changing, keep_writing,
	};

	for (int round = 0; round < 6; round++) {
		pid_t pid[ARRAY_SIZE(busy)];

		for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
			pid[i] = must(fork());
			if (!pid[i]) {
				busy[i](s);
				_exit(0);
			}
		}
		usleep(50000 << round % 3);
		/* Lazily, so that the last process that dies evicts the file. */
		if (round % 2)
			must(umount2(s->path, MNT_DETACH));
		check(dax_unbind(s->name, DRIVER), "unbind: %m");
		for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
			kill(pid[i], SIGKILL);
			must(waitpid(pid[i], NULL, 0));
		}
		must(close(s->fd));
		if (!(round % 2))
			must(umount(s->path));
		check(dax_bind(s->name, DRIVER), "bind: %m");
		mount_side(s);
	}
}

static void under_load(const struct env *e)
{
	run_on_each(e, under_load_on);
}

static const struct test tests[] = {
	{ "R14 fsdev goes under a mapping", unbind_mapped, BOUND_ONLY },
	{ "R14 fsdev waits for a pin when it goes", unbind_pinned, BOUND_ONLY },
	{ "R14 fsdev goes beside an umount that waits for a pin", unbind_beside_umount,
	  BOUND_ONLY },
	{ "R22 fsdev goes beside the umount of another device", unbind_beside_another,
	  BOUND_ONLY },
	{ "R14 an fsdev device is mounted again beside its old mount", mounted_again,
	  BOUND_ONLY | RACES },
	{ "R14 fsdev goes under load", under_load, BOUND_ONLY | RACES },
	{ }
};

GROUP_UNMOUNTED(fsdev_removal, tests);
