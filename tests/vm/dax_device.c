// SPDX-License-Identifier: GPL-2.0
/* DAX devices: made by ndctl, taken from one driver, given to another. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dax_device.h"
#include "lib.h"
#include "module.h"

#define BUS	"/sys/bus/dax/"

void make_dax_device(const char *dev, const char *align, char name[DAX_NAME])
{
	const char *number = dev + strlen("/dev/pmem");
	char text[192], path[48], size[32];

	/* It takes no size for all there is if that is not aligned with what was there before. */
	snprintf(path, sizeof(path), "/sys/bus/nd/devices/region%s/size", number);
	check(read_text(path, size, sizeof(size)), "%s: %m", path);
	size[strcspn(size, "\n")] = 0;
	snprintf(text, sizeof(text),
		 "ndctl create-namespace -f -e namespace%s.0 -m devdax -M mem -a %s -s %s >/dev/null",
		 number, align, size);
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

void dax_take_from(const char *name, const char *driver)
{
	check(dax_unbind(name, driver), "unbind %s: %m", name);
	check(write_to(driver, "remove_id", name), "%s does not forget %s: %m", driver, name);
}

static uint64_t number_of(const char *name, const char *file)
{
	char path[64], buf[32];

	snprintf(path, sizeof(path), BUS "devices/%s/%s", name, file);
	check(read_text(path, buf, sizeof(buf)), "%s: %m", path);
	return strtoull(buf, NULL, 0);
}

uint64_t dax_address(const char *name)
{
	return number_of(name, "resource");
}

uint64_t dax_size(const char *name)
{
	return number_of(name, "size");
}

void make_device(const struct env *e, const char *align, struct device *d)
{
	must_load(e);
	module_bind(e->bound);
	make_dax_device(e->dev, align, d->name);
}

void map_device(struct device *d, size_t size)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/%s", d->name);
	d->fd = must(open(path, O_RDWR));
	d->map = must(mmap(NULL, size, RW, MAP_SHARED, d->fd, 0));
	d->size = size;
}

void unmap_device(struct device *d)
{
	must(munmap(d->map, d->size));
	must(close(d->fd));
}

int unbind_device(void *device)
{
	return dax_unbind(((struct device *)device)->name, "device_dax") ? 0 : -1;
}

struct job unbind_start(struct device *d)
{
	struct job job = { .op = OP_CALL, .call = unbind_device, .arg = d };

	return job;
}
