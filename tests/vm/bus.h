/* SPDX-License-Identifier: GPL-2.0 */
/* SIGBUS after a memory failure: what the process was told. */
#ifndef FSDAX_VM_BUS_H
#define FSDAX_VM_BUS_H

#include <signal.h>

/* si_addr_lsb by what maps the page. */
#define SMALL_LSB	12
#define HUGE_LSB	21
#define GIB_LSB		30

/* The last one, and how many there were since @count was cleared. */
struct bus {
	volatile sig_atomic_t count;
	int code, lsb;
	char *addr;
};

extern struct bus bus;

/* Tell this process early, as it tells those who run into the page. */
void listen_for_bus(void);
/* There was one, about this page; they are counted from there on. */
void expect_bus(int code, const char *page, int lsb, const char *what);

#endif
