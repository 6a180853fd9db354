/* SPDX-License-Identifier: GPL-2.0 */

/* Folios of two sizes are requested from the same pages. */

#define NI	1
#define NS	1
#define NF	2
#define NP	6
#define INODE(s)	0
#define REQUESTER
#define LARGE
#include "../model.pml"

init {
	atomic {
		run requester(0, PMD);
		run requester(1, PTE);
		run requester(0, PTE);
		run requester(0, PMD);
		run dissolver();
		free_paths();
	}
	nothing_is_left();
}
