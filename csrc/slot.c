// SPDX-License-Identifier: GPL-2.0
/*
 * Slots of i_pages and their marks, where lib/xarray.c would find out what is
 * known. All is done under the i_pages lock.
 */
#include <linux/lockdep.h>
#include <linux/pagemap.h>
#include "functions.h"

/**
 * rust_fsdax_xas_replace() - store a value where another value was
 * @xas: a position that was looked up and not left since
 * @entry: the value
 *
 * Counts, siblings and marks stay, so that xas_store() would only find out
 * what is known.
 *
 * Context: Any context. The caller holds the xa_lock.
 * Return: the value that was there.
 */
void *rust_fsdax_xas_replace(struct xa_state *xas, void *entry)
{
	struct xa_node *node = xas->xa_node;
	void *old;

	lockdep_assert_held(&xas->xa->xa_lock);
	/* Not looked up, or alone in the head. */
	if (xas_not_node(node))
		return xas_store(xas, entry);
	old = xa_entry_locked(xas->xa, node, xas->xa_offset);
	rcu_assign_pointer(node->slots[xas->xa_offset], entry);
	return old;
}

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
