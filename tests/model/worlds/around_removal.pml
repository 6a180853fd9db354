/* SPDX-License-Identifier: GPL-2.0 */

/* The same while the device goes away, and somebody else has the page behind for a while. */

#define NI	1
#define NS	2
#define NF	2
#define NP	5
#define INODE(s)	0
#define AROUND
#define FAULTER
#define PINNER
#define REQUESTER
#define REMOVER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		give_block(1, 1);
		run faulter(0, READ, 1);
		run pinner(1);
		run requester(1, PTE);
		run remover();
		free_paths();
	}
}
