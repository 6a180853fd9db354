// SPDX-License-Identifier: GPL-2.0
/*
 * What only a kernel with the series has, one function for each. All of it is
 * weak, so that the module can say in one line what is missing instead of being
 * refused with one line per symbol.
 */
#include <linux/dax.h>
#include <linux/fsdax_provider.h>
#include <linux/huge_mm.h>
#include <linux/iomap.h>
#include <linux/memcontrol.h>
#include <linux/memremap_owner.h>
#include <linux/mm.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>
#include "functions.h"

#ifdef CONFIG_MEMCG
#pragma weak count_memcg_events
#endif
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
#pragma weak vmf_insert_pages_around
#pragma weak xas_replace

void prep_compound_page(struct page *page, unsigned int order);

/*
 * That a name is there is asked of addresses in memory: what code itself can say
 * is near the code on some architectures, which 0 is not.
 */
static const void *const needed[] = {
#ifdef CONFIG_MEMCG
	count_memcg_events,
#endif
	dax_entry_mkclean,
	dax_register_provider,
	dax_trace_insert_pfn_mkwrite,
	dax_trace_load_hole,
	dax_trace_pmd_load_hole,
	dax_trace_writeback_one,
	dax_unregister_provider,
	finish_fault,
	fsdax_register_folio_ops,
	fsdax_unregister_folio_ops,
	iomap_iter,
	iomap_iter_advance,
	mm_get_huge_zero_folio,
	next_dev_pagemap,
	prep_compound_page,
	tryget_dev_pagemap,
	vmf_insert_pages_around,
	xas_replace,
};

bool rust_fsdax_kernel_has_series(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!READ_ONCE(needed[i]))
			return false;
	return true;
}

void *rust_fsdax_xas_replace(struct xa_state *xas, void *entry)
{
	return xas_replace(xas, entry);
}

unsigned int rust_fsdax_insert_pages_around(struct vm_fault *vmf,
					    struct page *page,
					    unsigned long pages)
{
	return vmf_insert_pages_around(vmf, page, pages);
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

/**
 * rust_fsdax_count_major_fault() - count a fault that had a block allocated
 * @vmf: the fault
 */
void rust_fsdax_count_major_fault(struct vm_fault *vmf)
{
	count_vm_event(PGMAJFAULT);
	count_memcg_event_mm(vmf->vma->vm_mm, PGMAJFAULT);
}
