/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Failures on demand: the first, the second, ... n-th call that can fail does
 * so, until an operation has no n-th one. The operation then says what failed,
 * or copes; done again, it works, and the data is right; nothing is left
 * behind: no locked entry, no reference, no memory.
 *
 * The kernel counts the calls of a task in /proc/thread-self/fail-nth. Which
 * calls these are is a pass: the points of the module (src/inject.rs), the
 * allocations below its functions, one by one or all of them, or all
 * allocations of the system call.
 */
#ifndef FSDAX_VM_INJECT_H
#define FSDAX_VM_INJECT_H

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
/* The page that an operation is about; layout operations take COUNT from it on. */
#define AT	((size_t)4)
#define COUNT	((size_t)4)
#define OLD	((uint64_t)100)	/* stamp of page 0 before */
#define NEW	((uint64_t)900)	/* stamp of what an operation stores */

#define DEBUG	"/sys/kernel/debug/"

enum pass { BY_POINT, BY_MODULE, ALL_OF_MODULE, BY_ALLOCATION, PASSES };

extern const char *const pass_name[];

void set_pass(enum pass by);
/* From here on the @n-th call of this task fails, or all. */
void arm(enum pass by, unsigned int n);
/* Whether a call failed since then. */
bool disarm(enum pass by);
/* In a child of a task that is armed: it fails as well. */
void disarm_child(void);

/* What an operation works on. */
struct scene {
	const struct env *e;
	enum pass by;
	int fd, other;		/* a file, one that shares its blocks */
	size_t pages;
	char *map;		/* of all of it */
	char *room;		/* for mremap() */
	uint64_t want[N];	/* the stamps of its pages; of a large file, of the first */
	bool private;		/* the mapping differs from the file at AT */
	bool flushed;		/* nothing may be left to flush */

	struct pin pin;
	bool pinned;
	pthread_t helper;
	atomic_int done;
};

enum kind {
	CALL = 0,
	FAULT = 1,
	LARGE = 2,	/* fault of 2 MiB, which may fall back */
	HALF = 4,	/* a failed allocation may leave it half done, not to be repeated */
	SYNC = 8,	/* fault that inserts its entry, syncs and then maps */
	BY_CPU = 16,	/* fault that the kernel tries again for want of memory */
	AGAIN = 32,	/* says EAGAIN for want of memory */
};

struct action {
	const char *name;
	unsigned int kind;	/* of enum kind */
	void (*prepare)(struct scene *s);
	int (*run)(struct scene *s);	/* 0 or -1 with errno */
	void (*after)(struct scene *s);	/* what the data is now */
};

/* Each of them in each pass, until none of its calls failed; an empty one ends them. */
void run_actions(const struct env *e, const struct action *actions);
/* What was never reached was not tested. */
void all_points_failed(const struct env *e);

#endif
