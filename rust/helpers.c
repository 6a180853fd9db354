// SPDX-License-Identifier: GPL-2.0
/* Inlines and macros for Rust, and symbols of the series: one call each. */
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/string.h>
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
#pragma weak next_dev_pagemap
#pragma weak prep_compound_page
#pragma weak tryget_dev_pagemap
#pragma weak xas_replace

void prep_compound_page(struct page *page, unsigned int order);

void rust_fsdax_xa_lock_irq(struct xarray *xa)
{
	xa_lock_irq(xa);
}

void rust_fsdax_xa_unlock_irq(struct xarray *xa)
{
	xa_unlock_irq(xa);
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

void *rust_fsdax_xas_replace(struct xa_state *xas, void *entry)
{
	return xas_replace(xas, entry);
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

int rust_fsdax_folio_mapcount(struct folio *folio)
{
	return folio_mapcount(folio);
}

bool rust_fsdax_pgmap_is_owned(struct dev_pagemap *pgmap)
{
	return pgmap_is_owned(pgmap);
}

bool rust_fsdax_pgmap_tryget_live(struct dev_pagemap *pgmap)
{
	return percpu_ref_tryget_live(&pgmap->ref);
}

void rust_fsdax_pgmap_put(struct dev_pagemap *pgmap)
{
	put_dev_pagemap(pgmap);
}

struct page *rust_fsdax_compound_head(struct page *page)
{
	return compound_head(page);
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

bool rust_fsdax_can_clone(const struct inode *inode)
{
	return inode->i_fop && inode->i_fop->remap_file_range;
}

void rust_fsdax_unlock_umount(struct super_block *sb)
{
	up_read(&sb->s_umount);
}

void rust_fsdax_cond_resched(void)
{
	cond_resched();
}

bool rust_fsdax_vmf_pmd_huge(struct vm_fault *vmf)
{
	return pmd_trans_huge(pmdp_get(vmf->pmd));
}

unsigned long rust_fsdax_zero_pfn(unsigned long address)
{
	return zero_pfn(address);
}

void rust_fsdax_clear_cow_page(struct vm_fault *vmf)
{
	clear_user_highpage(vmf->cow_page, vmf->address);
}

void rust_fsdax_set_cow_uptodate(struct vm_fault *vmf)
{
	__SetPageUptodate(vmf->cow_page);
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
	       tryget_dev_pagemap && next_dev_pagemap && dax_entry_mkclean &&
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

struct dev_pagemap *rust_fsdax_next_dev_pagemap(unsigned long *pfn)
{
	return next_dev_pagemap(pfn);
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

bool rust_fsdax_module_get(void)
{
	return try_module_get(THIS_MODULE);
}

void rust_fsdax_module_put(void)
{
	module_put(THIS_MODULE);
}
