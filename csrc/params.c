// SPDX-License-Identifier: GPL-2.0
/*
 * The version, and module parameters. They are in C because the Rust macro of 7.2 knows neither
 * a version, nor bool, nor a parameter that can be written at run time.
 */
#include <linux/compiler.h>
#include <linux/module.h>
#include "params.h"

MODULE_VERSION(RUST_FSDAX_VERSION);

static bool bind = true;
module_param(bind, bool, 0644);
MODULE_PARM_DESC(bind, "serve file systems that are mounted from now on (default: Y)");

bool rust_fsdax_bind_param(void)
{
	return READ_ONCE(bind);
}
