// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin of QEMU: counts the instructions of the guest's kernel, by block
 * of code, between two marks of the benchmark (see marks_set_up() in bench.c).
 *
 * QEMU installs no header for plugins in Debian; what is used of the interface,
 * version 7, is declared here, as its documentation has it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../marks.h"

#define API_VERSION	7
#define EXPORT		__attribute__((visibility("default")))

struct qemu_plugin_tb;

struct qemu_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
};

typedef void (*translated_fn)(struct qemu_plugin_tb *tb, void *data);
typedef void (*executed_fn)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn fn, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed_fn fn, int flags,
					  void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);

EXPORT int qemu_plugin_version = API_VERSION;

/* A block of kernel code, and how often it ran since the last report. */
struct block {
	uint64_t address, insns, runs;
	struct block *next;
};

static struct block *blocks;
static bool counting;
static uint64_t marks;
static FILE *out;

static void count(unsigned int cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	if (counting)
		block->runs++;
}

static void begin(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	counting = true;
	marks++;
}

static void end(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	counting = false;
}

/* Prints "marks OPERATIONS", "ADDRESS INSTRUCTIONS" for each block, and an empty line. */
static void report(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	fprintf(out, "marks %" PRIu64 "\n", marks);
	marks = 0;
	for (struct block *b = blocks; b; b = b->next) {
		if (b->runs)
			fprintf(out, "%" PRIx64 " %" PRIu64 "\n", b->address, b->runs * b->insns);
		b->runs = 0;
	}
	fprintf(out, "\n");
	fflush(out);
}

static void translated(struct qemu_plugin_tb *tb, void *data)
{
	const uint64_t address = qemu_plugin_tb_vaddr(tb);
	struct block *block;

	(void)data;
	if (address == MARK_BEGIN) {
		qemu_plugin_register_vcpu_tb_exec_cb(tb, begin, 0, NULL);
	} else if (address == MARK_END) {
		qemu_plugin_register_vcpu_tb_exec_cb(tb, end, 0, NULL);
	} else if (address == MARK_REPORT) {
		qemu_plugin_register_vcpu_tb_exec_cb(tb, report, 0, NULL);
	} else if (address >> 63) {
		block = calloc(1, sizeof(*block));
		if (!block)
			abort();
		block->address = address;
		block->insns = qemu_plugin_tb_n_insns(tb);
		block->next = blocks;
		blocks = block;
		qemu_plugin_register_vcpu_tb_exec_cb(tb, count, 0, block);
	}
}

/* The argument is out=FILE. */
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "insns: out=FILE is missing\n");
		return -1;
	}
	out = fopen(argv[0] + 4, "w");
	if (!out) {
		fprintf(stderr, "insns: %s: %s\n", argv[0] + 4, strerror(errno));
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	return 0;
}
