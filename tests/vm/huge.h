/* SPDX-License-Identifier: GPL-2.0 */
/* Scenarios with pages of 2 MiB: how they are made, and whether they are there. */
#ifndef FSDAX_VM_HUGE_H
#define FSDAX_VM_HUGE_H

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)

/* All of the pages are mapped in 2 MiB. */
void expect_huge(const char *p, size_t pages, const char *what);
/* Pages [@from, @to) of a file, seen through a mapping (or NULL) and by read(2). */
void expect_stamps(const char *p, int fd, size_t from, size_t to, uint64_t stamp,
		   const char *what);
/* The file "f", every page stored through 2 MiB pages, page i stamped @stamp + i. */
char *stamped(const struct env *e, int *fd, size_t huge, uint64_t stamp);

#endif
