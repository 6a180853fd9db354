/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file that knows what of it a power failure must leave. Each page has a stamp, and a
 * flag that says whether it is durable. What makes pages durable sets it, all that
 * changes a page clears it.
 */
#ifndef FSDAX_PF_FILE_H
#define FSDAX_PF_FILE_H

#include "lib.h"

#define PF_MOST	(2 * HUGE)

struct pf_file {
	const struct env *e;
	const char *name;
	const char *defect;	/* of fs/dax.c, which loses data there */
	int fd;
	char *map, *sync_map;	/* of PF_MOST pages */
	size_t pages;
	uint64_t stamp[PF_MOST];	/* 0: reads as zeros */
	bool durable[PF_MOST];	/* the page has its stamp after a power failure */
	bool durable_size;
	struct pf_file *clone;	/* another file to look at, too */
	/* What was checked and what was found. */
	size_t syncs, failures, unflushed, lost;
};

/* An empty file, or one of @huge times 2 MiB that is mapped so. */
void pf_open(struct pf_file *f, const struct env *e, const char *name, size_t huge);
/* A file whose pages are all stored, synced, and stored again. */
void pf_dirty(struct pf_file *f, const struct env *e, const char *name, size_t pages);
/*
 * The end of a case: fs/dax.c has lost data if the case is about a defect of it, or the
 * checks see nothing; nobody else has. Closes the file and its clone.
 */
void pf_expect(struct pf_file *f);

/* By the mapping. */
void pf_store(struct pf_file *f, size_t first, size_t pages);
/* By the MAP_SYNC mapping; flushed, no system call is needed. */
void pf_store_and_flush(struct pf_file *f, size_t i);
void pf_store_sync(struct pf_file *f, size_t i);
/* What is there already, to one word: a page that was durable must stay so. */
void pf_store_same(struct pf_file *f, size_t i);
void pf_store_same_and_flush(struct pf_file *f, size_t i);
void pf_write_same(struct pf_file *f, size_t i);

void pf_write_page(struct pf_file *f, size_t i);
void pf_set_size(struct pf_file *f, size_t pages);
void pf_punch(struct pf_file *f, size_t first, size_t pages);
void pf_zero(struct pf_file *f, size_t first, size_t pages);
void pf_collapse(struct pf_file *f, size_t first, size_t pages);
void pf_insert(struct pf_file *f, size_t first, size_t pages);
/* Somebody else has done it. */
void pf_collapsed(struct pf_file *f, size_t first, size_t pages);
void pf_cloned(struct pf_file *f);

/* fsync(); then no cache line of the file may be missing on the medium. */
void pf_sync(struct pf_file *f);
/* msync(): as fsync(), but with the data of a range only. */
void pf_sync_range(struct pf_file *f, size_t first, size_t pages);
/* Compare what is left of the file and of its clone. */
void pf_power_failure(struct pf_file *f);

#endif
