/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A randomized run over files of 2 MiB pages, with a model of every page.
 *
 * Each page of each file belongs to one thread: to it alone a page of a file
 * is subject to stores, writes, direct I/O. What moves pages or takes them
 * away (truncate, collapse, insert, clone, dedupe, exchange, a file renamed
 * over, an unlink) has the file for itself, as the model must follow; pins, the
 * answers of direct reads and the filling of free space do not care for that
 * lock, so that such an operation meets them. What waits for a pin must not
 * let its block go: pages in a pipe and filled free space have tags that never
 * may be seen in each other.
 *
 * The seed says what each thread does; how the threads meet is up to the
 * machine.
 */
#ifndef FSDAX_VM_RANDOM_FILES_H
#define FSDAX_VM_RANDOM_FILES_H

#include "lib.h"

#define RW		(PROT_READ | PROT_WRITE)
#define FILES		3
#define PAGES		(2 * HUGE)
#define WORKERS		3
/* The last owner is the thread whose direct reads are answered late. */
#define OWNERS		(WORKERS + 1)
#define ROUNDS		4
#define CHUNK		((size_t)512)
#define CHUNKS		(PAGE / CHUNK)
#define WORDS		(CHUNK / sizeof(uint64_t))
#define MAX_PINS	12
#define SCRATCH		((size_t)64)	/* pages of the block device */
#define SPARE		(24 * MIB)	/* free space that the filler leaves */

/* The top byte of a word says who wrote it. */
#define TAG(word)	((word) >> 56)
#define TAG_DATA	0x10ull
#define TAG_LATE	0x20ull
#define TAG_FILL	0xeeull
#define STAMP(tag, n)	((tag) << 56 | (n))

enum view { SMALL, LARGE, SYNC, PRIVATE, READ, VIEWS };

struct random_file {
	pthread_rwlock_t lock;
	char name[16];
	int fd;
	size_t size;			/* in pages */
	char *map[READ];
	uint64_t model[PAGES][CHUNKS];
	bool late[PAGES];		/* a direct read is in flight to it */
};

struct run {
	const struct env *env;
	struct random_file file[FILES];
	int scratch;
	bool xfs;
	atomic_int stop;
	atomic_ulong interrupted, large;
	atomic_uint_fast64_t serial;
	unsigned long ops;		/* of a worker in a round */
	unsigned int round;
	pthread_t thread[WORKERS];
	struct slow_file slow;
	struct {
		pthread_mutex_t lock;
		struct pin pin[MAX_PINS];
		bool used[MAX_PINS];
	} pipes;
};

extern struct run run;

uint64_t new_stamp(uint64_t tag);
bool tag_allowed(uint64_t word);
void put_words(void *to, uint64_t stamp, size_t words);

void new_random_file(struct random_file *f);
void map_views(struct random_file *f);
/* The first fault decides on the size. The caller has the file for itself. */
void map_large_first(struct random_file *f);
void unmap_views(struct random_file *f);
/* The caller owns the page, or has the file for itself. */
void compare(const struct random_file *f, size_t page, enum view v);
void compare_file(const struct random_file *f);
/* The model has zeroes there. */
void forget(struct random_file *f, size_t from, size_t to);

/* Pages of one owner: nobody else changes them. */
struct target {
	struct random_file *f;
	size_t page, chunk, chunks;
};

bool pick(struct rng *r, unsigned int who, struct random_file *f, struct target *t);
off_t offset_of(const struct target *t);
void set_model(const struct target *t, uint64_t stamp);
/* Whether a signal ended the call; it may not fail for anything else. */
bool was_interrupted(int rc, const char *what);

/* Something with a page of this owner. */
void own_page(struct rng *r, unsigned int who, struct random_file *f);
/* Something with a file that needs it for itself. */
void whole_file(struct rng *r, struct random_file *f);

/* Threads beside the workers. */
void *drainer(void *arg);
void *filler(void *arg);
void *pest(void *arg);
void *syncer(void *arg);
void *late_reader(void *arg);

#endif
