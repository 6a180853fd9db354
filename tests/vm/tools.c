// SPDX-License-Identifier: GPL-2.0
/* The tools in scripts/ that say who keeps a page busy, and how long somebody waited. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debugfs.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)

static char *output_of(const char *cmd, int *status)
{
	static char buf[1 << 16];
	FILE *f = popen(cmd, "r");
	size_t n;

	check(f, "popen: %m");
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	*status = pclose(f);
	return buf;
}

/* What follows runs in the checkout. */
static bool no_fsdax_pins(void)
{
	if (!access("scripts/fsdax-pins", X_OK) && !system("python3 -c 1 2>/dev/null"))
		return false;
	printf("# no python3 or no scripts/fsdax-pins here\n");
	return true;
}

static void command_names_the_file(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char path[256], *out, *p;
	struct pin pin;
	int status;

	if (no_fsdax_pins())
		return;
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	check(WEXITSTATUS(status) == 3 && strstr(out, "not loaded"), "without the module: %s", out);
	start_bound(e);
	must(mkdir(in_dir(e, "a dir"), 0755));
	snprintf(path, sizeof(path), "%s", in_dir(e, "a dir/the file"));
	job.fd = create_file(e, "a dir/the file", N, 100);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	check(!status && strstr(out, "No page is busy"), "before: %s", out);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	check(!status && strstr(out, path), "no %s: %s", path, out);
	check(strstr(out, "break, "), "nobody waits: %s", out);
	check(strstr(out, "maps it, shared rw") && strstr(out, "has the file open, rw"),
	      "no process: %s", out);
	printf("# %s", "what fsdax-pins prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	out = output_of("scripts/fsdax-pins --json 2>&1", &status);
	check(!status && strstr(out, path) && strstr(out, "\"what\": \"break\"") &&
	      strstr(out, "\"version\": 1"), "%s", out);
	out = output_of("scripts/fsdax-pins --json --no-paths 2>&1", &status);
	check(!status && !strstr(out, path), "a path in spite of --no-paths");
	unpin_all(&pin);
	job_succeeds(&job);
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static void command_names_direct_io(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char wanted[64], *out, *p, *line;
	struct slow_read slow;
	int status;

	if (no_fsdax_pins())
		return;
	start_bound(e);
	job.fd = create_file(e, "f", N, 100);
	p = map_file(job.fd, N, RW);
	slow_read_start(&slow, p + 9 * PAGE, 2, 700);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	out = output_of("scripts/fsdax-pins 2>&1", &status);
	snprintf(wanted, sizeof(wanted), "[%d] ", getpid());
	line = strstr(out, "does direct I/O with it, pread64 of thread ");
	check(!status && line && strstr(out, "9-10"), "no direct I/O: %s", out);
	while (line > out && line[-1] != '\n')
		line--;
	check(strstr(line, wanted) && strstr(line, wanted) < strchr(line, '\n'), "not of %s: %s",
	      wanted, out);
	printf("# %s", "what fsdax-pins prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	slow_read_end(&slow);
	job_succeeds(&job);
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

#define METRICS	"scripts/fsdax-pins --prometheus /tmp/f.prom 2>&1; cat /tmp/f.prom"

static void command_tells_who_serves(const struct env *e)
{
	char *out, wanted[128];
	int status;

	if (no_fsdax_pins())
		return;
	start_bound(e);
	out = output_of("scripts/fsdax-pins --mounts 2>&1", &status);
	check(!status && strstr(out, e->dir) && strstr(out, "always  rust_fsdax"),
	      "bound: %s", out);
	must(umount(e->dir));
	module_bind(false);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	out = output_of("scripts/fsdax-pins --mounts 2>&1", &status);
	snprintf(wanted, sizeof(wanted), "warning: %s is a DAX mount that stock", e->dir);
	check(WEXITSTATUS(status) == 6 && strstr(out, wanted) &&
	      strstr(out, "parameters/bind is N"), "status %#x without binding: %s", status, out);
	out = output_of(METRICS, &status);
	check(!status && strstr(out, "\nrust_fsdax_stock_dax_mounts 1\n"), "metrics: %s", out);
	must(umount(e->dir));
	module_bind(true);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	out = output_of(METRICS, &status);
	check(!status && strstr(out, "\nrust_fsdax_stock_dax_mounts 0\n") &&
	      strstr(out, "served_by=\"rust_fsdax\""), "metrics: %s", out);
	end_bound(e);
}

static void command_counts_faults(const struct env *e)
{
	char wanted[128], *out, *p;
	int status, fd;

	if (no_fsdax_pins())
		return;
	start_bound(e);
	fd = create_file(e, "f", N, 100);
	p = map_file(fd, N, RW);
	/* Loads, since who serves the mount is found out by stores: one for each page. */
	must(madvise(p, N * PAGE, MADV_RANDOM));
	for (size_t i = 0; i < N; i++)
		(void)*(volatile char *)(p + i * PAGE);
	out = output_of("scripts/fsdax-pins --faults 2>&1", &status);
	snprintf(wanted, sizeof(wanted), "\n%s   4 KiB    %zu  ", strrchr(e->dev, '/') + 1, N);
	check(!status && strstr(out, wanted), "no %s in %s", wanted, out);
	snprintf(wanted, sizeof(wanted), "\"read\": %zu,", N);
	out = output_of("scripts/fsdax-pins --json 2>&1", &status);
	check(!status && strstr(out, "\"faults\": [") && strstr(out, wanted), "%s", out);
	munmap(p, N * PAGE);
	close(fd);
	end_bound(e);
}

/* Reads what the child prints until it has @words, or ends (NULL). */
static bool reads_until(FILE *from, const char *words, char *all, size_t size)
{
	size_t n = strlen(all);
	int c;

	while (n + 1 < size && (c = fgetc(from)) != EOF) {
		all[n++] = c;
		all[n] = '\0';
		if (c == '\n' && words && strstr(all, words))
			return true;
	}
	return !words;
}

static void command_watches_a_break(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	static char out[1 << 12];
	struct pin pin;
	FILE *from;
	int status;
	char *p;

	if (no_fsdax_pins())
		return;
	start_bound(e);
	job.fd = create_file(e, "f", N, 100);
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 2);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	from = popen("scripts/fsdax-pins --wait --timeout 120 2>&1", "re");
	check(from, "popen: %m");
	check(reads_until(from, "waits for page 3 of ", out, sizeof(out)), "the first: %s", out);
	check(strstr(out, "; 2 busy pages\n"), "not two: %s", out);
	unpin_page(&pin, NULL);
	check(reads_until(from, "waits for page 4 of ", out, sizeof(out)), "the second: %s", out);
	unpin_all(&pin);
	job_succeeds(&job);
	reads_until(from, NULL, out, sizeof(out));
	status = pclose(from);
	check(!status && strstr(out, "does not wait any more\n"), "status %#x: %s", status, out);
	printf("# %s", "what fsdax-pins --wait prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static void bpftrace_prints_a_histogram(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	static char out[1 << 16];
	char wanted[64], dev[16], *colon;
	int status, fds[2];
	struct pin pin;
	FILE *from;
	pid_t pid;
	char *p;

	if (access("scripts/break-waits.bt", R_OK) || system("command -v bpftrace >/dev/null")) {
		printf("# no bpftrace or no scripts/break-waits.bt here\n");
		return;
	}
	start_bound(e);
	trace_start();
	trace_stop();
	dev_of(e, dev);
	job.fd = create_file(e, "f", N, 100);
	colon = strchr(dev, ':');
	*colon = '\0';
	snprintf(wanted, sizeof(wanted), "@waited_us[%s, %s, %lu]:", dev, colon + 1,
		 inode_of(job.fd));
	p = map_file(job.fd, N, RW);
	pin_pages(&pin, p + 3 * PAGE, 1);

	must(pipe2(fds, O_CLOEXEC));
	pid = must(fork());
	if (!pid) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		execlp("bpftrace", "bpftrace", "-B", "line", "scripts/break-waits.bt", NULL);
		_exit(127);
	}
	close(fds[1]);
	from = fdopen(fds[0], "re");
	check(reads_until(from, "Ctrl-C ends", out, sizeof(out)), "bpftrace: %s", out);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	unpin_all(&pin);
	job_succeeds(&job);
	must(kill(pid, SIGINT));
	reads_until(from, NULL, out, sizeof(out));
	must(waitpid(pid, &status, 0));
	check(!status, "bpftrace ended with %#x: %s", status, out);
	check(strstr(out, wanted), "no %s in %s", wanted, out);
	printf("# %s", "what break-waits.bt prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	fclose(from);
	munmap(p, N * PAGE);
	close(job.fd);
	end_bound(e);
}

static const struct test tests[] = {
	{ "fsdax-pins names the file and who waits", command_names_the_file, ONCE },
	{ "fsdax-pins names who does direct I/O", command_names_direct_io, ONCE },
	{ "fsdax-pins --mounts and --prometheus tell who serves", command_tells_who_serves, ONCE },
	{ "fsdax-pins --faults counts them", command_counts_faults, ONCE },
	{ "fsdax-pins --wait follows a break to its end", command_watches_a_break, ONCE },
	{ "break-waits.bt prints a histogram", bpftrace_prints_a_histogram, ONCE },
	{ }
};

GROUP_UNMOUNTED(tools, tests);
