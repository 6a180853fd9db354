/* SPDX-License-Identifier: GPL-2.0 */

/* A file needs a page that is its own, and that another file has as part of a large folio, and uses. */

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
#define PINNER
#define FAULTER
#define BREAKER
#include "../sharers.pml"

init {
	atomic {
		map_both(0);
		if
		:: give_block(0, 0); give_block(3, 1); run faulter(0, READ); run faulter(3, READ);
		:: give_block(1, 1); give_block(2, 0); run faulter(1, READ); run faulter(2, READ);
		fi;
		run pinner(1);
#ifdef LONG
		run breaker(0, 0, 1, SLEEP);
#endif
		begin();
	}
	nothing_is_left();
}
