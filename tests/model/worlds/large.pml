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
		run requester(0, true);
		run requester(1, false);
		run requester(0, false);
		run requester(0, true);
		run dissolver();
		free_paths();
	}
}
