/* SPDX-License-Identifier: GPL-2.0 */
/* Files: their pages and what these hold, mappings, blocks, SIGBUS. */
#ifndef FSDAX_VM_FILE_H
#define FSDAX_VM_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "case.h"

/* Content: every 8 bytes of a page carry its stamp. */
void fill_page(void *page, uint64_t stamp);
bool page_is(const void *page, uint64_t stamp);
void check_page_at(const char *file, int line, const void *page,
		   uint64_t stamp, const char *what);
#define check_page(page, stamp, what) \
	check_page_at(__FILE__, __LINE__, page, stamp, what)

/* Files: @pages pages, page i stamped @stamp + i and on the medium. */
const char *in_dir(const struct env *e, const char *name);
int create_file(const struct env *e, const char *name, size_t pages,
		uint64_t stamp);
/* The same in one extent. */
int create_whole(const struct env *e, const char *name, size_t pages, uint64_t stamp);
void check_file_page(int fd, size_t index, uint64_t stamp, const char *what);
/* Shared, at a 2 MiB boundary, in 4 KiB pages. */
char *map_file(int fd, size_t pages, int prot);
/* One @skew pages behind a 2 MiB boundary, in 4 KiB pages. */
char *map_skewed(int fd, size_t pages, size_t skew, int prot, int flags);
/* Shared, at a 2 MiB boundary, with 2 MiB pages wherever the kernel can. */
char *map_file_huge(int fd, size_t pages, int prot);
/* An allocated file of @huge times 2 MiB, at 2 MiB boundaries of the device. */
int create_huge(const struct env *e, const char *name, size_t huge);
/*
 * Pieces of 2 MiB, piece i stamped 100 + i, each an extent of its own: a clone shares one after the
 * other. The file is mapped by 2 MiB and read backwards meanwhile, since a clone is made from the
 * front.
 */
int create_pieces(const struct env *e, const char *name, size_t pieces);

struct piece_reader {
	char *map;
	size_t pieces;
	atomic_int stop, laps, failures;
};

void *read_pieces(void *reader);
off_t file_size(int fd);
/* Physical block (in 4 KiB units) behind a page, 0 for a hole. */
uint64_t file_block(int fd, size_t index);
void check_all_pages(int fd, uint64_t stamp, const char *what);

/* Store to or load from a page that may raise SIGBUS: returns the signal or 0. */
int try_store(char *addr, char value);
int try_load(const char *addr, char *value);

/* A block device over @file, open for direct I/O; it goes with the last one who has it open. */
int open_loop_device(int file, bool read_only);

#endif
