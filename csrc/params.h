/* SPDX-License-Identifier: GPL-2.0 */
#ifndef RUST_FSDAX_PARAMS_H
#define RUST_FSDAX_PARAMS_H

#include <linux/types.h>

bool rust_fsdax_bind_param(void);

#endif /* RUST_FSDAX_PARAMS_H */
