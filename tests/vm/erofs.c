// SPDX-License-Identifier: GPL-2.0
/*
 * erofs: files that share chunks map one page from two inodes, and nothing
 * says that it is shared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)256)
#define TREE	"/tmp/erofs-tree"
#define IMAGE	"/tmp/erofs.img"

/* Pages of b: every fourth is its own, the others are those of a. */
static uint64_t stamp_of(int file, size_t i)
{
	return file && i % 4 == 3 ? 5000 + i : 100 + i;
}

static void make_image(const struct env *e)
{
	char buf[PAGE], cmd[256];

	system("rm -rf " TREE);
	must(mkdir(TREE, 0755));
	for (int k = 0; k < 2; k++) {
		int fd = must(open(k ? TREE "/b" : TREE "/a", O_RDWR | O_CREAT | O_TRUNC, 0644));

		for (size_t i = 0; i < N; i++) {
			fill_page(buf, stamp_of(k, i));
			check(write(fd, buf, PAGE) == (ssize_t)PAGE, "write: %m");
		}
		close(fd);
	}
	unlink(IMAGE);
	check(!system("mkfs.erofs --quiet --chunksize=4096 " IMAGE " " TREE),
	      "no mkfs.erofs that makes chunks");
	snprintf(cmd, sizeof(cmd), "dd if=%s of=%s bs=1M conv=fsync status=none", IMAGE, e->dev);
	check(!system(cmd), "cannot copy the image");
}

static void mount_image(const struct env *e)
{
	mkdir(e->dir, 0755);
	check(!mount(e->dev, e->dir, "erofs", MS_RDONLY, "dax=always"), "mount: %m");
}

static void look(const char *p, int fd, int file, const char *what)
{
	for (size_t i = 0; i < N; i++) {
		check_page(p + i * PAGE, stamp_of(file, i), what);
		check_file_page(fd, i, stamp_of(file, i), what);
	}
}

static void shared_chunks(const struct env *e)
{
	int kmsg = kmsg_open();
	char buf[PAGE];

	if (e->ko)
		check(!module_load(e->ko), "cannot load the module: %m");
	make_image(e);
	mount_image(e);
	if (e->bound)
		check(kmsg_wait(kmsg, 20, strrchr(e->dev, '/') + 1, "served by " MODULE_NAME, NULL),
		      "the mount is not bound");
	for (int round = 0; round < 4; round++) {
		int fd[2] = {
			must(open(in_dir(e, "a"), O_RDONLY)), must(open(in_dir(e, "b"), O_RDONLY)),
		};
		struct pin pin[2];
		char *p[2], *own;

		for (int k = 0; k < 2; k++)
			p[k] = map_file(fd[k], N, PROT_READ);
		/* Each is the first once. */
		look(p[round % 2], fd[round % 2], round % 2, "first");
		look(p[!(round % 2)], fd[!(round % 2)], !(round % 2), "second");
		own = mmap(NULL, N * PAGE, RW, MAP_PRIVATE, fd[0], 0);
		check(own != MAP_FAILED, "mmap: %m");
		fill_page(own + 5 * PAGE, 1);
		check_page(own + 6 * PAGE, 106, "private");
		look(p[0], fd[0], 0, "after a private store");
		for (int k = 0; k < 2; k++)
			pin_pages(&pin[k], p[k] + 8 * PAGE, 4);
		/* One file leaves while the other has the pages. */
		must(munmap(p[0], N * PAGE));
		must(munmap(own, N * PAGE));
		close(fd[0]);
		for (int k = 0; k < 2; k++)
			for (size_t i = 0; i < 4; i++) {
				unpin_page(&pin[k], buf);
				check_page(buf, stamp_of(k, 8 + i), "page in the pipe");
			}
		must(!write_text("/proc/sys/vm/drop_caches", "2") ? -1 : 0);
		look(p[1], fd[1], 1, "after the other file was evicted");
		must(munmap(p[1], N * PAGE));
		close(fd[1]);
		close(pin[0].rd);
		close(pin[0].wr);
		close(pin[1].rd);
		close(pin[1].wr);
		if (round % 2) {
			must(umount(e->dir));
			mount_image(e);
		}
	}
	must(umount(e->dir));
	if (e->ko)
		check(!module_unload(), "cannot unload the module: %m");
}

static void stock_is_refused(const struct env *e)
{
	check(!module_load(e->ko), "cannot load the module: %m");
	make_image(e);
	require_provider(true);
	mount_image(e);
	must(umount(e->dir));
	check(!module_unload(), "cannot unload the module: %m");
	check(mount(e->dev, e->dir, "erofs", MS_RDONLY, "dax=always") && errno == EOPNOTSUPP,
	      "a mount that no provider serves: %m");
	/* A remount can turn DAX on. */
	check(mount(e->dev, e->dir, "erofs", MS_RDONLY, "dax=never") && errno == EOPNOTSUPP,
	      "a mount that no provider serves, without DAX so far: %m");
	require_provider(false);
	mount_image(e);
	must(umount(e->dir));
}

static const struct test tests[] = {
	{ "R11 erofs files that share chunks", shared_chunks, EVERYWHERE },
	{ "R16 no erofs is mounted that stock would serve, if so told", stock_is_refused,
	  BOUND_ONLY },
	{ }
};

GROUP_UNMOUNTED(erofs, tests);
