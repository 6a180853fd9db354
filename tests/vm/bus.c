// SPDX-License-Identifier: GPL-2.0
/* SIGBUS after a memory failure, see bus.h. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/prctl.h>

#include "bus.h"
#include "lib.h"

struct bus bus;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	bus.code = info->si_code;
	bus.lsb = info->si_addr_lsb;
	bus.addr = info->si_addr;
	bus.count++;
}

void listen_for_bus(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };

	memset((void *)&bus, 0, sizeof(bus));
	must(sigaction(SIGBUS, &sa, NULL));
	must(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
}

void expect_bus(int code, const char *page, int lsb, const char *what)
{
	check(bus.count == 1, "%s: %d SIGBUS, not 1", what, bus.count);
	check(bus.code == code, "%s: si_code %d, not %d", what, bus.code, code);
	check(bus.addr >= page && bus.addr < page + PAGE, "%s: si_addr %p, not %p", what, bus.addr,
	      page);
	check(bus.lsb == lsb, "%s: si_addr_lsb %d, not %d", what, bus.lsb, lsb);
	bus.count = 0;
}
