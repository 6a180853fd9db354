// SPDX-License-Identifier: GPL-2.0
/* What a fault does that is more than one call. */
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/pgtable.h>
#include <linux/string.h>
#include <linux/uaccess.h>
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
