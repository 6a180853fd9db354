// SPDX-License-Identifier: GPL-2.0

#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include "helpers.h"

/*
 * Weak, so that the module can say in one line what is missing instead of
 * being refused with one line per symbol.
 */
#pragma weak dax_entry_mkclean
#pragma weak dax_register_provider
#pragma weak dax_trace_insert_pfn_mkwrite
#pragma weak dax_trace_load_hole
#pragma weak dax_trace_pmd_load_hole
#pragma weak dax_trace_writeback_one
#pragma weak dax_unregister_provider
#pragma weak finish_fault
#pragma weak fsdax_register_folio_ops
#pragma weak fsdax_unregister_folio_ops
#pragma weak iomap_iter
#pragma weak iomap_iter_advance
#pragma weak mm_get_huge_zero_folio
#pragma weak prep_compound_page
#pragma weak tryget_dev_pagemap

void prep_compound_page(struct page *page, unsigned int order);

/*
 * A lock for the association of each folio. Hashed by PMD, so that all pages
 * that one folio can be made of share a lock; irq-safe, since it nests in the
 * i_pages lock. Each has a cache line, and there are several for each CPU, so
 * that CPUs seldom meet that use different folios.
 */
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

unsigned long rust_fsdax_folio_lock(unsigned long pfn)
{
	unsigned long flags;

	spin_lock_irqsave(folio_lock_of(pfn), flags);
	return flags;
}

void rust_fsdax_folio_unlock(unsigned long pfn, unsigned long flags)
{
	spin_unlock_irqrestore(folio_lock_of(pfn), flags);
}

bool rust_fsdax_waitqueue_active(struct wait_queue_head *head)
{
	/* Callers have a barrier, see src/wait.rs. */
	return waitqueue_active(head);
}

static void ring(struct timer_list *timer)
{
	struct rust_fsdax_alarm *alarm = timer_container_of(alarm, timer, timer);

	wake_up_process(alarm->task);
}

/* On the stack of the task that it wakes. */
void rust_fsdax_alarm_init(struct rust_fsdax_alarm *alarm)
{
	alarm->task = current;
	timer_setup_on_stack(&alarm->timer, ring, 0);
}

void rust_fsdax_alarm_set(struct rust_fsdax_alarm *alarm, unsigned int ms)
{
	mod_timer(&alarm->timer, jiffies + msecs_to_jiffies(ms));
}

/* Of one that was set. It is not pending any more before it wakes the task. */
bool rust_fsdax_alarm_rang(struct rust_fsdax_alarm *alarm)
{
	return !timer_pending(&alarm->timer);
}

void rust_fsdax_alarm_delete(struct rust_fsdax_alarm *alarm)
{
	timer_delete_sync(&alarm->timer);
	timer_destroy_on_stack(&alarm->timer);
}

/*
 * The breaks that sleep, hashed by mapping. A break comes and goes under the
 * i_pages lock of its mapping, so that whoever holds that lock may look at an
 * empty list without the lock of the list, which nests in it. A file system
 * lets one break of a file sleep at a time: a list is as long as others have
 * files that are broken.
 */
#define SLEEPER_BITS 8
static struct sleepers {
	spinlock_t lock; /* of the list */
	struct hlist_head list;
} ____cacheline_aligned_in_smp sleepers[1 << SLEEPER_BITS];

static struct sleepers *sleepers_of(struct address_space *mapping)
{
	return &sleepers[hash_ptr(mapping, SLEEPER_BITS)];
}

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

void rust_fsdax_sleeper_del(struct rust_fsdax_sleeper *sleeper)
{
	struct sleepers *those = sleepers_of(sleeper->mapping);

	xa_lock_irq(&sleeper->mapping->i_pages);
	spin_lock(&those->lock);
	hlist_del(&sleeper->node);
	spin_unlock(&those->lock);
	xa_unlock_irq(&sleeper->mapping->i_pages);
}

bool rust_fsdax_is_breaking(struct address_space *mapping)
{
	struct sleepers *those = sleepers_of(mapping);
	struct rust_fsdax_sleeper *sleeper;
	bool found = false;

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

int rust_fsdax_locks_init(void)
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
	for (i = 0; i < ARRAY_SIZE(sleepers); i++)
		spin_lock_init(&sleepers[i].lock);
	return 0;
}

/* No folio of ours is active, and no break sleeps. */
void rust_fsdax_locks_exit(void)
{
	kvfree(folio_locks);
}

void rust_fsdax_xa_lock_irq(struct xarray *xa)
{
	xa_lock_irq(xa);
}

void rust_fsdax_xa_unlock_irq(struct xarray *xa)
{
	xa_unlock_irq(xa);
}

/*
 * Stores a value where XAS is and another value was: counts, siblings and
 * marks stay, so that xas_store() would only find out what is known.
 */
void *rust_fsdax_xas_replace(struct xa_state *xas, void *entry)
{
	struct xa_node *node = xas->xa_node;
	void *old;

	/* Not looked up, or alone in the head. */
	if (xas_not_node(node))
		return xas_store(xas, entry);
	old = xa_entry_locked(xas->xa, node, xas->xa_offset);
	rcu_assign_pointer(node->slots[xas->xa_offset], entry);
	return old;
}

void *rust_fsdax_xas_next_entry(struct xa_state *xas, unsigned long max)
{
	return xas_next_entry(xas, max);
}

void *rust_fsdax_xas_next_marked(struct xa_state *xas, unsigned long max,
				 xa_mark_t mark)
{
	return xas_next_marked(xas, max, mark);
}

/* Most files have no entry at all with the mark that is asked for. */
bool rust_fsdax_xas_has_mark(struct xa_state *xas, xa_mark_t mark)
{
	return xa_marked(xas->xa, mark) && xas_get_mark(xas, mark);
}

void rust_fsdax_xas_clear_mark(struct xa_state *xas, xa_mark_t mark)
{
	if (xa_marked(xas->xa, mark))
		xas_clear_mark(xas, mark);
}

bool rust_fsdax_xas_is_dirty(struct xa_state *xas)
{
	return rust_fsdax_xas_has_mark(xas, PAGECACHE_TAG_DIRTY) ||
	       rust_fsdax_xas_has_mark(xas, PAGECACHE_TAG_TOWRITE);
}

struct page *rust_fsdax_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

unsigned long rust_fsdax_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}

void *rust_fsdax_pfn_to_virt(unsigned long pfn)
{
	return __va(PFN_PHYS(pfn));
}

unsigned int rust_fsdax_folio_order(struct folio *folio)
{
	return folio_order(folio);
}

void rust_fsdax_folio_put(struct folio *folio)
{
	folio_put(folio);
}

bool rust_fsdax_folio_try_get(struct folio *folio)
{
	return folio_try_get(folio);
}

bool rust_fsdax_folio_ref_freeze(struct folio *folio, int count)
{
	return folio_ref_freeze(folio, count);
}

int rust_fsdax_folio_ref_count(struct folio *folio)
{
	return folio_ref_count(folio);
}

int rust_fsdax_folio_mapcount(struct folio *folio)
{
	return folio_mapcount(folio);
}

void rust_fsdax_reset_head(struct folio *folio)
{
	folio_reset_order(folio);
	__ClearPageHead(&folio->page);
}

bool rust_fsdax_pgmap_tryget_live(struct dev_pagemap *pgmap)
{
	return percpu_ref_tryget_live(&pgmap->ref);
}

void rust_fsdax_pgmap_put(struct dev_pagemap *pgmap)
{
	put_dev_pagemap(pgmap);
}

unsigned long rust_fsdax_pgmap_head(struct dev_pagemap *pgmap)
{
	struct vmem_altmap *altmap = pgmap_altmap(pgmap);

	return altmap ? altmap->reserve + altmap->free : 0;
}

bool rust_fsdax_pgmap_live(struct dev_pagemap *pgmap)
{
	return !percpu_ref_is_dying(&pgmap->ref);
}

struct dev_pagemap *rust_fsdax_pfn_pgmap(unsigned long pfn)
{
	return page_pgmap(pfn_to_page(pfn));
}

void rust_fsdax_mapping_set_error(struct address_space *mapping, int error)
{
	mapping_set_error(mapping, error);
}

bool rust_fsdax_mapping_empty(struct address_space *mapping)
{
	return mapping_empty(mapping);
}

void rust_fsdax_unlock_umount(struct super_block *sb)
{
	up_read(&sb->s_umount);
}

void rust_fsdax_lock_inodes(struct super_block *sb)
{
	spin_lock(&sb->s_inode_list_lock);
}

void rust_fsdax_unlock_inodes(struct super_block *sb)
{
	spin_unlock(&sb->s_inode_list_lock);
}

void rust_fsdax_cond_resched(void)
{
	cond_resched();
}

long rust_fsdax_task_pid(void)
{
	return current->pid;
}

bool rust_fsdax_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(state, 10 * HZ, 10);

	return __ratelimit(&state);
}

bool rust_fsdax_vmf_pmd_huge(struct vm_fault *vmf)
{
	return pmd_trans_huge(pmdp_get(vmf->pmd));
}

bool rust_fsdax_vmf_pmd_table(struct vm_fault *vmf)
{
	pmd_t pmd = pmdp_get(vmf->pmd);

	return !pmd_none(pmd) && !pmd_trans_huge(pmd);
}

bool rust_fsdax_vma_shared(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_SHARED;
}

bool rust_fsdax_vma_sync(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_SYNC;
}

unsigned long rust_fsdax_zero_pfn(unsigned long address)
{
	return zero_pfn(address);
}

/* Without a source the page is a hole so far. */
int rust_fsdax_copy_page_mc(void *to, const void *from)
{
	if (!from) {
		memset(to, 0, PAGE_SIZE);
		return 0;
	}
	return copy_mc_to_kernel(to, from, PAGE_SIZE) ? -EIO : 0;
}

void rust_fsdax_clear_cow_page(struct vm_fault *vmf)
{
	clear_user_highpage(vmf->cow_page, vmf->address);
}

void rust_fsdax_copy_cow_page(struct vm_fault *vmf, void *kaddr)
{
	void *to = kmap_local_page(vmf->cow_page);

	copy_user_page(to, kaddr, vmf->address, vmf->cow_page);
	kunmap_local(to);
}

void rust_fsdax_set_cow_uptodate(struct vm_fault *vmf)
{
	__SetPageUptodate(vmf->cow_page);
}

void rust_fsdax_count_major_fault(struct vm_fault *vmf)
{
	count_vm_event(PGMAJFAULT);
	count_memcg_event_mm(vmf->vma->vm_mm, PGMAJFAULT);
}

vm_fault_t rust_fsdax_vmf_error(int error)
{
	return vmf_error(error);
}

u64 rust_fsdax_iomap_length(struct iomap_iter *iter)
{
	return iomap_length(iter);
}

bool rust_fsdax_kernel_has_series(void)
{
	return dax_register_provider && dax_unregister_provider &&
	       fsdax_register_folio_ops && fsdax_unregister_folio_ops &&
	       tryget_dev_pagemap && dax_entry_mkclean &&
	       prep_compound_page && finish_fault && iomap_iter &&
	       iomap_iter_advance && mm_get_huge_zero_folio &&
	       dax_trace_insert_pfn_mkwrite && dax_trace_load_hole &&
	       dax_trace_pmd_load_hole && dax_trace_writeback_one;
}

int rust_fsdax_register_folio_ops(const struct fsdax_folio_ops *ops)
{
	return fsdax_register_folio_ops(ops);
}

void rust_fsdax_unregister_folio_ops(const struct fsdax_folio_ops *ops)
{
	fsdax_unregister_folio_ops(ops);
}

int rust_fsdax_register_provider(const struct dax_provider_ops *ops)
{
	return dax_register_provider(ops);
}

void rust_fsdax_unregister_provider(const struct dax_provider_ops *ops)
{
	dax_unregister_provider(ops);
}

struct dev_pagemap *rust_fsdax_tryget_dev_pagemap(unsigned long pfn)
{
	return tryget_dev_pagemap(pfn);
}

void rust_fsdax_entry_mkclean(struct address_space *mapping, pgoff_t index,
			      unsigned long pfn, unsigned long count)
{
	dax_entry_mkclean(mapping, index, pfn, count);
}

void rust_fsdax_prep_compound_page(struct page *page, unsigned int order)
{
	prep_compound_page(page, order);
}

vm_fault_t rust_fsdax_finish_fault(struct vm_fault *vmf)
{
	return finish_fault(vmf);
}

int rust_fsdax_iomap_iter(struct iomap_iter *iter, const struct iomap_ops *ops)
{
	return iomap_iter(iter, ops);
}

int rust_fsdax_iomap_iter_advance(struct iomap_iter *iter, u64 count)
{
	return iomap_iter_advance(iter, count);
}

struct folio *rust_fsdax_huge_zero_folio(struct vm_fault *vmf)
{
	return mm_get_huge_zero_folio(vmf->vma->vm_mm);
}

void rust_fsdax_trace_load_hole(struct inode *inode, struct vm_fault *vmf,
				vm_fault_t ret)
{
	dax_trace_load_hole(inode, vmf, ret);
}

void rust_fsdax_trace_pmd_load_hole(struct inode *inode, struct vm_fault *vmf,
				    struct folio *zero_folio,
				    unsigned long value)
{
	dax_trace_pmd_load_hole(inode, vmf, zero_folio, xa_mk_value(value));
}

void rust_fsdax_trace_insert_pfn_mkwrite(struct inode *inode,
					 struct vm_fault *vmf, bool has_entry,
					 vm_fault_t ret)
{
	dax_trace_insert_pfn_mkwrite(inode, vmf, has_entry, ret);
}

void rust_fsdax_trace_writeback_one(struct inode *inode, pgoff_t index,
				    pgoff_t count)
{
	dax_trace_writeback_one(inode, index, count);
}

/* Pins by pin_user_pages(): as folio_maybe_dma_pinned() counts them. */
unsigned int rust_fsdax_folio_pins(struct folio *folio)
{
	if (folio_test_large(folio))
		return atomic_read(&folio->_pincount);
	return folio_ref_count(folio) / GUP_PIN_COUNTING_BIAS;
}

unsigned long rust_fsdax_jiffies(void)
{
	return jiffies;
}

unsigned int rust_fsdax_jiffies_to_msecs(unsigned long j)
{
	return jiffies_to_msecs(j);
}

/* @comm has room for TASK_COMM_LEN bytes. */
void rust_fsdax_task_comm(char *comm)
{
	strscpy_pad(comm, current->comm, TASK_COMM_LEN);
}

bool rust_fsdax_seq_has_overflowed(struct seq_file *m)
{
	return seq_has_overflowed(m);
}

struct dentry *rust_fsdax_debugfs_create_dir(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

void rust_fsdax_debugfs_create_file(const char *name, struct dentry *parent,
				    const struct file_operations *fops)
{
	debugfs_create_file(name, 0400, parent, NULL, fops);
}

void rust_fsdax_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}

bool rust_fsdax_trylock_umount(struct super_block *sb)
{
	return down_read_trylock(&sb->s_umount);
}

bool rust_fsdax_sb_active(struct super_block *sb)
{
	return sb->s_flags & SB_ACTIVE;
}

/*
 * All references, those of the pages included. Negative as long as some are
 * counted per CPU, which ends soon after the pgmap was killed: the count is
 * then near the bias of a percpu_ref, LONG_MIN. It may be on either side, as
 * what was taken per CPU may be put after the kill.
 */
long rust_fsdax_pgmap_count(struct dev_pagemap *pgmap)
{
	long count = atomic_long_read(&pgmap->ref.data->count);

	return count <= LONG_MAX / 2 ? count : -1;
}

bool rust_fsdax_module_get(void)
{
	return try_module_get(THIS_MODULE);
}

void rust_fsdax_module_put(void)
{
	module_put(THIS_MODULE);
}
