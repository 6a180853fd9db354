/* SPDX-License-Identifier: GPL-2.0 */
/* What cases share that put a mount on more than one device. */
#ifndef FSDAX_VM_DEVICES_H
#define FSDAX_VM_DEVICES_H

#include <stdbool.h>

#include "case.h"

#define OTHER_DIR	"/mnt/other"
#define DM_DEV		"/dev/mapper/fsdax"
#define SECTOR		512
#define SECTORS(mib)	((unsigned int)(mib) << 11)

/* The module is there, and nothing that a case which failed has left. */
void load(const struct env *e);
void unload(const struct env *e);
void bind_next(const struct env *e, bool on);
void make_xfs(const struct env *e, const char *options);
void mount_made(const struct env *e, const char *fs);
/* One at a time, DM_DEV. */
void make_dm(const char *table);
void remove_dm(void);

#endif
