// SPDX-License-Identifier: GPL-2.0
/*
 * A lock for the association of each folio. Hashed by PMD, so that all pages
 * that one folio can be made of share a lock; irq-safe, since it nests in the
 * i_pages lock. Each has a cache line, and there are several for each CPU, so
 * that CPUs seldom meet that use different folios.
 */
#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/hash.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "functions.h"

struct folio_lock {
	spinlock_t lock; /* of all folios with this hash */
} ____cacheline_aligned_in_smp;

#define FOLIO_LOCKS_PER_CPU 8
#define MAX_FOLIO_LOCKS 4096
static struct folio_lock *folio_locks __read_mostly;
static unsigned int folio_lock_bits __read_mostly;

static spinlock_t *folio_lock_of(unsigned long pfn)
{
	return &folio_locks[hash_long(pfn >> PMD_ORDER, folio_lock_bits)].lock;
}

/**
 * rust_fsdax_folio_lock() - lock the folio around a pfn
 * @pfn: any of the folio
 *
 * Context: Any context but NMI. Irqs are off until it is unlocked.
 * Return: what rust_fsdax_folio_unlock() needs.
 */
unsigned long rust_fsdax_folio_lock(unsigned long pfn)
{
	unsigned long flags;

	spin_lock_irqsave(folio_lock_of(pfn), flags);
	return flags;
}

/**
 * rust_fsdax_folio_unlock() - unlock the folio around a pfn
 * @pfn: as it was locked by
 * @flags: what rust_fsdax_folio_lock() returned
 */
void rust_fsdax_folio_unlock(unsigned long pfn, unsigned long flags)
{
	lockdep_assert_held(folio_lock_of(pfn));
	spin_unlock_irqrestore(folio_lock_of(pfn), flags);
}

/**
 * rust_fsdax_folio_locks_init() - make the locks
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int rust_fsdax_folio_locks_init(void)
{
	unsigned int nr, i;

	nr = roundup_pow_of_two(clamp(num_possible_cpus() * FOLIO_LOCKS_PER_CPU,
				      16, MAX_FOLIO_LOCKS));
	folio_locks = kvmalloc_array(nr, sizeof(*folio_locks), GFP_KERNEL);
	if (!folio_locks)
		return -ENOMEM;
	folio_lock_bits = ilog2(nr);
	for (i = 0; i < nr; i++)
		spin_lock_init(&folio_locks[i].lock);
	return 0;
}

/**
 * rust_fsdax_folio_locks_exit() - free the locks
 *
 * No folio of ours is active.
 */
void rust_fsdax_folio_locks_exit(void)
{
	kvfree(folio_locks);
}
