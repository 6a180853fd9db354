// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of QEMU for bench/plugin/transfers.c: executes what it is told, a line
 * of input for each instruction, and prints the report. Each is a block of its own:
 *
 *	CPU CODE r|w|rw ADDRESS	accesses memory
 *	CPU CODE call|iretq|nop	does none
 *	CPU CODE interrupt	is interrupted before CODE
 *
 * Addresses are hexadecimal. tests/scripts/test_transfers.py says what is expected.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../bench/plugin/plugin.h"

#define SIZE_SHIFT	3	/* of all accesses */

struct qemu_plugin_insn {
	uint64_t address;
	uint8_t code[2];
};

struct qemu_plugin_tb {
	struct qemu_plugin_insn insn;
};

atomic_bool marked = true;
atomic_uint marking_cpu;

static discontinuity_fn interrupted;

/* What the plugin wants to know of the block that it was shown last. */
static struct {
	executed_fn entered, executed;
	memory_fn accessed;
	void *entered_data, *executed_data, *accessed_data;
} wanted;

void qemu_plugin_register_vcpu_init_cb(uint64_t id, executed_fn fn, void *data)
{
	(void)id;
	for (unsigned int cpu = 0; cpu < 8; cpu++)
		fn(cpu, data);
}

void qemu_plugin_register_vcpu_discon_cb(uint64_t id, int type, discontinuity_fn fn, void *data)
{
	(void)id;
	(void)type;
	(void)data;
	interrupted = fn;
}

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed_fn fn, int flags,
					  void *data)
{
	(void)tb;
	(void)flags;
	wanted.entered = fn;
	wanted.entered_data = data;
}

void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_fn fn,
					    int flags, void *data)
{
	(void)insn;
	(void)flags;
	wanted.executed = fn;
	wanted.executed_data = data;
}

void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, memory_fn fn, int flags,
				      int access, void *data)
{
	(void)insn;
	(void)flags;
	(void)access;
	wanted.accessed = fn;
	wanted.accessed_data = data;
}

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb)
{
	(void)tb;
	return 1;
}

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i)
{
	(void)i;
	return (struct qemu_plugin_insn *)&tb->insn;
}

size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *buf, size_t size)
{
	if (size > sizeof(insn->code))
		size = sizeof(insn->code);
	memcpy(buf, insn->code, size);
	return size;
}

uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn)
{
	return insn->address;
}

bool qemu_plugin_mem_is_store(uint32_t info)
{
	return info;
}

unsigned int qemu_plugin_mem_size_shift(uint32_t info)
{
	(void)info;
	return SIZE_SHIFT;
}

void report_line(uint64_t address, uint64_t insns)
{
	(void)address;
	(void)insns;
}

void report_access(uint64_t code, uint64_t call, uint64_t address, bool store, uint64_t times)
{
	printf("%" PRIx64 " %" PRIx64 " %" PRIx64 " %c %" PRIu64 "\n", code, call, address,
	       store ? 'w' : 'r', times);
}

static void execute(unsigned int cpu, uint64_t code, const char *what, uint64_t address)
{
	struct qemu_plugin_tb tb = { { code, { 0x90, 0x90 } } };

	if (!strcmp(what, "call"))
		tb.insn.code[0] = 0xe8;
	else if (!strcmp(what, "iretq"))
		memcpy(tb.insn.code, "\x48\xcf", 2);
	memset(&wanted, 0, sizeof(wanted));
	plugin_block(&tb, code);
	if (wanted.entered)
		wanted.entered(cpu, wanted.entered_data);
	if (wanted.executed)
		wanted.executed(cpu, wanted.executed_data);
	if (wanted.accessed && strchr(what, 'r') && address)
		wanted.accessed(cpu, false, address, wanted.accessed_data);
	if (wanted.accessed && strchr(what, 'w') && address)
		wanted.accessed(cpu, true, address, wanted.accessed_data);
}

int main(void)
{
	char text[256], what[16];
	unsigned int cpu;
	uint64_t code, address;

	plugin_start(0);
	while (fgets(text, sizeof(text), stdin)) {
		address = 0;
		if (sscanf(text, "%u %" SCNx64 " %15s %" SCNx64, &cpu, &code, what, &address) < 3)
			return 2;
		marking_cpu = cpu;
		if (!strcmp(what, "interrupt"))
			interrupted(cpu, 1, code, 0, NULL);
		else
			execute(cpu, code, what, address);
	}
	plugin_report();
	return 0;
}
