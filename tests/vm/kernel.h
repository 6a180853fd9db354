/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is seen and set of the kernel: flushes, its log, small files, the module, mounts,
 * devices.
 */
#ifndef FSDAX_VM_KERNEL_H
#define FSDAX_VM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct env;

/* Whole pages written back to the medium between the two calls, by anybody. */
void flush_count_start(void);
long flush_count_stop(void);

/* The kernel log from here on. */
int kmsg_open(void);
/* Wait for a line that has all of the words, NULL-terminated. */
bool kmsg_wait(int fd, int seconds, ...);
bool kmsg_has(int fd, ...);

/* Small files of procfs and sysfs. */
bool write_text(const char *path, const char *text);
void set_text(const char *path, const char *text);	/* must succeed */
bool read_text(const char *path, char *buf, size_t size);

/* Provider and mounts. */
#define MODULE_NAME "rust_fsdax"
bool module_loaded(void);
int module_load(const char *ko);
int module_unload(void);
void module_bind(bool on);
/*
 * What these two tell tracer.c, if it has begun the program, by a socket that this environment
 * variable names: the module is about to be loaded; all its events are to be saved; it has been
 * unloaded.
 */
#define TRACE_FD	"FSDAX_TRACE_FD"
#define TRACE_ENABLE	'e'
#define TRACE_SAVE	's'
#define TRACE_NEXT	'n'
/* Whether the kernel mounts what no provider serves; so again if the case fails. */
void require_provider(bool on);
bool make_fs(const char *fs, const char *dev);
int mount_fs(const char *fs, const char *dev, const char *dir,
	     const char *extra);
/* Tell the provider from outside: stock forgets dirty pages on a punch. */
bool mount_is_bound(const char *dir);

/* Take the driver from a pmem device, give it back. */
void device_name(const char *dev, char *name, size_t size);
bool device_unbind(const char *name);
bool device_bind(const char *name);

/* Have the driver refuse access to a block of 4 KiB, as to one whose memory failed. */
void make_bad(const struct env *e, uint64_t block);
/*
 * It forgets that when it goes: take it from the device, which is not mounted, give it back, and
 * mount a new file system.
 */
void forget_bad(const struct env *e);

#endif
