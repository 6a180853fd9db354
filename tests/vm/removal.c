// SPDX-License-Identifier: GPL-2.0
/*
 * The device goes, under a mounted file system: nobody keeps a page of it but
 * those who pin one, and they are waited for. What was synced is there again
 * when the device comes back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
#define OTHER_DIR	"/mnt/other"

/*
 * Ways to take a device away and to bring it back: its driver, or the region that
 * it is in. ndctl does the same, but not under a mounted file system.
 */
enum how { UNBIND, REGION, HOWS };

static const struct {
	const char *name, *away, *back;
} how_to[] = {
	[UNBIND] = { "unbind of the namespace", "echo %s > /sys/bus/nd/drivers/nd_pmem/unbind",
		     "echo %s > /sys/bus/nd/drivers/nd_pmem/bind" },
	[REGION] = { "unbind of the region", "echo region%c > /sys/bus/nd/drivers/nd_region/unbind",
		     "echo region%c > /sys/bus/nd/drivers/nd_region/bind" },
};

struct removal {
	enum how how;
	char name[64];
	pid_t pid;
};

static void command(const struct env *e, const struct removal *r, bool back, char *cmd, size_t size)
{
	const char *format = back ? how_to[r->how].back : how_to[r->how].away;

	if (r->how == UNBIND)
		snprintf(cmd, size, format, r->name);
	else
		snprintf(cmd, size, format, e->dev[strlen(e->dev) - 1]);
}

static void mount_new(const struct env *e, bool bound)
{
	module_bind(bound);
	check(make_fs(e->fs, e->dev), "cannot make %s on %s", e->fs, e->dev);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir) == bound, "the mount is %sbound", bound ? "not " : "");
}

static void load(const struct env *e)
{
	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
	/* XFS sends it to all who map a file, before anything else happens. */
	signal(SIGBUS, SIG_IGN);
}

/* A mounted file system with a synced file of @pages pages, stamped from 100 on. */
static int start(const struct env *e, size_t pages)
{
	load(e);
	mount_new(e, true);
	return create_file(e, "synced", pages, 100);
}

static void unbind_start(const struct env *e, struct removal *r)
{
	device_name(e->dev, r->name, sizeof(r->name));
	r->pid = must(fork());
	if (!r->pid) {
		char cmd[160];

		/* A new program: it must not hold what others let go. */
		command(e, r, false, cmd, sizeof(cmd));
		close_range(3, ~0u, 0);
		execl("/bin/sh", "sh", "-c", cmd, NULL);
		_exit(1);
	}
}

static void unbind_ends(const struct env *e, struct removal *r)
{
	int status;

	must(waitpid(r->pid, &status, 0));
	check(!status, "%s failed", how_to[r->how].name);
	check(access(e->dev, F_OK), "%s is still there", e->dev);
}

static bool fsck(const struct env *e)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), strcmp(e->fs, "xfs") ? "e2fsck -fn %s >/dev/null 2>&1" :
		 "xfs_repair -n %s >/dev/null 2>&1", e->dev);
	return !system(cmd);
}

/* The device again: its file system is whole and has what was synced. */
static void bring_back(const struct env *e, struct removal *r, size_t pages)
{
	char cmd[160];
	int fd;

	command(e, r, true, cmd, sizeof(cmd));
	check(!system(cmd), "cannot bring %s back by '%s'", e->dev, cmd);
	/* A region looks for its namespaces when it has time. */
	while (mount_fs(e->fs, e->dev, e->dir, NULL)) {
		check(errno == ENXIO || errno == ENOENT || errno == ENOTBLK,
		      "mount after the removal: %m");
		usleep(10000);
	}
	fd = must(open(in_dir(e, "synced"), O_RDONLY | O_CLOEXEC));
	for (size_t i = 0; i < pages; i++)
		check_file_page(fd, i, 100 + i, "synced before the removal");
	close(fd);
	must(umount(e->dir));
	check(fsck(e), "%s is damaged", e->fs);
	check(!module_unload(), "cannot unload the module: %m");
}

static void check_sigbus(char *p, size_t pages, const char *what)
{
	for (size_t i = 0; i < pages; i++) {
		check(try_load(p + i * PAGE, NULL) == SIGBUS, "%s: no SIGBUS in a load of page %zu",
		      what, i);
		check(try_store(p + i * PAGE, 1) == SIGBUS, "%s: no SIGBUS in a store to page %zu",
		      what, i);
	}
}

/*
 * Until the pages are revoked, however long the freeze takes. ext4 refuses faults long
 * before it is so for pages that are mapped, and XFS unmaps them long before it refuses
 * faults: only both together say that it is for good.
 */
static void await_sigbus(char *p, size_t pages)
{
	for (int i = 0; i < 6000; i++) {
		if (!present_pages(p, pages) && try_load(p, NULL) == SIGBUS)
			return;
		usleep(10000);
	}
}

/* Mapped in 4 KiB, in 2 MiB, read, written, not touched: none of it matters. */
static void revoked(const struct env *e, enum how how)
{
	int fd = start(e, N), huge = create_huge(e, "huge", 2), hole = create_file(e, "hole", 0, 0);
	char *p = map_file(fd, N, RW), *q = map_file_huge(huge, 2 * HUGE, RW), *h;
	struct removal r = { .how = how };

	must(ftruncate(hole, N * PAGE));
	h = map_file(hole, N, RW);
	for (size_t i = 0; i < N / 2; i++)
		check_page(p + i * PAGE, 100 + i, "mapped");
	for (size_t i = 0; i < 2 * HUGE; i += 64)
		q[i * PAGE] = 1;
	check_page(h, 0, "hole");
	unbind_start(e, &r);
	unbind_ends(e, &r);
	check_sigbus(p, N, "small pages");
	check_sigbus(q, 2 * HUGE, "large pages");
	check(try_store(h, 1) == SIGBUS, "no SIGBUS in a store to a hole");
	must(munmap(p, N * PAGE));
	must(munmap(q, 2 * HUGE * PAGE));
	must(munmap(h, N * PAGE));
	close(fd);
	close(huge);
	close(hole);
	must(umount(e->dir));
	bring_back(e, &r, N);
}

static void mappings_are_revoked(const struct env *e)
{
	for (enum how how = 0; how < HOWS; how++)
		revoked(e, how);
}

static void pins_are_waited_for(const struct env *e)
{
	int fd = start(e, N), log = kmsg_open(), status;
	char *p = map_file(fd, N, RW), buf[PAGE], ino[32];
	struct removal r = { .how = UNBIND };
	struct pin pin;
	struct stat st;
	pid_t umounter;

	must(fstat(fd, &st));
	snprintf(ino, sizeof(ino), "inode %lu,", (unsigned long)st.st_ino);
	check_page(p, 100, "mapped");
	check_page(p + PAGE, 101, "mapped");
	pin_pages(&pin, p, 2);
	unbind_start(e, &r);
	check(task_sleeps(r.pid, r.pid, NULL), "unbind did not wait for the pin");
	await_sigbus(p, N);
	check_sigbus(p, N, "with a pin");
	check(kmsg_wait(log, 60, "removal of a device waits", ino, "page offset 0", "1 pins",
			NULL),
	      "the log does not say what the removal waits for");
	must(munmap(p, N * PAGE));
	close(fd);
	umounter = must(fork());
	if (!umounter) {
		close(pin.rd);
		close(pin.wr);
		_exit(umount(e->dir) != 0);
	}
	check(task_sleeps(r.pid, r.pid, NULL), "unbind ended with a page in a pipe");
	for (size_t i = 0; i < 2; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 100 + i, "page of a dying device");
	}
	must(waitpid(umounter, &status, 0));
	check(!status, "umount failed");
	unbind_ends(e, &r);
	bring_back(e, &r, N);
}

/* What goes on while the device goes. A process each: they may die of SIGBUS. */
#define BIG	((size_t)4)	/* pages of 2 MiB */

static void keep_storing(const struct env *e)
{
	int fd = open(in_dir(e, "big"), O_RDWR | O_CLOEXEC);
	char *p = map_file_huge(fd, BIG * HUGE, RW);

	for (size_t i = 0;; i = (i + 7) % (BIG * HUGE))
		p[i * PAGE] = 1;
}

static void keep_storing_small(const struct env *e)
{
	int fd = open(in_dir(e, "synced"), O_RDWR | O_CLOEXEC);
	char *p = map_file(fd, N, PROT_READ);
	volatile char c;

	for (size_t i = 0;; i = (i + 1) % N)
		c = p[i * PAGE];
	(void)c;
}

static void keep_pinning(const struct env *e)
{
	int fd = open(in_dir(e, "big"), O_RDWR | O_CLOEXEC);
	char *p = map_file_huge(fd, BIG * HUGE, RW);
	struct pin pin;

	for (size_t i = 0;; i = (i + 31) % (BIG * HUGE)) {
		pin_pages(&pin, p + i * PAGE, 1);
		unpin_all(&pin);
		close(pin.rd);
		close(pin.wr);
	}
}

static int scratch;	/* a block device that is read with O_DIRECT */

static void keep_reading_directly(const struct env *e)
{
	int fd = open(in_dir(e, "big"), O_RDWR | O_CLOEXEC);
	char *p = map_file_huge(fd, BIG * HUGE, RW);

	/* Fails when the pages are gone, which is right. */
	for (size_t i = 0;; i = (i + 16) % (BIG * HUGE))
		if (pread(scratch, p + i * PAGE, 16 * PAGE, 0) < 0 && errno != EFAULT)
			_exit(1);
}

static void keep_truncating(const struct env *e)
{
	int fd = open(in_dir(e, "cut"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *p = map_file(fd, 64, RW);

	for (;;) {
		if (ftruncate(fd, 64 * PAGE) || ftruncate(fd, 8 * PAGE))
			_exit(0);
		p[3 * PAGE] = 1;
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 4 * PAGE))
			_exit(0);
	}
}

static void keep_evicting(const struct env *e)
{
	for (;;) {
		int fd = open(in_dir(e, "short"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		char *p;

		if (fd < 0 || ftruncate(fd, 8 * PAGE))
			_exit(0);
		p = map_file(fd, 8, RW);
		for (size_t i = 0; i < 8; i++)
			p[i * PAGE] = 1;
		munmap(p, 8 * PAGE);
		close(fd);
		if (unlink(in_dir(e, "short")))
			_exit(0);
	}
}

static void keep_writing(const struct env *e)
{
	int fd = open(in_dir(e, "written"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char buf[PAGE] = { 1 };

	for (size_t i = 0;; i = (i + 1) % 64)
		if (pwrite(fd, buf, PAGE, i * PAGE) < 0 || (i == 63 && fsync(fd)))
			_exit(0);
}

static void under_load(const struct env *e)
{
	static void (*const side[])(const struct env *) = {
		keep_storing, keep_storing_small, keep_pinning, keep_reading_directly,
		keep_truncating, keep_evicting, keep_writing,
	};
	const int rounds = e->ops / 1000;
	int file = must(open("/tmp", O_TMPFILE | O_RDWR, 0600));

	must(ftruncate(file, MIB));
	scratch = open_loop_device(file, true);
	close(file);
	for (int round = 0; round < rounds; round++) {
		int fd = start(e, N);
		pid_t pid[ARRAY_SIZE(side)];
		struct removal r = { .how = (round + round / 4) % HOWS };

		close(fd);
		close(create_huge(e, "big", BIG));
		for (size_t i = 0; i < ARRAY_SIZE(side); i++) {
			pid[i] = must(fork());
			if (!pid[i]) {
				side[i](e);
				_exit(0);
			}
		}
		usleep(20000 << round % 4);
		unbind_start(e, &r);
		/* Lazily, so that it goes on while they die. */
		if (round % 2)
			must(umount2(e->dir, MNT_DETACH));
		unbind_ends(e, &r);
		for (size_t i = 0; i < ARRAY_SIZE(side); i++) {
			kill(pid[i], SIGKILL);
			must(waitpid(pid[i], NULL, 0));
		}
		if (!(round % 2))
			must(umount(e->dir));
		bring_back(e, &r, N);
	}
	close(scratch);
	printf("# removed and brought back %d times\n", rounds);
}

/* A mount whose umount waits for a page in a pipe. */
struct hanging {
	struct pin pin;
	pid_t umounter;
};

static pid_t umount_start(const struct env *e)
{
	pid_t pid = must(fork());

	if (!pid) {
		execlp("umount", "umount", e->dir, NULL);
		_exit(1);
	}
	return pid;
}

static void hang_start(const struct env *e, bool bound, struct hanging *h)
{
	char *p;
	int fd;

	mount_new(e, bound);
	fd = create_file(e, "pinned", N, 500);
	p = map_file(fd, N, RW);
	check_page(p, 500, "mapped");
	pin_pages(&h->pin, p, 1);
	must(munmap(p, N * PAGE));
	close(fd);
	h->umounter = umount_start(e);
	check(task_sleeps(h->umounter, h->umounter, NULL), "the umount did not wait for the pin");
}

static void hang_ends(struct hanging *h)
{
	char buf[PAGE];
	int status;

	check(!waitpid(h->umounter, &status, WNOHANG), "the umount ended with a page in a pipe");
	unpin_page(&h->pin, buf);
	check_page(buf, 500, "page in the pipe");
	close(h->pin.rd);
	close(h->pin.wr);
	must(waitpid(h->umounter, &status, 0));
	check(!status, "umount failed");
}

/* In time: a limit, which is far from what it takes. */
static bool process_ends(pid_t pid, int *status)
{
	for (int i = 0; i < 6000; i++) {
		if (must(waitpid(pid, status, WNOHANG)))
			return true;
		usleep(10000);
	}
	return false;
}

/* All tables, in a new process, which needs nothing that others hold. */
static void debugfs_is_readable(const char *when)
{
	pid_t pid = must(fork());
	int status;

	if (!pid) {
		execl("/bin/sh", "sh", "-c",
		      "cd /sys/kernel/debug/" MODULE_NAME " && cat mounts busy waiters > /dev/null",
		      NULL);
		_exit(1);
	}
	check(process_ends(pid, &status), "debugfs cannot be read %s", when);
	check(!status, "reading debugfs fails %s", when);
}

static void beside_a_hanging_umount(const struct env *e, bool bound, bool other_bound)
{
	struct env other = *e;
	struct removal r = { .how = UNBIND };
	struct hanging h;
	struct pin pin;
	int fd, status;
	char *p = NULL;

	load(e);
	other.dev = e->other;
	other.dir = OTHER_DIR;
	hang_start(&other, other_bound, &h);
	debugfs_is_readable("beside an umount that waits");
	mount_new(e, bound);
	fd = create_file(e, "synced", N, 100);
	/* A mapping of what fs/dax.c serves does not survive it (D4). */
	if (bound) {
		p = map_file(fd, N, RW);
		for (size_t i = 0; i < N; i++)
			check_page(p + i * PAGE, 100 + i, "mapped");
		pin_pages(&pin, p, 1);
	}
	unbind_start(e, &r);
	if (bound) {
		await_sigbus(p, N);
		check(!must(waitpid(r.pid, NULL, WNOHANG)),
		      "the removal did not wait for its own pin");
		check_sigbus(p, N, "with a pin");
		debugfs_is_readable("beside a removal that waits");
		unpin_all(&pin);
		close(pin.rd);
		close(pin.wr);
	}
	check(process_ends(r.pid, &status),
	      "the removal of %s waits for the umount of %s", e->dev, e->other);
	check(!status, "%s failed", how_to[r.how].name);
	hang_ends(&h);
	if (p)
		must(munmap(p, N * PAGE));
	close(fd);
	must(umount(e->dir));
	bring_back(e, &r, N);
}

static void umount_of_another_device(const struct env *e)
{
	for (int served = 0; served < 4; served++)
		beside_a_hanging_umount(e, served & 1, served & 2);
}

/*
 * Readers that fault the blocks of others: whoever reads the AGF waits for what
 * tells them of the removal, with the lock of an entry held. Nobody else touches
 * a page, so that it is the removal who ends them. More than one batch of
 * each kind: the same block in many files, many times in one file, many extents.
 */
#define MANY	((size_t)24)
#define READERS	((size_t)8)

enum many { CLONES, SELF_CLONE, PIECES, MANY_KINDS };

static const char *many_name(enum many kind, size_t i)
{
	static char name[32];

	if (kind == CLONES)
		snprintf(name, sizeof(name), "clone%zu", i);
	else
		snprintf(name, sizeof(name), "%s", kind == PIECES ? "pieces" : "self");
	return name;
}

static void make_many(const struct env *e, int synced)
{
	int self = create_file(e, many_name(SELF_CLONE, 0), 0, 0);
	int pieces = create_file(e, many_name(PIECES, 0), 2 * MANY, 0);

	for (size_t i = 0; i < MANY; i++) {
		struct file_clone_range range = { synced, 0, PAGE, i * PAGE };
		int fd = create_file(e, many_name(CLONES, i), 0, 0);

		must(ioctl(fd, FICLONE, synced));
		close(fd);
		must(ioctl(self, FICLONERANGE, &range));
		must(do_op(OP_PUNCH, pieces, 2 * i + 1, 1));
	}
	close(self);
	close(pieces);
}

/* Maps a page of its file, says so, and waits for SIGBUS. */
static pid_t witness(const struct env *e, enum many kind, size_t i, int ready)
{
	const off_t pos = (kind == CLONES ? 0 : kind == PIECES ? 2 * i : i) * PAGE;
	pid_t pid = must(fork());
	char *p;
	int fd;

	if (pid)
		return pid;
	signal(SIGBUS, SIG_DFL);
	fd = must(open(in_dir(e, many_name(kind, i)), O_RDONLY));
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, pos);
	check(p != MAP_FAILED, "mmap: %m");
	check_page(p, kind == PIECES ? 2 * i : 100, many_name(kind, i));
	close(fd);
	must(write(ready, "", 1));
	for (;;)
		pause();
}

static pid_t reader(const struct env *e, size_t who)
{
	char *p[MANY / READERS];
	pid_t pid = must(fork());

	if (pid)
		return pid;
	signal(SIGBUS, SIG_DFL);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		int fd = must(open(in_dir(e, many_name(CLONES, i * READERS + who)), O_RDONLY));

		p[i] = map_file(fd, N, PROT_READ);
		close(fd);
	}
	for (size_t i = 0;; i = (i + 1) % ARRAY_SIZE(p)) {
		must(madvise(p[i], N * PAGE, MADV_DONTNEED));
		for (size_t page = 0; page < N; page++)
			(void)*(volatile char *)(p[i] + page * PAGE);
	}
}

/*
 * XFS freezes itself before it kills, and writes the AGF back for that if it is
 * dirty. It only tries to lock it, which never succeeds as long as readers queue
 * up for it: write it back now, which is all that a freeze has to do.
 */
static void write_metadata_back(const struct env *e)
{
	int fd = must(open(e->dir, O_RDONLY | O_CLOEXEC));

	must(ioctl(fd, FIFREEZE, 0));
	must(ioctl(fd, FITHAW, 0));
	close(fd);
}

static void killed_by_sigbus(pid_t pid, const char *who)
{
	int status;

	check(process_ends(pid, &status), "%s is not killed", who);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%s: status %#x", who, status);
}

static void readers_of_shared_blocks(const struct env *e)
{
	int fd = start(e, N), ready[2], status;
	pid_t many[MANY_KINDS][MANY], readers[READERS];
	struct removal r = { .how = UNBIND };
	char c;

	make_many(e, fd);
	close(fd);
	must(pipe2(ready, O_CLOEXEC));
	for (enum many kind = 0; kind < MANY_KINDS; kind++)
		for (size_t i = 0; i < MANY; i++) {
			many[kind][i] = witness(e, kind, i, ready[1]);
			check(read(ready[0], &c, 1) == 1, "a process died");
		}
	write_metadata_back(e);
	for (size_t i = 0; i < READERS; i++)
		readers[i] = reader(e, i);
	usleep(50000);
	unbind_start(e, &r);
	check(process_ends(r.pid, &status), "the removal waits for readers");
	check(!status, "%s failed", how_to[r.how].name);
	for (size_t i = 0; i < READERS; i++)
		killed_by_sigbus(readers[i], "a reader");
	for (enum many kind = 0; kind < MANY_KINDS; kind++)
		for (size_t i = 0; i < MANY; i++)
			killed_by_sigbus(many[kind][i], many_name(kind, i));
	close(ready[0]);
	close(ready[1]);
	must(umount(e->dir));
	bring_back(e, &r, N);
}

static const struct test tests[] = {
	{ "R14 removal revokes all mappings and ends under them",
	  mappings_are_revoked, BOUND_ONLY },
	{ "R14 removal waits for pages in a pipe alone, and says so",
	  pins_are_waited_for, BOUND_ONLY },
	{ "R14 removal under load", under_load, BOUND_ONLY | RACES },
	{ "R22 removal waits for no umount of another device, debugfs for neither",
	  umount_of_another_device, BOUND_ONLY },
	{ "D27 removal under readers of many shared blocks kills them all",
	  readers_of_shared_blocks, XFS_ONLY | RACES },
	{ }
};

GROUP_UNMOUNTED(removal, tests);
