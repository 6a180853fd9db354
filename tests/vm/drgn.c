// SPDX-License-Identifier: GPL-2.0
/* fsdax-pins and drgn: who has pages in pipes and sockets, as the memory of the kernel says. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debugfs.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)16)
#define FIRST	((size_t)3)	/* the page that is taken, and the next one */
#define TAKEN	((size_t)2)

/* A process of its own that has pages, and the file descriptor that it has them by. */
struct holder {
	pid_t pid;
	int fd;
	char name[64];		/* of what is open there, such as pipe:[77] */
};

static void drop_holder(void *arg)
{
	const struct holder *h = arg;

	kill(h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0);
}

static void hold(struct holder *h, int (*take)(char *at), char *at)
{
	char link[64];
	int ready[2];
	ssize_t n;

	must(pipe2(ready, O_CLOEXEC));
	h->pid = must(fork());
	if (!h->pid) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL));
		close(ready[0]);
		h->fd = take(at);
		check(write(ready[1], &h->fd, sizeof(h->fd)) == sizeof(h->fd), "write: %m");
		for (;;)
			pause();
	}
	at_fail(drop_holder, h);
	close(ready[1]);
	check(read(ready[0], &h->fd, sizeof(h->fd)) == sizeof(h->fd), "the holder has nothing");
	close(ready[0]);
	snprintf(link, sizeof(link), "/proc/%d/fd/%d", h->pid, h->fd);
	n = must(readlink(link, h->name, sizeof(h->name) - 1));
	h->name[n] = '\0';
}

static int in_pipe(char *at)
{
	struct pin pin;

	pin_pages(&pin, at, TAKEN);
	close(pin.wr);
	return pin.rd;
}

/* Into the queue of a socket: what goes from a pipe to a socket is not copied. */
static void splice_to(int sock, char *at)
{
	int fd = in_pipe(at);

	check(splice(fd, NULL, sock, NULL, TAKEN * PAGE, 0) == (ssize_t)(TAKEN * PAGE),
	      "splice: %m");
	close(fd);
}

static int in_unix_socket(char *at)
{
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	splice_to(fds[0], at);
	close(fds[0]);
	return fds[1];
}

/* A connection to itself: returns the end that connected, @other is the one that accepted. */
static int connection(int *other)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct linger at_once = { .l_onoff = 1 };
	socklen_t size = sizeof(to);

	/* What nobody received goes when the process does. */
	must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	must(bind(listener, (struct sockaddr *)&to, size));
	must(getsockname(listener, (struct sockaddr *)&to, &size));
	must(listen(listener, 1));
	must(connect(fd, (struct sockaddr *)&to, size));
	*other = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	close(listener);
	return fd;
}

static int in_tcp_socket(char *at)
{
	int other, fd = connection(&other);

	splice_to(fd, at);
	return other;
}

static int in_unheard_tcp_socket(char *at)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = { .len = 1, .filter = &none };
	int other, fd = connection(&other);

	/* The other end takes no segment any more: each is sent again and again. */
	must(setsockopt(other, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)));
	splice_to(fd, at);
	return fd;
}

static char *fsdax_pins(const struct env *e, const char *options)
{
	static char buf[1 << 16];
	char cmd[512];
	size_t n;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "scripts/fsdax-pins --module '%s' %s 2>&1", e->ko, options);
	f = popen(cmd, "r");
	check(f, "popen: %m");
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	check(!pclose(f), "%s fails: %s", cmd, buf);
	return buf;
}

static void print(const char *output)
{
	const char *end;

	printf("# %s", "what fsdax-pins prints:\n");
	for (; (end = strchr(output, '\n')); output = end + 1)
		printf("#   %.*s\n", (int)(end - output), output);
}

/* The file "f" whose truncate waits for pages that @h has. */
struct waits {
	struct job job;
	char *map;
	size_t pages;
	struct holder h;
};

static void wait_begins(const struct env *e, struct waits *w, int (*take)(char *at))
{
	start_bound(e);
	if (w->pages == N) {
		w->job.fd = create_file(e, "f", N, 100);
		w->map = map_file(w->job.fd, N, RW);
	} else {
		w->job.fd = create_huge(e, "f", w->pages / HUGE);
		w->map = map_file_huge(w->job.fd, w->pages, RW);
		memset(w->map, 1, w->pages * PAGE);
	}
	must(fcntl(w->job.fd, F_SETFD, FD_CLOEXEC));
	w->job.op = OP_TRUNCATE;
	hold(&w->h, take, w->map + FIRST * PAGE);
	job_start(&w->job);
	check(job_sleeps(&w->job), "truncate did not wait");
}

static void wait_ends(const struct env *e, struct waits *w)
{
	drop_holder(&w->h);
	job_succeeds(&w->job);
	munmap(w->map, w->pages * PAGE);
	close(w->job.fd);
	end_bound(e);
}

/* The table has one line that says who has pages of @range. */
static void check_table(const struct env *e, const struct waits *w, const char *how,
			const char *queue, const char *range)
{
	char wanted[256], *out = fsdax_pins(e, ""), *line, *at;

	print(out);
	snprintf(wanted, sizeof(wanted), " %d  has it in a %s, %s%s\n", w->h.fd, how, queue,
		 w->h.name);
	at = strstr(out, wanted);
	check(at, "no%sin %s", wanted, out);
	check(strstr(out, "has it in a ") > at && !strstr(at + strlen(wanted), "has it in a "),
	      "somebody else has it: %s", out);
	for (line = at; line > out && line[-1] != '\n'; line--)
		;
	at[0] = '\0';
	snprintf(wanted, sizeof(wanted), "scenarios[%d]  %s  ", w->h.pid, in_dir(e, "f"));
	check(!strncmp(line, wanted, strlen(wanted)) && strstr(line, range), "not %s of %s: %s",
	      range, wanted, line);
}

/* JSON has one object that says the same. */
static void check_json(const struct env *e, const struct waits *w, const char *how,
		       const char *queue)
{
	char wanted[256], *out = fsdax_pins(e, "--json"), *at;

	check(strstr(out, "\"unseen\": []"), "unseen: %s", out);
	snprintf(wanted, sizeof(wanted), "\"how\": \"%s\",", how);
	at = strstr(out, wanted);
	check(at, "no %s in %s", wanted, out);
	*strchr(at, '}') = '\0';
	while (*at != '{')
		at--;
	snprintf(wanted, sizeof(wanted), "\"pid\": %d,", w->h.pid);
	check(strstr(at, wanted), "no %s in %s", wanted, at);
	snprintf(wanted, sizeof(wanted), "\"fd\": %d,", w->h.fd);
	check(strstr(at, wanted), "no %s in %s", wanted, at);
	snprintf(wanted, sizeof(wanted), "\"detail\": \"%s%s\"", queue, w->h.name);
	check(strstr(at, wanted), "no %s in %s", wanted, at);
}

static void found(const struct env *e, size_t pages, int (*take)(char *at), const char *how,
		  const char *queue, const char *range)
{
	struct waits w = { .pages = pages };

	wait_begins(e, &w, take);
	check_table(e, &w, how, queue, range);
	check_json(e, &w, how, queue);
	wait_ends(e, &w);
}

static void names_pipe(const struct env *e)
{
	found(e, N, in_pipe, "pipe", "", "  3-4  ");
}

static void names_pipe_with_huge(const struct env *e)
{
	found(e, HUGE, in_pipe, "pipe", "", "  0-511  ");
}

static void names_unix_socket(const struct env *e)
{
	found(e, N, in_unix_socket, "socket", "receive queue of ", "  3-4  ");
}

static void names_tcp_socket(const struct env *e)
{
	found(e, N, in_tcp_socket, "socket", "receive queue of ", "  3-4  ");
}

static void names_sender(const struct env *e)
{
	found(e, N, in_unheard_tcp_socket, "socket", "retransmit queue of ", "  3-4  ");
}

/* With a file of the module that command @make puts at /tmp/name. */
static char *with_file(const struct env *e, const char *make, const char *name)
{
	struct env other = *e;
	static char path[64];
	char cmd[512];

	snprintf(path, sizeof(path), "/tmp/%s", name);
	snprintf(cmd, sizeof(cmd), "ko='%s'; %s >'%s'", e->ko, make, path);
	check(!system(cmd), "%s fails", cmd);
	other.ko = path;
	return fsdax_pins(&other, "");
}

static void wants_the_layouts(const struct env *e)
{
	struct waits w = { .pages = N };
	char *out;

	wait_begins(e, &w, in_pipe);
	out = with_file(e, "xz --stdout \"$ko\"", "rust_fsdax.ko.xz");
	check(strstr(out, "has it in a pipe, "), "compressed: %s", out);
	out = with_file(e, "strip --strip-debug -o /tmp/stripped \"$ko\" && cat /tmp/stripped",
			"rust_fsdax.ko");
	check(!strstr(out, "has it in a pipe, ") &&
	      strstr(out, "drgn: /tmp/rust_fsdax.ko has no debugging information"),
	      "stripped: %s", out);
	print(out);
	out = with_file(e, "cat \"${ko%/*}\"/onefile.ko", "onefile.ko");
	check(!strstr(out, "has it in a pipe, ") &&
	      strstr(out, "drgn: /tmp/onefile.ko is not the module that is loaded"),
	      "another: %s", out);
	out = fsdax_pins(e, "--no-drgn");
	check(!strstr(out, "has it in a pipe, ") && !strstr(out, "Not looked at"),
	      "--no-drgn: %s", out);
	wait_ends(e, &w);
}

static const struct test tests[] = {
	{ "drgn: who has pages in a pipe", names_pipe, BOUND_ONLY },
	{ "drgn: who has 2 MiB in a pipe", names_pipe_with_huge, ONCE },
	{ "drgn: who can receive pages from a Unix socket", names_unix_socket, BOUND_ONLY },
	{ "drgn: who can receive pages from TCP", names_tcp_socket, ONCE },
	{ "drgn: who sends pages by TCP", names_sender, ONCE },
	{ "drgn: the layouts are those of the module that is loaded", wants_the_layouts, ONCE },
	{ }
};

GROUP_UNMOUNTED(drgn, tests);
