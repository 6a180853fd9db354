/* SPDX-License-Identifier: GPL-2.0 */

/* Memory fails under a page that two files come to share, and one of them is truncated. */

#define NI	2
#define NS	2
#define NF	1
#ifdef LONG
#define NP	5
#else
#define NP	4
#endif
#define INODE(s)	(s)
#define MEMORY_FAILURE
#define FAULTER
#define BREAKER
#define PINNER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		give_block(1, 0);
		run memory_failure(0);
		run faulter(1, READ, 1);
		run breaker(0, SLEEP, false);
#ifdef LONG
		run pinner(0);
#endif
		free_paths();
	}
	nothing_is_left();
}
