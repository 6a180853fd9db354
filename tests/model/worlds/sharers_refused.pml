/* SPDX-License-Identifier: GPL-2.0 */

/* A break of a part that may not wait, and then one that may, while another file has parts. */

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
#define REFUSED
#define PINNER
#define FAULTER
#include "../sharers.pml"

init {
	atomic {
		give_both(0);
		give_both(1);
		map_both(0);
		map_part(3);
		run breaker(0, 1, 1, FAIL);
		run breaker(0, 0, 1, SLEEP);
		run pinner(3);
#ifdef LONG
		run faulter(2, READ);
#endif
		begin();
	}
	nothing_is_left();
}
