/* SPDX-License-Identifier: GPL-2.0 */

/* Files fault what they have got of a free folio of 1 GiB, which each of them has to take apart. */

#define NI	2
#define NS	2
#define NF	4
#ifdef LONG
#define NP	4
#else
#define NP	3
#endif
#define INODE(s)	(s)
#define FAULTER
#define REQUESTER
#define LARGE
#define GIB
#include "../model.pml"

init {
	atomic {
		free_gib();
		give_block(0, 2);
		if
		:: give_block(1, 3);
		:: give_block(1, 1);
		fi;
		run faulter(0, READ, 1);
		run faulter(1, READ, 1);
#ifdef LONG
		if
		:: block[1] != 2 -> run requester(0, PMD);
		:: else -> run requester(0, PTE);
		fi;
#endif
		free_paths();
	}
	nothing_is_left();
}
