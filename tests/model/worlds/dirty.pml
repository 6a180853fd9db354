/* SPDX-License-Identifier: GPL-2.0 */

/* A page is stored to, and there are two fsync(), or two who store. */

#define NI	1
#define NS	1
#define NF	1
#define NP	4
#define INODE(s)	0
#define DIRTY
#define STORER
#define SYNCER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		run storer(0, 2);
		run syncer(0);
		if
		:: run syncer(0);
		:: run storer(0, 1);
		fi;
		free_paths();
	}
	nothing_is_left();
}
