/* SPDX-License-Identifier: GPL-2.0 */

/* A third file needs a page of a large folio, and there is no room for it among those who share that. */

#define NI	3
#define NF	2
#ifdef LONG
#define NP	4
#define EARLY	true
#else
#define NP	3
#define EARLY	false
#endif
#define MOST	2
#define BREAKER
#define FAULTER
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		give_both(2);
		map_both(0);
		if
		:: map_both(1);
		:: map_part(2); map_part(3);
		fi;
		run faulter(4, READ);
		run breaker(0, 0, 1, SLEEP);
#ifdef LONG
		run breaker(1, 2, 3, SLEEP);
#endif
		begin();
	}
	nothing_is_left();
}
