/* SPDX-License-Identifier: GPL-2.0 */

/* A file replaces a page of a large folio by a copy, of which another file has parts. */

#define NI	2
#define NF	4
#ifdef LONG
#define NP	5
#define EARLY	true
#else
#define NP	4
#define EARLY	false
#endif
#define MOST	2
#define BREAKER
#define PINNER
#define FAULTER
#define COPIES
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		map_both(0);
		if
		:: map_both(1);
		:: map_part(3);
		fi;
		run faulter(0, COW);
		run pinner(0);
		if
		:: run faulter(3, READ);
		:: run breaker(1, 2, 3, SLEEP);
		fi;
#ifdef LONG
		run faulter(3, READ);
#endif
		begin();
	}
	nothing_is_left();
}
