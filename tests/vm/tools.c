// SPDX-License-Identifier: GPL-2.0
/* The tools in scripts/ that say who keeps a page busy, and how long somebody waited. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* Runs in the checkout. */
static void command_names_the_file(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	char path[256], *out, *p;
	struct pin pin;
	int status;

	if (access("scripts/fsdax-pins", X_OK) || system("python3 -c 1 2>/dev/null")) {
		printf("# no python3 or no scripts/fsdax-pins here\n");
		return;
	}
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
	printf("# %s", "what fsdax-pins prints:\n");
	for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n"))
		printf("#   %s\n", s);
	out = output_of("scripts/fsdax-pins --json 2>&1", &status);
	check(!status && strstr(out, path) && strstr(out, "\"what\": \"break\""), "%s", out);
	out = output_of("scripts/fsdax-pins --json --no-paths 2>&1", &status);
	check(!status && !strstr(out, path), "a path in spite of --no-paths");
	unpin_all(&pin);
	job_succeeds(&job);
	munmap(p, N * PAGE);
	close(job.fd);
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
	{ "break-waits.bt prints a histogram", bpftrace_prints_a_histogram, ONCE },
	{ }
};

GROUP_UNMOUNTED(tools, tests);
