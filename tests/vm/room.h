/* SPDX-License-Identifier: GPL-2.0 */
/* The free blocks of a file system: who gets what becomes free. */
#ifndef FSDAX_VM_ROOM_H
#define FSDAX_VM_ROOM_H

#include <stddef.h>
#include <stdint.h>

#include "case.h"

/*
 * Put all blocks into use but some @pages, and what the file system keeps back. Before a case frees
 * the blocks that it is about, so that what fill_free_space() has to write is less.
 */
#define LEFT	((size_t)4096)
void leave_free(const struct env *e, size_t pages);
/*
 * Fill the free space with pages of one stamp, for check_all_pages(). The file system keeps nothing
 * back any more, for as long as it is mounted.
 */
int fill_free_space(const struct env *e, const char *name, uint64_t stamp);
/*
 * Of @pages blocks that a file had from @block on, what fills the disk gets one, now that they are
 * free: it would have got it before. After leave_free(). Not on XFS, which always keeps some blocks
 * free, and gives out those that it likes.
 */
void check_given_out(const struct env *e, uint64_t block, size_t pages);
/*
 * Fills by many small files, which take small holes that a large one does not get. The check
 * removes them.
 */
void fill_small_files(const struct env *e, uint64_t stamp);
void check_small_files(const struct env *e, uint64_t stamp);

#endif
