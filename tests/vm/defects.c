// SPDX-License-Identifier: GPL-2.0
/*
 * Figures of the demo for what goes wrong with 2 MiB pages, with files that
 * share blocks, with waits, with the files of others and with memory failure.
 * Each cleans up behind it where the kernel still can.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "defects.h"
#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

static const char *json(bool value)
{
	return value ? "true" : "false";
}

static void drop(const struct env *e, const char *name, int fd, char *map, size_t pages)
{
	if (map)
		must(munmap(map, pages * PAGE));
	close(fd);
	must(unlink(in_dir(e, name)));
}

static void close_pin(struct pin *pin)
{
	close(pin->rd);
	close(pin->wr);
}

struct refaulter {
	volatile char *map;
	atomic_int stop;
	atomic_ulong rounds;
};

static void *refault(void *arg)
{
	struct refaulter *r = arg;
	char sum = 0;

	while (!r->stop) {
		for (size_t i = 0; i < N / 2; i++)
			sum += r->map[i * PAGE];
		r->rounds++;
		sched_yield();
	}
	return (void *)(long)sum;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	must(clock_gettime(clock, &ts));
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* D32: the CPU time of a job that waits, in thousandths of the time that it waits. */
static long cpu_permille(struct job *job)
{
	const uint64_t wait = 400000000;
	uint64_t begun, used;
	clockid_t cpu;

	check(!pthread_getcpuclockid(job->thread, &cpu), "no clock of a thread");
	begun = clock_ns(CLOCK_MONOTONIC);
	used = clock_ns(cpu);
	while (clock_ns(CLOCK_MONOTONIC) - begun < wait)
		usleep(1000);
	used = clock_ns(cpu) - used;
	return used * 1000 / (clock_ns(CLOCK_MONOTONIC) - begun);
}

/*
 * D5: a punch, the pin of which has ended, beside a thread that faults all the time.
 * D32: what the punch costs before.
 */
static void starve(const struct env *e)
{
	const unsigned long many = 60000;
	struct job job = { .op = OP_PUNCH, .first = 0, .pages = N / 2 };
	struct refaulter r = { 0 };
	unsigned long from;
	pthread_t thread;
	struct pin pin;
	long permille;
	bool ended;
	char *p;

	job.fd = create_file(e, "demo", N, 100);
	p = map_file(job.fd, N, RW);
	r.map = p;
	pin_pages(&pin, p, 1);
	job_start(&job);
	check(job_sleeps(&job), "the punch did not wait");
	check(!pthread_create(&thread, NULL, refault, &r), "no thread");
	while (r.rounds < 100)
		usleep(1000);
	permille = cpu_permille(&job);
	unpin_all(&pin);
	from = r.rounds;
	while (!job.done && r.rounds < from + many)
		usleep(1000);
	ended = job.done;
	r.stop = 1;
	pthread_join(thread, NULL);
	must(munmap(p, N * PAGE));
	job_succeeds(&job);
	close_pin(&pin);
	drop(e, "demo", job.fd, NULL, 0);
	printf("%s {\"figure\": \"starve\", \"ended\": %s, \"permille\": %ld}\n", e->label,
	       json(ended), permille);
}

/* D6: the other clone is mapped, and nobody pins anything any more. */
static void clone_mapped(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	int other = create_file(e, "other", 0, 0);
	struct pin pin;
	char *p, *q;
	bool waits;

	job.fd = create_file(e, "demo", N, 100);
	must(ioctl(other, FICLONE, job.fd));
	p = map_file(job.fd, N, RW);
	q = map_file(other, N, PROT_READ);
	pin_pages(&pin, p + 3 * PAGE, 1);
	for (size_t i = 0; i < N; i++)
		check_page(q + i * PAGE, 100 + i, "clone");
	job_start(&job);
	job_sleeps(&job);
	unpin_all(&pin);
	waits = job_sleeps(&job);
	must(munmap(q, N * PAGE));
	job_succeeds(&job);
	close_pin(&pin);
	drop(e, "demo", job.fd, p, N);
	drop(e, "other", other, NULL, 0);
	printf("%s {\"figure\": \"clone_mapped\", \"waits\": %s}\n", e->label, json(waits));
}

/* D8: a timer that fires all the time, while a truncate removes 65,536 entries. */
static void irqs_off(const struct env *e)
{
	const size_t pages = 65536;
	int fd = create_file(e, "demo", 0, 0);
	struct irq_gaps gaps;
	long gap;
	char *p;

	must(do_op(OP_ALLOCATE, fd, 0, pages));
	must(fsync(fd));
	p = map_file(fd, pages, RW);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	must(munmap(p, pages * PAGE));
	must(fsync(fd));
	irq_gaps_start(&gaps, 100);
	must(ftruncate(fd, 0));
	gap = irq_gaps_stop(&gaps);
	drop(e, "demo", fd, NULL, 0);
	printf("%s {\"figure\": \"irqs_off\", \"entries\": %zu, \"longest_us\": %ld}\n", e->label,
	       pages, gap);
}

/* D9: a page in a pipe and the last name of its file. */
static void eviction(const struct env *e)
{
	struct job job = { .op = OP_UNLINK, .path = in_dir(e, "demo") };
	int fd = create_file(e, "demo", N, 100), kmsg = kmsg_open();
	char *p = map_file(fd, N, RW), inode[64];
	struct stat st;
	struct pin pin;
	bool said;

	must(fstat(fd, &st));
	snprintf(inode, sizeof(inode), "inode %lu ", (unsigned long)st.st_ino);
	pin_pages(&pin, p + 3 * PAGE, 1);
	must(munmap(p, N * PAGE));
	close(fd);
	job_start(&job);
	check(job_sleeps(&job), "the unlink did not wait");
	said = kmsg_wait(kmsg, 20, inode, "pfn", NULL);
	unpin_all(&pin);
	job_succeeds(&job);
	close_pin(&pin);
	printf("%s {\"figure\": \"eviction\", \"said\": %s}\n", e->label, json(said));
}

static uint64_t cpu_ms(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int dedupe(int fd, int other)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range = {
		.head = { .src_length = N * PAGE, .dest_count = 1 },
		.info = { .dest_fd = fd },
	};

	return ioctl(other, FIDEDUPERANGE, &range);
}

/* D10: a pin in the second of two files, for a second; then SIGKILL. */
static void pair_pinned(const struct env *e)
{
	uint64_t cpu[2];
	bool dies[2];

	for (int k = 0; k < 2; k++) {
		int a = create_file(e, "demo", N, 100), b = create_file(e, "other", N, 100), status;
		/* The larger inode number is the second. */
		struct stat sa, sb;
		struct pin pin;
		char *p;
		pid_t pid;

		must(fstat(a, &sa));
		must(fstat(b, &sb));
		p = map_file(sa.st_ino > sb.st_ino ? a : b, N, RW);
		pin_pages(&pin, p + 3 * PAGE, 1);
		pid = must(fork());
		if (!pid) {
			close_pin(&pin);
			_exit(k ? dedupe(b, a) != 0 : ioctl(b, FICLONE, a) != 0);
		}
		usleep(200000);
		cpu[k] = cpu_ms(pid);
		usleep(1000000);
		cpu[k] = cpu_ms(pid) - cpu[k];
		must(kill(pid, SIGKILL));
		dies[k] = false;
		for (int i = 0; i < 200 && !dies[k]; i++) {
			dies[k] = waitpid(pid, &status, WNOHANG) == pid;
			usleep(10000);
		}
		unpin_all(&pin);
		if (!dies[k])
			waitpid(pid, &status, 0);
		close_pin(&pin);
		drop(e, "demo", a, p, N);
		drop(e, "other", b, NULL, 0);
	}
	printf("%s {\"figure\": \"pair_pinned\", \"clone_cpu_ms\": %llu, \"clone_dies\": %s, ",
	       e->label, (unsigned long long)cpu[0], json(dies[0]));
	printf("\"dedupe_cpu_ms\": %llu, \"dedupe_dies\": %s}\n", (unsigned long long)cpu[1],
	       json(dies[1]));
}

/* D11: 4 KiB pages of a clone are in use, the other is faulted in 2 MiB. */
static void size_collision(const struct env *e)
{
	int a = create_huge(e, "demo", 1), b = create_file(e, "other", 0, 0), status;
	char *p = map_file_huge(a, HUGE, RW), *q;
	bool over, ended = false;
	pid_t pid;

	for (size_t i = 0; i < HUGE; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(munmap(p, HUGE * PAGE));
	must(fsync(a));
	must(ioctl(b, FICLONE, a));
	must(ftruncate(a, 0));	/* no entry is left but those of the clone */
	must(ioctl(a, FICLONE, b));
	q = map_file(b, HUGE, RW);
	for (size_t i = 5; i < HUGE; i += 50)
		check_page(q + i * PAGE, 100 + i, "clone");
	p = map_file_huge(a, HUGE, PROT_READ);
	check_page(p, 100, "2 MiB");
	over = huge_pages(p, HUGE);
	printf("%s {\"figure\": \"size_collision\", \"over\": %s}\n", e->label, json(over));
	fflush(stdout);
	must(munmap(p, HUGE * PAGE));
	must(munmap(q, HUGE * PAGE));
	pid = must(fork());
	if (!pid)
		_exit(ftruncate(a, 0) || ftruncate(b, 0));
	for (int i = 0; i < 500 && !ended; i++) {
		ended = waitpid(pid, &status, WNOHANG) == pid;
		usleep(10000);
	}
	printf("%s {\"figure\": \"size_collision\", \"over\": %s, \"ended\": %s}\n", e->label,
	       json(over), json(ended));
	if (!ended)
		return;
	drop(e, "demo", a, NULL, 0);
	drop(e, "other", b, NULL, 0);
}

/* D55: a file that has a clone is mapped by 2 MiB, and where there is no room for 2 MiB. */
static void clone_pieces(const struct env *e)
{
	int a = create_huge(e, "demo", 1), b = create_file(e, "other", 0, 0);
	char *p = map_file_huge(a, HUGE, RW), *q = map_file(a, N, RW);
	size_t right = 0;

	for (size_t i = 0; i < HUGE; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(a));
	must(ioctl(b, FICLONE, a));
	check_page(p + 2 * PAGE, 102, "2 MiB");
	for (size_t i = 0; i < N; i++)
		right += page_is(q + i * PAGE, 100 + i);
	/* The kernel may die when the inode goes. */
	printf("%s {\"figure\": \"clone_pieces\", \"right\": %zu, \"ended\": false}\n", e->label,
	       right);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	must(munmap(q, N * PAGE));
	drop(e, "demo", a, p, HUGE);
	drop(e, "other", b, NULL, 0);
	printf("%s {\"figure\": \"clone_pieces\", \"right\": %zu, \"ended\": true}\n", e->label,
	       right);
}

/* R24: a file that is mapped by 2 MiB is cloned, then both are read through new mappings. */
static void clone_sweep(const struct env *e)
{
	const size_t pages = 4 * HUGE;
	int fd[2] = { create_huge(e, "demo", 4), create_file(e, "other", 0, 0) };
	char *p = map_file_huge(fd[0], pages, RW), *q[2];
	size_t huge = 0;
	long faults;

	for (size_t i = 0; i < pages; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(fd[0]));
	must(ioctl(fd[1], FICLONE, fd[0]));
	for (int k = 0; k < 2; k++)
		q[k] = map_file_huge(fd[k], pages, PROT_READ);
	faults = minor_faults();
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < pages; i++)
			check_page(q[k] + i * PAGE, 100 + i, k ? "clone" : "source");
	faults = minor_faults() - faults;
	for (int k = 0; k < 2; k++)
		huge += huge_pages(q[k], pages) / HUGE;
	printf("%s {\"figure\": \"clone_sweep\", \"faults\": %ld, \"huge\": %zu}\n", e->label,
	       faults, huge);
	must(munmap(p, pages * PAGE));
	drop(e, "other", fd[1], q[1], pages);
	drop(e, "demo", fd[0], q[0], pages);
}

static long flushed_of_huge(const struct env *e, bool punch)
{
	int fd = create_huge(e, "demo", 2);
	char *p = map_file_huge(fd, 2 * HUGE, RW);
	long flushed;

	for (size_t i = 0; i < 2 * HUGE; i++)
		p[i * PAGE] = 1;
	check(huge_pages(p, 2 * HUGE) == 2 * HUGE, "not mapped in 2 MiB");
	/* Whether the punch or the fsync writes back is free. */
	flush_count_start();
	if (punch)
		must(do_op(OP_PUNCH, fd, 100, 1));
	must(fsync(fd));
	flushed = flush_count_stop();
	drop(e, "demo", fd, p, 2 * HUGE);
	return flushed;
}

/* D13 */
static void punch_huge(const struct env *e)
{
	printf("%s {\"figure\": \"punch_huge\", \"flushed\": %ld, \"control\": %ld}\n", e->label,
	       flushed_of_huge(e, true), flushed_of_huge(e, false));
}

static char *volatile bus_addr;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	bus_addr = info->si_addr;
}

/* D14: which page of 2 MiB the process is told of, -1 for none. */
static void poison_huge(const struct env *e)
{
	const size_t bad = 77;
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	int fd = create_huge(e, "demo", 1);
	char *p = map_file_huge(fd, HUGE, RW);

	for (size_t i = 0; i < HUGE; i++)
		p[i * PAGE] = 1;
	check(huge_pages(p, HUGE) == HUGE, "not mapped in 2 MiB");
	must(sigaction(SIGBUS, &sa, NULL));
	must(madvise(p + bad * PAGE, PAGE, MADV_HWPOISON));
	printf("%s {\"figure\": \"poison_huge\", \"page\": %ld, \"bad\": %zu}\n", e->label,
	       bus_addr ? (long)((bus_addr - p) / (long)PAGE) : -1, bad);
	drop(e, "demo", fd, p, HUGE);
}

struct overwrite {
	int fd;
	char *map;
	bool store;
};

static int overwrite(void *arg)
{
	struct overwrite *o = arg;
	char buf[PAGE];

	for (size_t i = 0; i < N; i++) {
		fill_page(buf, 2000 + i);
		if (o->store)
			memcpy(o->map + i * PAGE, buf, PAGE);
		else if (pwrite(o->fd, buf, PAGE, i * PAGE) != (ssize_t)PAGE)
			return -1;
	}
	return 0;
}

/* Whether a word is made of bytes of two others: a store copies bytes, and may be half-way. */
static bool is_mix(uint64_t word, uint64_t a, uint64_t b)
{
	const uint64_t differs_a = word ^ a, differs_b = word ^ b;

	for (unsigned int shift = 0; shift < 64; shift += 8)
		if (differs_a >> shift & 0xff && differs_b >> shift & 0xff)
			return false;
	return true;
}

/* Bytes of a pipe that are another file's. */
static size_t foreign_bytes(const struct env *e, bool store)
{
	struct overwrite o = { .store = store };
	struct job job = { .op = OP_CALL, .call = overwrite, .arg = &o };
	int other = create_file(e, "other", 0, 0);
	size_t foreign = 0;
	uint64_t buf[PAGE / 8];
	struct pin pin;

	o.fd = create_file(e, "demo", N, 1000);
	must(ioctl(other, FICLONE, o.fd));
	o.map = map_file(o.fd, N, RW);
	for (size_t i = 0; i < N; i++)
		check_page(o.map + i * PAGE, 1000 + i, "before");
	pin_pages(&pin, o.map, N);
	job_start(&job);
	/* It ends, or waits: a store by trying again and again. */
	for (int i = 0; i < 100 && !job.done; i++)
		usleep(10000);
	must(ftruncate(other, 0));
	must(fsync(other));
	/* The same size as what was freed takes it, if it is free. */
	fill_small_files(e, 0x5555);
	for (size_t i = 0; i < N; i++) {
		unpin_page(&pin, buf);
		for (size_t k = 0; k < ARRAY_SIZE(buf); k++)
			if (!is_mix(buf[k], 1000 + i, 2000 + i))
				foreign += 8;
	}
	job_succeeds(&job);
	close_pin(&pin);
	check_small_files(e, 0x5555);
	drop(e, "demo", o.fd, o.map, N);
	drop(e, "other", other, NULL, 0);
	return foreign;
}

/* Whether a block is given out again at once is up to the file system: the worst of some. */
static size_t worst_of(const struct env *e, bool store)
{
	size_t worst = 0;

	for (int i = 0; i < 4; i++) {
		size_t foreign = foreign_bytes(e, store);

		worst = foreign > worst ? foreign : worst;
	}
	return worst;
}

/* D17 */
static void reuse(const struct env *e)
{
	printf("%s {\"figure\": \"reuse\", \"bytes\": %zu, \"write\": %zu, \"store\": %zu}\n",
	       e->label, N * PAGE, worst_of(e, false), worst_of(e, true));
}

/* D19: the kernel's complaints about a write over mapped shared pages. */
static void cow_write(const struct env *e)
{
	int kmsg = kmsg_open(), a = create_file(e, "demo", N, 100);
	int b = create_file(e, "other", 0, 0);
	char *p, buf[PAGE];
	bool right = true, warned;

	must(ioctl(b, FICLONE, a));
	p = map_file(a, N, RW);
	for (size_t i = 0; i < N; i++)
		check_page(p + i * PAGE, 100 + i, "before");
	fill_page(buf, 7);
	for (size_t i = 0; i < N; i++)
		check(pwrite(a, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
	for (size_t i = 0; i < N; i++)
		right = right && page_is(p + i * PAGE, 7);
	warned = kmsg_wait(kmsg, 1, "WARNING: ", NULL);
	printf("%s {\"figure\": \"cow_write\", \"warned\": %s, \"right\": %s}\n", e->label,
	       json(warned), json(right));
	drop(e, "demo", a, p, N);
	drop(e, "other", b, NULL, 0);
}

/* D21: pages that show what was written to them, of unwritten ones that were read. */
static void stale_zero(const struct env *e)
{
	const size_t pages = 8;
	int fd = create_file(e, "demo", 0, 0);
	size_t shown = 0;
	char *p, buf[PAGE];

	must(do_op(OP_ALLOCATE, fd, 0, pages));
	must(fsync(fd));
	p = map_file(fd, pages, RW);
	for (size_t i = 0; i < pages; i++)
		check_page(p + i * PAGE, 0, "unwritten");
	for (size_t i = 0; i < pages; i++) {
		fill_page(buf, 100 + i);
		check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
	}
	for (size_t i = 0; i < pages; i++)
		shown += page_is(p + i * PAGE, 100 + i);
	printf("%s {\"figure\": \"stale_zero\", \"pages\": %zu, \"shown\": %zu}\n", e->label, pages,
	       shown);
	drop(e, "demo", fd, p, pages);
}

#define PIECES	((size_t)16)	/* of 2 MiB, of a file that is cloned */
#define CLONES	24

/* Also if whoever makes the clones is stuck. */
struct clones {
	atomic_int made, readable;
};

static void make_clones(int fd, int other, struct clones *clones)
{
	char *p = map_file_huge(fd, PIECES * HUGE, PROT_READ);
	struct piece_reader r = { .map = p, .pieces = PIECES };
	pthread_t thread[2];

	for (size_t i = 0; i < PIECES; i++)
		check_page(p + i * HUGE * PAGE, 100 + i, "source");
	check(huge_pages(p, PIECES * HUGE) == PIECES * HUGE, "not mapped in 2 MiB");
	for (size_t t = 0; t < ARRAY_SIZE(thread); t++)
		check(!pthread_create(&thread[t], NULL, read_pieces, &r), "no thread");
	for (int n = 0; n < CLONES; n++) {
		int failures = r.failures, laps = r.laps;
		bool readable = true;
		char *q;

		/* While the source is read. */
		while (r.laps == laps)
			usleep(1000);
		must(ftruncate(other, 0));
		must(ioctl(other, FICLONE, fd));
		q = n % 2 ? map_file(other, PIECES * HUGE, PROT_READ) :
			    map_file_huge(other, PIECES * HUGE, PROT_READ);
		for (size_t i = 0; i < PIECES; i++) {
			const char *at = q + (i * HUGE + 7) * PAGE;

			readable = readable && !try_load(at, NULL) && page_is(at, 100 + i);
		}
		must(munmap(q, PIECES * HUGE * PAGE));
		clones->readable += readable && r.failures == failures;
		clones->made++;
	}
	r.stop = 1;
	for (size_t t = 0; t < ARRAY_SIZE(thread); t++)
		pthread_join(thread[t], NULL);
}

/* D33: a file is cloned while its 2 MiB pages are read. The kernel may be broken afterwards. */
static void clone_faults(const struct env *e)
{
	struct clones *clones = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = create_pieces(e, "demo", PIECES), other = create_file(e, "other", 0, 0);
	int status = 0, last = 0;
	bool ended = false;
	pid_t pid;

	check(clones != MAP_FAILED, "mmap: %m");
	/* For those who see no second line. */
	printf("%s {\"figure\": \"clone_faults\", \"clones\": %d}\n", e->label, CLONES);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	pid = must(fork());
	if (!pid) {
		make_clones(fd, other, clones);
		_exit(0);
	}
	for (int idle = 0; idle < 600 && !ended; idle++) {
		if (clones->made != last)
			idle = 0;
		last = clones->made;
		ended = waitpid(pid, &status, WNOHANG) == pid;
		usleep(10000);
	}
	printf("%s {\"figure\": \"clone_faults\", \"clones\": %d, \"made\": %d, \"readable\": %d, ",
	       e->label, CLONES, clones->made, clones->readable);
	printf("\"ended\": %s, \"failed\": %s}\n", json(ended), json(status));
	if (!ended) {
		kill(pid, SIGKILL);
		return;
	}
	drop(e, "demo", fd, NULL, 0);
	drop(e, "other", other, NULL, 0);
}

#define SLEEPERS	64
#define OTHERS		8
#define OTHER_PAGES	((size_t)512)

/* CPU time of an fsync that has nothing to write back. */
static uint64_t clean_fsync(int fd)
{
	uint64_t least = UINT64_MAX;

	must(fsync(fd));
	for (int i = 0; i < 10; i++) {
		uint64_t ns = thread_cpu_ns();

		must(fsync(fd));
		ns = thread_cpu_ns() - ns;
		least = ns < least ? ns : least;
	}
	return least;
}

/* A file in use: all its pages are mapped anew. */
static void use_file(int fd)
{
	char *p = map_file(fd, OTHER_PAGES, PROT_READ);

	for (size_t i = 0; i < OTHER_PAGES; i++)
		check(!try_load(p + i * PAGE, NULL), "SIGBUS");
	must(munmap(p, OTHER_PAGES * PAGE));
}

static const char *numbered(const char *name, int i)
{
	static char buf[32];

	snprintf(buf, sizeof(buf), "%s%d", name, i);
	return buf;
}

/* D35: what it costs others that many punches have waited for pins of their own files. */
static void strangers(const struct env *e)
{
	static struct job job[SLEEPERS];
	static struct pin pin[SLEEPERS];
	static char data[OTHER_PAGES * PAGE];
	uint64_t before[OTHERS], after[OTHERS];
	int fd[OTHERS], worst = 0;

	for (int i = 0; i < OTHERS; i++) {
		fd[i] = create_file(e, numbered("other", i), 0, 0);
		check(pwrite(fd[i], data, sizeof(data), 0) == (ssize_t)sizeof(data), "write: %m");
		use_file(fd[i]);
		before[i] = clean_fsync(fd[i]);
		/* Entries are made anew later on. */
		must(do_op(OP_PUNCH, fd[i], 0, OTHER_PAGES));
		check(pwrite(fd[i], data, sizeof(data), 0) == (ssize_t)sizeof(data), "write: %m");
	}
	for (int i = 0; i < SLEEPERS; i++) {
		char *p;

		job[i] = (struct job) { .op = OP_PUNCH, .first = 0, .pages = 1 };
		job[i].fd = create_file(e, numbered("demo", i), 1, 100);
		p = map_file(job[i].fd, 1, RW);
		pin_pages(&pin[i], p, 1);
		must(munmap(p, PAGE));
		job_start(&job[i]);
		job_until_asleep(&job[i]);
	}
	check(job_sleeps(&job[SLEEPERS - 1]), "the last punch did not wait");
	for (int i = 0; i < OTHERS; i++)
		use_file(fd[i]);
	for (int i = 0; i < SLEEPERS; i++) {
		check(!job[i].done, "punch %d did not wait", i);
		unpin_all(&pin[i]);
		job_succeeds(&job[i]);
		close_pin(&pin[i]);
		drop(e, numbered("demo", i), job[i].fd, NULL, 0);
	}
	for (int i = 0; i < OTHERS; i++) {
		after[i] = clean_fsync(fd[i]);
		if (after[i] * before[worst] > after[worst] * before[i])
			worst = i;
		drop(e, numbered("other", i), fd[i], NULL, 0);
	}
	printf("%s {\"figure\": \"strangers\", \"before\": %llu, \"after\": %llu}\n", e->label,
	       (unsigned long long)before[worst], (unsigned long long)after[worst]);
}

const struct defect_figure defect_figures[] = {
	{ "starve", starve },
	{ "clone_mapped", clone_mapped },
	{ "irqs_off", irqs_off },
	{ "eviction", eviction },
	{ "pair_pinned", pair_pinned },
	{ "size_collision", size_collision },
	{ "clone_pieces", clone_pieces },
	{ "clone_sweep", clone_sweep },
	{ "punch_huge", punch_huge },
	{ "poison_huge", poison_huge },
	{ "reuse", reuse },
	{ "cow_write", cow_write },
	{ "stale_zero", stale_zero },
	{ "clone_faults", clone_faults },
	{ "strangers", strangers },
	{ }
};
