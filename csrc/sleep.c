// SPDX-License-Identifier: GPL-2.0
/*
 * Tasks that sleep on two words, in the queues of wait_var_event(). The key is
 * compared as a whole: were it a sum, a wake-up could reach a task that sleeps
 * on something else, and be lost if it was exclusive.
 */
#include <linux/sched.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include "functions.h"

/* As var_wake_function(). */
static int wake_if_same(struct wait_queue_entry *entry, unsigned int mode,
			int sync, void *arg)
{
	struct wait_bit_key *key = arg;
	struct wait_bit_queue_entry *waiter =
		container_of(entry, struct wait_bit_queue_entry, wq_entry);

	if (waiter->key.flags != key->flags ||
	    waiter->key.bit_nr != key->bit_nr ||
	    waiter->key.timeout != key->timeout)
		return 0;
	return autoremove_wake_function(entry, mode, sync, key);
}

/**
 * rust_fsdax_wait_init() - prepare an entry of a queue for the current task
 * @entry: on the stack of the task, until finish_wait()
 * @key: what to sleep on
 * @flags: 0 or WQ_FLAG_EXCLUSIVE
 */
void rust_fsdax_wait_init(struct wait_bit_queue_entry *entry,
			  struct wait_bit_key key, unsigned int flags)
{
	init_wait_var_entry(entry, NULL, flags);
	entry->key = key;
	entry->wq_entry.func = wake_if_same;
}

/**
 * rust_fsdax_wake() - wake who sleeps on something
 * @queue: where they are
 * @key: what they sleep on
 *
 * All are woken, but only the first of those that are exclusive. The caller has
 * a barrier between its change and this, see src/ffi/sleep.rs.
 *
 * Context: Any context.
 */
void rust_fsdax_wake(struct wait_queue_head *queue, struct wait_bit_key key)
{
	/* The caller's barrier pairs with that of prepare_to_wait_event(). */
	if (waitqueue_active(queue))
		__wake_up(queue, TASK_NORMAL, 1, &key);
}
