/* SPDX-License-Identifier: GPL-2.0 */

/* 1 GiB of free memory becomes one folio, or is taken apart, while others request parts of it. */

#define NI	1
#define NS	1
#define NF	4
#define NP	4
#define INODE(s)	0
#define REQUESTER
#define LARGE
#define GIB
#include "../model.pml"

init {
	atomic {
		if
		:: free_gib();
		:: true;
		fi;
		run requester(0, PUD);
		if
		:: run requester(2, PTE);
		:: run requester(3, PTE);
		fi;
		if
		:: run requester(2, PMD);
		:: run dissolver();
#ifdef LONG
		:: run requester(0, PUD);
		:: run requester(0, PTE);
#endif
		fi;
		free_paths();
	}
	nothing_is_left();
}
