/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C inlines and macros of the kernel that Rust needs: one each, no logic. What
 * has some is in csrc/, and symbols of the series are in csrc/series.c.
 */
#ifndef RUST_FSDAX_HELPERS_H
#define RUST_FSDAX_HELPERS_H

#include <linux/cacheflush.h>
#include <linux/dax.h>
#include <linux/fsdax_provider.h>
#include <linux/iomap.h>
#include <linux/magic.h>
#include <linux/memremap_owner.h>
#include <linux/mm.h>
#include <linux/xarray.h>

/* xarray */
static const unsigned int RUST_FSDAX_XA_CHUNK_SHIFT = XA_CHUNK_SHIFT;
void rust_fsdax_xa_lock_irq(struct xarray *xa);
void rust_fsdax_xa_unlock_irq(struct xarray *xa);
void *rust_fsdax_xas_next_entry(struct xa_state *xas, unsigned long max);
void *rust_fsdax_xas_next(struct xa_state *xas);
void *rust_fsdax_xas_next_marked(struct xa_state *xas, unsigned long max,
				 xa_mark_t mark);

/* folios */
static const unsigned long RUST_FSDAX_PG_HEAD = 1UL << PG_head;
static const unsigned long RUST_FSDAX_PG_POISONED = __PG_HWPOISON;
static const unsigned int RUST_FSDAX_PMD_ORDER = PMD_SHIFT - PAGE_SHIFT;
static const unsigned int RUST_FSDAX_PUD_ORDER = PUD_SHIFT - PAGE_SHIFT;
static const bool RUST_FSDAX_HAS_PUD =
	IS_ENABLED(CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD) &&
	IS_ENABLED(CONFIG_HAVE_GIGANTIC_FOLIOS);
/* Whether a page has a flag that caches are synchronized for code in it. */
static const bool RUST_FSDAX_SYNCS_CODE = ARCH_IMPLEMENTS_FLUSH_DCACHE_PAGE;
void rust_fsdax_flush_dcache_folio(struct folio *folio);
struct page *rust_fsdax_pfn_to_page(unsigned long pfn);
unsigned long rust_fsdax_page_to_pfn(struct page *page);
void *rust_fsdax_pfn_to_virt(unsigned long pfn);
unsigned int rust_fsdax_folio_order(struct folio *folio);
void rust_fsdax_folio_put(struct folio *folio);
bool rust_fsdax_folio_try_get(struct folio *folio);
bool rust_fsdax_folio_ref_freeze(struct folio *folio, int count);
int rust_fsdax_folio_mapcount(struct folio *folio);

/* pgmaps */
static const unsigned int RUST_FSDAX_PGMAP_SHAPED = PGMAP_SHAPED;
bool rust_fsdax_pgmap_is_owned(struct dev_pagemap *pgmap);
bool rust_fsdax_pgmap_tryget_live(struct dev_pagemap *pgmap);
void rust_fsdax_pgmap_put(struct dev_pagemap *pgmap);
struct page *rust_fsdax_compound_head(struct page *page);
struct dev_pagemap *rust_fsdax_pfn_pgmap(unsigned long pfn);

/* files */
void rust_fsdax_mapping_set_error(struct address_space *mapping, int error);
bool rust_fsdax_mapping_empty(struct address_space *mapping);
void rust_fsdax_unlock_umount(struct super_block *sb);
void rust_fsdax_cond_resched(void);
bool rust_fsdax_irqs_disabled(void);

/* faults */
bool rust_fsdax_vmf_pmd_huge(struct vm_fault *vmf);
static const unsigned long RUST_FSDAX_VM_SYNC = VM_SYNC;
static const unsigned long RUST_FSDAX_VM_SHARED = VM_SHARED;
unsigned long rust_fsdax_zero_pfn(unsigned long address);
void rust_fsdax_clear_cow_page(struct vm_fault *vmf);
void rust_fsdax_set_cow_uptodate(struct vm_fault *vmf);
vm_fault_t rust_fsdax_vmf_error(int error);
u64 rust_fsdax_iomap_length(const struct iomap_iter *iter);

/* what debugfs shows */
unsigned long rust_fsdax_jiffies(void);
unsigned int rust_fsdax_jiffies_to_msecs(unsigned long j);
void rust_fsdax_task_comm(char *comm);
bool rust_fsdax_seq_has_overflowed(struct seq_file *m);
struct dentry *rust_fsdax_debugfs_create_dir(const char *name);
void rust_fsdax_debugfs_create_file(const char *name, struct dentry *parent,
				    const struct file_operations *fops);
void rust_fsdax_debugfs_remove(struct dentry *dentry);

/* superblocks */
bool rust_fsdax_trylock_umount(struct super_block *sb);
bool rust_fsdax_sb_active(struct super_block *sb);

/* references to the module */
bool rust_fsdax_module_get(void);
void rust_fsdax_module_put(void);

#endif /* RUST_FSDAX_HELPERS_H */
