// SPDX-License-Identifier: GPL-2.0
/* Pins, and operations in the background: whether they sleep, what they cost. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "case.h"
#include "job.h"
#include "kernel.h"

/* The kernel has it in fs/ext4/ext4.h only. */
#define EXT4_IOC_SWAP_BOOT	_IO('f', 17)

static void drop_pin(void *arg)
{
	struct pin *pin = arg;

	close(pin->rd);
	close(pin->wr);
}

void pin_pages(struct pin *pin, void *addr, size_t pages)
{
	struct iovec iov = { addr, pages * PAGE };
	int fds[2];

	must(pipe2(fds, O_CLOEXEC));
	pin->rd = fds[0];
	pin->wr = fds[1];
	pin->pages = pages;
	at_fail(drop_pin, pin);
	if (pages > 16)
		must(fcntl(pin->wr, F_SETPIPE_SZ, pages * PAGE));
	check(vmsplice(pin->wr, &iov, 1, 0) == (ssize_t)(pages * PAGE),
	      "vmsplice of %zu pages: %m", pages);
}

void unpin_page(struct pin *pin, void *buf)
{
	char own[PAGE];

	check(read(pin->rd, buf ?: own, PAGE) == (ssize_t)PAGE, "drain a pipe: %m");
	pin->pages--;
}

void unpin_all(struct pin *pin)
{
	while (pin->pages)
		unpin_page(pin, NULL);
}

const char *const op_name[] = {
	"truncate", "punch", "zero range", "collapse range", "insert range", "allocate",
	"unlink", "fsync", "swap with the boot loader", "the call",
};

int do_op(enum op op, int fd, size_t first, size_t pages)
{
	static const int mode[] = {
		[OP_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		[OP_ZERO] = FALLOC_FL_ZERO_RANGE,
		[OP_COLLAPSE] = FALLOC_FL_COLLAPSE_RANGE,
		[OP_INSERT] = FALLOC_FL_INSERT_RANGE,
		[OP_ALLOCATE] = 0,
	};

	if (op == OP_TRUNCATE)
		return ftruncate(fd, first * PAGE);
	if (op == OP_FSYNC)
		return fsync(fd);
	if (op == OP_SWAP_BOOT)
		return ioctl(fd, EXT4_IOC_SWAP_BOOT);
	return fallocate(fd, mode[op], first * PAGE, pages * PAGE);
}

static void *job_main(void *arg)
{
	struct job *job = arg;
	uint64_t t;

	job->tid = syscall(SYS_gettid);
	t = thread_cpu_ns();
	if (job->op == OP_UNLINK)
		job->rc = unlink(job->path);
	else if (job->op == OP_CALL)
		job->rc = job->call(job->arg);
	else
		job->rc = do_op(job->op, job->fd, job->first, job->pages);
	job->err = errno;
	job->cpu_ns = thread_cpu_ns() - t;
	job->done = 1;
	return NULL;
}

void job_start(struct job *job)
{
	job->done = 0;
	job->tid = 0;
	check(!pthread_create(&job->thread, NULL, job_main, job), "no thread");
}

/*
 * Asleep: not running and no switch for a while. Waiting longer would make the
 * check stronger, it cannot make it fail.
 */
bool task_sleeps(pid_t pid, pid_t tid, atomic_int *done)
{
	char path[64], buf[4096], state;
	long switches, seen = -1;
	int same = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	while (same < 25) {
		char *s, *v;

		if (done && *done)
			return false;
		if (!read_text(path, buf, sizeof(buf)))
			return false;
		s = strstr(buf, "State:\t");
		v = strstr(buf, "\nvoluntary_ctxt_switches:");
		check(s && v, "cannot read %s", path);
		state = s[7];
		if (state == 'Z')
			return false;
		switches = atol(strchr(v, ':') + 1);
		if ((state == 'S' || state == 'D') && switches == seen)
			same++;
		else
			same = 0;
		seen = switches;
		usleep(10000);
	}
	return !done || !*done;
}

bool job_sleeps(struct job *job)
{
	while (!job->tid && !job->done)
		usleep(1000);
	return task_sleeps(getpid(), job->tid, &job->done);
}

/* The state that ends the line "State:\tS (sleeping)". */
static char state_of(pid_t tid)
{
	char path[64], buf[4096], *s;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	if (!read_text(path, buf, sizeof(buf)))
		return 'X';
	s = strstr(buf, "State:\t");
	return s ? s[7] : 'X';
}

void job_until_asleep(struct job *job)
{
	while (!job->done && (!job->tid || !strchr("SD", state_of(job->tid))))
		usleep(200);
}

static void on_nothing(int sig)
{
	(void)sig;
}

void job_signal(struct job *job)
{
	struct sigaction sa = { .sa_handler = on_nothing };

	must(sigaction(SIGUSR1, &sa, NULL));
	pthread_kill(job->thread, SIGUSR1);
}

void job_join(struct job *job)
{
	pthread_join(job->thread, NULL);
}

void job_succeeds(struct job *job)
{
	job_join(job);
	check(job->rc == 0, "%s: %s", op_name[job->op], strerror(job->err));
}

long minor_faults(void)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	return ru.ru_minflt + ru.ru_majflt;
}

uint64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}
