/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What our TCG plugins share: when the benchmark marks what it measures (see
 * marks_set_up() in bench.c), and where a report goes.
 *
 * QEMU installs no header for plugins in Debian; what is used of the interface,
 * version 7, is declared here and in the plugins, as its documentation has it.
 */
#ifndef FSDAX_PLUGIN_H
#define FSDAX_PLUGIN_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*executed_fn)(unsigned int cpu, void *data);
typedef void (*memory_fn)(unsigned int cpu, uint32_t info, uint64_t address, void *data);
typedef void (*discontinuity_fn)(unsigned int cpu, int type, uint64_t from, uint64_t to,
				 void *data);

struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *buf, size_t size);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_fn fn,
					    int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, memory_fn fn, int flags,
				      int access, void *data);
void qemu_plugin_register_vcpu_discon_cb(uint64_t id, int type, discontinuity_fn fn, void *data);
bool qemu_plugin_mem_is_store(uint32_t info);
unsigned int qemu_plugin_mem_size_shift(uint32_t info);

void qemu_plugin_register_vcpu_init_cb(uint64_t id, executed_fn fn, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed_fn fn, int flags,
					  void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);

/* Whether the guest is between two marks, and which CPU executed the first of them. */
extern atomic_bool marked;
extern atomic_uint marking_cpu;

/* Of the plugin: called once. */
void plugin_start(uint64_t id);
/* Of the plugin: a block of code was translated, which is not that of a mark. */
void plugin_block(struct qemu_plugin_tb *tb, uint64_t address);
/* Of the plugin: calls one of these for each thing that it counted since the last report. */
void plugin_report(void);
/* Prints "ADDRESS INSTRUCTIONS" of a block. */
void report_line(uint64_t address, uint64_t insns);
/* Prints "CODE CALL ADDRESS r|w TIMES": an instruction, the last call, what was accessed. */
void report_access(uint64_t code, uint64_t call, uint64_t address, bool store, uint64_t times);

#endif
