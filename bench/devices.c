// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of devices without a file system, and a device that goes: faults of a DAX device,
 * migration to private memory, and what the removal of a device costs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SMALL_PAGES	((size_t)2048)
#define LARGE_PAGES	(64 * HUGE)
#define MIGRATED_PAGES	(8 * HUGE)
#define ROUNDS		5

/* Stores to a DAX device, whose pages are of the size that they have in it. */
static void devdax_fault(const struct env *e, const struct figure *f)
{
	const bool huge = f->arg[0];
	const size_t pages = huge ? LARGE_PAGES : SMALL_PAGES, step = huge ? HUGE : 1;
	struct samples s = samples_new(pages / step);
	int fd = must(open(e->dev, O_RDWR));
	char *p = map_file_huge(fd, pages, RW);
	long before = minor_faults();

	measure_accesses(&s, p, pages, step, true);
	check(minor_faults() - before >= (long)s.count, "not every store was a fault");
	must(munmap(p, pages * PAGE));
	close(fd);
	samples_report(e, f->metric, &s);
}

/* What lib/test_hmm.c takes, see lib/test_hmm_uapi.h of the kernel. */
struct hmm_command {
	uint64_t addr, buffer, pages, moved, faults;
};

#define TO_DEVICE	_IOWR('H', 0x02, struct hmm_command)
#define TO_SYSTEM	_IOWR('H', 0x03, struct hmm_command)

/* @moved: pages on the way there, folios on the way back. */
static void migrate(int fd, unsigned long where, char *p, char *buffer, size_t moved)
{
	struct hmm_command command = {
		.addr = (uintptr_t)p, .buffer = (uintptr_t)buffer, .pages = MIGRATED_PAGES,
	};

	must(ioctl(fd, where, &command));
	check(command.moved == moved, "%llu were migrated, not %zu",
	      (unsigned long long)command.moved, moved);
}

/* Anonymous memory, to the device and back, by its page or by 2 MiB. */
static void hmm_migrate(const struct env *e, const struct figure *f)
{
	const bool huge = f->arg[0];
	const size_t pages = MIGRATED_PAGES, size = pages * PAGE;
	const size_t folios = pages / (huge ? HUGE : 1);
	struct samples s = samples_new(ROUNDS);
	int fd = must(open(e->dev, O_RDWR));
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *buffer = must(mmap(NULL, size, RW, flags | MAP_POPULATE, -1, 0));
	char *room = must(mmap(NULL, size + HUGE * PAGE, RW, flags, -1, 0));
	char *p = (char *)(((uintptr_t)room + HUGE * PAGE - 1) / (HUGE * PAGE) * (HUGE * PAGE));

	must(madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(p + i * PAGE) = 1;
	/* The first one adds memory to the device. */
	for (int i = 0; i <= ROUNDS; i++) {
		uint64_t from = measured_from();
		double cost;

		migrate(fd, TO_DEVICE, p, buffer, pages);
		migrate(fd, TO_SYSTEM, p, buffer, folios);
		cost = measured_since(from);
		if (i)
			samples_add(&s, cost);
	}
	close(fd);
	report(e, f->metric, samples_median(&s) / folios);
	samples_drop(&s);
}

/* A process that maps a file of some pages, until the other end of the pipe is closed. */
static pid_t mapping_process(const struct env *e, size_t pages, int *end)
{
	int ready[2], go[2];
	pid_t pid;
	char c;

	must(pipe(ready));
	must(pipe(go));
	pid = must(fork());
	if (!pid) {
		int fd = written_file(e, "bench", pages, false);

		close(go[1]);
		store_all(map_sized(fd, pages, RW, false), pages, false);
		must(write(ready[1], "", 1));
		/* XFS sends it to all who map a file. */
		signal(SIGBUS, SIG_IGN);
		check(!read(go[0], &c, 1), "read: %m");
		_exit(0);
	}
	close(ready[1]);
	close(go[0]);
	check(read(ready[0], &c, 1) == 1, "nobody maps a file");
	close(ready[0]);
	*end = go[1];
	return pid;
}

uint64_t mount_cost(const struct env *e)
{
	const char *bind = strcmp(e->label, "rust") ? "N" : "Y";
	uint64_t from;

	check(write_text("/sys/module/rust_fsdax/parameters/bind", bind), "bind: %m");
	from = thread_cpu_ns();
	check(!mount(e->dev, e->dir, e->fs, 0, "dax=always"), "mount %s: %m", e->dev);
	return thread_cpu_ns() - from;
}

uint64_t unbind_cost(const struct env *e, char name[BOUND_NAME])
{
	uint64_t from;

	device_name(e->dev, name, BOUND_NAME);
	from = thread_cpu_ns();
	check(device_unbind(name), "unbind %s: %m", name);
	return thread_cpu_ns() - from;
}

void umount_and_bind(const struct env *e, const char *name)
{
	must(umount(e->dir));
	check(device_bind(name), "cannot bring %s back: %m", e->dev);
}

/* The CPU time of who unbinds the driver, while another process maps some pages of the device. */
static double removal_cost(const struct env *e, size_t pages)
{
	char name[BOUND_NAME];
	pid_t user = -1;
	uint64_t cost;
	int end;

	if (pages)
		user = mapping_process(e, pages, &end);
	cost = unbind_cost(e, name);
	if (pages) {
		close(end);
		must(waitpid(user, NULL, 0));
	}
	umount_and_bind(e, name);
	return cost;
}

/* Nothing is mounted afterwards. */
static void removal(const struct env *e, const struct figure *f)
{
	struct samples s = samples_new(ROUNDS);

	for (int i = 0; i < ROUNDS; i++) {
		if (i)
			mount_cost(e);
		samples_add(&s, removal_cost(e, f->arg[0]));
	}
	report(e, f->metric, samples_median(&s));
	samples_drop(&s);
}

const struct figure device_figures[] = {
	{ "devdax_4k", devdax_fault, { false } },
	{ "devdax_2m", devdax_fault, { true } },
	{ "hmm_migrate_4k", hmm_migrate, { false } },
	{ "hmm_migrate_2m", hmm_migrate, { true } },
	{ "removal_0", removal, { 0 } },
	{ "removal_1000", removal, { 1000 } },
	{ }
};
