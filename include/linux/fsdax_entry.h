/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The entries of files that rust_fsdax serves. Their folios are had from the
 * kernel, see linux/pgmap.h.
 */
#ifndef _LINUX_FSDAX_ENTRY_H
#define _LINUX_FSDAX_ENTRY_H

#include <linux/types.h>

struct address_space;
struct inode;

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

#endif /* _LINUX_FSDAX_ENTRY_H */
