/* SPDX-License-Identifier: GPL-2.0 */
/* Scenarios in which the module comes and goes. */
#ifndef FSDAX_VM_MODULE_H
#define FSDAX_VM_MODULE_H

#include "lib.h"

#define RW	(PROT_READ | PROT_WRITE)
#define N	((size_t)64)

void mount_new(const struct env *e, const char *dev, const char *dir);
void must_load(const struct env *e);
void must_unload(void);
/* Store the N pages of a file through a mapping; page i is stamped @stamp + i. */
void store_pages(const struct env *e, uint64_t stamp);
void expect_pages(const struct env *e, uint64_t stamp);
/* With one line in the log. */
void refuses_to_load(const char *ko);

#endif
