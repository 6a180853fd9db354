// SPDX-License-Identifier: GPL-2.0
/* The figure of the demo for a file of 1 GiB in one aligned piece. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "defects.h"
#include "lib.h"

#define GIB	((size_t)1 << 30)

/* How many faults it takes to store to each 2 MiB of it. */
static void gib(const struct env *e)
{
	static char buf[2 * MIB];
	int fd = must(open(in_dir(e, "gib"), O_RDWR | O_CREAT | O_TRUNC, 0600));
	bool right = true;
	long faults;
	char *p;

	must(fallocate(fd, 0, 0, GIB));
	for (size_t at = 0; at < GIB; at += sizeof(buf))
		check(pwrite(fd, buf, sizeof(buf), at) == sizeof(buf), "write: %m");
	must(fsync(fd));
	p = mmap(NULL, 2 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	check(p != MAP_FAILED, "mmap: %m");
	p = (char *)(((uintptr_t)p + GIB - 1) / GIB * GIB);
	p = mmap(p, GIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	check(p != MAP_FAILED, "mmap: %m");
	faults = minor_faults();
	for (size_t at = 0; at < GIB; at += 2 * MIB)
		p[at] = (char)(at / (2 * MIB));
	faults = minor_faults() - faults;
	must(fsync(fd));
	for (size_t at = 0; at < GIB; at += 2 * MIB) {
		char byte;

		check(pread(fd, &byte, 1, at) == 1, "read: %m");
		right = right && byte == (char)(at / (2 * MIB));
	}
	printf("%s {\"figure\": \"gib\", \"faults\": %ld, \"right\": %d}\n", e->label, faults,
	       right);
	must(munmap(p, GIB));
	must(close(fd));
	must(unlink(in_dir(e, "gib")));
}

const struct defect_figure gib_figures[] = {
	{ "gib", gib },
	{ }
};
