/* SPDX-License-Identifier: GPL-2.0 */
/* Scenarios with files that share blocks: the files, and what they must hold. */
#ifndef FSDAX_VM_REFLINK_H
#define FSDAX_VM_REFLINK_H

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

/* Where the cases hold. */
#define XFS	XFS_ONLY
#define BOUND	(XFS_ONLY | BOUND_ONLY)

void clone_all(int fd, int from);
int new_file(const struct env *e, const char *name);
/* Files "a" and "b" of N pages on the same blocks, page i stamped 100 + i. */
void make_clones(const struct env *e, int fd[2]);
/* Pages [@from, @to), page i stamped @stamp + i, by a mapping (or NULL) and by read(2). */
void expect(const char *p, int fd, size_t from, size_t to, uint64_t stamp, const char *what);
void write_at(int fd, const void *buf, size_t bytes, off_t pos);
/*
 * In a process of its own: the call waits for a page in a pipe, SIGKILL ends it. @sleeps says
 * whether a task does, as task_sleeps().
 */
void waits_and_dies(int (*call)(void *), void *arg, const struct pin *pin, const char *what,
		    bool (*sleeps)(pid_t, pid_t, atomic_int *));

#endif
