// SPDX-License-Identifier: GPL-2.0
/* What debugfs says about busy pages and those who wait, and that it may always be asked. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "debugfs.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

/* Pages 4 to 6 are in a pipe, the task is called "a b\\\n\377" and waits for the first of them. */
static void check_truncate(const struct env *e, ino_t ino, const struct job *job)
{
	struct waiter w[4];
	struct busy b[8];
	char dev[16];

	dev_of(e, dev);
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 3, "busy has not the 3 pages");
	for (size_t i = 0; i < 3; i++) {
		check(!strcmp(b[i].dev, dev), "device %s, not %s", b[i].dev, dev);
		check(b[i].index == 4 + i, "page %lu, not %zu", b[i].index, 4 + i);
		check(b[i].order == 0, "order %lu", b[i].order);
		check(b[i].refcount == 1 && !b[i].mapcount && !b[i].pins,
		      "refcount %ld, mapcount %ld, pins %ld of a page in a pipe",
		      b[i].refcount, b[i].mapcount, b[i].pins);
		check(b[i].pid == (i ? 0 : (long)job->tid), "task %ld waits for page %lu, not %d",
		      b[i].pid, b[i].index, job->tid);
	}
	check(b[0].pfn && b[0].pfn != b[1].pfn && b[1].pfn != b[2].pfn, "pfns");
	check(read_waiters(ino, w, ARRAY_SIZE(w)) == 1, "not one waiter");
	check(w[0].pid == job->tid && !strcmp(w[0].what, "break") && !strcmp(w[0].dev, dev) &&
	      w[0].index == 4 && w[0].pfn == b[0].pfn, "task %ld waits to %s page %lu",
	      w[0].pid, w[0].what, w[0].index);
	check(!strcmp(w[0].comm, "a\\040b\\134\\012\\377"), "the waiter is named %s", w[0].comm);
}

static void check_time_passes(ino_t ino)
{
	struct waiter w[4];
	struct busy b[8];
	long age;

	check(read_busy(ino, b, ARRAY_SIZE(b)) == 3, "busy has not the 3 pages");
	age = b[2].age_ms;
	do {
		usleep(10000);
		check(read_busy(ino, b, ARRAY_SIZE(b)) == 3, "busy has not the 3 pages");
		check(b[2].age_ms >= age && b[2].age_ms < 120000, "the age went from %ld to %ld",
		      age, b[2].age_ms);
	} while (b[2].age_ms < age + 100);
	read_waiters(ino, w, ARRAY_SIZE(w));
	check(w[0].waited_ms >= 100 && w[0].waited_ms < 120000, "waited for %ld ms",
	      w[0].waited_ms);
}

static void truncate_is_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 2 };
	struct busy b[8];
	struct pin pin;
	ino_t ino;
	char *p;

	start_bound(e);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	check_counts(e, (struct counts){ .tracked = N }, (struct counts){});
	pin_pages(&pin, p + 4 * PAGE, 3);
	check(!read_busy(ino, NULL, 0), "a page is busy that the file uses");

	/* The job has the same name. */
	must(prctl(PR_SET_NAME, "a b\\\n\377"));
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check_truncate(e, ino, &job);
	check_counts(e, (struct counts){ .tracked = 2, .zapped = N - 2, .busy = 3 },
		     (struct counts){});
	check_time_passes(ino);

	unpin_page(&pin, NULL);
	check(job_sleeps(&job), "truncate did not wait for the rest");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 2 && b[0].index == 5 && b[0].pid == job.tid,
	      "after the first pin is gone, page %lu", b[0].index);
	unpin_all(&pin);
	job_succeeds(&job);
	check(!read_busy(ino, NULL, 0), "busy after truncate");
	check(!read_waiters(ino, NULL, 0), "somebody waits after truncate");
	check_counts(e, (struct counts){ .tracked = 2 }, (struct counts){});
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static void break_is_traced(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 4, .pages = 8 };
	char dev[16];
	struct pin pin;
	ino_t ino;
	char *p;

	start_bound(e);
	dev_of(e, dev);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 5 * PAGE, 2);
	trace_start();
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	check_traced(1, "break_begin", "dev=%s ino=%lu first=4 last=11\n", dev, ino);
	check_traced(2, "break_busy", "dev=%s ino=%lu index=", dev, ino);
	check_traced(1, "break_busy", "dev=%s ino=%lu index=5 ", dev, ino);
	check_traced(1, "wait_begin", "dev=%s ino=%lu index=5 ", dev, ino);
	check_traced(0, "wait_end", "dev=%s ino=%lu ", dev, ino);
	check_traced(0, "break_end", "dev=%s ino=%lu ", dev, ino);
	job_signal(&job);
	job_join(&job);
	check_traced(1, "wait_end", "dev=%s ino=%lu index=5 ", dev, ino);
	check_traced(1, "break_end", "dev=%s ino=%lu first=4 last=11 error=-512\n", dev, ino);
	unpin_all(&pin);
	must(do_op(OP_PUNCH, job.fd, 4, 8));
	check_traced(1, "break_end", "dev=%s ino=%lu first=4 last=11 error=0\n", dev, ino);
	trace_stop();
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static void interrupted_break_leaves_busy(const struct env *e)
{
	struct job job = { .op = OP_PUNCH, .first = 4, .pages = 4 };
	struct busy b[4];
	struct pin pin;
	ino_t ino;
	char *p, c;

	start_bound(e);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	/* No other pages than those that are pinned. */
	must(madvise(p, N * PAGE, MADV_RANDOM));
	pin_pages(&pin, p + 5 * PAGE, 2);
	job_start(&job);
	check(job_sleeps(&job), "punch did not wait");
	job_signal(&job);
	job_join(&job);
	check(!read_waiters(ino, NULL, 0), "a waiter that was interrupted is listed");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 2 && !b[0].pid && !b[1].pid,
	      "not two pages that nobody waits for");
	/* The file uses one of them again. */
	check(!try_load(p + 5 * PAGE, &c), "fault");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1 && b[0].index == 6, "after a fault");
	unpin_all(&pin);
	check(!read_busy(ino, NULL, 0), "busy without a pin");
	check_counts(e, (struct counts){ .tracked = 1, .zapped = 1 }, (struct counts){});
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static void huge_is_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct counts s, l;
	struct busy b[2];
	struct pin pin;
	ino_t ino;
	char *p;
	int fd;

	start_bound(e);
	fd = must(open(in_dir(e, "f"), O_RDWR | O_CREAT, 0644));
	must(fallocate(fd, 0, 0, 4 * HUGE * PAGE));
	ino = inode_of(fd);
	p = map_file_huge(fd, 4 * HUGE, RW);
	for (size_t i = 0; i < 4; i++)
		p[i * HUGE * PAGE] = 1;
	check(read_mount(e, &s, &l), "the mount is not listed");
	if (!l.tracked) {
		printf("# no fault was served with 2 MiB\n");
		goto out;
	}
	/* One in the midst of the first 2 MiB that are mapped as such. */
	pin_pages(&pin, p + (HUGE + 77) * PAGE, 1);
	job.fd = fd;
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1, "not one busy folio");
	if (b[0].order)
		check(b[0].order == 9 && b[0].index == HUGE && b[0].pfn % HUGE == 0,
		      "order %lu, page %lu", b[0].order, b[0].index);
	check(b[0].refcount == 1, "refcount %ld", b[0].refcount);
	check_counts(e, (struct counts){ .zapped = s.tracked, .busy = !b[0].order },
		     (struct counts){ .zapped = l.tracked, .busy = !!b[0].order });
	unpin_all(&pin);
	job_succeeds(&job);
	check_counts(e, (struct counts){}, (struct counts){});
out:
	munmap(p, 4 * HUGE * PAGE);
	close(fd);
	end_bound(e);
}

struct transfer {
	int fd;
	char *buf;
	pthread_t thread;
};

static void *transfer_main(void *arg)
{
	struct transfer *t = arg;

	return (void *)pread(t->fd, t->buf, PAGE, 0);
}

/* Unlike a pipe it takes pins that count as such: GUP_PIN_COUNTING_BIAS is 1024. */
static void direct_io_is_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct transfer t;
	struct slow_file slow;
	struct busy b[2];
	void *got;
	ino_t ino;
	char *p;

	start_bound(e);
	job.fd = create_file(e, "f", N, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, N, RW);
	slow_file_start(&slow, 700);
	t.fd = must(open(slow.path, O_RDONLY | O_DIRECT));
	t.buf = p + 9 * PAGE;
	check(!pthread_create(&t.thread, NULL, transfer_main, &t), "no thread");
	slow_file_wait_held(&slow);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1 && b[0].index == 9, "not page 9");
	check(b[0].pins == 1 && b[0].refcount == 1024, "%ld pins, refcount %ld", b[0].pins,
	      b[0].refcount);
	slow_file_release(&slow);
	pthread_join(t.thread, &got);
	check(got == (void *)PAGE, "the read failed");
	job_succeeds(&job);
	close(t.fd);
	slow_file_stop(&slow);
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static void shared_is_seen(const struct env *e)
{
	char *p[2];
	int fd[2];

	if (strcmp(e->fs, "xfs")) {
		printf("# %s shares no blocks\n", e->fs);
		return;
	}
	start_bound(e);
	fd[0] = create_file(e, "f", N, 100);
	fd[1] = must(open(in_dir(e, "g"), O_RDWR | O_CREAT, 0644));
	must(ioctl(fd[1], FICLONE, fd[0]));
	for (size_t k = 0; k < 2; k++) {
		p[k] = map_file(fd[k], N, PROT_READ);
		for (size_t i = 0; i < N - k; i++)
			(void)*(volatile char *)(p[k] + i * PAGE);
	}
	/* Page N - 1 has an entry in the first file only. */
	check_counts(e, (struct counts){ .tracked = 2 * N - 1, .shared = 2 * (N - 1) },
		     (struct counts){});
	must(ftruncate(fd[1], PAGE));
	check_counts(e, (struct counts){ .tracked = N + 1, .shared = 2 }, (struct counts){});
	for (size_t k = 0; k < 2; k++) {
		munmap(p[k], N * PAGE);
		close(fd[k]);
	}
	end_bound(e);
}

static void eviction_is_seen(const struct env *e)
{
	struct job job = { .op = OP_UNLINK, .path = in_dir(e, "f") };
	struct waiter w[2];
	struct busy b[4];
	struct pin pin;
	ino_t ino;
	char *p;
	int fd;

	start_bound(e);
	fd = create_file(e, "f", N, 100);
	ino = inode_of(fd);
	p = map_file(fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 2);
	must(munmap(p, N * PAGE));
	close(fd);
	job_start(&job);
	check(job_sleeps(&job), "unlink did not wait");
	/* No list of inodes has it any more. */
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 2 && b[0].index == 3 && b[1].index == 4,
	      "busy has not the 2 pages");
	check(b[0].pid == job.tid, "task %ld waits, not %d", b[0].pid, job.tid);
	check(read_waiters(ino, w, ARRAY_SIZE(w)) == 1 && !strcmp(w[0].what, "evict") &&
	      w[0].pid == job.tid, "no eviction waits");
	check_counts(e, (struct counts){ .zapped = 2, .busy = 2 }, (struct counts){});
	unpin_all(&pin);
	job_succeeds(&job);
	check_counts(e, (struct counts){}, (struct counts){});
	end_bound(e);
}

static void removal_is_seen(const struct env *e)
{
	struct waiter w[2];
	struct busy b[4];
	struct pin pin;
	char name[64];
	int fd, status;
	pid_t pid;
	ino_t ino;
	char *p;

	start_bound(e);
	fd = create_file(e, "f", N, 100);
	ino = inode_of(fd);
	p = map_file(fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	must(munmap(p, N * PAGE));
	device_name(e->dev, name, sizeof(name));
	trace_start();
	pid = must(fork());
	if (!pid) {
		close(pin.rd);
		close(pin.wr);
		close(fd);
		_exit(!device_unbind(name));
	}
	check(task_sleeps(pid, pid, NULL), "unbind did not wait");
	check(read_busy(ino, b, ARRAY_SIZE(b)) == 1 && b[0].index == 3 && b[0].pid == pid,
	      "task %ld waits, not %d", b[0].pid, pid);
	check(read_waiters(0, w, ARRAY_SIZE(w)) == 1 && !strcmp(w[0].what, "removal") &&
	      w[0].pid == pid && w[0].pfn == b[0].pfn && !w[0].ino, "no removal waits");
	check_traced(1, "removal_begin", "first=0x");
	check_traced(1, "removal_revoked", "first=0x");
	check_traced(0, "removal_end", "first=0x");
	unpin_all(&pin);
	must(waitpid(pid, &status, 0));
	check(!status, "the unbind failed");
	check_traced(1, "removal_end", "first=0x");
	trace_stop();
	check(!read_busy(0, NULL, 0), "a page of no device is busy");
	close(fd);
	end_bound(e);
	check(device_bind(name), "cannot bind %s again: %m", name);
	while (access(e->dev, F_OK))
		usleep(10000);
}

static void open_file_holds_the_module(const struct env *e)
{
	char buf[64];
	int fd;

	start_bound(e);
	must(umount(e->dir));
	fd = must(open(DEBUGFS "/busy", O_RDONLY | O_CLOEXEC));
	check(module_unload(), "the module went from under an open file");
	check(read(fd, buf, sizeof(buf)) > 0, "read: %m");
	must(close(fd));
	check(!module_unload(), "cannot unload the module: %m");
	check(access(DEBUGFS, F_OK), "the directory outlives the module");
}

/* More lines than one buffer or one batch holds. */
#define MANY	((size_t)1500)

static void many_are_seen(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	static struct busy b[MANY + 1];
	static struct pin pins[MANY / 250];
	ino_t ino;
	char *p;

	start_bound(e);
	job.fd = create_file(e, "f", MANY, 100);
	ino = inode_of(job.fd);
	p = map_file(job.fd, MANY, RW);
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		pin_pages(&pins[i], p + i * 250 * PAGE, 250);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	check(read_busy(ino, b, MANY) == MANY, "not %zu lines", MANY);
	for (size_t i = 0; i < MANY; i++)
		check(b[i].index == i, "line %zu has page %lu", i, b[i].index);
	check_counts(e, (struct counts){ .zapped = MANY, .busy = MANY }, (struct counts){});
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
		unpin_all(&pins[i]);
	job_succeeds(&job);
	munmap(p, MANY * PAGE);
	close(job.fd);
	end_bound(e);
}

#define STRESS_FILES	4
#define STRESS_SECONDS	8
#define STRESS_PAGES	((size_t)64)

struct stress {
	const struct env *e;
	pthread_t thread;
	unsigned int id;
};

static atomic_int stress_over;

/* Each on a file of its own, so that nobody waits for itself. */
static void *stress_main(void *arg)
{
	struct stress *s = arg;
	time_t over = time(NULL) + STRESS_SECONDS;
	unsigned int seed = s->id + 1;
	char name[16];

	snprintf(name, sizeof(name), "f%u", s->id);
	for (int round = 0; round < 3 || time(NULL) < over; round++) {
		struct job job = { .op = round % 2 ? OP_PUNCH : OP_TRUNCATE };
		size_t at = rand_r(&seed) % (STRESS_PAGES - 4);
		struct pin pin;
		char *p;

		job.fd = create_file(s->e, name, STRESS_PAGES, 100);
		p = map_file(job.fd, STRESS_PAGES, RW);
		pin_pages(&pin, p + at * PAGE, 4);
		if (round % 3 == 0) {
			must(munmap(p, STRESS_PAGES * PAGE));
			close(job.fd);
			job = (struct job){ .op = OP_UNLINK, .path = in_dir(s->e, name) };
			p = NULL;
		} else {
			job.pages = STRESS_PAGES;
		}
		job_start(&job);
		usleep(rand_r(&seed) % 3000);
		if (p)
			try_load(p + at * PAGE, NULL);
		unpin_all(&pin);
		job_join(&job);
		if (p) {
			must(munmap(p, STRESS_PAGES * PAGE));
			close(job.fd);
		}
		close(pin.rd);
		close(pin.wr);
	}
	return NULL;
}

static void *reader_main(void *arg)
{
	const struct env *e = arg;
	struct counts s, l;
	long reads = 0;

	while (!stress_over) {
		read_busy(0, NULL, 0);
		read_waiters(0, NULL, 0);
		check(read_mount(e, &s, &l), "the mount is not listed");
		reads++;
	}
	return (void *)reads;
}

static void reading_during_a_stress(const struct env *e)
{
	struct stress stress[STRESS_FILES];
	pthread_t readers[2];
	void *reads;

	start_bound(e);
	for (unsigned int i = 0; i < STRESS_FILES; i++) {
		stress[i] = (struct stress){ .e = e, .id = i };
		check(!pthread_create(&stress[i].thread, NULL, stress_main, &stress[i]), "thread");
	}
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		check(!pthread_create(&readers[i], NULL, reader_main, (void *)e), "thread");
	for (size_t i = 0; i < STRESS_FILES; i++)
		pthread_join(stress[i].thread, NULL);
	stress_over = 1;
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		pthread_join(readers[i], &reads);
		check(reads, "nothing was read");
		printf("# %ld reads\n", (long)reads);
	}
	check(!read_busy(0, NULL, 0), "busy after the stress");
	check(!read_waiters(0, NULL, 0), "somebody waits after the stress");
	end_bound(e);
}

static const struct test tests[] = {
	{ "a truncate and the pages that it waits for are seen", truncate_is_seen, BOUND_ONLY },
	{ "the tracepoints of a break are seen", break_is_traced, ONCE },
	{ "pages stay busy after an interrupted punch", interrupted_break_leaves_busy,
	  BOUND_ONLY },
	{ "2 MiB that are busy are seen as one", huge_is_seen, ONCE },
	{ "pins of direct I/O are seen as such", direct_io_is_seen, ONCE },
	{ "R11 folios that files share are counted", shared_is_seen, BOUND_ONLY },
	{ "R12 an eviction and its pages are seen", eviction_is_seen, BOUND_ONLY },
	{ "R14 a removal and its pages are seen", removal_is_seen, ONCE },
	{ "R15 an open file of debugfs holds the module", open_file_holds_the_module, ONCE },
	{ "more busy pages than a batch holds are seen", many_are_seen, ONCE },
	{ "R10 debugfs is read during a stress", reading_during_a_stress, ONCE | RACES },
	{ }
};

GROUP_UNMOUNTED(observe, tests);
