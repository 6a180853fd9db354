// SPDX-License-Identifier: GPL-2.0
/*
 * What faults did: the fs_dax tracepoints say how many of them mapped 2 MiB,
 * the page tables (PAGEMAP_SCAN) what is mapped, smaps how much of it counts.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib.h"

#define TRACING	"/sys/kernel/tracing"
#define BUFFER	TRACING "/instances/fsdax_faults"
#define EVENT(name) BUFFER "/events/fs_dax/" name "/enable"

static const char *const events[] = {
	EVENT("dax_pmd_fault_done"), EVENT("dax_pte_fault_done"),
	EVENT("dax_pmd_load_hole"), EVENT("dax_load_hole"),
};

static void set(const char *path, const char *text)
{
	check(write_text(path, text), "write '%s' to %s: %m", text, path);
}

void faults_start(void)
{
	if (access(BUFFER, F_OK))
		must(mkdir(BUFFER, 0700));
	set(BUFFER "/buffer_size_kb", "4096");
	close(must(open(BUFFER "/trace", O_WRONLY | O_TRUNC)));
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		set(events[i], "1");
}

static bool mapped(const char *line)
{
	const char *result = strrchr(line, ' ');

	/* With MAP_SYNC the file system maps after its fsync. */
	return result && (strstr(result, "NOPAGE") || strstr(result, "NEEDDSYNC")) &&
	       !strstr(result, "FALLBACK");
}

struct dax_faults faults_stop(int fd)
{
	struct dax_faults n = { 0 };
	char line[1024], ino[64];
	struct stat st;
	FILE *f;

	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		set(events[i], "0");
	must(fstat(fd, &st));
	snprintf(ino, sizeof(ino), " ino %#lx ", (unsigned long)st.st_ino);
	f = fopen(BUFFER "/trace", "re");
	check(f, "no trace: %m");
	while (fgets(line, sizeof(line), f)) {
		check(!strstr(line, "LOST "), "the trace buffer lost events");
		if (line[0] == '#' || !strstr(line, ino))
			continue;
		if (strstr(line, ": dax_pmd_load_hole:"))
			n.huge_zero++;
		else if (strstr(line, ": dax_load_hole:"))
			n.small_zero++;
		else if (strstr(line, ": dax_pte_fault_done:"))
			n.small++;
		else if (strstr(line, ": dax_pmd_fault_done:") && mapped(line))
			n.huge++;
		else if (strstr(line, ": dax_pmd_fault_done:"))
			n.fallback++;
	}
	fclose(f);
	return n;
}

static size_t pages_of(const char *map, size_t pages, uint64_t category)
{
	struct page_region region[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.end = (uintptr_t)map + pages * PAGE,
		.start = (uintptr_t)map,
		.vec = (uintptr_t)region,
		.vec_len = ARRAY_SIZE(region),
		.category_mask = category,
		.return_mask = category,
	};
	int fd = must(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	size_t found = 0;

	while (arg.start < arg.end) {
		int n = must(ioctl(fd, PAGEMAP_SCAN, &arg));

		for (int i = 0; i < n; i++)
			found += (region[i].end - region[i].start) / PAGE;
		arg.start = arg.walk_end;
	}
	close(fd);
	return found;
}

size_t present_pages(const char *map, size_t pages)
{
	return pages_of(map, pages, PAGE_IS_PRESENT);
}

size_t huge_pages(const char *map, size_t pages)
{
	return pages_of(map, pages, PAGE_IS_PRESENT | PAGE_IS_HUGE);
}

long rss_kib(const char *map, size_t pages)
{
	uintptr_t first = (uintptr_t)map, last = first + pages * PAGE - 1, from = 0, to = 0;
	char line[512];
	long kib, sum = 0;
	FILE *f = fopen("/proc/self/smaps", "re");

	check(f, "no smaps: %m");
	while (fgets(line, sizeof(line), f)) {
		unsigned long a, b;

		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			from = a;
			to = b;
		} else if (from <= last && to > first && sscanf(line, "Rss: %ld", &kib) == 1) {
			sum += kib;
		}
	}
	fclose(f);
	return sum;
}

long rss_file_kib(void)
{
	char buf[4096], *at;

	check(read_text("/proc/self/status", buf, sizeof(buf)), "no status");
	at = strstr(buf, "\nRssFile:");
	check(at, "no RssFile in the status");
	return atol(at + strlen("\nRssFile:"));
}

/* The first page of a 2 MiB page of a file that is not in 2 MiB of the device; or @pages. */
static size_t first_misplaced(int fd, size_t pages)
{
	for (size_t i = 0; i < pages; i += HUGE) {
		uint64_t first = file_block(fd, i);

		if (!first || first % HUGE || file_block(fd, i + HUGE - 1) != first + HUGE - 1)
			return i;
	}
	return pages;
}

/* Blocks at 2 MiB boundaries of the device, or no fault can map 2 MiB. */
int create_huge(const struct env *e, const char *name, size_t huge)
{
	int fd = must(open(in_dir(e, name), O_RDWR | O_CREAT | O_TRUNC, 0644));
	size_t pages = huge * HUGE, bad;
	struct fsxattr attr;

	if (!strcmp(e->fs, "xfs")) {
		must(ioctl(fd, FS_IOC_FSGETXATTR, &attr));
		attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
		attr.fsx_extsize = HUGE * PAGE;
		must(ioctl(fd, FS_IOC_FSSETXATTR, &attr));
	}
	for (int tries = 0;; tries++) {
		/*
		 * What was just freed may be given out again only now; and what the
		 * case before had in use may be freed a little later.
		 */
		must(syncfs(fd));
		must(do_op(OP_ALLOCATE, fd, 0, pages));
		must(fsync(fd));
		bad = first_misplaced(fd, pages);
		if (bad == pages)
			break;
		check(tries < 50, "page %zu of %s, at block %#llx, is not in 2 MiB of the device",
		      bad, name, (unsigned long long)file_block(fd, bad));
		must(ftruncate(fd, 0));
		usleep(100000);
	}
	return fd;
}
