// SPDX-License-Identifier: GPL-2.0
/* fio on a file that is there, and what memory entries need. */
#define _GNU_SOURCE
#include <glob.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define FIO_PAGES	(128 * HUGE)

/* Become fio, with its output to @out. */
static void run_fio(const char *file, bool mapped, bool huge, int out)
{
	char preload[300], filename[300], size[32], ioengine[32], mode[32], block[32];
	char *const argv[] = {
		"fio", "--name=bench", filename, size, ioengine, mode, block, "--overwrite=1",
		"--allow_file_create=0", "--invalidate=0", "--clocksource=clock_gettime",
		"--output-format=json", NULL
	};

	snprintf(filename, sizeof(filename), "--filename=%s", file);
	snprintf(size, sizeof(size), "--size=%zum", FIO_PAGES * PAGE / MIB);
	snprintf(ioengine, sizeof(ioengine), "--ioengine=%s", mapped ? "mmap" : "psync");
	snprintf(mode, sizeof(mode), "--rw=%s", huge ? "rw" : "randrw");
	snprintf(block, sizeof(block), "--bs=%s", huge ? "2m" : "4k");
	snprintf(preload, sizeof(preload), "%s/shm_preload", getenv("FSDAX_BIN") ?: ".");
	must(setenv("LD_PRELOAD", preload, 1));
	must(dup2(out, STDOUT_FILENO));
	execvp("fio", argv);
	_exit(127);
}

/* The sum of the latencies of all reads, or writes, in milliseconds. */
static double time_in(const char *text, const char *direction)
{
	const char *at = strstr(text, direction), *mean = NULL, *count = NULL;

	if (at)
		at = strstr(at, "\"lat_ns\" : {");
	if (at) {
		mean = strstr(at, "\"mean\" : ");
		count = strstr(at, "\"N\" : ");
	}
	check(mean && count, "no latencies of %s in what fio says: %s", direction, text);
	return atof(strchr(mean, ':') + 1) * atof(strchr(count, ':') + 1) / 1e6;
}

static void fio(const struct env *e, const struct figure *f)
{
	static char text[1 << 17];
	const bool mapped = f->arg[0], huge = f->arg[1];
	int fd = written_file(e, "bench", FIO_PAGES, true), out[2], status;
	size_t have = 0;
	ssize_t n;
	pid_t pid;

	must(pipe(out));
	pid = must(fork());
	if (!pid) {
		/* Or the 4 KiB blocks would be mapped by 2 MiB. */
		if (!huge)
			must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
		run_fio(in_dir(e, "bench"), mapped, huge, out[1]);
	}
	close(out[1]);
	while ((n = must(read(out[0], text + have, sizeof(text) - 1 - have))) > 0)
		have += n;
	must(waitpid(pid, &status, 0));
	check(!status, "the job ended with status %#x: %s", status, text);
	close(out[0]);
	drop_file(e, "bench", fd);
	report(e, f->metric, time_in(text, "\"read\" : {") + time_in(text, "\"write\" : {"));
}

/* The kernel's memory but for page tables and what it allocates by the page, in bytes. */
static double kernel_memory(void)
{
	static const char *const kinds[] = { "Slab:", "KernelStack:", "VmallocUsed:", "Percpu:" };
	char buf[8192], *at;
	double sum = 0;

	/* The counters of the CPUs go into the sums. */
	check(write_text("/proc/sys/vm/stat_refresh", "1"), "stat_refresh: %m");
	check(read_text("/proc/meminfo", buf, sizeof(buf)), "no meminfo: %m");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		at = strstr(buf, kinds[i]);
		check(at, "no %s in meminfo", kinds[i]);
		sum += atof(at + strlen(kinds[i])) * 1024;
	}
	return sum;
}

/* The nodes of all XArrays, in bytes: those in use, or all memory that is kept for them. */
static double node_memory(bool in_use)
{
	unsigned long used, size, pages_per_slab, slabs;
	double bytes = -1;
	char line[512];
	FILE *f = fopen("/proc/slabinfo", "re");

	check(f, "no slabinfo: %m");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "radix_tree_node %lu %*u %lu %*u %lu : %*[^:]: slabdata %*u %lu",
			   &used, &size, &pages_per_slab, &slabs) == 4)
			bytes = in_use ? used * size : slabs * pages_per_slab * PAGE;
	fclose(f);
	check(bytes >= 0, "no radix_tree_node in slabinfo");
	return bytes;
}

/* Give back what the caches of all kinds of objects have to spare. */
static void shrink_caches(void)
{
	glob_t g;

	/* First wait for what is freed after a grace period. */
	must(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
	usleep(100000);
	check(!glob("/sys/kernel/slab/*/shrink", 0, NULL, &g), "no caches in sysfs");
	for (size_t i = 0; i < g.gl_pathc; i++)
		write_text(g.gl_pathv[i], "1");
	globfree(&g);
}

/* Memory that is gone for each entry: nodes of i_pages, or anything else. */
static void memory(const struct env *e, const struct figure *f)
{
	const bool beyond = f->arg[0];
	const size_t pages = f->arg[1];
	int fd = written_file(e, "bench", pages, false);
	char *p = map_sized(fd, pages, PROT_READ, false);
	double before, after;

	/* The first ones bring what a file and a mapping need anyway. */
	load_all(p, HUGE);
	shrink_caches();
	before = beyond ? kernel_memory() - node_memory(false) : node_memory(true);
	load_all(p, pages);
	shrink_caches();
	after = beyond ? kernel_memory() - node_memory(false) : node_memory(true);
	must(munmap(p, pages * PAGE));
	drop_file(e, "bench", fd);
	report(e, f->metric, (after - before) / (pages - HUGE));
}

const struct figure workload_figures[] = {
	{ "fio_mmap_4k", fio, { true, false } },
	{ "fio_mmap_2m", fio, { true, true } },
	{ "fio_rw_4k", fio, { false, false } },
	{ "fio_rw_2m", fio, { false, true } },
	{ "memory_i_pages", memory, { false, 262144 } },
	{ "memory_beyond", memory, { true, 262144 } },
	{ }
};
