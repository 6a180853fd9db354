// SPDX-License-Identifier: GPL-2.0
/* What a fault does that is more than one call. */
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/pgtable.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>
#include "functions.h"

/**
 * rust_fsdax_vmf_pmd_table() - whether there is a page table for a fault
 * @vmf: the fault
 */
bool rust_fsdax_vmf_pmd_table(struct vm_fault *vmf)
{
	pmd_t pmd = pmdp_get(vmf->pmd);

	return !pmd_none(pmd) && !pmd_trans_huge(pmd);
}

/**
 * rust_fsdax_vmf_pud_fits() - whether a fault may be served by a huge pud
 * @vmf: the fault
 *
 * Private mappings cannot: what fork() and copies do with them knows none. Nor
 * can what is not accessible, which x86 cannot say of a huge pud, or what is
 * watched for writes, by userfaultfd or soft-dirty bits: whoever reads them walks
 * over pmds, and has a huge pud dropped before it is seen.
 */
bool rust_fsdax_vmf_pud_fits(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = vmf->address & PUD_MASK;
	pud_t pud = pudp_get(vmf->pud);

	/* Another fault may have fallen back, and had a page table put there. */
	if (!pud_none(pud) && !pud_trans_huge(pud))
		return false;
	/* That of a file that is open for reading only is shared, too. */
	if (!(vma->vm_flags & VM_MAYSHARE) || !vma_is_accessible(vma))
		return false;
	if (start < vma->vm_start || vma->vm_end - start < PUD_SIZE)
		return false;
	/* The page table and the file must agree on what a pud is. */
	if ((vmf->pgoff ^ (vmf->address >> PAGE_SHIFT)) &
	    ((PUD_SIZE - 1) >> PAGE_SHIFT))
		return false;
	if (userfaultfd_armed(vma) ||
	    (pgtable_supports_soft_dirty() && !(vma->vm_flags & VM_SOFTDIRTY)))
		return false;
#ifdef CONFIG_X86
	return boot_cpu_has(X86_FEATURE_GBPAGES);
#else
	return true;
#endif
}

/**
 * rust_fsdax_insert_folio_pud() - map a folio of 1 GiB
 * @vmf: the fault
 * @folio: one that stays
 * @write: whether it is that of a store
 */
vm_fault_t rust_fsdax_insert_folio_pud(struct vm_fault *vmf,
				       struct folio *folio, bool write)
{
#ifdef CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
	return vmf_insert_folio_pud(vmf, folio, write);
#else
	return VM_FAULT_FALLBACK;
#endif
}

/**
 * rust_fsdax_copy_page_mc() - copy a page that may be bad
 * @to: a page that the kernel has mapped
 * @from: another one, or NULL: the page is a hole so far
 *
 * Return: 0 or -EIO.
 */
int rust_fsdax_copy_page_mc(void *to, const void *from)
{
	if (!from) {
		memset(to, 0, PAGE_SIZE);
		return 0;
	}
	return copy_mc_to_kernel(to, from, PAGE_SIZE) ? -EIO : 0;
}

/**
 * rust_fsdax_copy_cow_page() - fill the page of a private copy
 * @vmf: the fault, which has one
 * @kaddr: where the kernel has the page to copy
 */
void rust_fsdax_copy_cow_page(struct vm_fault *vmf, void *kaddr)
{
	void *to = kmap_local_page(vmf->cow_page);

	copy_user_page(to, kaddr, vmf->address, vmf->cow_page);
	kunmap_local(to);
}
