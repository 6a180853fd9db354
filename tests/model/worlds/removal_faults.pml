/* SPDX-License-Identifier: GPL-2.0 */

/* The device goes away while two files are faulted. */

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
#define REMOVER
#define BREAKER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		give_block(1, 1);
		run faulter(0, READ, 1);
		run faulter(1, READ, 1);
		run pinner(0);
		run remover();
#ifdef LONG
		run breaker(0, SLEEP, false);
#endif
		free_paths();
	}
}
