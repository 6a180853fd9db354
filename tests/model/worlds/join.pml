/* SPDX-License-Identifier: GPL-2.0 */

/* Two files fault a block that they share, for the first time; mapping may fail. */

#define NI	2
#define NS	2
#define NF	1
#ifdef LONG
#define NP	7
#else
#define NP	6
#endif
#define INODE(s)	(s)
#define FAULTER
#define PINNER
#define BREAKER
#define MAP_FAILS
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		give_block(1, 0);
		run faulter(0, READ, 1);
		run faulter(1, READ, 1);
		run pinner(0);
		run breaker(0, SLEEP, false);
#ifdef LONG
		run breaker(1, SLEEP, false);
#endif
		free_paths();
	}
}
