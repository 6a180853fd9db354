// SPDX-License-Identifier: GPL-2.0
/*
 * Marks of the slots of i_pages, where lib/xarray.c would find out what is
 * known. All is done under the i_pages lock.
 */
#include <linux/lockdep.h>
#include <linux/pagemap.h>
#include "functions.h"

/**
 * rust_fsdax_xas_has_mark() - whether a slot has a mark
 * @xas: the position of the slot
 * @mark: the mark
 *
 * Most files have no entry at all with the mark that is asked for.
 *
 * Context: Any context. The caller holds the xa_lock.
 */
bool rust_fsdax_xas_has_mark(struct xa_state *xas, xa_mark_t mark)
{
	lockdep_assert_held(&xas->xa->xa_lock);
	return xa_marked(xas->xa, mark) && xas_get_mark(xas, mark);
}

/**
 * rust_fsdax_xas_clear_mark() - clear a mark of a slot
 * @xas: the position of the slot
 * @mark: the mark
 *
 * Context: Any context. The caller holds the xa_lock.
 */
void rust_fsdax_xas_clear_mark(struct xa_state *xas, xa_mark_t mark)
{
	lockdep_assert_held(&xas->xa->xa_lock);
	if (xa_marked(xas->xa, mark))
		xas_clear_mark(xas, mark);
}

/**
 * rust_fsdax_xas_is_dirty() - whether a slot has yet to be written back
 * @xas: the position of the slot
 *
 * Context: Any context. The caller holds the xa_lock.
 */
bool rust_fsdax_xas_is_dirty(struct xa_state *xas)
{
	return rust_fsdax_xas_has_mark(xas, PAGECACHE_TAG_DIRTY) ||
	       rust_fsdax_xas_has_mark(xas, PAGECACHE_TAG_TOWRITE);
}
