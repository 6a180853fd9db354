/* SPDX-License-Identifier: GPL-2.0 */
/* What waits and what it waits for: pins that last, and operations in the background. */
#ifndef FSDAX_VM_JOB_H
#define FSDAX_VM_JOB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A pin that lasts: pages of a mapping sit in a pipe. */
struct pin {
	int rd, wr;
	size_t pages;
};

void pin_pages(struct pin *pin, void *addr, size_t pages);
/* Take the oldest page out (its data goes to @buf, may be NULL). */
void unpin_page(struct pin *pin, void *buf);
void unpin_all(struct pin *pin);

/* An operation that a thread of its own executes. */
enum op { OP_TRUNCATE, OP_PUNCH, OP_ZERO, OP_COLLAPSE, OP_INSERT, OP_ALLOCATE, OP_UNLINK,
	  OP_FSYNC, OP_SWAP_BOOT, OP_CALL };

struct job {
	enum op op;
	int fd;
	size_t first, pages;	/* in pages; truncate: the new size is @first */
	const char *path;	/* unlink */
	int (*call)(void *arg);	/* call: 0 or -1 with errno */
	void *arg;

	int rc, err;
	uint64_t cpu_ns;
	pthread_t thread;
	atomic_int tid, done;
};

extern const char *const op_name[];

int do_op(enum op op, int fd, size_t first, size_t pages);
void job_start(struct job *job);
/* Wait until the job has ended (false) or sleeps in the kernel (true). */
bool job_sleeps(struct job *job);
bool task_sleeps(pid_t pid, pid_t tid, atomic_int *done);
/* Wait until the job has ended or sleeps, if only for a moment. */
void job_until_asleep(struct job *job);
/* Interrupt the job by a signal whose handler does nothing. */
void job_signal(struct job *job);
void job_join(struct job *job);
/* Join and check success. */
void job_succeeds(struct job *job);

/* Of this thread. */
long minor_faults(void);
uint64_t thread_cpu_ns(void);

#endif
