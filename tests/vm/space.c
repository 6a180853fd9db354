// SPDX-License-Identifier: GPL-2.0
/* No space in a fault, remounts: errors leave nothing behind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)64)
/* More than the blocks that are left for a fault when write(2) gets none. */
#define HOLES	((size_t)512)

static void no_space_in_a_fault(const struct env *e)
{
	int fd = create_file(e, "f", 0, 0), fill;
	char *p;

	must(ftruncate(fd, HOLES * PAGE));
	must(fsync(fd));
	p = map_file(fd, HOLES, RW);
	check_page(p, 0, "hole");
	fill = fill_free_space(e, "fill", 0x5555);
	/* A few blocks may be left that write(2) did not get. */
	for (size_t i = 0; i < HOLES; i++)
		if (try_store(p + i * PAGE, 1))
			goto full;
	fail("%zu stores into holes of a full disk", HOLES);
full:
	for (int round = 0; round < 10; round++)
		check(try_store(p + (HOLES - 1) * PAGE, 1) == SIGBUS, "a store into a full disk");
	check(!try_load(p + (HOLES - 1) * PAGE, NULL), "SIGBUS reading a hole");
	check_page(p + (HOLES - 1) * PAGE, 0, "hole after a failed store");
	check_all_pages(fill, 0x5555, "file that filled the disk");
	must(ftruncate(fill, 0));
	must(fsync(fill));
	for (size_t i = 0; i < HOLES; i++) {
		check(!try_store(p + i * PAGE, 2), "SIGBUS with space there");
		check(p[i * PAGE] == 2 && !p[i * PAGE + 1], "page %zu", i);
	}
	must(ftruncate(fd, 0));
}

static void remount_read_only(const struct env *e)
{
	int fd = create_file(e, "f", N, 100);
	char *p = map_file(fd, N, RW);

	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	check(mount(NULL, e->dir, NULL, MS_REMOUNT | MS_RDONLY, "dax=always") < 0 &&
	      errno == EBUSY, "remount read-only under a writer");
	must(munmap(p, N * PAGE));
	close(fd);
	must(mount(NULL, e->dir, NULL, MS_REMOUNT | MS_RDONLY, "dax=always"));
	fd = must(open(in_dir(e, "f"), O_RDONLY));
	p = map_file(fd, N, PROT_READ);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 200 + i, "read-only");
	must(mount(NULL, e->dir, NULL, MS_REMOUNT, "dax=always"));
	fd = must(open(in_dir(e, "f"), O_RDWR));
	p = map_file(fd, N, RW);
	fill_page(p, 300);
	check_file_page(fd, 0, 300, "after the remount");
	check(mount_is_bound(e->dir) == e->bound, "the remount changed the provider");
}

static const struct test tests[] = {
	{ "R5 no space in a fault raises SIGBUS and leaves nothing",
	  no_space_in_a_fault, EVERYWHERE },
	{ "R16 a remount keeps data and provider", remount_read_only, EVERYWHERE },
	{ }
};

GROUP(space, tests);
