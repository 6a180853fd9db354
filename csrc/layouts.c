// SPDX-License-Identifier: GPL-2.0
/*
 * How the kernel lays out what fsdax-pins looks at in its memory, as debugging information of the
 * module: it is not loaded, and fits the one kernel that the module is for. There is no code.
 */
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/mm_types.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <net/sock.h>

/* Who names a type here gets all that it leads to. */
struct rust_fsdax_layouts {
	struct task_struct *task;
	struct pid_namespace *pids;
	struct pid *pid;
	enum pid_type pid_type;
	struct xa_node *node;
	struct files_struct *files;
	struct fdtable *fdt;
	struct file *file;
	struct inode *inode;
	struct pipe_inode_info *pipe;
	struct pipe_buffer *buffer;
	struct socket_alloc *socket;
	struct sock *sock;
	struct sk_buff *skb;
	struct skb_shared_info *shared;
	struct page *page;
};

static const struct rust_fsdax_layouts *layouts __used;
