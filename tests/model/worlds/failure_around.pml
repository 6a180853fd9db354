/* SPDX-License-Identifier: GPL-2.0 */

/* Memory fails under a page that is mapped around another one. */

#define NI	1
#define NS	2
#define NF	2
#define NP	4
#define INODE(s)	0
#define AROUND
#define MEMORY_FAILURE
#define FAULTER
#include "../model.pml"

init {
	atomic {
		give_block(0, 0);
		give_block(1, 1);
		run faulter(0, READ, 1);
		run memory_failure(1);
		run memory_failure(0);
		free_paths();
	}
	nothing_is_left();
}
