/* SPDX-License-Identifier: GPL-2.0 */

/* The small world: two files, two blocks, and one of each actor. For --long. */

#define NI	2
#define NS	2
#define NF	2
#define NP	7
#define INODE(s)	(s)
#define FAULTER
#define PINNER
#define BREAKER
#define REMOVER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		give_block(1, 0);
		run faulter(0, READ, 1);
		run faulter(1, WRITE, 1);
		run pinner(0);
		run breaker(0, SIGNAL, false);
		run breaker(1, FAIL, false);
		run remover();
		free_paths();
	}
}
