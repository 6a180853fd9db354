// SPDX-License-Identifier: GPL-2.0
/*
 * Slots of i_pages: their marks, where lib/xarray.c would find out what is
 * known, and one slot that becomes many.
 */
#include <linux/lockdep.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
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

/* The order of a slot between the two: one node has all slots of PMD_ORDER. */
#define MIDDLE_ORDER (2 * XA_CHUNK_SHIFT)
#define MIDDLES (1U << (PUD_SHIFT - PAGE_SHIFT - MIDDLE_ORDER))

/* One slot of 1 GiB becomes slots of 2 MiB in two steps. */
struct rust_fsdax_split {
	struct xa_state top;
	struct xa_state middle[MIDDLES];
};

/**
 * rust_fsdax_split_free() - free what was not used
 * @split: from rust_fsdax_split_alloc()
 */
void rust_fsdax_split_free(struct rust_fsdax_split *split)
{
	unsigned int i;

	/* Without an error to repair, this frees what was allocated. */
	xas_nomem(&split->top, 0);
	for (i = 0; i < MIDDLES; i++)
		xas_nomem(&split->middle[i], 0);
	kfree(split);
}

/**
 * rust_fsdax_split_alloc() - allocate what it takes to split a slot
 * @xa: i_pages
 * @index: of a slot of 1 GiB, which nobody else changes until it is split
 * @value: what it has
 * @gfp: how to allocate
 *
 * Context: May sleep if @gfp says so.
 * Return: to be given to rust_fsdax_split_free(), or NULL without memory.
 */
struct rust_fsdax_split *rust_fsdax_split_alloc(struct xarray *xa,
						unsigned long index,
						void *value, gfp_t gfp)
{
	struct rust_fsdax_split *split = kmalloc(sizeof(*split), gfp);
	bool failed;
	unsigned int i;

	if (!split)
		return NULL;
	split->top = (struct xa_state)__XA_STATE(xa, index, MIDDLE_ORDER, 0);
	for (i = 0; i < MIDDLES; i++)
		split->middle[i] = (struct xa_state)
			__XA_STATE(xa, index + ((unsigned long)i << MIDDLE_ORDER),
				   XA_CHUNK_SHIFT,
				   (1U << (PMD_ORDER % XA_CHUNK_SHIFT)) - 1);

	xas_split_alloc(&split->top, value, PUD_SHIFT - PAGE_SHIFT, gfp);
	failed = xas_error(&split->top);
	for (i = 0; i < MIDDLES && !failed; i++) {
		xas_split_alloc(&split->middle[i], value, MIDDLE_ORDER, gfp);
		failed = xas_error(&split->middle[i]);
	}
	if (failed) {
		/* Whatever failed has freed its own. */
		xas_reset(&split->top);
		for (i = 0; i < MIDDLES; i++)
			xas_reset(&split->middle[i]);
		rust_fsdax_split_free(split);
		return NULL;
	}
	return split;
}

/**
 * rust_fsdax_split_do() - make slots of 2 MiB of one of 1 GiB
 * @split: from rust_fsdax_split_alloc(), used up but for its own memory
 * @value: what the slot has, and all of them will have
 *
 * They have the marks of the slot.
 *
 * Context: Any context. The caller holds the xa_lock.
 */
void rust_fsdax_split_do(struct rust_fsdax_split *split, void *value)
{
	unsigned int i;

	lockdep_assert_held(&split->top.xa->xa_lock);
	xas_split(&split->top, value, PUD_SHIFT - PAGE_SHIFT);
	for (i = 0; i < MIDDLES; i++)
		xas_split(&split->middle[i], value, MIDDLE_ORDER);
}
