/* SPDX-License-Identifier: GPL-2.0 */
/* Input of bindgen, see Kbuild. */
#include <linux/dax.h>
#include <linux/fsdax_provider.h>
#include <linux/iomap.h>
#include <linux/libnvdimm.h>
#include "functions.h"
#include "helpers.h"
#include "inject.h"
#include "params.h"
