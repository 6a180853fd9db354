/* SPDX-License-Identifier: GPL-2.0 */

/* A part of 2 MiB, which are stored to and pinned, is punched: the rest of the data lives on. */

#define NI	1
#define NS	1
#define NF	1
#define NP	5
#define INODE(s)	0
#define DIRTY
#define STORER
#define PINNER
#define KEEPER
#define SYNCER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		store_to(0);
		run storer(0, 1);
		run pinner(0);
		if
		:: run keeper(0, SIGNAL, REST, false);
		:: run keeper(0, SLEEP, REST, false);
		fi;
		run syncer(0);
		free_paths();
	}
	nothing_is_left();
}
