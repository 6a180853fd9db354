// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin of QEMU: counts the instructions of the guest's kernel, by block
 * of code, between two marks of the benchmark.
 */
#include <stdlib.h>

#include "plugin.h"

/* A block of kernel code, and how often it ran since the last report. */
struct block {
	uint64_t address, insns, runs;
	struct block *next;
};

static struct block *blocks;

static void count(unsigned int cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	if (marked)
		block->runs++;
}

void plugin_start(uint64_t id)
{
	(void)id;
}

void plugin_block(struct qemu_plugin_tb *tb, uint64_t address)
{
	struct block *block;

	if (!(address >> 63))
		return;
	block = calloc(1, sizeof(*block));
	if (!block)
		abort();
	block->address = address;
	block->insns = qemu_plugin_tb_n_insns(tb);
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, count, 0, block);
}

void plugin_report(void)
{
	for (struct block *b = blocks; b; b = b->next) {
		if (b->runs)
			report_line(b->address, b->runs * b->insns);
		b->runs = 0;
	}
}
