/* SPDX-License-Identifier: GPL-2.0 */
/* DAX devices (/dev/daxX.Y) and their drivers. */
#ifndef FSDAX_VM_DAX_DEVICE_H
#define FSDAX_VM_DAX_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

struct env;

#define DAX_NAME	16	/* of "dax1.0", with what ends it */

/*
 * Have ndctl make a DAX device of the namespace that is, or was, @dev ("/dev/pmem1"). Its pages
 * are of @align ("4096" or "2M"), and the driver of all who map it, device_dax, has it.
 */
void make_dax_device(const char *dev, const char *align, char name[DAX_NAME]);
/* Take it from a driver, give it to one that has had it before; false with errno. */
bool dax_unbind(const char *name, const char *driver);
bool dax_bind(const char *name, const char *driver);
/* Give it to @driver, whoever has it. */
void dax_give_to(const char *name, const char *driver);

#endif
