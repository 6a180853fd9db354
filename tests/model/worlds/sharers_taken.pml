/* SPDX-License-Identifier: GPL-2.0 */

/* Another file gets all of a folio for which a break waits, which may be interrupted. */

#define NI	3
#define NF	2
#ifdef LONG
#define NP	5
#define EARLY	true
#else
#define NP	4
#define EARLY	false
#endif
#define MOST	3
#define BREAKER
#define PINNER
#define BIG_FAULTER
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		give_both(2);
		map_both(0);
		if
		:: map_part(5); run breaker(0, 0, 1, SIGNAL);
		:: run breaker(0, 0, 1, SLEEP);
		fi;
		run pinner(0);
		run big_faulter(1);
#ifdef LONG
		run breaker(1, 2, 3, SLEEP);
#endif
		begin();
	}
	nothing_is_left();
}
