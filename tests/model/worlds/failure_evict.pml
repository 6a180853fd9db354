/* SPDX-License-Identifier: GPL-2.0 */

/* Memory fails under a pinned page of a file whose inode goes, and that another file shares. */

#define NI	2
#define NS	2
#define NF	1
#define NP	5
#define INODE(s)	(s)
#define MEMORY_FAILURE
#define FAULTER
#define PINNER
#define EVICTER
#define BREAKER
#include "../model.pml"

init {
	atomic {
		map_block(0, 0);
		give_block(1, 0);
		run pinner(0);
		run memory_failure(0);
		run faulter(1, READ, 1);
		run evicter(0);
		free_paths();
	}
	nothing_is_left();
}
