// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin of QEMU: counts the cache lines of the guest's kernel that change
 * hands between two marks of the benchmark, by instruction, the last call before it
 * (a lock says little without who takes it) and address.
 *
 * The caches are as large as memory, and there are two states. A CPU that reads a
 * line has a copy, one that writes has the only one. What is counted is an access for
 * which the line comes from another CPU or is taken away from one: a read of a CPU
 * that has no copy of a line that was written, and a write while another CPU has one.
 * An instruction that does both counts once.
 *
 * One CPU is between marks at a time, which is the one that is looked at. What it does
 * in interrupts of the kernel is left out, and so is memory of user space. Lines are
 * told by their virtual address: there is hardly any memory of the kernel that has two
 * and is written by both.
 */
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

#define CPUS		32
#define LINE_SHIFT	6
#define TABLE_BITS	21
#define NO_REGS		0
#define READ_AND_WRITE	3
#define INTERRUPT	1
#define CALL		0xe8

/* The lines that were accessed since the last report; 0 is the number of none. */
static struct line {
	uint64_t number;
	uint32_t holders;	/* a bit for each CPU that has a copy */
	bool written;
} lines[1 << TABLE_BITS];
static size_t line_count;

static struct transfer {
	uint64_t code, call, address;
	bool store;
} *transfers;
static size_t transfer_count, transfer_max;

/* Of a CPU, which alone writes it. */
static struct cpu {
	_Alignas(1 << LINE_SHIFT)
	uint64_t call;		/* the last one, outside of interrupts */
	bool interrupted;
	uint64_t from;		/* where the interrupt goes back to */
	bool returns;		/* something goes back just now */
} cpus[CPUS];

static struct line *line_of(uint64_t number)
{
	size_t at = number * 0x9e3779b97f4a7c15 >> (64 - TABLE_BITS);

	while (lines[at].number && lines[at].number != number)
		at = (at + 1) % (1 << TABLE_BITS);
	if (!lines[at].number) {
		lines[at].number = number;
		/* The program marks too much at a time. */
		if (++line_count > (1 << TABLE_BITS) / 4 * 3)
			abort();
	}
	return &lines[at];
}

static void transferred(unsigned int cpu, uint64_t code, uint64_t address, bool store)
{
	if (transfer_count == transfer_max) {
		transfer_max = 2 * transfer_max + 1024;
		transfers = realloc(transfers, transfer_max * sizeof(*transfers));
		if (!transfers)
			abort();
	}
	transfers[transfer_count++] = (struct transfer){ code, cpus[cpu].call, address, store };
}

/* Whether what was counted last is the reading part of an instruction that now writes. */
static bool was_read_for_this(uint64_t code, uint64_t address)
{
	const struct transfer *last = &transfers[transfer_count - 1];

	return transfer_count && !last->store && last->code == code && last->address == address;
}

static void touch(unsigned int cpu, uint64_t code, uint64_t address, bool store)
{
	struct line *line = line_of(address >> LINE_SHIFT);
	const uint32_t self = 1u << cpu;

	if (store) {
		if (was_read_for_this(code, address))
			transfers[transfer_count - 1].store = true;
		else if (line->holders & ~self)
			transferred(cpu, code, address, true);
		line->holders = self;
		line->written = true;
	} else if (!(line->holders & self)) {
		if (line->written)
			transferred(cpu, code, address, false);
		line->holders |= self;
	}
}

static void accessed(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	uint64_t last;
	bool store;

	if (!marked || cpu != marking_cpu || !(address >> 63) || cpus[cpu].interrupted)
		return;
	store = qemu_plugin_mem_is_store(info);
	last = address + (1u << qemu_plugin_mem_size_shift(info)) - 1;
	touch(cpu, (uint64_t)data, address, store);
	if (last >> LINE_SHIFT != address >> LINE_SHIFT)
		touch(cpu, (uint64_t)data, last, store);
}

static void calls(unsigned int cpu, void *data)
{
	if (!cpus[cpu].interrupted)
		cpus[cpu].call = (uint64_t)data;
}

static void interrupted(unsigned int cpu, int type, uint64_t from, uint64_t to, void *data)
{
	(void)type;
	(void)to;
	(void)data;
	/* Of user space it may be the fault that is measured: QEMU tells no kinds. */
	if (!(from >> 63) || cpus[cpu].interrupted)
		return;
	cpus[cpu].interrupted = true;
	cpus[cpu].returns = false;
	cpus[cpu].from = from;
}

static void returns(unsigned int cpu, void *data)
{
	(void)data;
	cpus[cpu].returns = true;
}

/* The handler has other interrupts and exceptions, which go back to other places. */
static void entered(unsigned int cpu, void *data)
{
	if (!cpus[cpu].returns)
		return;
	cpus[cpu].returns = false;
	if (cpus[cpu].from == (uint64_t)data)
		cpus[cpu].interrupted = false;
}

static void entered_user_space(unsigned int cpu, void *data)
{
	(void)data;
	cpus[cpu].interrupted = false;
	cpus[cpu].returns = false;
}

static void cpu_made(unsigned int cpu, void *data)
{
	(void)data;
	if (cpu >= CPUS)
		abort();
}

void plugin_start(uint64_t id)
{
	qemu_plugin_register_vcpu_init_cb(id, cpu_made, NULL);
	qemu_plugin_register_vcpu_discon_cb(id, INTERRUPT, interrupted, NULL);
}

static void look_at(struct qemu_plugin_insn *insn)
{
	static const uint8_t iretq[] = { 0x48, 0xcf };
	uint8_t code[sizeof(iretq)] = { 0 };
	void *address = (void *)qemu_plugin_insn_vaddr(insn);

	qemu_plugin_insn_data(insn, code, sizeof(code));
	if (!memcmp(code, iretq, sizeof(iretq)))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, returns, NO_REGS, NULL);
	else if (code[0] == CALL)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, calls, NO_REGS, address);
	qemu_plugin_register_vcpu_mem_cb(insn, accessed, NO_REGS, READ_AND_WRITE, address);
}

void plugin_block(struct qemu_plugin_tb *tb, uint64_t address)
{
	if (!(address >> 63)) {
		qemu_plugin_register_vcpu_tb_exec_cb(tb, entered_user_space, NO_REGS, NULL);
		return;
	}
	qemu_plugin_register_vcpu_tb_exec_cb(tb, entered, NO_REGS, (void *)address);
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		look_at(qemu_plugin_tb_get_insn(tb, i));
}

static int compare(const void *a, const void *b)
{
	const struct transfer *x = a, *y = b;

	if (x->code != y->code)
		return x->code < y->code ? -1 : 1;
	if (x->call != y->call)
		return x->call < y->call ? -1 : 1;
	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return x->store - y->store;
}

void plugin_report(void)
{
	size_t first = 0;

	qsort(transfers, transfer_count, sizeof(*transfers), compare);
	for (size_t i = 1; i <= transfer_count; i++) {
		if (i < transfer_count && !compare(&transfers[first], &transfers[i]))
			continue;
		report_access(transfers[first].code, transfers[first].call,
			      transfers[first].address, transfers[first].store, i - first);
		first = i;
	}
	memset(lines, 0, sizeof(lines));
	line_count = 0;
	transfer_count = 0;
}
