/* SPDX-License-Identifier: GPL-2.0 */

/* Two files share a block; both are mapped, pinned and truncated. */

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
#define UNMAPPER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		map_block(1, 0);
		run faulter(0, READ, 1);
		run pinner(0);
		run breaker(0, SLEEP, false);
		run breaker(1, SLEEP, false);
		run unmapper(1);
#ifdef LONG
		run faulter(1, READ, 1);
#endif
		free_paths();
	}
}
