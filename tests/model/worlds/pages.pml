/* SPDX-License-Identifier: GPL-2.0 */

/* A file of two pages is truncated while both are used. */

#define NI	1
#define NS	2
#define NF	2
#ifdef LONG
#define NP	6
#else
#define NP	5
#endif
#define INODE(s)	0
#define FAULTER
#define PINNER
#define BREAKER
#define LOCKER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		map_block(1, 1);
		run faulter(1, READ, 1);
		run pinner(0);
		run pinner(1);
		run breaker(0, SLEEP, false);
#ifdef LONG
		run faulter(0, READ, 1);
#endif
		free_paths();
	}
}
