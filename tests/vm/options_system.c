// SPDX-License-Identifier: GPL-2.0
/*
 * What distributions switch on, and what works on programs and mounts: uprobes,
 * breakpoints, quotas, and dedupe beside bad sectors. See options.h.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch.h"
#include "options.h"

#define RW	(PROT_READ | PROT_WRITE)
#define TRACING	"/sys/kernel/tracing"

/* Where a function of this program is in its file. */
static unsigned long file_offset(uintptr_t at)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)getauxval(AT_PHDR);

	for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
		if (ph[i].p_type == PT_LOAD && at >= ph[i].p_vaddr &&
		    at < ph[i].p_vaddr + ph[i].p_filesz)
			return at - ph[i].p_vaddr + ph[i].p_offset;
	fail("a function is in no segment");
}

/* Calls getopt() so often: */
#define GETOPT_CALLS	4

static pid_t start_program(const char *program, bool traced)
{
	pid_t pid = must(fork());

	if (pid)
		return pid;
	must(dup2(must(open("/dev/null", O_WRONLY)), STDOUT_FILENO));
	if (traced)
		must(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	execl(program, "scenarios", "-l", "-g", "data", "-f", "ext4", NULL);
	_exit(111);
}

static void copy_program(const char *to)
{
	int in = must(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	int out = must(open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));

	while (must(sendfile(out, in, NULL, MIB)))
		;
	must(fsync(out));
	close(in);
	close(out);
}

static void expect_same_program(const char *path)
{
	static char a[1 << 16], b[1 << 16];
	int own = must(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	int copy = must(open(path, O_RDONLY | O_CLOEXEC));
	ssize_t n;

	do {
		n = must(read(own, a, sizeof(a)));
		check(read(copy, b, n ?: 1) == n && !memcmp(a, b, n), "%s was changed", path);
	} while (n);
	close(own);
	close(copy);
}

static void probe_event(const char *text)
{
	int fd = must(open(TRACING "/uprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC));

	check(write(fd, text, strlen(text)) > 0, "write '%s' to uprobe_events: %m", text);
	close(fd);
}

static long probe_hits(const char *program)
{
	FILE *f = fopen(TRACING "/uprobe_profile", "re");
	char line[512], file[256], event[64];
	long hits = -1, n;

	check(f, "no uprobe_profile: %m");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%255s %63s %ld", file, event, &n) == 3 && !strcmp(file, program))
			hits = n;
	fclose(f);
	return hits;
}

/* The kernel reads the text through the page cache, and refuses where DAX leaves none. */
static void uprobe(const char *program, bool must_work)
{
	char text[512];
	bool enabled;
	int status;

	snprintf(text, sizeof(text), "p:fsdax/getopt %s:%#lx\n", program,
		 file_offset((uintptr_t)getopt));
	probe_event(text);
	enabled = write_text(TRACING "/events/fsdax/getopt/enable", "1");
	check(enabled || (errno == EIO && !must_work), "enable a probe in %s: %m", program);
	must(waitpid(start_program(program, false), &status, 0));
	check(!status, "%s with a probe ended with %#x", program, status);
	if (enabled)
		check(probe_hits(program) == GETOPT_CALLS, "%ld hits in %s, not %d",
		      probe_hits(program), program, GETOPT_CALLS);
	set_text(TRACING "/events/fsdax/getopt/enable", "0");
	probe_event("-:fsdax/getopt\n");
}

static int next_stop(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0));
	check(!WIFSTOPPED(status) || WSTOPSIG(status) == SIGTRAP, "it stops by signal %d",
	      WSTOPSIG(status));
	return status;
}

/* As a debugger does it: its store makes a private copy of a page of the file. */
static void breakpoint(const char *program)
{
	const uintptr_t at = (uintptr_t)getopt;
	pid_t pid = start_program(program, true);
	struct user_regs_struct regs;
	struct iovec all = { &regs, sizeof(regs) };
	int status = next_stop(pid), hits = 0;
	long word;

	check(WIFSTOPPED(status), "%s was not started: %#x", program, status);
	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
	check(!errno && word == *(long *)at, "the text of %s is another one", program);
	for (;;) {
		must(ptrace(PTRACE_POKETEXT, pid, at, WITH_BREAKPOINT(word)));
		must(ptrace(PTRACE_CONT, pid, NULL, NULL));
		status = next_stop(pid);
		if (!WIFSTOPPED(status))
			break;
		must(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all));
		check(WHERE(regs) == at + AFTER_BREAKPOINT, "it stopped at %#llx", WHERE(regs));
		hits++;
		WHERE(regs) = at;
		must(ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &all));
		must(ptrace(PTRACE_POKETEXT, pid, at, word));
		must(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
		check(WIFSTOPPED(next_stop(pid)), "it did not survive a step");
	}
	check(!status && hits == GETOPT_CALLS, "%d stops, not %d, and status %#x", hits,
	      GETOPT_CALLS, status);
}

static void probes_in_a_program(const struct env *e)
{
	const char *program = in_dir(e, "program"), *other = "/tmp/fsdax_program";

	copy_program(program);
	copy_program(other);
	uprobe(other, true);
	uprobe(program, false);
	expect_same_program(program);
	breakpoint(program);
	expect_same_program(program);
	remount(e, NULL);
	expect_same_program(program);
	must(unlink(program));
	must(unlink(other));
}

#define QUOTA_UID	1000
#define QUOTA_PAGES	((size_t)64)

static void limit_user(const struct env *e, size_t pages)
{
	struct dqblk q = {
		.dqb_bhardlimit = pages * PAGE / 1024,
		.dqb_bsoftlimit = pages * PAGE / 1024,
		.dqb_valid = QIF_BLIMITS,
	};

	check(!quotactl(QCMD(Q_SETQUOTA, USRQUOTA), e->dev, QUOTA_UID, (char *)&q),
	      "cannot set a quota: %m");
}

static int sparse_file(const struct env *e, const char *name)
{
	int fd = create_file(e, name, 0, 0);

	must(ftruncate(fd, QUOTA_PAGES * PAGE));
	return fd;
}

/* As a user: how many of the pages got a block before a store raised SIGBUS. */
static size_t stores_of_user(char *map)
{
	int status;
	pid_t pid = must(fork());

	if (!pid) {
		size_t n = 0;

		must(setgid(QUOTA_UID));
		must(setuid(QUOTA_UID));
		while (n < QUOTA_PAGES && !try_store(map + n * PAGE, 1 + n))
			n++;
		for (size_t i = n; i < QUOTA_PAGES; i++)
			check(try_store(map + i * PAGE, 1) == SIGBUS, "page %zu of %zu", i, n);
		_exit(n);
	}
	must(waitpid(pid, &status, 0));
	check(WIFEXITED(status) && WEXITSTATUS(status) != 1, "the user's process ended with %#x",
	      status);
	return WEXITSTATUS(status);
}

static void quota_feature(const struct env *e, bool on)
{
	char cmd[128];

	if (strcmp(e->fs, "ext4"))
		return;
	snprintf(cmd, sizeof(cmd), "tune2fs -O %squota %s >/dev/null", on ? "" : "^", e->dev);
	check(!system(cmd), "%s failed", cmd);
}

static void quota(const struct env *e)
{
	const size_t limit = 20;
	int mine, other, status;
	char *p, *q;
	size_t n;
	pid_t pid;

	must(umount(e->dir));
	quota_feature(e, true);
	if (e->ko)
		module_bind(e->bound);
	check(!mount_fs(e->fs, e->dev, e->dir, !strcmp(e->fs, "xfs") ? ",uquota" : ",usrquota"),
	      "mount with quota: %m");
	check(mount_is_bound(e->dir) == e->bound, "served by the wrong one");
	mine = sparse_file(e, "mine");
	other = sparse_file(e, "other");
	must(fchown(mine, QUOTA_UID, QUOTA_UID));
	limit_user(e, limit);
	p = map_file(mine, QUOTA_PAGES, RW);
	q = map_file(other, QUOTA_PAGES, RW);

	pid = must(fork());
	if (!pid) {
		for (size_t i = 0; i < QUOTA_PAGES; i++)
			fill_page(q + i * PAGE, 500 + i);
		_exit(0);
	}
	/* Blocks that are no data count too. */
	n = stores_of_user(p);
	check(n >= limit / 2 && n <= limit, "%zu pages within a quota of %zu", n, limit);
	must(waitpid(pid, &status, 0));
	check(!status, "stores to a file without quota: %#x", status);
	for (size_t i = 0; i < QUOTA_PAGES; i++)
		check_file_page(other, i, 500 + i, "file without quota");
	for (size_t i = 0; i < QUOTA_PAGES; i++)
		check(p[i * PAGE] == (i < n ? (char)(1 + i) : 0), "page %zu holds %d", i,
		      p[i * PAGE]);

	limit_user(e, 2 * QUOTA_PAGES);
	n = stores_of_user(p);
	check(n == QUOTA_PAGES, "%zu pages within a larger quota", n);
	must(munmap(p, QUOTA_PAGES * PAGE));
	must(munmap(q, QUOTA_PAGES * PAGE));
	must(fsync(mine));
	must(ftruncate(mine, 0));
	close(mine);
	close(other);
	must(umount(e->dir));
	quota_feature(e, false);
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	check(mount_is_bound(e->dir) == e->bound, "served by the wrong one");
	other = must(open(in_dir(e, "other"), O_RDWR));
	for (size_t i = 0; i < QUOTA_PAGES; i++)
		check_file_page(other, i, 500 + i, "after a mount");
}

/* The answer about one page of both files, or -errno. */
static int dedupe_page(int a, int b, size_t page)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} r = {
		.head = { .src_offset = page * PAGE, .src_length = PAGE, .dest_count = 1 },
		.info = { .dest_fd = b, .dest_offset = page * PAGE },
	};

	return ioctl(a, FIDEDUPERANGE, &r) ? -errno : r.info.status;
}

static void dedupe_near_bad_sectors(const struct env *e)
{
	/* Far up in the files, which once was taken for the length of what is compared. */
	const size_t high = 64 * MIB / PAGE, guard_pages = 4 * MIB / PAGE;
	int fd[2], guard, status;
	uint64_t block[2], bad = 0;

	for (size_t k = 0; k < 2; k++) {
		fd[k] = create_file(e, k ? "b" : "a", 0, 0);
		for (size_t i = 0; i < 4; i++) {
			char buf[PAGE];

			/* The first page differs, the others do not. */
			fill_page(buf, i ? 10 + i : 1 + k);
			check(pwrite(fd[k], buf, PAGE, (high + i) * PAGE) == (ssize_t)PAGE,
			      "write: %m");
		}
		must(fsync(fd[k]));
	}
	guard = create_file(e, "guard", guard_pages, 1);
	for (int k = 0; k < 2; k++)
		block[k] = file_block(fd[k], high);
	for (size_t i = 0; i < guard_pages && !bad; i++) {
		uint64_t at = file_block(guard, i);

		if (at > block[0] && at > block[1] && at < block[0] + high && at < block[1] + high)
			bad = at;
	}
	check(block[0] && block[1] && bad, "no block is behind these files");
	close(guard);

	status = dedupe_page(fd[0], fd[1], high + 1);
	check(status == FILE_DEDUPE_RANGE_SAME, "the same, without bad sectors: %d", status);
	make_bad(e, bad);
	status = dedupe_page(fd[0], fd[1], high);
	check(status == FILE_DEDUPE_RANGE_DIFFERS, "different, a bad sector elsewhere: %d", status);
	status = dedupe_page(fd[0], fd[1], high + 2);
	check(status == FILE_DEDUPE_RANGE_SAME, "the same, a bad sector elsewhere: %d", status);
	make_bad(e, file_block(fd[1], high + 3));
	status = dedupe_page(fd[0], fd[1], high + 3);
	check(status != FILE_DEDUPE_RANGE_SAME, "a bad sector is the same as a good one");
	status = dedupe_page(fd[0], fd[1], high);
	check(status == FILE_DEDUPE_RANGE_DIFFERS, "different, before a bad sector: %d", status);
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < 3; i++)
			check_file_page(fd[k], high + i, i ? 10 + i : 1 + k, "after dedupe");
		close(fd[k]);
	}

	must(umount(e->dir));
	forget_bad(e);
}

static const struct test tests[] = {
	{ "R25 uprobes and breakpoints in a program", probes_in_a_program, EVERYWHERE },
	{ "R25 a store beyond the quota", quota, EVERYWHERE },
	/* The last one: it gives the device back anew. */
	{ "R25 blocks with bad sectors are never the same", dedupe_near_bad_sectors, XFS_ONLY },
	{ }
};

GROUP(options_system, tests);
