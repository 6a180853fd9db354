/* SPDX-License-Identifier: GPL-2.0 */
#ifndef RUST_FSDAX_INJECT_H
#define RUST_FSDAX_INJECT_H

#include <linux/types.h>

struct dentry;

bool rust_fsdax_should_fail(unsigned int point);
void rust_fsdax_inject_create(struct dentry *parent);
void rust_fsdax_inject_remove(void);

#endif /* RUST_FSDAX_INJECT_H */
