/* SPDX-License-Identifier: GPL-2.0 */

/* A file is truncated while its page is pinned, and another file takes the block. */

#define NI	2
#define NS	2
#define NF	1
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
		run faulter(0, READ, 2);
		run pinner(0);
		run breaker(0, SLEEP, false);
		run faulter(1, WRITE, 1);
#ifdef LONG
		run pinner(1);
#endif
		free_paths();
	}
}
