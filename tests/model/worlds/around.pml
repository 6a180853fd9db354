/* SPDX-License-Identifier: GPL-2.0 */

/* A read fault maps the page behind its own, too, while the file is truncated. */

#define NI	1
#define NS	2
#define NF	2
#define NP	5
#define INODE(s)	0
#define AROUND
#define FAULTER
#define PINNER
#define BREAKER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		give_block(1, 1);
		run faulter(0, READ, 1);
		run faulter(1, READ, 1);
		run pinner(0);
		run breaker(0, SLEEP, false);
		free_paths();
	}
	nothing_is_left();
}
