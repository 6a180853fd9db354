// SPDX-License-Identifier: GPL-2.0
/* Failure, page contents, files, SIGBUS, background jobs: see lib.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

/* The kernel has it in fs/ext4/ext4.h only. */
#define EXT4_IOC_SWAP_BOOT	_IO('f', 17)

static struct {
	void (*fn)(void *arg);
	void *arg;
} fail_hooks[1024];
static atomic_size_t fail_hook_count;

void at_fail(void (*fn)(void *), void *arg)
{
	size_t i = fail_hook_count++;

	if (i >= ARRAY_SIZE(fail_hooks))
		return;
	fail_hooks[i].arg = arg;
	fail_hooks[i].fn = fn;
}

void fail_at(const char *file, int line, const char *fmt, ...)
{
	static atomic_flag failed = ATOMIC_FLAG_INIT;
	char msg[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	printf("# %s:%d: %s\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file,
	       line, msg);
	fflush(stdout);
	/* A second failure, in another thread, leaves the clean-up alone. */
	if (!atomic_flag_test_and_set(&failed)) {
		size_t n = fail_hook_count;

		while (n--)
			if (n < ARRAY_SIZE(fail_hooks) && fail_hooks[n].fn)
				fail_hooks[n].fn(fail_hooks[n].arg);
	}
	_exit(1);
}

void skip(const char *fmt, ...)
{
	va_list ap;

	printf("# skipped: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(SKIPPED);
}

void fill_page(void *page, uint64_t stamp)
{
	uint64_t *w = page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		w[i] = stamp;
}

bool page_is(const void *page, uint64_t stamp)
{
	const uint64_t *w = page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] != stamp)
			return false;
	return true;
}

void check_page_at(const char *file, int line, const void *page,
		   uint64_t stamp, const char *what)
{
	const uint64_t *w = page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] != stamp)
			fail_at(file, line, "%s: word %zu is %#llx, not %#llx",
				what, i, (unsigned long long)w[i],
				(unsigned long long)stamp);
}

const char *in_dir(const struct env *e, const char *name)
{
	static __thread char path[8][256];
	static __thread unsigned int next;
	char *p = path[next++ % ARRAY_SIZE(path)];

	snprintf(p, sizeof(path[0]), "%s/%s", e->dir, name);
	return p;
}

int create_file(const struct env *e, const char *name, size_t pages,
		uint64_t stamp)
{
	int fd = must(open(in_dir(e, name), O_RDWR | O_CREAT | O_TRUNC, 0644));
	char buf[PAGE];

	for (size_t i = 0; i < pages; i++) {
		fill_page(buf, stamp + i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE,
		      "write to %s: %m", name);
	}
	must(fsync(fd));
	return fd;
}

void check_file_page(int fd, size_t index, uint64_t stamp, const char *what)
{
	char buf[PAGE];

	check(pread(fd, buf, PAGE, index * PAGE) == (ssize_t)PAGE,
	      "%s: read page %zu: %m", what, index);
	check_page(buf, stamp, what);
}

char *map_file(int fd, size_t pages, int prot)
{
	char *p = mmap(NULL, pages * PAGE, prot, MAP_SHARED, fd, 0);

	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, MADV_NOHUGEPAGE));
	return p;
}

char *map_file_huge(int fd, size_t pages, int prot)
{
	const size_t huge = 2 * MIB;
	char *room = mmap(NULL, pages * PAGE + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *p;

	check(room != MAP_FAILED, "mmap: %m");
	p = (char *)(((uintptr_t)room + huge - 1) / huge * huge);
	p = mmap(p, pages * PAGE, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	check(p != MAP_FAILED, "mmap: %m");
	must(madvise(p, pages * PAGE, MADV_HUGEPAGE));
	return p;
}

int create_pieces(const struct env *e, const char *name, size_t pieces)
{
	int fd = create_huge(e, name, 1), gaps = create_huge(e, "gaps", 1);
	char *piece = malloc(HUGE * PAGE);

	check(piece, "no memory");
	for (size_t i = 0; i < pieces; i++) {
		for (size_t k = 0; k < HUGE; k++)
			fill_page(piece + k * PAGE, 100 + i);
		must(do_op(OP_ALLOCATE, fd, i * HUGE, HUGE));
		must(do_op(OP_ALLOCATE, gaps, i * HUGE, HUGE));
		check(pwrite(fd, piece, HUGE * PAGE, i * HUGE * PAGE) == (ssize_t)(HUGE * PAGE),
		      "write: %m");
	}
	free(piece);
	must(fsync(fd));
	must(close(gaps));
	must(unlink(in_dir(e, "gaps")));
	return fd;
}

void *read_pieces(void *reader)
{
	struct piece_reader *r = reader;

	while (!r->stop) {
		must(madvise(r->map, r->pieces * HUGE * PAGE, MADV_DONTNEED));
		for (size_t i = r->pieces; i--;)
			r->failures += !!try_load(r->map + i * HUGE * PAGE, NULL);
		r->laps++;
	}
	return NULL;
}

off_t file_size(int fd)
{
	struct stat st;

	must(fstat(fd, &st));
	return st.st_size;
}

uint64_t file_block(int fd, size_t index)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} req = {
		.map = {
			.fm_start = index * PAGE,
			.fm_length = PAGE,
			.fm_extent_count = 1,
		},
	};

	must(ioctl(fd, FS_IOC_FIEMAP, &req));
	if (!req.map.fm_mapped_extents)
		return 0;
	return (req.extent.fe_physical + index * PAGE - req.extent.fe_logical) / PAGE;
}

int fill_free_space(const struct env *e, const char *name, uint64_t stamp)
{
	int fd = must(open(in_dir(e, name), O_RDWR | O_CREAT | O_TRUNC, 0644));
	static char buf[1 << 18];
	size_t step = sizeof(buf);
	off_t pos = 0;

	for (size_t i = 0; i < sizeof(buf); i += PAGE)
		fill_page(buf + i, stamp);
	while (step) {
		ssize_t n = pwrite(fd, buf, step, pos);

		if (n > 0) {
			pos += n;
			continue;
		}
		check(n < 0 && errno == ENOSPC, "fill free space: %m");
		step = step > PAGE ? PAGE : 0;
	}
	must(ftruncate(fd, pos / PAGE * PAGE));
	return fd;
}

void check_all_pages(int fd, uint64_t stamp, const char *what)
{
	static __thread char buf[1 << 18];
	size_t pages = file_size(fd) / PAGE;

	for (size_t i = 0; i < pages; ) {
		ssize_t n = pread(fd, buf, sizeof(buf), i * PAGE);

		check(n > 0 && n % PAGE == 0, "%s: read at page %zu: %m", what, i);
		for (char *p = buf; p < buf + n; p += PAGE, i++)
			check_page(p, stamp, what);
	}
}

#define SMALL_FILES	128
#define SMALL_PAGES	((size_t)16)

static const char *small_file(const struct env *e, int i)
{
	char name[32];

	snprintf(name, sizeof(name), "small%d", i);
	return in_dir(e, name);
}

void fill_small_files(const struct env *e, uint64_t stamp)
{
	char buf[SMALL_PAGES * PAGE];

	for (size_t i = 0; i < SMALL_PAGES; i++)
		fill_page(buf + i * PAGE, stamp);
	for (int i = 0; i < SMALL_FILES; i++) {
		int fd = must(open(small_file(e, i), O_RDWR | O_CREAT | O_TRUNC, 0644));

		check(pwrite(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf), "small file: %m");
		close(fd);
	}
}

void check_small_files(const struct env *e, uint64_t stamp)
{
	for (int i = 0; i < SMALL_FILES; i++) {
		int fd = must(open(small_file(e, i), O_RDWR));

		check(file_size(fd) == (off_t)(SMALL_PAGES * PAGE), "size of a small file");
		check_all_pages(fd, stamp, "small file");
		close(fd);
		must(unlink(small_file(e, i)));
	}
}

static __thread sigjmp_buf bus_return;
static __thread volatile sig_atomic_t bus_armed;

static void on_sigbus(int sig)
{
	if (bus_armed)
		siglongjmp(bus_return, 1);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void arm_sigbus(void)
{
	struct sigaction sa = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };

	must(sigaction(SIGBUS, &sa, NULL));
}

int try_store(char *addr, char value)
{
	arm_sigbus();
	if (sigsetjmp(bus_return, 1)) {
		bus_armed = 0;
		return SIGBUS;
	}
	bus_armed = 1;
	*(volatile char *)addr = value;
	bus_armed = 0;
	return 0;
}

int try_load(const char *addr, char *value)
{
	char c;

	arm_sigbus();
	if (sigsetjmp(bus_return, 1)) {
		bus_armed = 0;
		return SIGBUS;
	}
	bus_armed = 1;
	c = *(const volatile char *)addr;
	bus_armed = 0;
	if (value)
		*value = c;
	return 0;
}

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
