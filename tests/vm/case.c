// SPDX-License-Identifier: GPL-2.0
/* What ends a case: a failure, or that it cannot run here. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

static struct {
	void (*fn)(void *arg);
	void *arg;
} fail_hooks[1024];
static atomic_size_t fail_hook_count;

void at_fail(void (*fn)(void *), void *arg)
{
	size_t i = fail_hook_count++;

	if (i >= ARRAY_SIZE(fail_hooks))
		return;
	fail_hooks[i].arg = arg;
	fail_hooks[i].fn = fn;
}

void fail_at(const char *file, int line, const char *fmt, ...)
{
	static atomic_flag failed = ATOMIC_FLAG_INIT;
	char msg[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	printf("# %s:%d: %s\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file,
	       line, msg);
	fflush(stdout);
	/* A second failure, in another thread, leaves the clean-up alone. */
	if (!atomic_flag_test_and_set(&failed)) {
		size_t n = fail_hook_count;

		while (n--)
			if (n < ARRAY_SIZE(fail_hooks) && fail_hooks[n].fn)
				fail_hooks[n].fn(fail_hooks[n].arg);
	}
	_exit(1);
}

void skip(const char *fmt, ...)
{
	va_list ap;

	printf("# skipped: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(SKIPPED);
}
