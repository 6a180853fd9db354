/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mounts of DAX devices that the driver fsdev has: onefile, of tests/fsdev, whose one file is the
 * device.
 */
#ifndef FSDAX_VM_FSDEV_SIDE_H
#define FSDAX_VM_FSDEV_SIDE_H

#include "dax_device.h"
#include "lib.h"

#define RW		(PROT_READ | PROT_WRITE)
#define DRIVER		"fsdev_dax"
#define PAGES		(8 * HUGE)	/* of a file */

/* A mount, and its device. */
struct side {
	struct env e;		/* dir is the file, dev the DAX device */
	char name[DAX_NAME], dev[32], path[32];
	bool bound;
	int fd;
};

int mount_at(const char *dev, const char *path, const char *options);
/* The device of the namespace that is, or was, @pmem, which fsdev has then. */
void prepare_side(const char *pmem, bool bound, struct side *s);
/* What is mounted is served by who is to do it. */
void mount_side(struct side *s);
void umount_side(struct side *s);
/* On two mounts side by side, one that the module serves and one that fs/dax.c serves. */
void run_on_each(const struct env *e, void (*run)(struct side *s));
void start_sides(const struct env *e, struct side side[2]);
/* Stamp the pages [@from, @to) of a mapping, page i with @first + i. */
void stamp(char *p, size_t from, size_t to, uint64_t first);

#endif
