/* SPDX-License-Identifier: GPL-2.0 */

/* Whoever has pinned one part needs another one, while the file that has all is truncated. */

#define NI	2
#define NF	2
#ifdef LONG
#define NP	4
#else
#define NP	3
#endif
#define EARLY	true
#define MOST	2
#define BREAKER
#define MULTI
#define FAULTER
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		map_both(0);
		map_part(2);
		run breaker(0, 0, 1, SLEEP);
		run multi(2);
#ifdef LONG
		run faulter(1, READ);
#endif
		begin();
	}
	nothing_is_left();
}
