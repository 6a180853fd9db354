// SPDX-License-Identifier: GPL-2.0
/* The part of our plugins that knows the marks of the benchmark. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../marks.h"
#include "plugin.h"

#define API_VERSION	7
#define EXPORT		__attribute__((visibility("default")))

struct qemu_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
};

typedef void (*translated_fn)(struct qemu_plugin_tb *tb, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn fn, void *data);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);

EXPORT int qemu_plugin_version = API_VERSION;

atomic_bool marked;
atomic_uint marking_cpu;
static uint64_t marks;
static FILE *out;

static void begin(unsigned int cpu, void *data)
{
	(void)data;
	marking_cpu = cpu;
	marked = true;
	marks++;
}

static void end(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	marked = false;
}

/* Prints "marks OPERATIONS", a line for each thing that was counted, and an empty line. */
static void report(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	fprintf(out, "marks %" PRIu64 "\n", marks);
	marks = 0;
	plugin_report();
	fprintf(out, "\n");
	fflush(out);
}

void report_line(uint64_t address, uint64_t insns)
{
	fprintf(out, "%" PRIx64 " %" PRIu64 "\n", address, insns);
}

void report_access(uint64_t code, uint64_t call, uint64_t address, bool store, uint64_t times)
{
	fprintf(out, "%" PRIx64 " %" PRIx64 " %" PRIx64 " %c %" PRIu64 "\n", code, call, address,
		store ? 'w' : 'r', times);
}

static void translated(struct qemu_plugin_tb *tb, void *data)
{
	const uint64_t address = qemu_plugin_tb_vaddr(tb);

	(void)data;
	if (address == MARK_BEGIN)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, begin, 0, NULL);
	else if (address == MARK_END)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, end, 0, NULL);
	else if (address == MARK_REPORT)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, report, 0, NULL);
	else
		plugin_block(tb, address);
}

/* The argument is out=FILE. */
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "plugin: out=FILE is missing\n");
		return -1;
	}
	out = fopen(argv[0] + 4, "w");
	if (!out) {
		fprintf(stderr, "plugin: %s: %s\n", argv[0] + 4, strerror(errno));
		return -1;
	}
	plugin_start(id);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	return 0;
}
