// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin of QEMU: finds the longest stretch of instructions with interrupts
 * off between two marks of the benchmark, and which code it consists of.
 *
 * The flag of the CPU is looked at before each block of code, whatever changed it:
 * an instruction, a gate, a context switch. An instruction that sets it ends its
 * block; the one that clears it does not, so that what is left of that block is not
 * seen. A CPU that halts executes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

/* The parts of GLib and QEMU that give access to registers. */
struct bytes {
	uint8_t *data;
	unsigned int len;
};

struct reg;

struct reg_descriptor {
	struct reg *handle;
	const char *name, *feature;
	bool is_readonly;
};

struct reg_array {
	struct reg_descriptor *data;
	unsigned int len;
};

struct bytes *g_byte_array_new(void);
struct bytes *g_byte_array_set_size(struct bytes *bytes, unsigned int size);
struct reg_array *qemu_plugin_get_registers(void);
bool qemu_plugin_read_register(struct reg *handle, struct bytes *buf);

#define READS_REGS	1
#define INTERRUPT	1
#define EFLAGS_IF	0x200

/* A block of code, and how often it ran in each of the two stretches that matter. */
struct block {
	uint64_t address, insns;
	struct {
		uint64_t runs;
		struct block *next;
	} in[2];
};

/* The stretch that goes on, and the longest one so far. */
static struct stretch {
	uint64_t insns;
	struct block *first;
} stretches[2];
static int now, longest = 1;

static struct reg *eflags;
static struct bytes *value;

static void forget(int which)
{
	for (struct block *b = stretches[which].first; b; b = b->in[which].next)
		b->in[which].runs = 0;
	stretches[which] = (struct stretch){ 0 };
}

static void interrupts_on(void)
{
	if (stretches[now].insns > stretches[longest].insns) {
		longest = now;
		now = !now;
	}
	forget(now);
}

static bool interrupts_are_off(void)
{
	uint32_t flags;

	g_byte_array_set_size(value, 0);
	if (!qemu_plugin_read_register(eflags, value) || value->len < sizeof(flags))
		abort();
	memcpy(&flags, value->data, sizeof(flags));
	return !(flags & EFLAGS_IF);
}

static void executed(unsigned int cpu, void *data)
{
	struct stretch *s = &stretches[now];
	struct block *block = data;

	(void)cpu;
	if (!marked)
		return;
	if (!interrupts_are_off()) {
		if (s->insns)
			interrupts_on();
		return;
	}
	if (!block->in[now].runs++) {
		block->in[now].next = s->first;
		s->first = block;
	}
	s->insns += block->insns;
}

/* Interrupts were on, if only between two blocks. */
static void interrupted(unsigned int cpu, int type, uint64_t from, uint64_t to, void *data)
{
	(void)cpu;
	(void)type;
	(void)from;
	(void)to;
	(void)data;
	interrupts_on();
}

static void cpu_made(unsigned int cpu, void *data)
{
	struct reg_array *regs = qemu_plugin_get_registers();

	(void)cpu;
	(void)data;
	value = g_byte_array_new();
	for (unsigned int i = 0; i < regs->len; i++)
		if (!strcmp(regs->data[i].name, "eflags"))
			eflags = regs->data[i].handle;
	if (!eflags)
		abort();
}

void plugin_start(uint64_t id)
{
	qemu_plugin_register_vcpu_init_cb(id, cpu_made, NULL);
	qemu_plugin_register_vcpu_discon_cb(id, INTERRUPT, interrupted, NULL);
}

void plugin_block(struct qemu_plugin_tb *tb, uint64_t address)
{
	struct block *block = calloc(1, sizeof(*block));

	if (!block)
		abort();
	block->address = address;
	block->insns = qemu_plugin_tb_n_insns(tb);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, READS_REGS, block);
}

void plugin_report(void)
{
	for (struct block *b = stretches[longest].first; b; b = b->in[longest].next)
		report_line(b->address, b->in[longest].runs * b->insns);
	forget(now);
	forget(longest);
}
