/* SPDX-License-Identifier: GPL-2.0 */

/* Breaks that are refused or interrupted leave the next one what it needs. */

#define NI	1
#define NS	1
#define NF	1
#ifdef LONG
#define NP	7
#else
#define NP	6
#endif
#define INODE(s)	0
#define FAULTER
#define PINNER
#define BREAKER
#define LOCKER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		run faulter(0, READ, 2);
		run pinner(0);
		run breaker(0, SIGNAL, false);
		run breaker(0, FAIL, false);
		run breaker(0, SLEEP, false);
#ifdef LONG
		run locker(0);
#endif
		free_paths();
	}
}
