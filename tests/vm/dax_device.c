// SPDX-License-Identifier: GPL-2.0
/* DAX devices: made by ndctl, taken from one driver, given to another. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dax_device.h"
#include "lib.h"

#define BUS	"/sys/bus/dax/"

void make_dax_device(const char *dev, const char *align, char name[DAX_NAME])
{
	const char *number = dev + strlen("/dev/pmem");
	char text[160], path[32];

	snprintf(text, sizeof(text),
		 "ndctl create-namespace -f -e namespace%s.0 -m devdax -M mem -a %s >/dev/null",
		 number, align);
	check(!system(text), "%s failed", text);
	snprintf(name, DAX_NAME, "dax%s.0", number);
	snprintf(path, sizeof(path), "/dev/%s", name);
	for (int tries = 0; access(path, F_OK); tries++) {
		check(tries < 5000, "there is no %s", path);
		usleep(1000);
	}
}

static bool write_to(const char *driver, const char *file, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), BUS "drivers/%s/%s", driver, file);
	return write_text(path, name);
}

bool dax_unbind(const char *name, const char *driver)
{
	return write_to(driver, "unbind", name);
}

bool dax_bind(const char *name, const char *driver)
{
	return write_to(driver, "bind", name);
}

void dax_give_to(const char *name, const char *driver)
{
	char path[96], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), BUS "devices/%s/driver", name);
	n = readlink(path, link, sizeof(link) - 1);
	if (n > 0) {
		link[n] = 0;
		if (!strcmp(strrchr(link, '/') + 1, driver))
			return;
		check(dax_unbind(name, strrchr(link, '/') + 1), "unbind %s: %m", name);
	}
	/* A driver that knows the name already tries again. */
	check(write_to(driver, "new_id", name), "%s does not take %s: %m", driver, name);
	check(!access(path, F_OK), "%s has not taken %s", driver, name);
}
