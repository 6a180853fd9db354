// SPDX-License-Identifier: GPL-2.0
/* What is asked of folios and pgmaps, and is more than one call. */
#include <linux/mm.h>
#include <linux/ratelimit.h>
#include "functions.h"

/**
 * rust_fsdax_reset_head() - make a page of the head of a large folio
 * @folio: with a count of 0, and the caller's alone; its tails are still tails
 */
void rust_fsdax_reset_head(struct folio *folio)
{
	VM_WARN_ON_ONCE_FOLIO(folio_ref_count(folio), folio);
	folio_reset_order(folio);
	__ClearPageHead(&folio->page);
}

/**
 * rust_fsdax_folio_pins() - count the pins of pin_user_pages()
 * @folio: one that stays
 *
 * Return: the number, as folio_maybe_dma_pinned() knows it.
 */
unsigned int rust_fsdax_folio_pins(struct folio *folio)
{
	if (folio_test_large(folio))
		return atomic_read(&folio->_pincount);
	return folio_ref_count(folio) / GUP_PIN_COUNTING_BIAS;
}

/**
 * rust_fsdax_pgmap_head() - how many pages an altmap takes
 * @pgmap: one that stays
 */
unsigned long rust_fsdax_pgmap_head(struct dev_pagemap *pgmap)
{
	struct vmem_altmap *altmap = pgmap_altmap(pgmap);

	return altmap ? altmap->reserve + altmap->free : 0;
}

/**
 * rust_fsdax_pgmap_count() - count the references to a pgmap
 * @pgmap: one that stays
 *
 * Return: all of them, those of the pages included. Negative as long as some
 * are counted per CPU, which ends soon after the pgmap was killed: the count is
 * then near the bias of a percpu_ref, LONG_MIN. It may be on either side, as
 * what was taken per CPU may be put after the kill.
 */
long rust_fsdax_pgmap_count(struct dev_pagemap *pgmap)
{
	long count = atomic_long_read(&pgmap->ref.data->count);

	return count <= LONG_MAX / 2 ? count : -1;
}

/**
 * rust_fsdax_ratelimit() - whether a message may be logged
 *
 * Context: Any context.
 */
bool rust_fsdax_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(state, 10 * HZ, 10);

	return __ratelimit(&state);
}
