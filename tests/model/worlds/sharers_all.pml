/* SPDX-License-Identifier: GPL-2.0 */

/* Two files have all of a large folio; both are truncated, while it is pinned and faulted. */

#define NI	2
#define NF	2
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
#define BIG_FAULTER
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		map_both(0);
		map_both(1);
		run breaker(0, 0, 1, SLEEP);
		run breaker(1, 2, 3, SLEEP);
		run pinner(0);
#ifdef LONG
		run big_faulter(1);
#endif
		begin();
	}
	nothing_is_left();
}
