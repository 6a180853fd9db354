/* SPDX-License-Identifier: GPL-2.0 */

/* A file replaces a block that it shares by a copy, while its page is pinned. */

#define NI	2
#define NS	2
#define NF	2
#ifdef LONG
#define NP	7
#else
#define NP	6
#endif
#define INODE(s)	(s)
#define FAULTER
#define PINNER
#define BREAKER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		give_block(1, 0);
		run faulter(0, COW, 1);
		run pinner(0);
		run breaker(1, SLEEP, false);
		run faulter(1, READ, 1);
#ifdef LONG
		run breaker(0, EVICT, false);
#endif
		free_paths();
	}
}
