// SPDX-License-Identifier: GPL-2.0
/* Timers on the stack of the task that they wake. */
#include <linux/jiffies.h>
#include <linux/sched.h>
#include "functions.h"

static void ring(struct timer_list *timer)
{
	struct rust_fsdax_alarm *alarm = timer_container_of(alarm, timer, timer);

	wake_up_process(alarm->task);
}

/**
 * rust_fsdax_alarm_init() - prepare an alarm for the current task
 * @alarm: on the stack of the task, which deletes it
 */
void rust_fsdax_alarm_init(struct rust_fsdax_alarm *alarm)
{
	alarm->task = current;
	timer_setup_on_stack(&alarm->timer, ring, 0);
}

/**
 * rust_fsdax_alarm_set() - have an alarm ring
 * @alarm: one that was prepared
 * @ms: in how many milliseconds
 *
 * Context: Any context.
 */
void rust_fsdax_alarm_set(struct rust_fsdax_alarm *alarm, unsigned int ms)
{
	mod_timer(&alarm->timer, jiffies + msecs_to_jiffies(ms));
}

/**
 * rust_fsdax_alarm_rang() - whether an alarm rang
 * @alarm: one that was set
 *
 * It is not pending any more before it wakes the task.
 *
 * Context: Any context.
 */
bool rust_fsdax_alarm_rang(struct rust_fsdax_alarm *alarm)
{
	return !timer_pending(&alarm->timer);
}

/**
 * rust_fsdax_alarm_delete() - have an alarm ring no more
 * @alarm: one that was prepared
 *
 * Context: Process context.
 */
void rust_fsdax_alarm_delete(struct rust_fsdax_alarm *alarm)
{
	timer_delete_sync(&alarm->timer);
	timer_destroy_on_stack(&alarm->timer);
}
