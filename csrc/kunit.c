// SPDX-License-Identifier: GPL-2.0
/* What the KUnit suites need; it is not in a module without them. */
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <linux/bitops.h>
#include <linux/fs.h>
#include <linux/minmax.h>
#include <linux/moduleparam.h>
#include <linux/page-flags.h>
#include <linux/percpu-refcount.h>
#include "functions.h"

static unsigned long kunit_base;
module_param(kunit_base, ulong, 0444);
MODULE_PARM_DESC(kunit_base, "physical address of memory for the KUnit suites, that nobody uses (memmap=SIZE$BASE on x86)");

static unsigned long kunit_size;
module_param(kunit_size, ulong, 0444);
MODULE_PARM_DESC(kunit_size, "bytes of it, at least 128 MiB from a multiple of 128 MiB");

unsigned long rust_fsdax_kunit_base(void)
{
	return kunit_base;
}

unsigned long rust_fsdax_kunit_size(void)
{
	return kunit_size;
}

/* Have KUnit report the current test, which returns, as skipped. */
void rust_fsdax_kunit_skip(const char *why)
{
	struct kunit *test = kunit_get_current_test();

	if (test)
		kunit_mark_skipped(test, "%s", why);
}

/* As an executable mapping leaves a page where caches are synchronized for code. */
void rust_fsdax_kunit_map_code(struct page *page)
{
	set_bit(PG_arch_1, &page->flags.f);
}

/* Whether a page is still so, which it is no longer. */
bool rust_fsdax_kunit_forget_code(struct page *page)
{
	return test_and_clear_bit(PG_arch_1, &page->flags.f);
}

bool rust_fsdax_pgmap_live(struct dev_pagemap *pgmap)
{
	return !percpu_ref_is_dying(&pgmap->ref);
}

static unsigned int most_inodes_passed;

/* So many inodes were looked at in one hold of the lock of their list. */
void rust_fsdax_inodes_passed(unsigned int passed)
{
	WRITE_ONCE(most_inodes_passed,
		   max(READ_ONCE(most_inodes_passed), passed));
}

/* The most of them since the last call. */
unsigned int rust_fsdax_take_inodes_passed(void)
{
	return xchg(&most_inodes_passed, 0);
}

void rust_fsdax_list_lock(struct super_block *sb)
{
	spin_lock(&sb->s_inode_list_lock);
}

void rust_fsdax_list_unlock(struct super_block *sb)
{
	spin_unlock(&sb->s_inode_list_lock);
}
