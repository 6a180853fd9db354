// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the test cases and prints TAP. Loads the module, makes one file system
 * that the module serves and one that fs/dax.c serves, and runs every case on
 * the first; what both must do the same is also run on the second, as a
 * control. Without a module (-k) everything runs on fs/dax.c alone. All of it
 * is done for one kind of file system, then for the next (-f).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

/* What GROUP() registers: the linker puts the pointers side by side. */
extern const struct group *const __start_groups[], *const __stop_groups[];

#define MAX_GROUPS	100

/* Those that are wanted, in the order in which they run. */
static const struct group *groups[MAX_GROUPS];
static size_t group_count;

#define MAX_FS	2

static struct {
	const char *fs[MAX_FS], *ko, *groups, *pattern;
	const char *bound_dev, *stock_dev;
	unsigned long seed, ops;
	int limit;
	bool bound_only, stock_only, all_cpus;
	bool list;
} opt = {
	.fs = { "ext4" },
	.bound_dev = "/dev/pmem1",
	.stock_dev = "/dev/pmem0",
	.seed = 1,
	.ops = 4000,
	.limit = 600,
};

static int number, failed;

__attribute__((noreturn))
static void bail_out(const char *why)
{
	printf("Bail out! %s\n", why);
	fflush(stdout);
	exit(1);
}

static int by_name(const void *a, const void *b)
{
	const struct group *const *x = a, *const *y = b;

	if ((*x)->last != (*y)->last)
		return (*x)->last - (*y)->last;
	return strcmp((*x)->name, (*y)->name);
}

static void sort_groups(void)
{
	for (const struct group *const *g = __start_groups; g < __stop_groups; g++) {
		if (group_count == MAX_GROUPS)
			bail_out("more groups than MAX_GROUPS");
		groups[group_count++] = *g;
	}
	qsort(groups, group_count, sizeof(groups[0]), by_name);
}

/* Move the groups with this name or pattern, that are not among the first @n, behind these. */
static size_t choose_group(const char *pattern, size_t n, bool last)
{
	for (size_t i = n; i < group_count; i++) {
		const struct group *g = groups[i];

		if (g->last != last || fnmatch(pattern, g->name, 0))
			continue;
		memmove(&groups[n + 1], &groups[n], (i - n) * sizeof(groups[0]));
		groups[n++] = g;
	}
	return n;
}

static void check_pattern(const char *pattern)
{
	for (size_t i = 0; i < group_count; i++)
		if (!fnmatch(pattern, groups[i]->name, 0))
			return;
	fprintf(stderr, "scenarios: there is no group %s, -h lists them\n", pattern);
	exit(2);
}

/* In the order of the list, but for those that others would suffer from. */
static void choose_groups(const char *list)
{
	size_t n = 0;

	for (int last = 0; last < 2; last++) {
		char *copy = strdup(list), *name, *save;

		for (name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
			check_pattern(name);
			n = choose_group(name, n, last);
		}
		free(copy);
	}
	group_count = n;
}

static bool test_wanted(const struct test *t, const struct env *e, bool unmounted)
{
	if (opt.pattern && !strstr(t->name, opt.pattern))
		return false;
	if (t->where & EXT4_ONLY && strcmp(e->fs, "ext4"))
		return false;
	if (t->where & XFS_ONLY && strcmp(e->fs, "xfs"))
		return false;
	if ((t->where & FIRST_ONLY && !e->first) || (t->where & LAST_ONLY && !e->last))
		return false;
	if (t->where & C_ONLY && e->bound)
		return false;
	if (!strcmp(e->label, "C") && unmounted)
		return t->where & BY_EITHER && e->ko;
	return !(t->where & BOUND_ONLY) || strcmp(e->label, "C");
}

static void print_tasks(pid_t pid)
{
	char path[288], buf[2048];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stack", pid, d->d_name);
		if (!read_text(path, buf, sizeof(buf)))
			snprintf(buf, sizeof(buf), "no stack");
		printf("# task %s\n", d->d_name);
		for (char *s = strtok(buf, "\n"); s; s = strtok(NULL, "\n"))
			printf("#   %s\n", s);
	}
	if (dir)
		closedir(dir);
}

/* Status of the child, -1 if it hangs: a limit on the test, no figure. */
static int wait_limited(pid_t pid, int seconds)
{
	time_t end = time(NULL) + seconds;
	int status;

	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		if (time(NULL) >= end)
			return -1;
		usleep(5000);
	}
}

static void empty_dir(const char *dir)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "find %s -xdev -mindepth 1 ! -name lost+found -delete", dir);
	if (system(cmd))
		printf("# cannot empty %s\n", dir);
}

static void give_up(int sig)
{
	(void)sig;
	fail("gives up");
}

static void print_name(const struct test *t, const struct env *e, const char *directive)
{
	printf("%s (%s%s%s)%s\n", t->name, e->label, opt.fs[1] ? ", " : "",
	       opt.fs[1] ? e->fs : "", directive);
}

static void list_name(const struct test *t, const struct env *e)
{
	print_name(t, e, "");
}

/*
 * All CPUs or one, if they can be switched off. On a busy host a CPU that QEMU emulates mostly
 * spins until the other one has a turn: who waits for a task, and does not race with it, wants
 * none.
 */
static void use_cpus(bool all)
{
	char path[64];

	for (int cpu = 1;; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
		if (access(path, F_OK))
			return;
		/* Who was killed may have left it off. */
		if (!write_text(path, all ? "1" : "0") && all)
			bail_out("a CPU cannot be switched on");
	}
}

static void run_test(const struct test *t, const struct env *e)
{
	struct timespec begun, ended;
	bool hung, gone, skipped;
	int status;
	pid_t pid;

	use_cpus(opt.all_cpus || t->where & RACES);
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		signal(SIGUSR2, give_up);
		t->run(e);
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	status = wait_limited(pid, opt.limit);
	hung = status == -1;
	gone = !hung;
	if (hung) {
		printf("# hangs\n");
		print_tasks(pid);
		/* Let it drop its pins: a kill does not end every wait for one. */
		kill(pid, SIGUSR2);
		gone = wait_limited(pid, 5) != -1;
	}
	kill(-pid, SIGKILL);
	if (!gone && wait_limited(pid, 20) == -1) {
		printf("not ok %d - ", ++number);
		print_name(t, e, "");
		bail_out("a case hangs and cannot be killed");
	}
	if (status > 0 && WIFSIGNALED(status))
		printf("# killed by signal %d\n", WTERMSIG(status));
	skipped = !hung && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
	failed += status && !skipped;
	printf("%sok %d - ", status && !skipped ? "not " : "", ++number);
	print_name(t, e, skipped ? " # SKIP" : "");
	clock_gettime(CLOCK_MONOTONIC, &ended);
	/* For who asks where the time goes. */
	printf("# %ld s\n", (long)(ended.tv_sec - begun.tv_sec));
	empty_dir(e->dir);
}

static void set_up_mount(const struct env *e, const char *dir)
{
	char why[256];

	if (opt.ko)
		module_bind(e->bound);
	if (!make_fs(e->fs, e->dev)) {
		snprintf(why, sizeof(why), "cannot make %s on %s", e->fs, e->dev);
		bail_out(why);
	}
	if (mount_fs(e->fs, e->dev, dir, NULL)) {
		snprintf(why, sizeof(why), "cannot mount %s: %m", e->dev);
		bail_out(why);
	}
	if (mount_is_bound(dir) != e->bound) {
		snprintf(why, sizeof(why), "%s is %sserved by the module", e->dev,
			 e->bound ? "not " : "");
		bail_out(why);
	}
}

static int each_test(const struct env *envs, size_t n, bool unmounted,
		     void (*fn)(const struct test *, const struct env *))
{
	int count = 0;

	for (size_t g = 0; g < group_count; g++) {
		if (groups[g]->unmounted != unmounted)
			continue;
		for (const struct test *t = groups[g]->tests; t->name; t++)
			for (size_t k = 0; k < n; k++) {
				if (!test_wanted(t, &envs[k], unmounted))
					continue;
				count++;
				if (fn)
					fn(t, &envs[k]);
			}
	}
	return count;
}

__attribute__((noreturn))
static void usage(int status)
{
	printf("usage: scenarios [-labc] [-k MODULE.ko] [-f FS,...] [-g GROUP,...] [-p WORDS]\n"
	       "                 [-s SEED] [-n OPS] [-t SECONDS]\n"
	       "  -l  list the cases   -k  the module; without it the stock kernel is tested\n"
	       "  -b  only what the module serves, not the same cases on C beside it\n"
	       "  -c  only the cases on C, with the module loaded\n"
	       "  -a  all CPUs for each case, as for those whose tasks race\n"
	       "  -f  ext4, xfs or both   -g  only these groups (names or patterns), in this order\n"
	       "  -p  only cases whose name has WORDS\n"
	       "  -s, -n  seed and number of operations of the randomized run\n"
	       "  -t  give a case up after so long (600)\n"
	       "groups:");
	for (size_t g = 0; g < group_count; g++)
		printf(" %s", groups[g]->name);
	printf("\n");
	exit(status);
}

static void parse_fs(char *list)
{
	size_t n = 0;
	char *save;

	memset(opt.fs, 0, sizeof(opt.fs));
	for (char *fs = strtok_r(list, ",", &save); fs; fs = strtok_r(NULL, ",", &save)) {
		if (n == MAX_FS || (strcmp(fs, "ext4") && strcmp(fs, "xfs")))
			usage(2);
		opt.fs[n++] = fs;
	}
	if (!n)
		usage(2);
}

static void parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "labchk:f:g:p:s:n:t:")) != -1) {
		switch (c) {
		case 'l':
			opt.list = true;
			break;
		case 'a':
			opt.all_cpus = true;
			break;
		case 'b':
			opt.bound_only = true;
			break;
		case 'c':
			opt.stock_only = true;
			break;
		case 'k':
			opt.ko = optarg;
			break;
		case 'f':
			parse_fs(optarg);
			break;
		case 'g':
			opt.groups = optarg;
			break;
		case 'p':
			opt.pattern = optarg;
			break;
		case 's':
			opt.seed = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			opt.ops = strtoul(optarg, NULL, 0);
			break;
		case 't':
			opt.limit = atoi(optarg);
			break;
		default:
			usage(c == 'h' ? 0 : 2);
		}
	}
	if (optind != argc || (opt.stock_only && (opt.bound_only || !opt.ko)))
		usage(2);
	if (opt.groups)
		choose_groups(opt.groups);
}

/* What runs on one kind of file system. */
struct plan {
	struct env both[2], *envs;
	size_t n;
	int mounted;	/* cases that run on mounts that are made for them */
};

static void make_plan(struct plan *p, const char *fs, bool first, bool last)
{
	for (size_t i = 0; i < ARRAY_SIZE(p->both); i++)
		p->both[i] = (struct env) {
			.fs = fs,
			.ko = opt.ko,
			.seed = opt.seed,
			.ops = opt.ops,
			.first = first,
			.last = last,
		};
	p->both[0].label = opt.ko ? "rust" : "stock";
	p->both[0].dev = opt.bound_dev;
	p->both[0].other = opt.stock_dev;
	p->both[0].dir = "/mnt/bound";
	p->both[0].bound = opt.ko;
	p->both[1].label = "C";
	p->both[1].dev = opt.stock_dev;
	p->both[1].other = opt.bound_dev;
	p->both[1].dir = "/mnt/stock";
	p->n = opt.stock_only || (opt.ko && opt.bound_only) ? 1 : 2;
	p->envs = &p->both[opt.stock_only];
	p->mounted = each_test(p->envs, p->n, false, NULL);
}

static void run_mounted(const struct plan *p)
{
	if (!p->mounted)
		return;
	if (opt.ko && module_load(opt.ko)) {
		char why[256];

		snprintf(why, sizeof(why), "cannot load %s: %m", opt.ko);
		bail_out(why);
	}
	for (size_t i = 0; i < p->n; i++)
		set_up_mount(&p->envs[i], p->envs[i].dir);
	each_test(p->envs, p->n, false, run_test);
	for (size_t i = 0; i < p->n; i++)
		if (umount(p->envs[i].dir)) {
			printf("# cannot unmount %s: %m\n", p->envs[i].dir);
			failed++;
		}
	if (opt.ko && module_unload()) {
		printf("# cannot unload the module: %m\n");
		failed++;
	}
}

int main(int argc, char **argv)
{
	int plans = 0, count = 0;
	struct plan plan[MAX_FS];

	sort_groups();
	parse(argc, argv);
	for (; plans < MAX_FS && opt.fs[plans]; plans++) {
		struct plan *p = &plan[plans];

		make_plan(p, opt.fs[plans], !plans, plans + 1 == MAX_FS || !opt.fs[plans + 1]);
		count += p->mounted + each_test(p->envs, p->n, true, NULL);
	}
	if (opt.list) {
		for (struct plan *p = plan; p < plan + plans; p++) {
			each_test(p->envs, p->n, false, list_name);
			each_test(p->envs, p->n, true, list_name);
		}
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!count)
		bail_out("no such case");
	printf("TAP version 13\n1..%d\n", count);
	/* No writeback but by the tests themselves. */
	write_text("/proc/sys/vm/dirty_writeback_centisecs", "0");

	for (struct plan *p = plan; p < plan + plans; p++) {
		run_mounted(p);
		each_test(p->envs, p->n, true, run_test);
	}
	use_cpus(true);
	printf("# %d passed, %d failed\n", number - failed, failed);
	return failed != 0;
}
