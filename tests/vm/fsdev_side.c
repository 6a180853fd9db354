// SPDX-License-Identifier: GPL-2.0
/* Mounts of fsdev devices: see fsdev_side.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fsdev_side.h"

int mount_at(const char *dev, const char *path, const char *options)
{
	close(must(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
	return mount(dev, path, "onefile", 0, options);
}

void mount_side(struct side *s)
{
	int kmsg = kmsg_open();
	char options[32];

	module_bind(s->bound);
	snprintf(options, sizeof(options), "size=%zu", PAGES * PAGE);
	check(!mount_at(s->dev, s->path, options), "mount %s: %m", s->dev);
	check(kmsg_wait(kmsg, 20, s->name, s->bound ? "served by " MODULE_NAME :
			"served by the kernel", NULL),
	      "%s is not served by who is to do it", s->name);
	close(kmsg);
	s->fd = must(open(s->path, O_RDWR | O_CLOEXEC));
}

void prepare_side(const char *pmem, bool bound, struct side *s)
{
	memset(s, 0, sizeof(*s));
	s->bound = bound;
	snprintf(s->name, sizeof(s->name), "dax%s.0", pmem + strlen("/dev/pmem"));
	snprintf(s->dev, sizeof(s->dev), "/dev/%s", s->name);
	snprintf(s->path, sizeof(s->path), "/tmp/%s", s->name);
	if (access(s->dev, F_OK))
		make_dax_device(pmem, "2M", s->name);
	dax_give_to(s->name, DRIVER);
	s->e = (struct env) { .fs = "onefile", .dev = s->dev, .dir = s->path };
}

void start_sides(const struct env *e, struct side side[2])
{
	check(e->ko, "no module given");
	check(!module_load(e->ko), "cannot load the module: %m");
	for (int i = 0; i < 2; i++) {
		prepare_side(i ? e->other : e->dev, !i, &side[i]);
		mount_side(&side[i]);
	}
}

void umount_side(struct side *s)
{
	must(close(s->fd));
	check(!umount(s->path), "umount %s: %m", s->path);
}

static void end(struct side side[2])
{
	for (int i = 0; i < 2; i++)
		umount_side(&side[i]);
	check(!module_unload(), "cannot unload the module: %m");
}

void run_on_each(const struct env *e, void (*run)(struct side *))
{
	struct side side[2];

	start_sides(e, side);
	for (int i = 0; i < 2; i++) {
		printf("# %s, served by %s\n", side[i].name, side[i].bound ? "the module" : "C");
		run(&side[i]);
	}
	end(side);
}

void stamp(char *p, size_t from, size_t to, uint64_t first)
{
	for (size_t i = from; i < to; i++)
		fill_page(p + i * PAGE, first + i);
}
