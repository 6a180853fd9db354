/* SPDX-License-Identifier: GPL-2.0 */
/* What the guest programs share; each header has a source of the same name. */
#ifndef FSDAX_VM_LIB_H
#define FSDAX_VM_LIB_H

#include "case.h"
#include "faults.h"
#include "file.h"
#include "gaps.h"
#include "job.h"
#include "kernel.h"
#include "pair.h"
#include "rng.h"
#include "room.h"
#include "slow_file.h"

#endif
