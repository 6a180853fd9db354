/* SPDX-License-Identifier: GPL-2.0 */

/* Other modules request the same folio while the device may go. */

#define NI	1
#define NS	1
#define NF	1
#define NP	5
#define INODE(s)	0
#define REQUESTER
#define REMOVER
#include "../model.pml"

init {
	atomic {
		run requester(0, PTE);
		run requester(0, PTE);
		run requester(0, PTE);
		run remover();
		free_paths();
	}
}
