/* SPDX-License-Identifier: GPL-2.0 */

/* A file replaces a shared block that it has not mapped; the other one pins it. */

#define NI	2
#define NS	2
#define NF	2
#ifdef LONG
#define NP	6
#else
#define NP	5
#endif
#define INODE(s)	(s)
#define FAULTER
#define PINNER
#define BREAKER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		give_block(1, 0);
		run faulter(0, COW, 1);
		run faulter(1, READ, 1);
		run pinner(1);
		run breaker(1, SLEEP, false);
#ifdef LONG
		run breaker(0, SLEEP, false);
#endif
		free_paths();
	}
}
