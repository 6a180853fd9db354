/* SPDX-License-Identifier: GPL-2.0 */
/* What is written in C for Rust, and the other way round; see the .c files. */
#ifndef RUST_FSDAX_FUNCTIONS_H
#define RUST_FSDAX_FUNCTIONS_H

#include <linux/list.h>
#include <linux/memremap_owner.h>
#include <linux/mm.h>
#include <linux/timer.h>
#include <linux/wait_bit.h>
#include <linux/xarray.h>

struct address_space;
struct dax_provider_ops;
struct inode;
struct iomap_iter;
struct iomap_ops;
struct super_block;

/* alarm.c */
struct rust_fsdax_alarm {
	struct timer_list timer;
	struct task_struct *task;
};

void rust_fsdax_alarm_init(struct rust_fsdax_alarm *alarm);
void rust_fsdax_alarm_set(struct rust_fsdax_alarm *alarm, unsigned int ms);
bool rust_fsdax_alarm_rang(struct rust_fsdax_alarm *alarm);
void rust_fsdax_alarm_delete(struct rust_fsdax_alarm *alarm);

/* around.c */
/* So many pages are at most mapped by a read fault, with its own. */
#define RUST_FSDAX_AROUND_PAGES	16

u32 rust_fsdax_vmf_around(struct vm_fault *vmf);
unsigned int rust_fsdax_map_around(struct vm_fault *vmf, struct page *page,
				   u32 around);

/* breaks.c */
struct rust_fsdax_sleeper {
	struct hlist_node node;
	struct address_space *mapping;
};

void rust_fsdax_breaks_init(void);
void rust_fsdax_sleeper_add(struct rust_fsdax_sleeper *sleeper,
			    struct address_space *mapping);
void rust_fsdax_sleeper_del(struct rust_fsdax_sleeper *sleeper);
bool rust_fsdax_is_breaking(struct address_space *mapping);

/* fault.c */
bool rust_fsdax_vmf_pmd_table(struct vm_fault *vmf);
bool rust_fsdax_vmf_pud_fits(struct vm_fault *vmf);
vm_fault_t rust_fsdax_insert_folio_pud(struct vm_fault *vmf,
				       struct folio *folio, bool write);
int rust_fsdax_copy_page_mc(void *to, const void *from);
void rust_fsdax_copy_cow_page(struct vm_fault *vmf, void *kaddr);

/* folio.c */
void rust_fsdax_reset_head(struct folio *folio);
unsigned int rust_fsdax_folio_pins(struct folio *folio);
unsigned long rust_fsdax_pgmap_head(struct dev_pagemap *pgmap);
long rust_fsdax_pgmap_count(struct dev_pagemap *pgmap);
bool rust_fsdax_ratelimit(void);

/* folio_lock.c */
int rust_fsdax_folio_locks_init(void);
void rust_fsdax_folio_locks_exit(void);
unsigned long rust_fsdax_folio_lock(unsigned long pfn);
void rust_fsdax_folio_unlock(unsigned long pfn, unsigned long flags);

/* inodes.c */
struct inode *rust_fsdax_next_inode(struct super_block *sb, struct inode *at,
				    unsigned int most, bool *is_file);
bool rust_fsdax_can_clone(const struct inode *inode);

/* iput.c */
int rust_fsdax_iput_init(void);
void rust_fsdax_iput_exit(void);
void rust_fsdax_iput_mounted(struct inode *inode);

/* owner.c; the functions are in src/provider/owner.rs */
extern const struct fsdax_folio_ops rust_fsdax_folio_ops;

#ifndef __BINDGEN__
void rust_fsdax_folio_free(struct folio *folio, struct dev_pagemap *pgmap);
void rust_fsdax_pgmap_dying(struct dev_pagemap *pgmap);
struct folio *rust_fsdax_folio_request(struct dev_pagemap *pgmap,
				       unsigned long offset, unsigned int order);
#endif

/* percpu.c */
u64 __percpu *rust_fsdax_percpu_alloc(unsigned int count);
void rust_fsdax_percpu_free(u64 __percpu *words);
void rust_fsdax_percpu_inc(u64 __percpu *words, unsigned long i);
u64 rust_fsdax_percpu_sum(u64 __percpu *words, unsigned long i);

/* series.c */
bool rust_fsdax_kernel_has_series(void);
void rust_fsdax_count_major_fault(struct vm_fault *vmf);
int rust_fsdax_register_folio_ops(const struct fsdax_folio_ops *ops);
void rust_fsdax_unregister_folio_ops(const struct fsdax_folio_ops *ops);
int rust_fsdax_register_provider(const struct dax_provider_ops *ops);
void rust_fsdax_unregister_provider(const struct dax_provider_ops *ops);
struct dev_pagemap *rust_fsdax_tryget_dev_pagemap(unsigned long pfn);
struct dev_pagemap *rust_fsdax_next_dev_pagemap(unsigned long *pfn);
void rust_fsdax_entry_mkclean(struct address_space *mapping, pgoff_t index,
			      unsigned long pfn, unsigned long count);
void rust_fsdax_prep_compound_page(struct page *page, unsigned int order);
vm_fault_t rust_fsdax_finish_fault(struct vm_fault *vmf);
int rust_fsdax_iomap_iter(struct iomap_iter *iter, const struct iomap_ops *ops);
int rust_fsdax_iomap_iter_advance(struct iomap_iter *iter, u64 count);
struct folio *rust_fsdax_huge_zero_folio(struct vm_fault *vmf);
void rust_fsdax_trace_load_hole(struct inode *inode, struct vm_fault *vmf,
				vm_fault_t ret);
void rust_fsdax_trace_pmd_load_hole(struct inode *inode, struct vm_fault *vmf,
				    struct folio *zero_folio,
				    unsigned long value);
void rust_fsdax_trace_insert_pfn_mkwrite(struct inode *inode,
					 struct vm_fault *vmf, bool has_entry,
					 vm_fault_t ret);
void rust_fsdax_trace_writeback_one(struct inode *inode, pgoff_t index,
				    pgoff_t count);
void *rust_fsdax_xas_replace(struct xa_state *xas, void *entry);
unsigned int rust_fsdax_insert_pages_around(struct vm_fault *vmf,
					    struct page *page,
					    unsigned long pages);
#ifndef __BINDGEN__
/* Of mm/internal.h. */
unsigned int vmf_insert_pages_around(struct vm_fault *vmf, struct page *page,
				     unsigned long pages);
#endif

/* sleep.c */
void rust_fsdax_wait_init(struct wait_bit_queue_entry *entry,
			  struct wait_bit_key key, unsigned int flags);
void rust_fsdax_wake(struct wait_queue_head *queue, struct wait_bit_key key);

/* slot.c */
bool rust_fsdax_xas_has_mark(struct xa_state *xas, xa_mark_t mark);
void rust_fsdax_xas_clear_mark(struct xa_state *xas, xa_mark_t mark);
struct rust_fsdax_split;

struct rust_fsdax_split *rust_fsdax_split_alloc(struct xarray *xa,
						unsigned long index,
						void *value, gfp_t gfp);
void rust_fsdax_split_do(struct rust_fsdax_split *split, void *value);
void rust_fsdax_split_free(struct rust_fsdax_split *split);
bool rust_fsdax_xas_is_dirty(struct xa_state *xas);

#ifdef RUST_FSDAX_KUNIT
/* kunit.c */
unsigned long rust_fsdax_kunit_base(void);
unsigned long rust_fsdax_kunit_size(void);
void rust_fsdax_kunit_skip(const char *why);
void rust_fsdax_kunit_map_code(struct page *page);
bool rust_fsdax_kunit_forget_code(struct page *page);
bool rust_fsdax_pgmap_live(struct dev_pagemap *pgmap);
void rust_fsdax_inodes_passed(unsigned int passed);
unsigned int rust_fsdax_take_inodes_passed(void);
void rust_fsdax_list_lock(struct super_block *sb);
void rust_fsdax_list_unlock(struct super_block *sb);
#endif

#endif /* RUST_FSDAX_FUNCTIONS_H */
