/* SPDX-License-Identifier: GPL-2.0 */

/* Direct I/O that needs one more fault to finish, while a break waits for it. */

#define NI	1
#define NS	1
#define NF	1
#ifdef LONG
#define NP	5
#else
#define NP	4
#endif
#define INODE(s)	0
#define MULTI
#define BREAKER
#define LOCKER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		run multi(0);
		run breaker(0, SLEEP, false);
		run locker(0);
#ifdef LONG
		run breaker(0, SIGNAL, false);
#endif
		free_paths();
	}
}
