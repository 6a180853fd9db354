/* SPDX-License-Identifier: GPL-2.0 */

/* A truncate is interrupted that has seen a page that is dirty and one that is pinned. */

#define NI	1
#define NS	2
#define NF	2
#define NP	5
#define INODE(s)	0
#define DIRTY
#define FAULTER
#define PINNER
#define BREAKER
#define SYNCER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		map_block(1, 1);
		store_to(0);
		run faulter(0, READ, 1);
		run pinner(1);
		run breaker(0, SIGNAL, false);
		run syncer(0);
		free_paths();
	}
	nothing_is_left();
}
