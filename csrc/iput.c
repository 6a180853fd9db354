// SPDX-License-Identifier: GPL-2.0
/*
 * Dropping a reference to an inode without waiting for its eviction.
 *
 * An eviction may wait for whoever pins a page of the file, or for the thaw of
 * the file system, for which s_umount is needed. Where the last reference must
 * be dropped under s_umount, a work item does it later.
 */
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "functions.h"

struct late_iput {
	struct work_struct work;
	struct inode *inode;
};

static struct workqueue_struct *late_iputs;

int rust_fsdax_iput_init(void)
{
	late_iputs = alloc_workqueue("rust_fsdax_iput", WQ_UNBOUND, 0);
	return late_iputs ? 0 : -ENOMEM;
}

/*
 * Each item keeps its superblock active, hence bound, hence the module loaded,
 * unless it is that of all DAX devices, which is always there. What is waited
 * for here are functions that are about to return, or such items.
 */
void rust_fsdax_iput_exit(void)
{
	destroy_workqueue(late_iputs);
}

static void late_iput(struct work_struct *work)
{
	struct late_iput *late = container_of(work, struct late_iput, work);
	struct super_block *sb = late->inode->i_sb;

	iput(late->inode);
	kfree(late);
	deactivate_super(sb);
}

/* As iput_final() decides. */
static bool stays_cached(struct inode *inode)
{
	const struct super_operations *op = inode->i_sb->s_op;
	bool drop;

	spin_lock(&inode->i_lock);
	drop = op->drop_inode ? op->drop_inode(inode) :
				inode_generic_drop(inode);
	drop |= !!(inode_state_read(inode) & I_DONTCACHE);
	spin_unlock(&inode->i_lock);
	return !drop;
}

/*
 * s_umount is held for reading, and the superblock is active. What is unlinked
 * between the two looks at it may still be evicted here; that is no worse than
 * for the walks of the VFS, and a file system that is frozen has no unlinks.
 */
void rust_fsdax_iput_mounted(struct inode *inode)
{
	struct late_iput *late;

	if (atomic_add_unless(&inode->i_count, -1, 1))
		return;
	if (stays_cached(inode)) {
		iput(inode);
		return;
	}
	late = kmalloc(sizeof(*late), GFP_KERNEL | __GFP_NOFAIL);
	late->inode = inode;
	INIT_WORK(&late->work, late_iput);
	/* It is not 0: only who holds s_umount for writing drops the last one. */
	atomic_inc(&inode->i_sb->s_active);
	queue_work(late_iputs, &late->work);
}
