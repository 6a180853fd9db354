/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Test cases, the groups that they are in, the environment that they get, and
 * their failure.
 *
 * A test case runs in a process of its own. check() ends it on failure, so
 * nothing needs an error path, and the pins of a failed case go with it.
 */
#ifndef FSDAX_VM_CASE_H
#define FSDAX_VM_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE	((size_t)4096)
#define MIB	((size_t)1 << 20)
#define HUGE	((size_t)512)	/* pages of 4 KiB in 2 MiB */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The mount that a case runs on. */
struct env {
	const char *label;	/* "rust", "C" or "stock" */
	const char *fs;		/* "ext4" or "xfs" */
	const char *dev;	/* block device */
	const char *other;	/* another one, for what wants two */
	const char *dir;	/* mount point; empty at the start of a case */
	const char *ko;		/* the module, NULL to test the stock kernel */
	bool bound;		/* expected to be served by the module */
	bool first, last;	/* of the kinds of file systems */
	unsigned long seed;
	unsigned long ops;
};

/*
 * Where a case holds: everywhere, only where the module serves the mount, on one file system. If
 * there are two, what is the same on each runs on the first, and what looks back on all of the
 * run does so after the last.
 */
enum where {
	EVERYWHERE = 0,
	BOUND_ONLY = 1,
	EXT4_ONLY = 2,
	XFS_ONLY = 4,
	FIRST_ONLY = 8,
	LAST_ONLY = 16,
	C_ONLY = 32,	/* only where fs/dax.c serves the mount */
	RACES = 64,	/* its tasks race, for which it has all CPUs: the others have one */
	BY_EITHER = 128,	/* does its own mounts, by fs/dax.c where env does not say bound */
};

struct test {
	const char *name;	/* starts with the rule it proves */
	void (*run)(const struct env *e);
	unsigned int where;	/* of enum where */
};

/* The cases of one file. */
struct group {
	const char *name;
	const struct test *tests;	/* an empty one ends them */
	bool unmounted;		/* the cases do their own mounts */
	bool last;		/* what runs on the mount after them would suffer */
};

/*
 * The one group of a file, which has the name of the file. That it is there is enough: scenarios.c
 * finds the pointers in this section.
 */
#define GROUP_WITH(ident, table, ...) \
	const struct group ident##_group = { .name = #ident, .tests = table, __VA_ARGS__ }; \
	__attribute__((used, section("groups"))) \
	static const struct group *const ident##_registered = &ident##_group
#define GROUP(ident, table)		GROUP_WITH(ident, table)
#define GROUP_UNMOUNTED(ident, table)	GROUP_WITH(ident, table, .unmounted = true)
#define GROUP_LAST(ident, table)	GROUP_WITH(ident, table, .last = true)

/* Failure: print a diagnostic, drop all pins and leave the process. */
__attribute__((noreturn, format(printf, 3, 4)))
void fail_at(const char *file, int line, const char *fmt, ...);
#define fail(...)	fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define check(cond, ...) do { if (!(cond)) fail(__VA_ARGS__); } while (0)
/* The case cannot run here: say why and leave the process. */
#define SKIPPED	77
__attribute__((noreturn, format(printf, 1, 2)))
void skip(const char *fmt, ...);
/* For system calls that must succeed: evaluates to their result. */
#define must(call) ({ \
	__typeof__(call) _r = (call); \
	if (_r == (__typeof__(_r))-1) \
		fail("%s: %m", #call); \
	_r; })
/* What fail_at() calls before it leaves, for waits that an exit cannot end. */
void at_fail(void (*fn)(void *), void *arg);

#endif
