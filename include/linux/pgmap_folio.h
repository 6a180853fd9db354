/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Folios of FS_DAX memory that keep their struct dev_pagemap, and the entries
 * of files that name them. Provided by rust_fsdax.
 */
#ifndef _LINUX_PGMAP_FOLIO_H
#define _LINUX_PGMAP_FOLIO_H

#include <linux/types.h>

struct address_space;
struct dev_pagemap;
struct folio;
struct inode;

/**
 * pgmap_request_folio() - activate a free folio of a dev_pagemap
 * @pgmap: a MEMORY_DEVICE_FS_DAX dev_pagemap that stays mapped during the call
 * @offset: page offset into @pgmap, counted over its ranges, without the head
 *	of the first range that an altmap reserves
 * @order: 0 or PMD_ORDER
 *
 * The memory is not that of a superblock which fs/dax.c serves. The folio gets
 * @order, if it has another one, and a reference count of 1. It holds one
 * reference to @pgmap until its count reaches 0 again, whoever drops the last
 * reference: memunmap_pages() waits for that. rust_fsdax cannot be unloaded
 * before, even if the caller is.
 *
 * Context: Any context but hardirq and NMI. Does not sleep.
 * Return: the folio, or an ERR_PTR:
 * -EINVAL if @order is not supported, @offset is not aligned to it, or @pgmap
 * has another type; -ERANGE if the folio is not inside one range of @pgmap;
 * -ENXIO if @pgmap is being torn down; -EBUSY if any page of it is in use.
 */
struct folio *pgmap_request_folio(struct dev_pagemap *pgmap,
				  unsigned long offset, unsigned int order);

/**
 * pgmap_release_folio() - drop a reference to a folio
 * @folio: what pgmap_request_folio() returned
 *
 * Same as folio_put(). The folio is free when nobody else has a reference.
 *
 * Context: Any context.
 */
void pgmap_release_folio(struct folio *folio);

/**
 * fsdax_break() - wait until nobody uses the pages of a file range
 * @inode: a DAX file
 * @start: first byte
 * @end: last byte, LLONG_MAX for the end of the file
 * @cb: drops the lock that keeps page faults out, calls schedule(), and takes
 *	it again; NULL to return instead of sleeping
 *
 * Unmaps the range, waits until its folios are idle, and removes the entries.
 * When that fails the entries of all folios that are in use and of all that
 * are dirty are still there, with their marks; without @cb so are the others.
 * To be called with the lock held that @cb drops; the blocks of the range may
 * be freed until it is dropped for good.
 *
 * Context: Process context, may sleep.
 * Return: 0, -ERESTARTSYS if a folio is in use and @cb is NULL, or if a signal
 * interrupted the wait, or -EOPNOTSUPP if rust_fsdax does not serve the mount.
 */
int fsdax_break(struct inode *inode, loff_t start, loff_t end,
		void (*cb)(struct inode *));

/**
 * fsdax_break_final() - wait until nobody uses the pages of a file
 * @inode: a DAX file that is being evicted
 *
 * Waits as long as it takes, and says in the log for what after 10 seconds.
 *
 * Context: Process context, may sleep.
 */
void fsdax_break_final(struct inode *inode);

/**
 * fsdax_insert_entry() - make a file track the folio of a block
 * @mapping: mapping of a DAX file
 * @index: page offset in the file, aligned to @order
 * @pfn: first pfn of the block, aligned to @order
 * @order: 0 or PMD_ORDER
 *
 * Requests the folio, unless the entry at @index has it already. The entry
 * holds one reference to it until it is broken or deleted.
 *
 * Context: Process context, may sleep.
 * Return: 0, or -EINVAL for an unsupported order or alignment, -ENOMEM,
 * -EEXIST if there is another entry in the range, -EBUSY if any page of the
 * folio is in use elsewhere, -ERANGE if it is not FS_DAX memory of one range,
 * -ENXIO if the device is going away, -EOPNOTSUPP if rust_fsdax does not serve
 * the mount.
 */
int fsdax_insert_entry(struct address_space *mapping, unsigned long index,
		       unsigned long pfn, unsigned int order);

/**
 * fsdax_delete_entry() - remove an entry and drop its folio reference
 * @mapping: mapping of a DAX file
 * @index: page offset in the file
 *
 * Unmaps the entry first. If its folio is in use the entry loses its reference
 * but stays, so that a later call or layout break finds it.
 *
 * Context: Process context, may sleep.
 * Return: 0, -ENOENT if there is no entry, -EBUSY, or -EOPNOTSUPP if
 * rust_fsdax does not serve the mount.
 */
int fsdax_delete_entry(struct address_space *mapping, unsigned long index);

#endif /* _LINUX_PGMAP_FOLIO_H */
