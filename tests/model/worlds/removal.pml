/* SPDX-License-Identifier: GPL-2.0 */

/* The device goes away while a file is mapped, pinned and evicted. */

#define NI	1
#define NS	1
#define NF	1
#ifdef LONG
#define NP	7
#else
#define NP	6
#endif
#define INODE(s)	0
#define FAULTER
#define PINNER
#define BREAKER
#define REMOVER
#define LOCKER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		run faulter(0, READ, 1);
		run pinner(0);
		run breaker(0, EVICT, false);
		run remover();
		run locker(0);
#ifdef LONG
		run pinner(0);
#endif
		free_paths();
	}
}
