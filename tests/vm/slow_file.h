/* SPDX-License-Identifier: GPL-2.0 */
/* Direct I/O that stays in flight. */
#ifndef FSDAX_VM_SLOW_FILE_H
#define FSDAX_VM_SLOW_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A file whose direct reads stay in flight until they are released (FUSE). */
struct slow_file {
	int dev;
	char path[64];
	uint64_t stamp;
	pthread_t server;
	atomic_int held, release;
};

void slow_file_start(struct slow_file *f, uint64_t stamp);
void slow_file_wait_held(struct slow_file *f);
void slow_file_release(struct slow_file *f);
void slow_file_stop(struct slow_file *f);

/* A direct read of such a file into @buf, in flight until it is ended. */
struct slow_read {
	struct slow_file file;
	int fd;
	char *buf;
	size_t pages;
	ssize_t rc;
	int err;
	pthread_t thread;
};

void slow_read_start(struct slow_read *r, char *buf, size_t pages, uint64_t stamp);
/* The answer lands in the buffer. */
void slow_read_end(struct slow_read *r);

#endif
