// SPDX-License-Identifier: GPL-2.0
/*
 * A file system of one file, whose bytes are those of a DAX device that the
 * driver fsdev has. The mount point is the file:
 *
 *	echo dax1.0 > /sys/bus/dax/drivers/device_dax/unbind
 *	echo dax1.0 > /sys/bus/dax/drivers/fsdev_dax/new_id
 *	touch /mnt/file
 *	mount -t onefile -o size=67108864 /dev/dax1.0 /mnt/file
 *
 * It is for tests, and an example of what a file system has to do for DAX:
 * Documentation/new-filesystem.rst shows parts of it. Nothing of it is stored
 * but what is in the file, which has the size that the mount option says.
 */
#include <linux/cdev.h>
#include <linux/dax.h>
#include <linux/device.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fsdax_provider.h>
#include <linux/huge_mm.h>
#include <linux/iomap.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/writeback.h>

#define ONEFILE_MAGIC	0x6f6e6566

/* A mount, which holds its device. */
struct onefile {
	struct dax_device *dax_dev;	/* NULL until it is held */
	struct device *dev;	/* locked when its driver goes */
	u64 size;		/* of the file at first, and at most, in bytes */
	bool bound;		/* to a provider */
	bool gone;		/* its device may be that of another mount now */
	struct mutex lock;	/* keeps the inode */
	struct inode *inode;	/* the file, NULL before and after */
};

static int onefile_iomap_begin(struct inode *inode, loff_t pos, loff_t length,
			       unsigned int flags, struct iomap *iomap,
			       struct iomap *srcmap)
{
	struct onefile *one = inode->i_sb->s_fs_info;

	if (READ_ONCE(one->gone))
		return -EIO;
	iomap->type = IOMAP_MAPPED;
	iomap->dax_dev = one->dax_dev;
	/* Where the device ends, it says so itself. */
	iomap->addr = 0;
	iomap->offset = 0;
	iomap->length = S64_MAX;
	return 0;
}

static const struct iomap_ops onefile_iomap_ops = {
	.iomap_begin = onefile_iomap_begin,
};

static vm_fault_t onefile_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	bool write = vmf->flags & FAULT_FLAG_WRITE &&
		     vmf->vma->vm_flags & VM_SHARED;
	vm_fault_t ret;

	if (write) {
		sb_start_pagefault(inode->i_sb);
		file_update_time(vmf->vma->vm_file);
	}
	filemap_invalidate_lock_shared(inode->i_mapping);
	ret = dax_iomap_fault(vmf, order, NULL, NULL, &onefile_iomap_ops);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	if (write)
		sb_end_pagefault(inode->i_sb);
	return ret;
}

static vm_fault_t onefile_fault(struct vm_fault *vmf)
{
	return onefile_huge_fault(vmf, 0);
}

static const struct vm_operations_struct onefile_vm_ops = {
	.fault = onefile_fault,
	.huge_fault = onefile_huge_fault,
	.page_mkwrite = onefile_fault,
	.pfn_mkwrite = onefile_fault,
};

static int onefile_mmap_prepare(struct vm_area_desc *desc)
{
	file_accessed(desc->file);
	desc->vm_ops = &onefile_vm_ops;
	vma_desc_set_flags(desc, VMA_HUGEPAGE_BIT);
	return 0;
}

static ssize_t onefile_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	inode_lock_shared(inode);
	ret = dax_iomap_rw(iocb, to, &onefile_iomap_ops);
	inode_unlock_shared(inode);
	file_accessed(iocb->ki_filp);
	return ret;
}

/* Have zeroes where the file is going to grow: it may have been longer before. */
static int onefile_zero_gap(struct inode *inode, loff_t end)
{
	loff_t size = i_size_read(inode);

	if (end <= size)
		return 0;
	return dax_zero_range(inode, size, end - size, NULL,
			      &onefile_iomap_ops);
}

static ssize_t onefile_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	inode_lock(inode);
	ret = generic_write_checks(iocb, from);
	if (ret <= 0)
		goto out;
	ret = file_modified(iocb->ki_filp);
	if (!ret)
		ret = onefile_zero_gap(inode, iocb->ki_pos);
	if (ret)
		goto out;
	ret = dax_iomap_rw(iocb, from, &onefile_iomap_ops);
	if (ret > 0 && iocb->ki_pos > i_size_read(inode))
		i_size_write(inode, iocb->ki_pos);
out:
	inode_unlock(inode);
	return ret > 0 ? generic_write_sync(iocb, ret) : ret;
}

static int onefile_fsync(struct file *file, loff_t start, loff_t end,
			 int datasync)
{
	return file_write_and_wait_range(file, start, end);
}

static int onefile_writepages(struct address_space *mapping,
			      struct writeback_control *wbc)
{
	struct onefile *one = mapping->host->i_sb->s_fs_info;

	return dax_writeback_mapping_range(mapping, one->dax_dev, wbc);
}

static const struct address_space_operations onefile_aops = {
	.writepages = onefile_writepages,
	.dirty_folio = noop_dirty_folio,
};

/* Lets faults in while a break waits for a page. */
static void onefile_unlock_schedule_lock(struct inode *inode)
{
	filemap_invalidate_unlock(inode->i_mapping);
	schedule();
	filemap_invalidate_lock(inode->i_mapping);
}

/* Zeroes the bytes from @start on, up to @end and without it. */
static int onefile_punch(struct inode *inode, loff_t start, loff_t end)
{
	loff_t first = round_up(start, PAGE_SIZE);
	loff_t last = round_down(end, PAGE_SIZE) - 1;
	int error;

	error = dax_break_layout_range(inode, first, last, DAX_BREAK_DECIDE,
				       onefile_unlock_schedule_lock);
	if (error)
		return error;
	error = dax_zero_range(inode, start, end - start, NULL,
			       &onefile_iomap_ops);
	if (error)
		return dax_break_layout_range(inode, first, last,
					      DAX_BREAK_KEEP, NULL) ?: error;
	dax_delete_mapping_range(inode->i_mapping, first, last);
	return 0;
}

static long onefile_fallocate(struct file *file, int mode, loff_t offset,
			      loff_t length)
{
	struct inode *inode = file_inode(file);
	loff_t end;
	int error;

	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	inode_lock(inode);
	error = file_modified(file);
	end = min(offset + length, i_size_read(inode));
	if (!error && offset < end) {
		filemap_invalidate_lock(inode->i_mapping);
		error = onefile_punch(inode, offset, end);
		filemap_invalidate_unlock(inode->i_mapping);
	}
	inode_unlock(inode);
	return error;
}

static int onefile_truncate(struct inode *inode, loff_t size)
{
	int error;

	filemap_invalidate_lock(inode->i_mapping);
	if (size < i_size_read(inode))
		error = dax_break_layout_range(inode, round_up(size, PAGE_SIZE),
					       LLONG_MAX, DAX_BREAK_DISCARD,
					       onefile_unlock_schedule_lock);
	else
		error = onefile_zero_gap(inode, size);
	if (!error)
		truncate_setsize(inode, size);
	filemap_invalidate_unlock(inode->i_mapping);
	return error;
}

static int onefile_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
			   struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int error = setattr_prepare(idmap, dentry, attr);

	if (!error && attr->ia_valid & ATTR_SIZE)
		error = onefile_truncate(inode, attr->ia_size);
	if (!error)
		setattr_copy(idmap, inode, attr);
	return error;
}

static const struct inode_operations onefile_inode_ops = {
	.setattr = onefile_setattr,
};

static const struct file_operations onefile_file_ops = {
	.llseek = generic_file_llseek,
	.read_iter = onefile_read_iter,
	.write_iter = onefile_write_iter,
	.mmap_prepare = onefile_mmap_prepare,
	.get_unmapped_area = thp_get_unmapped_area,
	.fsync = onefile_fsync,
	.fallocate = onefile_fallocate,
};

static void onefile_evict_inode(struct inode *inode)
{
	struct onefile *one = inode->i_sb->s_fs_info;

	scoped_guard(mutex, &one->lock) {
		dax_break_layout_final(inode);
		one->inode = NULL;
	}
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
}

static const struct super_operations onefile_super_ops = {
	.statfs = simple_statfs,
	.evict_inode = onefile_evict_inode,
};

static int onefile_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct onefile *one = sb->s_fs_info;
	struct inode *inode;
	int error;

	sb->s_magic = ONEFILE_MAGIC;
	sb->s_op = &onefile_super_ops;
	sb->s_maxbytes = one->size;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	strscpy(sb->s_id, dev_name(one->dev));
	/* Or nothing is written back. */
	error = super_setup_bdi(sb);
	if (error)
		return error;

	/* Before there is an inode. */
	error = dax_bind_provider(sb, true);
	if (error)
		return error;
	one->bound = dax_sb_provider(sb);

	inode = new_inode(sb);
	if (!inode)
		return -ENOMEM;
	inode->i_ino = 1;
	inode->i_mode = S_IFREG | 0600;
	inode->i_flags |= S_DAX;
	inode->i_op = &onefile_inode_ops;
	inode->i_fop = &onefile_file_ops;
	inode->i_mapping->a_ops = &onefile_aops;
	simple_inode_init_ts(inode);
	i_size_write(inode, one->size);
	/* One that is not hashed is not written back either. */
	insert_inode_hash(inode);
	scoped_guard(mutex, &one->lock)
		one->inode = inode;
	sb->s_root = d_make_root(inode);
	return sb->s_root ? 0 : -ENOMEM;
}

/*
 * The driver tells nobody else that it goes, and faults can still come. With a
 * provider that is all: memunmap_pages() lets it unmap the file and wait for
 * pins. fs/dax.c would leave pages in the file whose struct pages are gone.
 */
static int onefile_notify_failure(struct dax_device *dax_dev, u64 offset,
				  u64 length, int flags)
{
	struct onefile *one = dax_holder(dax_dev);

	/* Of bad memory, mm/memory-failure.c tells those who map it. */
	if (!(flags & MF_MEM_PRE_REMOVE))
		return -EOPNOTSUPP;
	WRITE_ONCE(one->gone, true);
	if (READ_ONCE(one->bound))
		return 0;
	guard(mutex)(&one->lock);
	if (one->inode) {
		/* Until who has not seen it has mapped its page. */
		filemap_invalidate_lock(one->inode->i_mapping);
		filemap_invalidate_unlock(one->inode->i_mapping);
		dax_break_layout_final(one->inode);
	}
	return 0;
}

static const struct dax_holder_operations onefile_holder_ops = {
	.notify_failure = onefile_notify_failure,
};

static int onefile_get_device(struct onefile *one, const char *path)
{
	struct file *file = filp_open(path, O_RDWR | O_NONBLOCK, 0);
	struct dax_device *dax_dev = NULL;
	int error = -ENODEV;
	struct inode *inode;

	if (IS_ERR(file))
		return PTR_ERR(file);
	inode = file_inode(file);
	if (S_ISCHR(inode->i_mode))
		dax_dev = dax_dev_get(inode->i_rdev);
	if (dax_dev)
		error = fs_dax_get(dax_dev, one, &onefile_holder_ops);
	if (!error) {
		one->dev = get_device(kobj_to_dev(inode->i_cdev->kobj.parent));
		one->dax_dev = dax_dev;
	}
	put_dax(dax_dev);
	fput(file);
	return error;
}

static void onefile_free(struct onefile *one)
{
	if (one->dax_dev) {
		/* A removal that has found this mount ends first. */
		device_lock(one->dev);
		fs_put_dax(one->dax_dev, one);
		device_unlock(one->dev);
		put_device(one->dev);
	}
	kfree(one);
}

enum { ONEFILE_SIZE };

static const struct fs_parameter_spec onefile_parameters[] = {
	fsparam_u64("size", ONEFILE_SIZE),
	{}
};

static int onefile_parse_param(struct fs_context *fc,
			       struct fs_parameter *param)
{
	struct onefile *one = fc->s_fs_info;
	struct fs_parse_result result;
	int opt = fs_parse(fc, onefile_parameters, param, &result);

	if (opt < 0)
		return opt;
	one->size = result.uint_64;
	return 0;
}

static int onefile_get_tree(struct fs_context *fc)
{
	struct onefile *one = fc->s_fs_info;
	long pages;
	int error, id;

	if (!fc->source)
		return invalf(fc, "onefile: no device");
	if (!one->size || !PAGE_ALIGNED(one->size) || one->size > S64_MAX)
		return invalf(fc, "onefile: size= wants bytes of whole pages");
	/* Not with a superblock locked: a removal has the device locked. */
	error = onefile_get_device(one, fc->source);
	if (error) {
		errorf(fc, "onefile: %s is no DAX device of fsdev that is free",
		       fc->source);
		return error;
	}
	id = dax_read_lock();
	pages = dax_direct_access(one->dax_dev, PHYS_PFN(one->size) - 1, 1,
				  DAX_ACCESS, NULL, NULL);
	dax_read_unlock(id);
	if (pages < 0)
		return invalf(fc, "onefile: the device is smaller than size=");
	return get_tree_nodev(fc, onefile_fill_super);
}

static void onefile_free_fc(struct fs_context *fc)
{
	if (fc->s_fs_info)
		onefile_free(fc->s_fs_info);
}

static const struct fs_context_operations onefile_context_ops = {
	.parse_param = onefile_parse_param,
	.get_tree = onefile_get_tree,
	.free = onefile_free_fc,
};

static int onefile_init_fs_context(struct fs_context *fc)
{
	struct onefile *one = kzalloc_obj(*one);

	if (!one)
		return -ENOMEM;
	mutex_init(&one->lock);
	fc->s_fs_info = one;
	fc->ops = &onefile_context_ops;
	return 0;
}

static void onefile_kill_sb(struct super_block *sb)
{
	/* Evicts the inode. */
	kill_anon_super(sb);
	dax_unbind_provider(sb);
	onefile_free(sb->s_fs_info);
}

static struct file_system_type onefile_type = {
	.owner = THIS_MODULE,
	.name = "onefile",
	.init_fs_context = onefile_init_fs_context,
	.parameters = onefile_parameters,
	.kill_sb = onefile_kill_sb,
};

static int __init onefile_init(void)
{
	return register_filesystem(&onefile_type);
}
module_init(onefile_init);

static void __exit onefile_exit(void)
{
	unregister_filesystem(&onefile_type);
}
module_exit(onefile_exit);

MODULE_DESCRIPTION("file system of one file, which is a DAX device of fsdev");
MODULE_LICENSE("GPL");
MODULE_ALIAS_FS("onefile");
