/* SPDX-License-Identifier: GPL-2.0 */
/* What the module says about itself: its files in debugfs, its tracepoints. */
#ifndef FSDAX_VM_DEBUGFS_H
#define FSDAX_VM_DEBUGFS_H

#include <sys/types.h>

#include "lib.h"

#define DEBUGFS	"/sys/kernel/debug/" MODULE_NAME

/* What is the same on each file system. */
#define ONCE	(BOUND_ONLY | FIRST_ONLY)

struct busy {
	char dev[16];
	unsigned long ino, index, pfn, order;
	long refcount, mapcount, pins, age_ms, pid;
};

struct waiter {
	long pid;
	char comm[80], what[16], dev[16];
	unsigned long ino, index, pfn;
	long waited_ms;
};

struct counts {
	long tracked, zapped, busy, shared;
};

/* The lines about an inode (0: any), at most @max of them are stored; how many there are. */
size_t read_busy(ino_t ino, struct busy *all, size_t max);
size_t read_waiters(ino_t ino, struct waiter *all, size_t max);
/* Whether the mount is listed, and its counts by order: 0, 9, 18; the first two of them. */
bool read_mount_orders(const struct env *e, struct counts counts[3]);
bool read_mount(const struct env *e, struct counts *small, struct counts *large);
void check_counts(const struct env *e, struct counts small, struct counts large);
/* As these files name them. */
void dev_of(const struct env *e, char dev[16]);
ino_t inode_of(int fd);

/* The module is loaded and serves a new mount; all of that goes, and nobody is busy or waits. */
void start_bound(const struct env *e);
void end_bound(const struct env *e);

void trace_start(void);
void trace_stop(void);
/* How many lines of the trace have an event with these arguments. */
__attribute__((format(printf, 3, 4)))
void check_traced(int expected, const char *event, const char *fmt, ...);

#endif
