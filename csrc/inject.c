// SPDX-License-Identifier: GPL-2.0
/*
 * The fault attribute behind src/ffi/inject.rs, in debugfs as "fail", next to
 * which points may fail at all.
 */
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fault-inject.h>
#include <linux/limits.h>
#include <linux/stat.h>
#include "inject.h"

static DECLARE_FAULT_ATTR(fail);
static u32 points = U32_MAX;

bool rust_fsdax_should_fail(unsigned int point)
{
	return READ_ONCE(points) & BIT(point) && should_fail(&fail, 1);
}

/* The files go with @parent. */
void rust_fsdax_inject_create(struct dentry *parent)
{
	struct dentry *dir = fault_create_debugfs_attr("fail", parent, &fail);

	if (!IS_ERR(dir))
		debugfs_create_u32("points", 0600, dir, &points);
}

/* Before 7.3 the attribute keeps its directory, for its name. */
void rust_fsdax_inject_remove(void)
{
#ifdef LINUX_7_2
	dput(fail.dname);
	fail.dname = NULL;
#endif
}
