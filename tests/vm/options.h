/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Scenarios of what distributions switch on in the kernel: files whose pages
 * are known.
 */
#ifndef FSDAX_VM_OPTIONS_H
#define FSDAX_VM_OPTIONS_H

#include "lib.h"

/* A mapped file, and the stamp that each of its pages must have. */
struct known {
	const struct env *env;
	const char *name;
	int fd;
	char *map;		/* shared, read and write */
	size_t pages;
	uint64_t *want;
};

/* On the medium, in 4 KiB pages that nobody has mapped yet. */
struct known new_small(const struct env *e, const char *name, size_t pages);
/* Stored through pages of 2 MiB. */
struct known new_huge(const struct env *e, const char *name, size_t huge);
void store_page(struct known *f, size_t page, uint64_t stamp);
/* Every page, through the mapping and by read(2). */
void check_known(const struct known *f, const char *what);
void expect_flush_of(const struct known *f, long pages, const char *what);
/* Neither mapped nor open any more. */
void drop_known(struct known *f);
/* The mount goes and comes back with the same data; no page keeps a truncate waiting. */
void end_known(struct known *f);

/* The mount goes and comes back, with more options. */
void remount(const struct env *e, const char *options);
/* The number behind a word at the start of a line. */
long figure_of(const char *path, const char *key);
/* Until FN is true, but not for ever. */
bool comes_true(bool (*fn)(void *arg), void *arg);

#endif
