// SPDX-License-Identifier: GPL-2.0
/* What a read fault maps besides its own page. */
#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/cacheflush.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>
#include <linux/sizes.h>
#include <linux/userfaultfd_k.h>
#include "functions.h"

/* As much as fault_around_bytes of mm/memory.c is at first. */
#define AROUND_BYTES	SZ_64K

static_assert(AROUND_BYTES / PAGE_SIZE <= RUST_FSDAX_AROUND_PAGES);

/* Whether what is mapped here concerns nobody but who maps it. */
static bool may_map_around(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;

	if (vmf->flags & FAULT_FLAG_WRITE)
		return false;
	if (vma->vm_flags & (VM_RAND_READ | VM_SYNC))
		return false;
	if (userfaultfd_armed(vma))
		return false;
	/* Whoever cleared the bits wants to know who comes. */
	return !pgtable_supports_soft_dirty() || vma->vm_flags & VM_SOFTDIRTY;
}

/* The end of what a fault may map: all of that has the same page table. */
static unsigned long around_end(const struct vm_fault *vmf)
{
	return min(ALIGN((vmf->address & PAGE_MASK) + 1, AROUND_BYTES),
		   vmf->vma->vm_end);
}

/**
 * rust_fsdax_vmf_around() - which pages a read fault may map besides its own
 * @vmf: the fault
 *
 * These are such that nothing is mapped at, behind that of the fault in the same
 * 64 KiB of the address space and in the same mapping, if the two pages before it
 * are mapped: then somebody reads one page after the other, while one neighbour
 * may be chance.  These have to have the same page table.
 *
 * It looks, and holds nothing: all of this may change at once.
 *
 * Context: Process context, with the vma locked.
 * Return: A bit for each page from that of the fault on, which has none itself.
 */
u32 rust_fsdax_vmf_around(struct vm_fault *vmf)
{
	const unsigned long address = vmf->address & PAGE_MASK;
	unsigned long end, at;
	u32 around = 0;
	pmd_t pmd;
	pte_t *pte;

	if (!may_map_around(vmf) ||
	    address - vmf->vma->vm_start < 2 * PAGE_SIZE || pte_index(address) < 2)
		return 0;
	end = around_end(vmf);

	/* A page table is not freed meanwhile. */
	rcu_read_lock();
	pmd = pmdp_get_lockless(vmf->pmd);
	if (pmd_present(pmd) && !pmd_leaf(pmd)) {
		pte = pte_offset_kernel(&pmd, address);
		if (pte_present(ptep_get_lockless(pte - 1)) &&
		    pte_present(ptep_get_lockless(pte - 2))) {
			for (at = address + PAGE_SIZE; at < end; at += PAGE_SIZE)
				if (pte_none(ptep_get_lockless(++pte)))
					around |= 1U << ((at - address) >> PAGE_SHIFT);
		}
	}
	rcu_read_unlock();
	return around;
}

/**
 * rust_fsdax_map_around() - map pages besides that of a read fault
 * @vmf: the fault, whose own page is mapped
 * @page: that of the fault
 * @around: which, as rust_fsdax_vmf_around() said
 *
 * These follow on @page in the memmap, and stay during the call.  Where something
 * is mapped since, it stays.  Those that the mapping or its 64 KiB have not are
 * left out.
 *
 * Context: Process context, with the vma locked.
 * Return: How many were mapped.
 */
unsigned int rust_fsdax_map_around(struct vm_fault *vmf, struct page *page,
				   u32 around)
{
	const unsigned int pages = (around_end(vmf) - (vmf->address & PAGE_MASK)) >>
				   PAGE_SHIFT;
	const unsigned long all = around & GENMASK(pages - 1, 0);
	unsigned long good = 0;
	unsigned int n;

	/*
	 * Where caches have to be synchronized for code, each page that is mapped has
	 * that done for all of its folio: too long under the lock of a page table.
	 */
	if (ARCH_IMPLEMENTS_FLUSH_DCACHE_PAGE && vmf->vma->vm_flags & VM_EXEC &&
	    folio_test_large(page_folio(page)))
		return 0;
	for_each_set_bit(n, &all, RUST_FSDAX_AROUND_PAGES)
		if (!PageHWPoison(page + n))
			good |= 1UL << n;
	return rust_fsdax_insert_pages_around(vmf, page, good);
}
