/* SPDX-License-Identifier: GPL-2.0 */

/* A thread that faults for ever does not keep a break from its end, once the pin is gone. */

#define NI	1
#define NS	1
#define NF	1
#define NP	4
#define INODE(s)	0
#define REFAULTER
#define PINNER
#define BREAKER
#define LIVENESS
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		run refaulter(0);
		run pinner(0);
		run breaker(0, SLEEP, false);
		free_paths();
	}
}

ltl break_ends { <> broken }
