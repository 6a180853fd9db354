// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to make a page of device memory a folio and to give it back:
 * zone_device_page_init() and folio_put() beside pgmap_request_folio() and
 * folio_put(), on the same pages of the same pgmap. Runs when it is loaded; the
 * results are its parameters, in ticks of the TSC.
 */
#include <linux/err.h>
#include <linux/io.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pgmap.h>
#include <linux/sizes.h>
#include <linux/sort.h>
#include <asm/tsc.h>

#define PMD_PAGES	(PMD_SIZE / PAGE_SIZE)
#define FOLIOS		64

static ulong base;
module_param(base, ulong, 0444);
MODULE_PARM_DESC(base, "128 MiB of reserved memory");

static ulong c_0, c_9, rust_0, rust_9;
module_param(c_0, ulong, 0444);
MODULE_PARM_DESC(c_0, "zone_device_page_init(), order 0");
module_param(c_9, ulong, 0444);
MODULE_PARM_DESC(c_9, "zone_device_page_init(), order 9");
module_param(rust_0, ulong, 0444);
MODULE_PARM_DESC(rust_0, "pgmap_request_folio(), order 0");
module_param(rust_9, ulong, 0444);
MODULE_PARM_DESC(rust_9, "pgmap_request_folio(), order 9");

static struct dev_pagemap pgmap;
static u64 taken[FOLIOS];

/* Nobody frees for FS_DAX what zone_device_page_init() takes of the pgmap. */
static int use_c(unsigned long offset, unsigned int order)
{
	struct page *page = pfn_to_page(PHYS_PFN(base) + offset);

	zone_device_page_init(page, &pgmap, order);
	unlock_page(page);
	folio_put(page_folio(page));
	percpu_ref_put_many(&pgmap.ref, 1UL << order);
	return 0;
}

static int use_rust(unsigned long offset, unsigned int order)
{
	struct folio *folio = pgmap_request_folio(&pgmap, offset, order);

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	folio_put(folio);
	return 0;
}

static int use_none(unsigned long offset, unsigned int order)
{
	return 0;
}

static int by_value(const void *a, const void *b)
{
	const u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

/* The median; the first round has the pages as another one left them. */
static int measure(int (*use)(unsigned long offset, unsigned int order), unsigned int order,
		   ulong *result)
{
	int err;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < FOLIOS; i++) {
			const u64 from = rdtsc();

			err = use((unsigned long)i << order, order);
			taken[i] = rdtsc() - from;
			if (err)
				return err;
		}
	}
	sort(taken, FOLIOS, sizeof(taken[0]), by_value, NULL);
	*result = taken[FOLIOS / 2];
	return 0;
}

/* fs/dax.c leaves pages without order, and so do we for the one that comes next. */
static void reset_pages(void)
{
	for (unsigned long i = 0; i < FOLIOS * PMD_PAGES; i++)
		use_c(i, 0);
}

static int measure_all(void)
{
	ulong empty = 0;
	int err;

	err = measure(use_none, 0, &empty);
	if (!err)
		err = measure(use_c, 0, &c_0);
	if (!err)
		err = measure(use_rust, 0, &rust_0);
	if (!err)
		err = measure(use_rust, PMD_ORDER, &rust_9);
	if (!err)
		err = measure(use_c, PMD_ORDER, &c_9);
	reset_pages();
	c_0 -= empty;
	c_9 -= empty;
	rust_0 -= empty;
	rust_9 -= empty;
	return err;
}

static int __init folio_bench_init(void)
{
	int err;
	void *at;

	if (!base || !IS_ALIGNED(base, SZ_128M))
		return -EINVAL;
	pgmap.type = MEMORY_DEVICE_FS_DAX;
	pgmap.nr_range = 1;
	pgmap.range.start = base;
	pgmap.range.end = base + SZ_128M - 1;
	at = memremap_pages(&pgmap, NUMA_NO_NODE);
	if (IS_ERR(at))
		return PTR_ERR(at);
	err = measure_all();
	memunmap_pages(&pgmap);
	return err;
}

static void __exit folio_bench_exit(void)
{
}

module_init(folio_bench_init);
module_exit(folio_bench_exit);
MODULE_DESCRIPTION("Cost of folios of device memory");
MODULE_LICENSE("GPL");
