// SPDX-License-Identifier: GPL-2.0
/* The device goes: its memmap stays as long as a page of it is in use. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

struct removal {
	char name[64];
	pid_t pid;
};

static int start(const struct env *e, char **map)
{
	int fd;

	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir), "the mount is not bound");
	fd = create_file(e, "f", N, 100);
	*map = map_file(fd, N, RW);
	for (size_t i = 0; i < N / 2; i++)
		fill_page(*map + i * PAGE, 200 + i);
	return fd;
}

static void unbind_start(const struct env *e, struct removal *r, char *map)
{
	device_name(e->dev, r->name, sizeof(r->name));
	r->pid = must(fork());
	if (!r->pid) {
		/* It must not hold what the test wants to let go. */
		close_range(3, ~0u, 0);
		munmap(map, N * PAGE);
		_exit(!device_unbind(r->name));
	}
}

static void unbind_ends(const struct env *e, struct removal *r)
{
	int status;

	must(waitpid(r->pid, &status, 0));
	check(!status, "the unbind failed");
	check(access(e->dev, F_OK), "%s is still there", e->dev);
}

/* The device again, empty, for the next case. */
static void bring_back(const struct env *e, struct removal *r)
{
	check(!module_unload(), "cannot unload the module: %m");
	check(device_bind(r->name), "cannot bind %s again: %m", r->name);
	while (access(e->dev, F_OK))
		usleep(10000);
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	must(umount(e->dir));
}

static void unbind_waits_for_mappings(const struct env *e)
{
	struct removal r;
	char *p, c;
	int fd = start(e, &p);

	unbind_start(e, &r, p);
	check(task_sleeps(r.pid, r.pid, NULL), "unbind did not wait for the mapping");
	/* What is mapped may go on or raise SIGBUS, but never oops. */
	if (!try_load(p, &c))
		check(c == (char)200, "mapped page");
	try_store(p + PAGE, 1);
	check(try_load(p + (N - 1) * PAGE, &c) == SIGBUS, "no SIGBUS from the dying device");
	check(try_store(p + (N - 2) * PAGE, 1) == SIGBUS, "no SIGBUS from the dying device");
	check(task_sleeps(r.pid, r.pid, NULL), "unbind ended under a mapping");
	must(munmap(p, N * PAGE));
	close(fd);
	must(umount(e->dir));
	unbind_ends(e, &r);
	bring_back(e, &r);
}

static void unbind_waits_for_pins(const struct env *e)
{
	struct removal r;
	struct pin pin;
	char *p, buf[PAGE];
	int fd = start(e, &p), status;
	pid_t umounter;

	pin_pages(&pin, p, 2);
	must(munmap(p, N * PAGE));
	close(fd);
	unbind_start(e, &r, p);
	check(task_sleeps(r.pid, r.pid, NULL), "unbind did not wait for the pin");
	umounter = must(fork());
	if (!umounter) {
		close(pin.rd);
		close(pin.wr);
		_exit(umount(e->dir) != 0);
	}
	check(task_sleeps(r.pid, r.pid, NULL), "unbind ended with a page in a pipe");
	for (size_t i = 0; i < 2; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 200 + i, "page of a dying device");
	}
	must(waitpid(umounter, &status, 0));
	check(!status, "umount failed");
	unbind_ends(e, &r);
	bring_back(e, &r);
}

static const struct test tests[] = {
	{ "R2 unbind waits for mappings and raises SIGBUS in new faults",
	  unbind_waits_for_mappings, BOUND_ONLY },
	{ "R2 unbind waits for pages in a pipe", unbind_waits_for_pins, BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(removal, tests);
