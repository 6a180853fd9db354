/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fuzzer in the guest. A coordinator gives the lines of a program to three processes, one after
 * the other, and the model is exact. Between TOGETHER and JOIN all go on at once: what a line there
 * may change is loose before, which means that any data of this program may be seen in it, and
 * nothing else; what is not loose must not change. After JOIN the model learns what there is by
 * read(2), and all mappings must agree.
 */
#ifndef FSDAX_FUZZ_H
#define FSDAX_FUZZ_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "calls.h"

#define PROCESSES	3
#define MAX_PAGES	(2 * HUGE + 64)
#define MAX_SECTORS	(MAX_PAGES * IN_PAGE)
#define PIPE_PAGES	16
#define MAX_BLOCKS	((size_t)256 * MIB / PAGE)
#define MAX_ARGS	5
#define MAX_LINES	400
#define LOOSE		UINT64_MAX
#define MAX_VALUE	(1ul << 24)

/* What the program should have in its files. */
struct file_model {
	off_t size;
	bool loose_size;
	bool spoilt;			/* its memory failed: anything may happen */
	uint64_t word[MAX_SECTORS];
	uint32_t dirty[MAX_PAGES];	/* when a mapping stored last, 0: not since a flush */
	bool hot[MAX_PAGES];		/* looked at in the end */
};

enum protection { READ_WRITE, READ_ALONE, NOTHING, UNMAPPED };

/* What a mapping of a process is. */
struct view {
	bool used;
	bool pieces;			/* may be several mappings of the kernel */
	int file, kind;
	size_t page, pages;
	uint8_t prot[MAX_PAGES];
	bool own[MAX_PAGES];		/* may be a private copy */
};

/* A page in a pipe. */
struct piece {
	int file;			/* -1: a copy */
	size_t page;
	bool sure;			/* it pins a block of that file */
	unsigned int moves;		/* of the run, when it was put there */
};

struct pipe_model {
	size_t used;
	struct piece piece[PIPE_PAGES];
};

struct line {
	int who;			/* -1: the coordinator */
	int op;
	long arg[MAX_ARGS];
};

/* MARK: say only what would be changed. */
enum phase { ALONE, MARK, TOGETHER };

struct order {
	enum phase phase;
	unsigned int number;		/* of the line */
	struct line line;
};

/* Of one run of a program, seen by all of its processes. */
struct shared {
	struct file_model file[FILES];
	struct view view[PROCESSES][SLOTS];
	struct pipe_model pipe[PIPES];
	uint32_t flushed[MAX_BLOCKS];	/* when */
	pid_t pid[PROCESSES];
	unsigned int moves;		/* how often blocks moved or went */
	bool shares;			/* files may share blocks */
	bool loose_pipes;
	bool dead;			/* the file system or the device has gone */
	bool new_fs, new_device;	/* needed after this */
	atomic_bool failed;
	atomic_uint done, refused;	/* operations */
};

enum { CLOSE_ALL = 1000, OPEN_ALL, LOOK_ALL, QUIT };

struct operation {
	const char *name, *kinds;
	void (*run)(const long *arg);	/* NULL: the coordinator does it */
	bool xfs;
};

extern const struct operation ops[];
extern const size_t op_count;
int op_named(const char *name);

/* The machine and the mount. */
struct place {
	const char *fs, *dev, *dir;
	char device[64];		/* of the driver */
	bool xfs;
};

extern struct place place;
extern struct shared *sh;
extern struct order now;
extern unsigned int me;

/* A failure: @kind is one word. Ends the process. */
__attribute__((noreturn, format(printf, 2, 3)))
void bad(const char *kind, const char *fmt, ...);

/* model.c */
bool allowed(uint64_t word);
bool claims(int f, size_t sector, size_t sectors);
void put(int f, size_t sector, size_t sectors, uint64_t word);
void stored(int f, size_t sector, size_t sectors, uint64_t word);
void forget_dirty(int f, size_t page, size_t pages);
void move(int f, size_t to, int from, size_t sector, size_t sectors);
void learn(int f, size_t page, size_t pages);
void compare_model(int f);
void look(size_t s, size_t page, size_t pages);
void look_at_hot(void);
/* Whether a load there raised a signal. */
int faulting_load(const void *at, uint64_t *word);
int faulting_store(long s, long page, long sector, long sectors, long value);
void catch_faults(void);
void flushes_set_up(void);
void flushes_drain(unsigned int when);
void flushes_calibrate(void);
void expect_flushed(int f, size_t page, size_t pages);
void drain_pipe(int q, bool at_rest);
void settle_pipes(void);
size_t pinned(int f, size_t page, size_t pages);
void expect_unpinned(size_t before, size_t after);

/* run.c: does not return before all of its processes are gone. */
void run_program(const struct line *line, size_t lines);

#endif
