// SPDX-License-Identifier: GPL-2.0
/* What the randomized runs share: numbers that a seed decides, a block device. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib.h"

uint64_t rnd(struct rng *r, uint64_t below)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return (r->state >> 11) % below;
}

struct rng rng_of(unsigned long seed, unsigned int round, unsigned int who)
{
	struct rng r = {
		(seed + 1) * 0x9e3779b97f4a7c15ull ^
		(round + 1) * 0xbf58476d1ce4e5b9ull ^ (who + 1) * 0x94d049bb133111ebull
	};

	rnd(&r, 2);
	return r;
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
