/* SPDX-License-Identifier: GPL-2.0 */

/* Free memory of 1 GiB is taken apart for fs/dax.c, while a file faults a page of it. */

#define NI	1
#define NS	1
#define NF	4
#define NP	4
#define INODE(s)	0
#define FAULTER
#define REQUESTER
#define LARGE
#define GIB
#define ONLY_SPLITS
#include "../model.pml"

init {
	atomic {
		free_gib();
		give_block(0, 2);
		run faulter(0, READ, 1);
		run requester(0, PMD);
		run dissolver();
		free_paths();
	}
	nothing_is_left();
}
