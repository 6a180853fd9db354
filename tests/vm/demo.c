// SPDX-License-Identifier: GPL-2.0
/*
 * The workloads of the demo. Each measures one figure on the mount it is given
 * and prints it as a line "PROVIDER {json}"; what is right is for the caller
 * to say.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "defects.h"
#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)

static struct env env;

/* Written blocks, then a mapping with a store to every page. */
static char *stored_file(int *fd, size_t pages)
{
	char *p;

	*fd = create_file(&env, "demo", 0, 0);
	must(do_op(OP_ALLOCATE, *fd, 0, pages));
	must(fsync(*fd));
	p = map_file(*fd, pages, RW);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	return p;
}

static void drop_file(char *p, size_t pages, int fd)
{
	must(munmap(p, pages * PAGE));
	close(fd);
	must(unlink(in_dir(&env, "demo")));
}

static long flushed_after(enum op op, size_t first, size_t count)
{
	const size_t pages = 1024;
	long flushed;
	int fd;
	char *p = stored_file(&fd, pages);

	if (op != OP_FSYNC)
		must(do_op(op, fd, first, count));
	flush_count_start();
	must(fsync(fd));
	flushed = flush_count_stop();
	drop_file(p, pages, fd);
	return flushed;
}

static long refaults_after(enum op op, size_t pages, size_t first, size_t count)
{
	int fd;
	char *p = stored_file(&fd, pages);
	long faults;

	must(do_op(op, fd, first, count));
	faults = minor_faults();
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 2;
	faults = minor_faults() - faults;
	drop_file(p, pages, fd);
	return faults;
}

/* The control says that the count works: all pages, when nothing comes between. */
static void punch_dirty(void)
{
	printf("%s {\"figure\": \"punch_dirty\", \"flushed\": %ld, \"control\": %ld}\n",
	       env.label, flushed_after(OP_PUNCH, 0, 1), flushed_after(OP_FSYNC, 0, 0));
}

static void growth(void)
{
	printf("%s {\"figure\": \"growth\", \"flushed\": %ld, \"refaults\": %ld}\n",
	       env.label, flushed_after(OP_TRUNCATE, 2048, 0),
	       refaults_after(OP_TRUNCATE, 1024, 2048, 0));
}

static void prealloc(void)
{
	printf("%s {\"figure\": \"prealloc\", \"flushed\": %ld, \"refaults\": %ld}\n",
	       env.label, flushed_after(OP_ALLOCATE, 1024, 1024),
	       refaults_after(OP_ALLOCATE, 1024, 1024, 1024));
}

/* What is dirty when a file is cloned is written back by that, or by the fsync of either. */
static void clone_dirty(void)
{
	const size_t pages = 1024;
	int fd, other = create_file(&env, "other", 0, 0);
	char *p = stored_file(&fd, pages);
	long flushed;

	flush_count_start();
	must(ioctl(other, FICLONE, fd));
	must(fsync(fd));
	must(fsync(other));
	flushed = flush_count_stop();
	close(other);
	must(unlink(in_dir(&env, "other")));
	drop_file(p, pages, fd);
	printf("%s {\"figure\": \"clone_dirty\", \"flushed\": %ld}\n", env.label, flushed);
}

static void refaults(void)
{
	printf("%s {\"figure\": \"refaults\", \"refaults\": %ld}\n",
	       env.label, refaults_after(OP_PUNCH, 65536, 0, 1));
}

static uint64_t cpu_ns_of(struct job *job)
{
	struct timespec ts;
	clockid_t clock;

	check(!pthread_getcpuclockid(job->thread, &clock), "no clock of a thread");
	must(clock_gettime(clock, &ts));
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/*
 * CPU time of a truncate to 0 for each of the last pages, which sit in a pipe:
 * from its first sleep on the first to its sleep on the last of them. What it
 * does before and after has nothing to do with busy pages.
 */
static uint64_t busy_page_cost(size_t pages, size_t busy)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	char *p = stored_file(&job.fd, pages);
	uint64_t cost;

	pin_pages(&pin, p + (pages - busy) * PAGE, busy);
	job_start(&job);
	job_until_asleep(&job);
	cost = cpu_ns_of(&job);
	while (pin.pages > 1) {
		unpin_page(&pin, NULL);
		job_until_asleep(&job);
		check(!job.done, "the truncate ended with %zu pages in a pipe", pin.pages);
	}
	cost = cpu_ns_of(&job) - cost;
	unpin_all(&pin);
	job_succeeds(&job);
	close(pin.rd);
	close(pin.wr);
	drop_file(p, pages, job.fd);
	return cost / (busy - 1);
}

/* A clock that counts instructions where the machine does (qemu -icount). */
static void busy_cost(void)
{
	const size_t entries[] = { 4096, 65536 };

	printf("%s {\"figure\": \"busy_cost\"", env.label);
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		printf(", \"per_page_%zu\": %llu", entries[i],
		       (unsigned long long)busy_page_cost(entries[i], 256));
	printf("}\n");
}

/* The process that has the mapping: its steps are asked for and answered. */
struct user {
	pid_t pid;
	int ask, answer;
};

#define PAGES	((size_t)16)

static void use_mapping(int ask, int answer)
{
	int fd = must(open(in_dir(&env, "demo"), O_RDWR));
	char *p = map_file(fd, PAGES, RW), c = 0;

	for (size_t i = 0; i < PAGES / 2; i++)
		p[i * PAGE] = 1;
	must(write(answer, &c, 1));
	must(read(ask, &c, 1));
	for (size_t i = 0; i < PAGES / 2; i++)
		try_store(p + i * PAGE, 2);
	c = try_store(p + (PAGES - 1) * PAGE, 2) == SIGBUS;
	must(write(answer, &c, 1));
	must(read(ask, &c, 1));
	_exit(0);
}

static void user_start(struct user *u)
{
	int ask[2], answer[2];

	must(pipe(ask));
	must(pipe(answer));
	u->pid = must(fork());
	if (!u->pid)
		use_mapping(ask[0], answer[1]);
	/* A user that dies is heard of. */
	close(ask[0]);
	close(answer[1]);
	u->ask = ask[1];
	u->answer = answer[0];
}

/* Its answer, -1 if it died. */
static int user_answers(struct user *u)
{
	char c;

	return read(u->answer, &c, 1) == 1 ? c : -1;
}

static const char *json(bool value)
{
	return value ? "true" : "false";
}

/*
 * The driver is unbound under a mapping, then the mapping is used. The first
 * line is for those who see no second one.
 */
static void removal(void)
{
	pid_t unbinder;
	struct user user;
	int answer, status;
	bool waits, ended = false;
	char name[64];

	close(create_file(&env, "demo", PAGES, 100));
	device_name(env.dev, name, sizeof(name));
	/* XFS sends it to all who map a file; what matters is what an access does. */
	signal(SIGBUS, SIG_IGN);
	user_start(&user);
	check(!user_answers(&user), "no mapping");
	unbinder = must(fork());
	if (!unbinder)
		_exit(!device_unbind(name));
	waits = task_sleeps(unbinder, unbinder, NULL);
	printf("%s {\"figure\": \"removal\", \"waits\": %s}\n", env.label, json(waits));
	fflush(stdout);
	tcdrain(STDOUT_FILENO);

	must(write(user.ask, "", 1));
	answer = user_answers(&user);
	if (answer >= 0) {
		must(write(user.ask, "", 1));
		must(waitpid(user.pid, &status, 0));
		must(umount(env.dir));
		must(waitpid(unbinder, &status, 0));
		ended = !status;
	}
	printf("%s {\"figure\": \"removal\", \"waits\": %s, \"died\": %s, ", env.label,
	       json(waits), json(answer < 0));
	printf("\"sigbus\": %s, \"ended\": %s}\n", json(answer == 1), json(ended));
}

#define OTHER_DIR	"/mnt/other"

/* The other device, which nobody has mounted any more. */
static const char *other_device(void)
{
	const char *dev = strcmp(env.dev, "/dev/pmem0") ? "/dev/pmem0" : "/dev/pmem1";
	FILE *f = setmntent("/proc/self/mounts", "re");
	char dir[256] = "";
	struct mntent *m;

	check(f, "no list of mounts: %m");
	while ((m = getmntent(f)))
		if (!strcmp(m->mnt_fsname, dev))
			snprintf(dir, sizeof(dir), "%s", m->mnt_dir);
	endmntent(f);
	if (*dir)
		must(umount(dir));
	return dev;
}

/* A process that has none of the pins and mappings of this one. */
static pid_t in_child(bool (*call)(const char *), const char *arg)
{
	pid_t pid = must(fork());

	if (!pid) {
		close_range(3, ~0u, 0);
		_exit(!call(arg));
	}
	return pid;
}

static bool unmount(const char *dir)
{
	return !umount(dir);
}

static bool ends_within(pid_t pid, int seconds)
{
	for (int i = 0; i <= seconds * 100; i++) {
		int status;

		if (must(waitpid(pid, &status, WNOHANG)) == pid) {
			check(!status, "process %d failed", pid);
			return true;
		}
		usleep(10000);
	}
	return false;
}

/*
 * A page in a pipe keeps an umount waiting; the driver of a device is unbound that has nothing to
 * do with it but that the same provider serves it. Nothing is mounted afterwards.
 */
static void unrelated(void)
{
	const char *dev = other_device();
	int fd = create_file(&env, "demo", PAGES, 100);
	char *p = map_file(fd, PAGES, RW), name[64], cmd[64];
	bool bound = !strcmp(env.label, "rust"), waits, ended;
	pid_t umounter, unbinder;
	struct pin pin;

	module_bind(bound);
	snprintf(cmd, sizeof(cmd), "mkfs.%s -q %s %s", env.fs,
		 strcmp(env.fs, "xfs") ? "-F -b 4096" : "-f", dev);
	check(!system(cmd), "cannot make %s on %s", env.fs, dev);
	check(!mount_fs(env.fs, dev, OTHER_DIR, NULL), "mount: %m");
	check(mount_is_bound(OTHER_DIR) == bound, "not served by %s", env.label);
	device_name(dev, name, sizeof(name));

	pin_pages(&pin, p, 1);
	must(munmap(p, PAGES * PAGE));
	close(fd);
	umounter = in_child(unmount, env.dir);
	waits = task_sleeps(umounter, umounter, NULL);
	unbinder = in_child(device_unbind, name);
	ended = ends_within(unbinder, 10);
	if (waits)
		check(!ends_within(umounter, 0), "the umount did not wait for the pin");
	unpin_all(&pin);
	check(ends_within(umounter, 60), "the umount does not end");
	check(ended || ends_within(unbinder, 60), "the unbind does not end");
	must(umount(OTHER_DIR));
	check(device_bind(name), "cannot bring %s back: %m", dev);
	printf("%s {\"figure\": \"unrelated\", \"umount_waits\": %s, \"ended\": %s}\n", env.label,
	       json(waits), json(ended));
}

static const struct {
	const char *name;
	void (*run)(void);
} figure[] = {
	{ "punch_dirty", punch_dirty },
	{ "growth", growth },
	{ "prealloc", prealloc },
	{ "clone_dirty", clone_dirty },
	{ "refaults", refaults },
	{ "busy_cost", busy_cost },
	{ "removal", removal },
	{ "unrelated", unrelated },
};

static const struct defect_figure *const tables[] = { defect_figures, devdax_figures, gib_figures };

int main(int argc, char **argv)
{
	if (argc == 6) {
		env.label = argv[2];
		env.fs = argv[3];
		env.dev = argv[4];
		env.dir = argv[5];
		write_text("/proc/sys/vm/dirty_writeback_centisecs", "0");
		for (size_t i = 0; i < ARRAY_SIZE(figure); i++)
			if (!strcmp(argv[1], figure[i].name)) {
				figure[i].run();
				return 0;
			}
		for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
			for (const struct defect_figure *f = tables[i]; f->name; f++)
				if (!strcmp(argv[1], f->name)) {
					f->run(&env);
					return 0;
				}
	}
	fprintf(stderr, "usage: demo FIGURE PROVIDER ext4|xfs|- DEVICE DIRECTORY\nfigures:");
	for (size_t i = 0; i < ARRAY_SIZE(figure); i++)
		fprintf(stderr, " %s", figure[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct defect_figure *f = tables[i]; f->name; f++)
			fprintf(stderr, " %s", f->name);
	fprintf(stderr, "\n");
	return 2;
}
