/* SPDX-License-Identifier: GPL-2.0 */
/* How long interrupts are off. */
#ifndef FSDAX_VM_GAPS_H
#define FSDAX_VM_GAPS_H

#include <sched.h>

/* The longest time between two timer interrupts of this CPU, in microseconds. */
struct irq_gaps {
	int timer;
	cpu_set_t before;
};

void irq_gaps_start(struct irq_gaps *g, long period_us);
long irq_gaps_stop(struct irq_gaps *g);

#endif
