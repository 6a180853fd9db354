// SPDX-License-Identifier: GPL-2.0
/* The list of inodes of a superblock. */
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/pagemap.h>
#include <linux/spinlock.h>
#include "functions.h"

/**
 * rust_fsdax_next_inode() - reference the next file of a superblock
 * @sb: one that is active, with s_umount held
 * @at: the inode behind which to begin, which is referenced; NULL: the first
 * @most: how many inodes to look at, if they are others
 * @is_file: set to whether what is returned is a DAX file with entries
 *
 * Inodes that go away are left out.
 *
 * Context: Process context. Takes the lock of the list.
 * Return: the next DAX file with entries, or any inode behind @most others, to
 * keep the place while the list is not locked; NULL at the end.
 */
struct inode *rust_fsdax_next_inode(struct super_block *sb, struct inode *at,
				    unsigned int most, bool *is_file)
{
	struct inode *inode, *found = NULL;
	unsigned int passed = 0;

	lockdep_assert_held(&sb->s_umount);
	spin_lock(&sb->s_inode_list_lock);
	inode = list_prepare_entry(at, &sb->s_inodes, i_sb_list);
	list_for_each_entry_continue(inode, &sb->s_inodes, i_sb_list) {
		passed++;
		*is_file = IS_DAX(inode) && !mapping_empty(inode->i_mapping);
		if (!*is_file && passed < most)
			continue;
		found = igrab(inode);
		if (found)
			break;
	}
	spin_unlock(&sb->s_inode_list_lock);
#ifdef RUST_FSDAX_KUNIT
	rust_fsdax_inodes_passed(passed);
#endif
	return found;
}

/* Whether files are cloned by the filesystem, which knows all that share a block. */
bool rust_fsdax_can_clone(const struct inode *inode)
{
	return inode->i_fop && inode->i_fop->remap_file_range;
}
