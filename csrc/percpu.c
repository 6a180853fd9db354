// SPDX-License-Identifier: GPL-2.0
/* Words that each CPU has for itself, see src/ffi/percpu.rs. */
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include "functions.h"

u64 __percpu *rust_fsdax_percpu_alloc(unsigned int count)
{
	return __alloc_percpu(array_size(count, sizeof(u64)), __alignof__(u64));
}

void rust_fsdax_percpu_free(u64 __percpu *words)
{
	free_percpu(words);
}

void rust_fsdax_percpu_inc(u64 __percpu *words, unsigned long i)
{
	this_cpu_inc(words[i]);
}

/* CPUs that are off keep what they have counted. */
u64 rust_fsdax_percpu_sum(u64 __percpu *words, unsigned long i)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(words, cpu)[i]);
	return sum;
}
