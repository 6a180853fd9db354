/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the guest programs have for each architecture: lines of the cache, the
 * arguments of a function that a kprobe is on, breakpoints, requests to
 * tests/plugin/medium.c.
 */
#ifndef FSDAX_VM_ARCH_H
#define FSDAX_VM_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "medium.h"

#if defined(__x86_64__)

#define FIRST_ARGUMENT	"%di"
#define SECOND_ARGUMENT	"%si"

/* A word of the text that begins with a breakpoint, which ends so many bytes on. */
#define WITH_BREAKPOINT(word)	(((word) & ~0xffl) | 0xcc)
#define AFTER_BREAKPOINT	1
/* The instruction pointer in a struct user_regs_struct. */
#define WHERE(regs)		((regs).rip)

/* Write a line back, and keep it. */
static inline void clean_line(char *line)
{
	asm volatile("clwb %0" : "+m" (*line));
}

/* Write a line back, and keep it not: two instructions that do the same. */
static inline void flush_line(char *line)
{
	asm volatile("clflush %0" : "+m" (*line));
}

static inline void flush_line_opt(char *line)
{
	asm volatile("clflushopt %0" : "+m" (*line));
}

/* Store half a line past the caches, as libpmem and large copies of libc do. */
static inline void store_half_line(char *line, const char *half)
{
	asm volatile("vmovdqu %1, %%ymm0; vmovntdq %%ymm0, %0"
		     : "=m" (*(char (*)[32])line)
		     : "m" (*(const char (*)[32])half)
		     : "xmm0");
}

/* After what was written back. */
static inline void lines_written(void)
{
	asm volatile("sfence" : : : "memory");
}

static inline uint64_t ask_medium(enum medium_request request, uint64_t device, uint64_t start,
				  uint64_t bytes)
{
	uint64_t answer = 0;

	/* Of a CPU without the plugin the answer is 0. */
	asm volatile(".byte 0x0f, 0x1f, 0x80; .long %c5"
		     : "+a" (answer)
		     : "D" ((uint64_t)request), "S" (device), "d" (start), "c" (bytes),
		       "i" (MEDIUM_REQUEST)
		     : "memory");
	return answer;
}

#elif defined(__aarch64__)

#define FIRST_ARGUMENT	"%x0"
#define SECOND_ARGUMENT	"%x1"

#define WITH_BREAKPOINT(word)	(((word) & ~0xffffffffl) | 0xd4200000l)
#define AFTER_BREAKPOINT	0
#define WHERE(regs)		((regs).pc)

static inline void clean_line(char *line)
{
	asm volatile("dc cvac, %0" : : "r" (line) : "memory");
}

static inline void flush_line(char *line)
{
	asm volatile("dc civac, %0" : : "r" (line) : "memory");
}

static inline void flush_line_opt(char *line)
{
	flush_line(line);
}

static inline void store_half_line(char *line, const char *half)
{
	memcpy(line, half, 32);
}

static inline void lines_written(void)
{
	asm volatile("dsb ish" : : : "memory");
}

/* The plugin knows x86 only. */
static inline uint64_t ask_medium(enum medium_request request, uint64_t device, uint64_t start,
				  uint64_t bytes)
{
	(void)request;
	(void)device;
	(void)start;
	(void)bytes;
	return 0;
}

#else
#error "The guest programs know x86-64 and arm64."
#endif

#endif
