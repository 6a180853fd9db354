// SPDX-License-Identifier: GPL-2.0
/*
 * tracer [-b KIB] DIRECTORY COMMAND...: run a command and keep all events of the module meanwhile,
 * for scripts/replay.
 *
 * The clock of the buffer is a counter that all CPUs share: it says in which order events were,
 * and nothing else. For each time that the module was loaded there is a directory, 1, 2 and so on,
 * with
 *
 *	cpu0, ...	what trace_pipe_raw gave, each page without what is behind its events
 *	formats		of the events
 *	stats0, ...	of each CPU, with what was lost
 *	unloaded	if the module has gone
 *
 * Unloading the module empties all buffers: module_unload() asks for these files first.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define BUFFER		"/sys/kernel/tracing/instances/fsdax_replay"
#define EVENTS		BUFFER "/events/" MODULE_NAME
#define MAX_CPUS	64
#define LOOK_MS		20
/* Where a page of the ring buffer says how many bytes of events it has; and the two flags there. */
#define HEADER		(2 * sizeof(uint64_t))
#define SIZE_MASK	0x3fffffffu

static const char *directory;
static int loads = 1, cpus;
static int raw[MAX_CPUS];
static FILE *out[MAX_CPUS];

static FILE *create(const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%d", directory, loads);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%d/%s", directory, loads, name);
	f = fopen(path, "we");
	check(f, "%s: %m", path);
	return f;
}

static void start(const char *kib)
{
	char path[512];

	check(!mkdir(BUFFER, 0755) || errno == EEXIST, "%s: %m", BUFFER);
	set_text(BUFFER "/trace_clock", "counter");
	set_text(BUFFER "/buffer_size_kb", kib);
	cpus = sysconf(_SC_NPROCESSORS_CONF);
	check(cpus <= MAX_CPUS, "%d CPUs are too many", cpus);
	for (int i = 0; i < cpus; i++) {
		snprintf(path, sizeof(path), BUFFER "/per_cpu/cpu%d/trace_pipe_raw", i);
		raw[i] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		check(raw[i] >= 0, "%s: %m", path);
	}
}

/* Also if the module is not loaded yet: the kernel remembers it for the next time. */
static void enable(void)
{
	set_text(BUFFER "/set_event", ":mod:" MODULE_NAME);
}

static void drain_cpu(int cpu)
{
	static char page[1 << 16];
	char name[32];
	ssize_t n;

	while ((n = read(raw[cpu], page, sizeof(page))) > 0) {
		uint64_t size;

		memcpy(&size, page + sizeof(uint64_t), sizeof(size));
		size = HEADER + (size & SIZE_MASK);
		check(size <= (uint64_t)n, "a page of %zd bytes says that it has %llu", n,
		      (unsigned long long)size);
		if (!out[cpu]) {
			snprintf(name, sizeof(name), "cpu%d", cpu);
			out[cpu] = create(name);
			setvbuf(out[cpu], NULL, _IOFBF, 1 << 18);
		}
		check(fwrite(page, size, 1, out[cpu]) == 1, "cannot write: %m");
	}
	check(!n || errno == EAGAIN, "trace_pipe_raw: %m");
}

static void drain(void)
{
	for (int i = 0; i < cpus; i++)
		drain_cpu(i);
}

static void copy(const char *from, FILE *to)
{
	FILE *f = fopen(from, "re");
	char buf[4096];
	size_t n;

	check(f, "%s: %m", from);
	while ((n = fread(buf, 1, sizeof(buf), f)))
		check(fwrite(buf, n, 1, to) == 1, "cannot write: %m");
	fclose(f);
}

static void save_formats(void)
{
	DIR *events = opendir(EVENTS);
	struct dirent *d;
	char path[512];
	FILE *to;

	if (!events)
		return;
	to = create("formats");
	while ((d = readdir(events))) {
		snprintf(path, sizeof(path), EVENTS "/%.64s/format", d->d_name);
		if (d->d_name[0] != '.' && !access(path, F_OK))
			copy(path, to);
	}
	closedir(events);
	fclose(to);
}

/* What there is so far. */
static void save(void)
{
	char name[32], path[512];

	drain();
	save_formats();
	for (int i = 0; i < cpus; i++) {
		FILE *to;

		if (!out[i])
			continue;
		check(!fflush(out[i]), "cannot write: %m");
		snprintf(name, sizeof(name), "stats%d", i);
		snprintf(path, sizeof(path), BUFFER "/per_cpu/cpu%d/stats", i);
		to = create(name);
		copy(path, to);
		fclose(to);
	}
}

static void next_load(bool unloaded)
{
	bool any = false;

	if (unloaded)
		fclose(create("unloaded"));

	for (int i = 0; i < cpus; i++) {
		any |= !!out[i];
		if (out[i])
			fclose(out[i]);
		out[i] = NULL;
	}
	loads += any;
}

/* What module_load() and module_unload() ask for. */
static void answer(int fd)
{
	char what;

	if (read(fd, &what, 1) != 1)
		return;
	if (what == TRACE_ENABLE)
		enable();
	else if (what == TRACE_SAVE)
		save();
	else
		next_load(true);
	check(write(fd, &what, 1) == 1, "cannot answer: %m");
}

static pid_t begin(char **argv, int fd)
{
	char number[16];
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(number, sizeof(number), "%d", fd);
	setenv(TRACE_FD, number, 1);
	execvp(argv[0], argv);
	fprintf(stderr, "tracer: %s: %m\n", argv[0]);
	_exit(127);
}

int main(int argc, char **argv)
{
	const char *kib = "16384";
	int c, status, fds[2];
	pid_t pid;

	while ((c = getopt(argc, argv, "+b:")) == 'b')
		kib = optarg;
	if (c != -1 || argc < optind + 2) {
		fprintf(stderr, "usage: tracer [-b KIB] DIRECTORY COMMAND...\n");
		return 2;
	}
	directory = argv[optind];
	must(mkdir(directory, 0755) && errno != EEXIST ? -1 : 0);
	start(kib);
	enable();
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	fcntl(fds[0], F_SETFD, FD_CLOEXEC);
	pid = begin(&argv[optind + 1], fds[1]);
	close(fds[1]);
	while (waitpid(pid, &status, WNOHANG) != pid) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };

		if (poll(&p, 1, LOOK_MS) == 1 && p.revents & POLLIN)
			answer(fds[0]);
		drain();
	}
	save();
	next_load(false);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
