/* SPDX-License-Identifier: GPL-2.0 */
/* The system calls of the fuzzer, and what they work on. No model here: see ops.c. */
#ifndef FSDAX_FUZZ_CALLS_H
#define FSDAX_FUZZ_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../vm/case.h"

#define RW		(PROT_READ | PROT_WRITE)
#define FILES		4
#define SLOTS		6
#define PIPES		4
#define SECTOR		((size_t)512)
#define IN_PAGE		(PAGE / SECTOR)

enum kind { SMALL, LARGE, SYNC, PRIVATE, READ_ONLY, KINDS };

struct slot {
	char *addr;
	size_t pages;
};

/* Of this process; fork() copies them. */
extern int fd[FILES], pipes[PIPES][2], scratch, uffd;
extern struct slot slot[SLOTS];
extern uint64_t stamp_base;

/* Each 8 bytes of what is stored; below the base the value. */
#define STAMP(value)	(stamp_base + (value))

long do_map(long s, long f, long page, long pages, long kind);
long do_unmap(long s, long page, long pages);
long do_remap(long s, long pages, long away);
long do_protect(long s, long page, long pages, long protection);
long do_advise(long s, long page, long pages, long advice);
long do_load(long s, long page, long pages);
long do_store(long s, long page, long sector, long sectors, long value);
long do_sync(long s, long page, long pages);
long do_remove(long s, long page, long pages);
long do_write(long f, long page, long sector, long sectors, long value);
long do_read(long f, long page, long pages);
long do_punch(long f, long page, long sector, long sectors);
long do_zero(long f, long page, long sector, long sectors);
long do_collapse(long f, long page, long pages);
long do_insert(long f, long page, long pages);
long do_allocate(long f, long page, long pages);
long do_truncate(long f, long page, long sector);
long do_unshare(long f, long page, long pages);
long do_clone(long f, long page, long from, long from_page, long pages);
long do_dedupe(long f, long page, long from, long from_page, long pages);
long do_exchange(long f, long page, long from, long from_page, long pages);
long do_fsync(long f);
long do_child(long s, long page, long pages);
long do_vmsplice(long s, long page, long pages, long q);
long do_drain(long q);
long do_tee(long from, long to);
long do_splice_out(long q, long f, long page);
long do_splice_in(long f, long page, long pages, long q);
long do_direct_write(long s, long page, long pages);
long do_direct_read(long s, long page, long pages, long value);
long do_uring_read(long s, long page, long pages, long value);
long do_protect_writes(long s, long page, long pages, long on);
long do_scan(long s, long page, long pages, long again);
long do_freeze(void);
long do_poison(long s, long page);
long do_shut_down(long keep_log);

#endif
