// SPDX-License-Identifier: GPL-2.0
/*
 * What grows with the inodes, the entries and the device, for scripts/growth: a mount,
 * its umount, what debugfs shows, a break of one page, and the removal of the device.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "bench.h"

#define DEBUGFS	"/sys/kernel/debug/rust_fsdax/"

/* A small file has one entry. */
static const char *small_file(size_t number)
{
	static char name[32];

	snprintf(name, sizeof(name), "bench.%zu", number);
	return name;
}

static void create_files(const struct env *e, size_t inodes, size_t entries)
{
	static const char page[PAGE] = "data";

	for (size_t i = 0; i < inodes; i++) {
		int fd = create_file(e, small_file(i), 0, 0);

		must(pwrite(fd, page, PAGE, 0));
		close(fd);
	}
	if (entries)
		close(written_file(e, "bench", entries, false));
}

static void load_file(const struct env *e, const char *name, size_t pages)
{
	int fd = must(open(in_dir(e, name), O_RDWR));
	char *p = map_sized(fd, pages, PROT_READ, false);

	load_all(p, pages);
	must(munmap(p, pages * PAGE));
	close(fd);
}

/* An entry for each page, clean and mapped by nobody. */
static void make_entries(const struct env *e, size_t inodes, size_t entries)
{
	for (size_t i = 0; i < inodes; i++)
		load_file(e, small_file(i), 1);
	if (entries)
		load_file(e, "bench", entries);
}

/* @f is called growth_INODES_ENTRIES. */
static void tell(const struct env *e, const struct figure *f, const char *what, double value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", what, f->metric + strlen("growth"));
	report(e, name, value);
}

static double read_cost(const char *path)
{
	char buf[PAGE];
	uint64_t from = thread_cpu_ns();
	int fd = must(open(path, O_RDONLY));

	while (must(read(fd, buf, sizeof(buf))))
		;
	close(fd);
	return thread_cpu_ns() - from;
}

/* A page that waits in a pipe is punched out: zapped, waited for, and cleared up after. */
static double break_cost(const struct env *e, size_t entries)
{
	struct job job = { .op = OP_PUNCH, .first = entries / 2, .pages = 1 };
	struct pin pin = { 0 };
	char *p;

	job.fd = must(open(in_dir(e, "bench"), O_RDWR));
	p = map_sized(job.fd, entries, PROT_READ, false);
	(void)*(volatile char *)(p + entries / 2 * PAGE);
	pin_pages(&pin, p + entries / 2 * PAGE, 1);
	must(munmap(p, entries * PAGE));
	job_start(&job);
	job_until_asleep(&job);
	check(!job.done, "the punch ended with its page in a pipe");
	unpin_page(&pin, NULL);
	job_succeeds(&job);
	close(pin.rd);
	close(pin.wr);
	close(job.fd);
	return job.cpu_ns;
}

static double umount_cost(const struct env *e)
{
	uint64_t from = thread_cpu_ns();

	must(umount(e->dir));
	return thread_cpu_ns() - from;
}

static void growth(const struct env *e, const struct figure *f)
{
	const size_t inodes = f->arg[0], entries = f->arg[1];
	const bool ours = !strcmp(e->label, "rust");
	char name[BOUND_NAME];

	create_files(e, inodes, entries);
	/* What has just been written is not a part of it. */
	umount_cost(e);
	mount_cost(e);
	make_entries(e, inodes, entries);
	if (ours) {
		tell(e, f, "mounts", read_cost(DEBUGFS "mounts"));
		tell(e, f, "busy", read_cost(DEBUGFS "busy"));
	}
	tell(e, f, "umount", umount_cost(e));
	tell(e, f, "mount", mount_cost(e));
	make_entries(e, inodes, entries);
	if (entries)
		tell(e, f, "break", break_cost(e, entries));
	/* With stock, whoever has an entry of a device that is gone is lost. */
	if (ours || (!inodes && !entries)) {
		tell(e, f, "removal", unbind_cost(e, name));
		umount_and_bind(e, name);
	} else {
		umount_cost(e);
	}
}

const struct figure growth_figures[] = {
	{ "growth_0_0", growth, { 0, 0 } },
	{ "growth_1000_0", growth, { 1000, 0 } },
	{ "growth_2000_0", growth, { 2000, 0 } },
	{ "growth_4000_0", growth, { 4000, 0 } },
	{ "growth_0_16384", growth, { 0, 16384 } },
	{ "growth_0_32768", growth, { 0, 32768 } },
	{ "growth_0_65536", growth, { 0, 65536 } },
	{ }
};
