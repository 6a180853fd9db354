// SPDX-License-Identifier: GPL-2.0
/*
 * The methods of the owner of FS_DAX folios, which are in
 * src/provider/owner.rs. The table is here because its address marks the folios
 * that are owned: the lower floors of the module know it, and not who frees.
 */
#include <linux/module.h>
#include "functions.h"

const struct fsdax_folio_ops rust_fsdax_folio_ops = {
	.owner = THIS_MODULE,
	.folio_free = rust_fsdax_folio_free,
	.pgmap_dying = rust_fsdax_pgmap_dying,
	.folio_request = rust_fsdax_folio_request,
};
