// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the programs of the fuzzer in the guest, as scripts/fuzz puts them into a directory: 1, 2
 * and so on, until there is a file "stop". What it prints is for scripts/fuzz:
 *
 *	READY
 *	BEGIN number
 *	FAILED kind: line NUMBER: text
 *	END number operations refused counters	(that nobody reached before; with -c)
 *
 * After a splat or a hang it ends with status 3. The programs are in the format of
 * scripts/fsdaxlib/fuzzing.py; "# fresh" wants a new file system.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../vm/debugfs.h"
#include "../vm/lib.h"
#include "fuzz.h"

#define PROGRAMS_PER_FS	25
#define FILL		0xee00000000000000ull

struct place place = { .dev = "/dev/pmem1", .dir = "/mnt/bound" };

static struct {
	const char *ko, *queue;
	bool count;
	int limit;		/* seconds for a program */
	int kmsg;
	bool mounted;
	unsigned int used;	/* programs on this file system */
	uint64_t *seen;		/* counters that were reached */
	size_t counters;
	uintptr_t first_counter;
} own = { .limit = 120 };

static struct line lines[MAX_LINES];
static size_t line_count;
static bool fresh;

/* From the least to one below the end. */
static void limits(char kind, long *least, long *end)
{
	static const struct {
		char kind;
		long least, end;
	} all[] = {
		{ 's', 0, SLOTS }, { 'f', 0, FILES }, { 'p', 0, MAX_PAGES }, { 'P', 0, MAX_PAGES },
		{ 'n', 1, MAX_PAGES + 1 }, { 'm', 1, MAX_PAGES + 1 }, { 'o', 0, IN_PAGE },
		{ 'c', 1, MAX_SECTORS + 1 }, { 'k', 0, KINDS }, { 'a', 0, 10 }, { 'q', 0, PIPES },
		{ 'w', 0, PROCESSES }, { 'b', 0, 2 }, { 'r', 0, 3 }, { 'v', 1, MAX_VALUE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].kind == kind) {
			*least = all[i].least;
			*end = all[i].end;
		}
}

#define BETWEEN	"\n "

static bool parse_line(char *text, struct line *to)
{
	char *save, *word = strtok_r(text, BETWEEN, &save);
	const char *kinds;

	to->who = strcmp(word, "-") ? atoi(word) : -1;
	word = strtok_r(NULL, BETWEEN, &save);
	to->op = word ? op_named(word) : -1;
	if (to->op < 0 || to->who >= PROCESSES)
		return false;
	if (to->who < 0 ? !!ops[to->op].run : !ops[to->op].run)
		return false;
	kinds = ops[to->op].kinds;
	for (size_t i = 0; kinds[i]; i++) {
		long least = 0, end = 0;

		word = strtok_r(NULL, BETWEEN, &save);
		to->arg[i] = word ? atol(word) : -1;
		limits(kinds[i], &least, &end);
		if (to->arg[i] < least || to->arg[i] >= end)
			return false;
	}
	return !strtok_r(NULL, BETWEEN, &save);
}

static void parse(const char *path)
{
	FILE *f = fopen(path, "re");
	char text[256];

	check(f, "%s: %m", path);
	line_count = 0;
	fresh = false;
	while (fgets(text, sizeof(text), f)) {
		fresh |= !strcmp(text, "# fresh\n");
		if (text[0] == '#' || text[0] == '\n')
			continue;
		check(line_count < MAX_LINES, "%s: too many lines", path);
		check(parse_line(text, &lines[line_count]), "%s: line %zu is wrong", path,
		      line_count + 1);
		line_count++;
	}
	fclose(f);
}

static void cycle_device(void)
{
	if (!access(place.dev, F_OK))
		check(device_unbind(place.device), "unbind %s: %m", place.device);
	check(device_bind(place.device), "bind %s: %m", place.device);
	for (int i = 0; access(place.dev, F_OK); i++) {
		check(i < 1000, "%s does not come back", place.dev);
		usleep(10000);
	}
}

/* Blocks that nobody wrote to show who had no right to them. */
static void fill(void)
{
	const struct env e = { .dir = place.dir };
	int file = fill_free_space(&e, "fill", FILL);

	close(file);
	must(unlink(in_dir(&e, "fill")));
}

/* Entries of the mount that have pages, -1 if the module does not serve it. */
static long entries(void)
{
	const struct env e = { .fs = place.fs, .dev = place.dev, .dir = place.dir };
	struct counts small, large;

	if (!read_mount(&e, &small, &large))
		return -1;
	return small.tracked + small.zapped + large.tracked + large.zapped;
}

static void new_mount(void)
{
	for (int i = 0; own.mounted && umount(place.dir); i++) {
		check(errno == EBUSY && i < 1000, "umount: %m");
		usleep(10000);
	}
	own.mounted = false;
	/* It goes only if nobody has forgotten a page. */
	cycle_device();
	module_bind(true);
	check(make_fs(place.fs, place.dev), "no %s on %s", place.fs, place.dev);
	check(!mount_fs(place.fs, place.dev, place.dir, NULL), "mount: %m");
	own.mounted = true;
	check(entries() >= 0, "the module does not serve the mount");
	fill();
	flushes_calibrate();
	own.used = 0;
	sh->new_fs = false;
	sh->new_device = false;
}

static bool splat(void)
{
	static const char *const words[] = {
		"WARNING: ", "BUG: ", "KASAN: ", "INFO: task", "INFO: possible", "INFO: trying",
		"INFO: rcu", "possible circular", "possible recursive", "suspicious RCU",
		"general protection", "Oops", "UBSAN: ", "DEBUG_LOCKS_WARN", "refcount_t: ",
		"list_add corruption", "list_del corruption", "Bad page state", "scheduling while",
	};
	char text[8192];
	bool found = false;
	ssize_t n;

	while ((n = read(own.kmsg, text, sizeof(text) - 1)) > 0 || errno == EPIPE) {
		text[n > 0 ? n : 0] = '\0';
		for (size_t i = 0; i < ARRAY_SIZE(words) && !found; i++)
			found = strstr(text, words[i]);
		if (n < 0)
			errno = 0;
	}
	return found;
}

/* To the console, since nobody reads the answer any further. Few lines: more are suppressed. */
static void print_stacks(pid_t program)
{
	struct dirent *d;
	DIR *dir = opendir("/proc");
	int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	while (dir && (d = readdir(dir))) {
		char path[300], text[900];
		pid_t pid = atoi(d->d_name);

		snprintf(path, sizeof(path), "/proc/%d/stack", pid);
		if (pid && getpgid(pid) == program && read_text(path, text, sizeof(text)))
			dprintf(kmsg, "process %d of the fuzzer:\n%s", pid, text);
	}
	if (dir)
		closedir(dir);
	close(kmsg);
}

/* Whether it hangs. */
static bool wait_for(pid_t pid)
{
	time_t end = time(NULL) + own.limit;

	while (!waitpid(pid, NULL, WNOHANG)) {
		if (time(NULL) >= end)
			return true;
		usleep(1000);
	}
	return false;
}

static void read_counters(uint64_t *to)
{
	int file = must(open("/proc/fsdax_counters", O_RDONLY | O_CLOEXEC));

	check(pread(file, to, own.counters * 8, own.first_counter) == (ssize_t)(own.counters * 8),
	      "the counters: %m");
	close(file);
}

/* The address of a section of the module; the least one above @above if @name is NULL. */
static uintptr_t section(const char *name, uintptr_t above)
{
	const char *place_of_all = "/sys/module/rust_fsdax/sections";
	DIR *dir = opendir(place_of_all);
	uintptr_t found = 0;
	struct dirent *d;

	check(dir, "no sections: %m");
	while ((d = readdir(dir))) {
		char path[400], text[64];
		uintptr_t at;

		snprintf(path, sizeof(path), "%s/%s", place_of_all, d->d_name);
		if (!read_text(path, text, sizeof(text)))
			continue;
		at = strtoull(text, NULL, 16);
		if (name ? !strcmp(d->d_name, name) : at > above && (!found || at < found))
			found = at;
	}
	closedir(dir);
	return found;
}

static void counters_set_up(void)
{
	uintptr_t first = section("__llvm_prf_cnts", 0), base;
	char text[64];

	check(first && read_text("/sys/module/counters/parameters/base", text, sizeof(text)),
	      "the module has no counters, or they cannot be read");
	base = strtoull(text, NULL, 0);
	own.first_counter = first - base;
	own.counters = (section(NULL, first) - first) / 8;
	own.seen = calloc(own.counters, 8);
	check(own.seen, "no memory");
}

static size_t new_counters(void)
{
	uint64_t *values = malloc(own.counters * 8);
	size_t found = 0;

	check(values, "no memory");
	read_counters(values);
	for (size_t i = 0; i < own.counters; i++)
		if (values[i] && !own.seen[i]) {
			own.seen[i] = 1;
			found++;
		}
	free(values);
	return found;
}

__attribute__((noreturn))
static void give_up(const char *kind, const char *what)
{
	printf("FAILED %s: line %u: %s\n", kind, 0, what);
	fflush(stdout);
	exit(3);
}

/* Nobody has them open any more, so that no entry may be left. */
static void remove_files(void)
{
	char name[128];
	long left;

	for (int f = 0; f < FILES; f++) {
		snprintf(name, sizeof(name), "%s/f%d", place.dir, f);
		unlink(name);
	}
	if (sh->new_fs || sh->new_device)
		return;
	for (int i = 0; (left = entries()) > 0 && i < 1000; i++)
		usleep(10000);
	if (left && !atomic_exchange(&sh->failed, true))
		printf("FAILED leak: line 0: %ld entries are left without files\n", left);
}

static void run_one(unsigned int number)
{
	bool hangs;
	pid_t pid;

	if (fresh || own.used++ >= PROGRAMS_PER_FS || sh->new_fs || sh->new_device || sh->failed)
		new_mount();
	memset(sh, 0, sizeof(*sh));
	stamp_base = (0xf0000000ull + number) * MAX_VALUE;
	printf("BEGIN %u\n", number);
	fflush(stdout);
	pid = must(fork());
	if (!pid) {
		setpgid(0, 0);
		run_program(lines, line_count);
		_exit(0);
	}
	setpgid(pid, pid);
	hangs = wait_for(pid);
	if (hangs)
		print_stacks(pid);
	kill(-pid, SIGKILL);
	if (hangs)
		give_up("hang", "it does not end");
	/* Those that it started are ours now: one call is for one of them. */
	while (waitpid(-pid, NULL, WNOHANG) != -1)
		if (wait_for(-pid))
			give_up("hang", "a process cannot be killed");
	remove_files();
	if (splat())
		give_up("splat", "the kernel complained");
	printf("END %u %u %u %zu\n", number, sh->done, sh->refused,
	       own.count ? new_counters() : 0);
	fflush(stdout);
}

static void serve(void)
{
	char path[256], stop[256];

	snprintf(stop, sizeof(stop), "%s/stop", own.queue);
	for (unsigned int number = 1;; number++) {
		snprintf(path, sizeof(path), "%s/%u", own.queue, number);
		while (access(path, R_OK)) {
			if (!access(stop, R_OK))
				return;
			usleep(2000);
		}
		parse(path);
		run_one(number);
	}
}

static void parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "f:k:q:t:c")) != -1) {
		switch (c) {
		case 'f':
			place.fs = optarg;
			break;
		case 'k':
			own.ko = optarg;
			break;
		case 'q':
			own.queue = optarg;
			break;
		case 't':
			own.limit = atoi(optarg);
			break;
		case 'c':
			own.count = true;
			break;
		}
	}
	if (optind != argc || !place.fs || !own.ko || !own.queue) {
		fputs("usage: fuzz [-c] [-t SECONDS] -f FS -k MODULE.ko -q DIRECTORY\n", stderr);
		exit(2);
	}
	place.xfs = !strcmp(place.fs, "xfs");
}

int main(int argc, char **argv)
{
	int file;

	parse_options(argc, argv);
	sh = must(mmap(NULL, sizeof(*sh), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	write_text("/proc/sys/vm/dirty_writeback_centisecs", "0");
	own.kmsg = kmsg_open();
	check(!module_load(own.ko), "load %s: %m", own.ko);
	if (own.count)
		counters_set_up();
	must(prctl(PR_SET_CHILD_SUBREAPER, 1));
	device_name(place.dev, place.device, sizeof(place.device));
	file = must(open("/tmp", O_TMPFILE | O_RDWR, 0600));
	must(ftruncate(file, 64 * PAGE));
	scratch = open_loop_device(file, false);
	flushes_set_up();
	new_mount();
	printf("READY\n");
	fflush(stdout);
	serve();
	must(umount(place.dir));
	check(!module_unload(), "the module is kept: %m");
	if (splat())
		give_up("splat", "the kernel complained at the end");
	return 0;
}
