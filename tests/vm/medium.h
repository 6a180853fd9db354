/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a guest program asks tests/plugin/medium.c, which keeps what a power failure
 * would leave of a pmem device. The request is an instruction that does nothing.
 */
#ifndef FSDAX_MEDIUM_H
#define FSDAX_MEDIUM_H

/* nopl MEDIUM_REQUEST(%rax): number in rdi, arguments in rsi, rdx, rcx, answer in rax. */
#define MEDIUM_REQUEST	0x5fdaca11

/* Devices are numbered as the kernel does: 0 is /dev/pmem0. */
enum medium_request {
	/* The number of devices that are watched; 0 without the plugin. */
	MEDIUM_DEVICES,
	/* How many cache lines of @device, from byte @start on for @bytes, are not flushed. */
	MEDIUM_UNFLUSHED,
	/* Put what is left of @device on the device behind the watched ones. */
	MEDIUM_POWER_FAILURE,
	/* Record from here on how the medium of @device changes. */
	MEDIUM_RECORD,
	/* How many states it has had since, at fences and between, up to now. */
	MEDIUM_STATES,
	/* As MEDIUM_POWER_FAILURE in state @start, not one before the last. 0: at the beginning. */
	MEDIUM_STATE,
};

#define MEDIUM_BAD	(~0ull)

#ifndef MEDIUM_PLUGIN
#include <stddef.h>

struct env;

/* Whether the guest runs under the plugin. */
bool medium_watched(void);
/* How many cache lines of the file's blocks a power failure would not leave as they are. */
size_t medium_unflushed(const struct env *e, int fd);
/* Mount what a power failure would leave of the device: read-only, by C, without DAX. */
const char *medium_after_power_failure(const struct env *e);
void medium_unmount(void);
/* How the medium changes is recorded from here on; in how many steps since. */
void medium_record(const struct env *e);
size_t medium_states(const struct env *e);
/* As medium_after_power_failure(), in the middle: after so many steps, in order. */
const char *medium_in_state(const struct env *e, size_t state);
#endif

#endif
