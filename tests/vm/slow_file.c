// SPDX-License-Identifier: GPL-2.0
/*
 * A file whose reads stay in flight until the test releases them: a FUSE file
 * system of one file, served by a thread. A direct read into a DAX mapping
 * pins the pages (FOLL_PIN), and the answer is the DMA that lands in them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib.h"

#define SLOW_SIZE	(1 << 20)

static void reply(int dev, uint64_t unique, int error, const void *data,
		  size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + size,
		.error = error,
		.unique = unique,
	};
	struct iovec iov[2] = { { &out, sizeof(out) }, { (void *)data, size } };

	/* An aborted request is nobody's loss. */
	if (writev(dev, iov, size ? 2 : 1) < 0 && errno != ENOENT)
		printf("# FUSE reply: %m\n");
}

static void reply_read(struct slow_file *f, uint64_t unique,
		       const struct fuse_read_in *in)
{
	static char buf[SLOW_SIZE];

	f->held++;
	while (!f->release)
		usleep(1000);
	for (size_t i = 0; i < in->size; i += PAGE)
		fill_page(buf + i, f->stamp + (in->offset + i) / PAGE);
	reply(f->dev, unique, 0, buf, in->size);
	f->held--;
}

static void *serve(void *arg)
{
	struct slow_file *f = arg;
	static char buf[FUSE_MIN_READ_BUFFER + SLOW_SIZE];
	struct fuse_in_header *in = (void *)buf;

	while (read(f->dev, buf, sizeof(buf)) > 0 || errno == EINTR ||
	       errno == EAGAIN || errno == ENOENT) {
		switch (in->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = {
				.major = FUSE_KERNEL_VERSION,
				.minor = FUSE_KERNEL_MINOR_VERSION,
				.max_write = SLOW_SIZE,
				.max_readahead = SLOW_SIZE,
				.flags = FUSE_MAX_PAGES,
				.max_pages = SLOW_SIZE / PAGE,
			};

			reply(f->dev, in->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = {
				.attr_valid = 1000,
				.attr = {
					.ino = 1,
					.size = SLOW_SIZE,
					.mode = S_IFREG | 0600,
					.nlink = 1,
				},
			};

			reply(f->dev, in->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_OPEN: {
			/* Who closes it or inherits it need not wait for a read. */
			struct fuse_open_out out = {
				.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH,
			};

			reply(f->dev, in->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_READ:
			reply_read(f, in->unique, (void *)(in + 1));
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			reply(f->dev, in->unique, 0, NULL, 0);
			break;
		case FUSE_DESTROY:
			reply(f->dev, in->unique, 0, NULL, 0);
			return NULL;
		default:
			reply(f->dev, in->unique, -ENOSYS, NULL, 0);
		}
	}
	return NULL;
}

static void abort_requests(void *arg)
{
	struct slow_file *f = arg;

	umount2(f->path, MNT_FORCE | MNT_DETACH);
	unlink(f->path);
}

void slow_file_start(struct slow_file *f, uint64_t stamp)
{
	char opts[128];

	memset(f, 0, sizeof(*f));
	f->stamp = stamp;
	snprintf(f->path, sizeof(f->path), "/tmp/slow-file.%d", getpid());
	close(must(open(f->path, O_CREAT | O_WRONLY, 0600)));
	f->dev = must(open("/dev/fuse", O_RDWR | O_CLOEXEC));
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=100000,user_id=0,group_id=0",
		 f->dev);
	must(mount("slow_file", f->path, "fuse", MS_NOSUID | MS_NODEV, opts));
	at_fail(abort_requests, f);
	check(!pthread_create(&f->server, NULL, serve, f), "no thread");
}

/* The read is in flight: its pages are pinned. */
void slow_file_wait_held(struct slow_file *f)
{
	while (!f->held)
		usleep(1000);
}

void slow_file_release(struct slow_file *f)
{
	f->release = 1;
}

void slow_file_stop(struct slow_file *f)
{
	must(umount(f->path));
	pthread_join(f->server, NULL);
	close(f->dev);
	unlink(f->path);
}

static void *read_slowly(void *arg)
{
	struct slow_read *r = arg;

	r->rc = pread(r->fd, r->buf, r->pages * PAGE, 0);
	r->err = errno;
	return NULL;
}

void slow_read_start(struct slow_read *r, char *buf, size_t pages, uint64_t stamp)
{
	slow_file_start(&r->file, stamp);
	r->fd = must(open(r->file.path, O_RDONLY | O_DIRECT));
	r->buf = buf;
	r->pages = pages;
	check(!pthread_create(&r->thread, NULL, read_slowly, r), "no thread");
	slow_file_wait_held(&r->file);
}

void slow_read_end(struct slow_read *r)
{
	slow_file_release(&r->file);
	pthread_join(r->thread, NULL);
	check(r->rc == (ssize_t)(r->pages * PAGE), "direct read: %s",
	      r->rc < 0 ? strerror(r->err) : "short");
	close(r->fd);
	slow_file_stop(&r->file);
}
