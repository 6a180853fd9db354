// SPDX-License-Identifier: GPL-2.0
/* The figure of the demo for DAX devices. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "defects.h"
#include "lib.h"

static int unbind(void *device)
{
	return write_text("/sys/bus/dax/drivers/device_dax/unbind", device) ? 0 : -1;
}

/*
 * D38: the driver is unbound while a page is in a pipe, which is read afterwards. A second line
 * comes from those who live that long.
 */
static void devdax_pin(const struct env *e)
{
	const char *name = strrchr(e->dev, '/') + 1;
	int fd = must(open(e->dev, O_RDWR));
	struct job job = { .op = OP_CALL, .call = unbind, .arg = (void *)name };
	char *p = map_file(fd, HUGE, PROT_READ | PROT_WRITE), buf[PAGE];
	int kmsg = kmsg_open();
	struct pin pin;
	bool waits, right;

	fill_page(p, 100);
	pin_pages(&pin, p, 1);
	must(munmap(p, HUGE * PAGE));
	must(close(fd));
	job_start(&job);
	waits = job_sleeps(&job);
	printf("%s {\"figure\": \"devdax_pin\", \"waits\": %d}\n", e->label, waits);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	unpin_page(&pin, buf);
	right = page_is(buf, 100);
	job_succeeds(&job);
	printf("%s {\"figure\": \"devdax_pin\", \"waits\": %d, \"right\": %d, ", e->label, waits,
	       right);
	printf("\"complained\": %d}\n",
	       kmsg_has(kmsg, "Call Trace:", NULL));
}

const struct defect_figure devdax_figures[] = {
	{ "devdax_pin", devdax_pin },
	{ }
};
