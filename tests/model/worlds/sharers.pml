/* SPDX-License-Identifier: GPL-2.0 */

/* One file has all of a large folio, another one parts; it uses them while the first is truncated. */

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
#define FAULTER
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		map_both(0);
		map_part(3);
		run breaker(0, 0, 1, SLEEP);
		run pinner(3);
		run faulter(2, READ);
#ifdef LONG
		run breaker(1, 2, 3, SLEEP);
#endif
		begin();
	}
	nothing_is_left();
}
