/* SPDX-License-Identifier: GPL-2.0 */
/* DAX devices (/dev/daxX.Y) and their drivers. */
#ifndef FSDAX_VM_DAX_DEVICE_H
#define FSDAX_VM_DAX_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job.h"

struct env;

#define DAX_NAME	16	/* of "dax1.0", with what ends it */

/* A DAX device that is mapped. */
struct device {
	char name[DAX_NAME];
	int fd;
	char *map;
	size_t size;
};

/*
 * Have ndctl make a DAX device of the namespace that is, or was, @dev ("/dev/pmem1"). Its pages
 * are of @align ("4096", "2M" or "1G"), and the driver of all who map it, device_dax, has it.
 */
void make_dax_device(const char *dev, const char *align, char name[DAX_NAME]);
/* Take it from a driver, give it to one that has had it before; false with errno. */
bool dax_unbind(const char *name, const char *driver);
bool dax_bind(const char *name, const char *driver);
/* Give it to @driver, whoever has it. */
void dax_give_to(const char *name, const char *driver);

/* Take it from a driver that it was given to. */
void dax_take_from(const char *name, const char *driver);
/* Where its memory begins, and how much it is, in bytes. */
uint64_t dax_address(const char *name);
uint64_t dax_size(const char *name);

/* A device as the case wants it, served by whom it says, that is not open; the module is loaded. */
void make_device(const struct env *e, const char *align, struct device *d);
/* Map its first @size bytes, where the driver wants them. */
void map_device(struct device *d, size_t size);
void unmap_device(struct device *d);
/* Take it from the driver of all who map it, in the background or at once (0 or -1 with errno). */
struct job unbind_start(struct device *d);
int unbind_device(void *device);

#endif
