// SPDX-License-Identifier: GPL-2.0
/*
 * The breaks that sleep, hashed by mapping. A break comes and goes under the
 * i_pages lock of its mapping, so that whoever holds that lock may look at an
 * empty list without the lock of the list, which nests in it. A file system
 * lets one break of a file sleep at a time: a list is as long as others have
 * files that are broken.
 */
#include <linux/cache.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/lockdep.h>
#include <linux/spinlock.h>
#include "functions.h"

#define SLEEPER_BITS 8
static struct sleepers {
	spinlock_t lock; /* of the list */
	struct hlist_head list;
} ____cacheline_aligned_in_smp sleepers[1 << SLEEPER_BITS];

static struct sleepers *sleepers_of(struct address_space *mapping)
{
	return &sleepers[hash_ptr(mapping, SLEEPER_BITS)];
}

/**
 * rust_fsdax_breaks_init() - prepare the lists
 */
void rust_fsdax_breaks_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sleepers); i++)
		spin_lock_init(&sleepers[i].lock);
}

/**
 * rust_fsdax_sleeper_add() - a break is about to sleep
 * @sleeper: stays where it is until it is deleted
 * @mapping: the file of the break
 *
 * Context: Process context. Takes the i_pages lock.
 */
void rust_fsdax_sleeper_add(struct rust_fsdax_sleeper *sleeper,
			    struct address_space *mapping)
{
	struct sleepers *those = sleepers_of(mapping);

	sleeper->mapping = mapping;
	xa_lock_irq(&mapping->i_pages);
	spin_lock(&those->lock);
	hlist_add_head(&sleeper->node, &those->list);
	spin_unlock(&those->lock);
	xa_unlock_irq(&mapping->i_pages);
}

/**
 * rust_fsdax_sleeper_del() - a break has slept
 * @sleeper: one that was added
 *
 * Context: Process context. Takes the i_pages lock.
 */
void rust_fsdax_sleeper_del(struct rust_fsdax_sleeper *sleeper)
{
	struct sleepers *those = sleepers_of(sleeper->mapping);

	xa_lock_irq(&sleeper->mapping->i_pages);
	spin_lock(&those->lock);
	hlist_del(&sleeper->node);
	spin_unlock(&those->lock);
	xa_unlock_irq(&sleeper->mapping->i_pages);
}

/**
 * rust_fsdax_is_breaking() - whether a break of a file sleeps
 * @mapping: the file
 *
 * Context: Any context. The caller holds the i_pages lock.
 */
bool rust_fsdax_is_breaking(struct address_space *mapping)
{
	struct sleepers *those = sleepers_of(mapping);
	struct rust_fsdax_sleeper *sleeper;
	bool found = false;

	lockdep_assert_held(&mapping->i_pages.xa_lock);
	if (hlist_empty(&those->list))
		return false;
	spin_lock(&those->lock);
	hlist_for_each_entry(sleeper, &those->list, node) {
		found = sleeper->mapping == mapping;
		if (found)
			break;
	}
	spin_unlock(&those->lock);
	return found;
}
