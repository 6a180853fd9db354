/* SPDX-License-Identifier: GPL-2.0 */

/* A page that is stored to, and pinned, has its layout broken: its data is dropped, or lives on. */

#define NI	1
#define NS	1
#define NF	1
#define NP	5
#define INODE(s)	0
#define DIRTY
#define STORER
#define PINNER
#define BREAKER
#define KEEPER
#define SYNCER
#define MAP_FAILS
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		store_to(0);
		run storer(0, 1);
		run pinner(0);
		if
		:: run breaker(0, SIGNAL, false);
		:: run keeper(0, SIGNAL, KEEP, false);
		:: run keeper(0, SLEEP, DECIDE, false);
		fi;
		run syncer(0);
		free_paths();
	}
	nothing_is_left();
}
