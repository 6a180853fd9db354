// SPDX-License-Identifier: GPL-2.0
/* What other modules may call. The functions are in src/provider/exports.rs. */
#include <linux/export.h>
#include <linux/fsdax_entry.h>

EXPORT_SYMBOL_GPL(fsdax_break);
EXPORT_SYMBOL_GPL(fsdax_break_final);
EXPORT_SYMBOL_GPL(fsdax_insert_entry);
EXPORT_SYMBOL_GPL(fsdax_delete_entry);
