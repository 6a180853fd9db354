/* SPDX-License-Identifier: GPL-2.0 */
/* What scripts/demo shows besides the figures of demo.c. */
#ifndef FSDAX_VM_DEFECTS_H
#define FSDAX_VM_DEFECTS_H

#include "case.h"

/* Ended by an empty one. */
struct defect_figure {
	const char *name;
	void (*run)(const struct env *e);
};

extern const struct defect_figure defect_figures[], devdax_figures[], gib_figures[];

#endif
