// SPDX-License-Identifier: GPL-2.0
/*
 * Module parameters. They are in C because the Rust macro of 7.2 knows neither
 * bool nor a parameter that can be written at run time.
 */
#include <linux/compiler.h>
#include <linux/moduleparam.h>
#include "params.h"

static bool bind = true;
module_param(bind, bool, 0644);
MODULE_PARM_DESC(bind, "serve file systems that are mounted from now on (default: Y)");

bool rust_fsdax_bind_param(void)
{
	return READ_ONCE(bind);
}

#ifdef RUST_FSDAX_KUNIT
static unsigned long kunit_base;
module_param(kunit_base, ulong, 0444);
MODULE_PARM_DESC(kunit_base, "physical address of memory for the KUnit suites, reserved with memmap=SIZE$BASE");

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
#endif
