// SPDX-License-Identifier: GPL-2.0
/* Inlines and macros of the kernel for Rust: one each. */
#include <linux/cacheflush.h>
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

void *rust_fsdax_xas_next(struct xa_state *xas)
{
	return xas_next(xas);
}

void *rust_fsdax_xas_next_marked(struct xa_state *xas, unsigned long max,
				 xa_mark_t mark)
{
	return xas_next_marked(xas, max, mark);
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

void rust_fsdax_flush_dcache_folio(struct folio *folio)
{
	flush_dcache_folio(folio);
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

void rust_fsdax_unlock_umount(struct super_block *sb)
{
	up_read(&sb->s_umount);
}

void rust_fsdax_cond_resched(void)
{
	cond_resched();
}

bool rust_fsdax_irqs_disabled(void)
{
	return irqs_disabled();
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

u64 rust_fsdax_iomap_length(const struct iomap_iter *iter)
{
	return iomap_length(iter);
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
