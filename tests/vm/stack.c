// SPDX-License-Identifier: GPL-2.0
/*
 * More than one device below a mount, or one mount of two on a device: the
 * pgmap comes from the page, who serves it from the mount.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices.h"
#include "lib.h"

#define RW		(PROT_READ | PROT_WRITE)
#define N		((size_t)64)
#define MOUNT_MIB	64	/* filled more than once */

static void make_ext4(const struct env *e)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "mkfs.ext4 -q -F -b 4096 -m 0 -E %s %s",
		 "lazy_itable_init=0,lazy_journal_init=0", e->dev);
	check(!system(cmd), "cannot make ext4 on %s", e->dev);
}

/* Of all of the device. */
static void mount_new(const struct env *e, const char *fs)
{
	if (!strcmp(fs, "ext4"))
		make_ext4(e);
	/* XFS has no DAX with reflink on a partition. */
	else if (strchr(e->dev + strlen("/dev/pmem"), 'p'))
		make_xfs(e, "-d agcount=2 -l size=20m -m reflink=0");
	else
		make_xfs(e, "-d agcount=2 -l size=20m -m reflink=1,rmapbt=1");
	mount_made(e, fs);
}

/* Data, pins and freed blocks on every part of the mount. */
static void use_mount(const struct env *e)
{
	struct job job = { .op = OP_TRUNCATE, .first = 1 };
	char *p, buf[PAGE];
	struct pin pin;
	size_t size;
	int fill;

	fill = fill_free_space(e, "fill", 0x5555);
	check_all_pages(fill, 0x5555, "first file");
	size = file_size(fill);
	p = map_file(fill, size / PAGE, RW);
	for (size_t i = 0; i < size / PAGE; i += 97) {
		check_page(p + i * PAGE, 0x5555, "mapping");
		fill_page(p + i * PAGE, 0x5555);
	}
	/* Pins here and there, then all of it goes. */
	pin_pages(&pin, p + 7 * PAGE, 4);
	must(fsync(fill));
	job.fd = fill;
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	for (size_t i = 0; i < 4; i++) {
		unpin_page(&pin, buf);
		check_page(buf, 0x5555, "page in the pipe");
	}
	job_succeeds(&job);
	must(munmap(p, size));
	close(fill);
	must(unlink(in_dir(e, "fill")));

	job.fd = create_file(e, "f", N, 100);
	p = map_file(job.fd, N, RW);
	for (size_t i = 0; i < N; i++)
		fill_page(p + i * PAGE, 200 + i);
	must(do_op(OP_PUNCH, job.fd, 10, 4));
	must(fsync(job.fd));
	pin_pages(&pin, p + 20 * PAGE, 2);
	job_start(&job);
	check(job_sleeps(&job), "truncate did not wait");
	fill = fill_free_space(e, "fill", 0x6666);
	unpin_all(&pin);
	job_succeeds(&job);
	check_all_pages(fill, 0x6666, "file that filled the disk");
	check_page(p, 200, "what is left");
	must(munmap(p, N * PAGE));
	close(job.fd);
	close(fill);
	must(unlink(in_dir(e, "fill")));
}

/* A file of another file system must not be in the pages of this one. */
static void remounted(const struct env *e, const char *fs)
{
	int fd = create_file(e, "kept", N, 900);

	close(fd);
	must(umount(e->dir));
	check(!mount_fs(fs, e->dev, e->dir, NULL), "mount: %m");
	fd = must(open(in_dir(e, "kept"), O_RDONLY));
	for (size_t i = 0; i < N; i++)
		check_file_page(fd, i, 900 + i, "after a mount");
	close(fd);
}

static void partition_entry(unsigned char *at, unsigned int start, unsigned int sectors)
{
	at[4] = 0x83;
	for (int i = 0; i < 4; i++) {
		at[8 + i] = start >> 8 * i;
		at[12 + i] = sectors >> 8 * i;
	}
}

/* A table of two, or of none. */
static void partition(const char *dev, unsigned int first_mib, unsigned int second_mib)
{
	unsigned char mbr[SECTOR] = { 0 };
	int fd = must(open(dev, O_RDWR | O_CLOEXEC));

	if (first_mib) {
		partition_entry(mbr + 446, SECTORS(2), SECTORS(first_mib));
		partition_entry(mbr + 462, SECTORS(2 + first_mib), SECTORS(second_mib));
		mbr[510] = 0x55;
		mbr[511] = 0xaa;
	}
	check(pwrite(fd, mbr, sizeof(mbr), 0) == (ssize_t)sizeof(mbr), "write to %s: %m", dev);
	must(fsync(fd));
	must(ioctl(fd, BLKRRPART));
	close(fd);
}

static void two_partitions(const struct env *e)
{
	char part[2][64];
	struct env half[2] = { *e, *e };

	load(e);
	partition(e->dev, MOUNT_MIB, MOUNT_MIB + 6);
	for (int k = 0; k < 2; k++) {
		snprintf(part[k], sizeof(part[k]), "%sp%d", e->dev, k + 1);
		half[k].dev = part[k];
	}
	half[1].dir = OTHER_DIR;
	/* Each of both is the bound one once. */
	for (int round = 0; round < 2; round++) {
		const char *fs[2] = { e->fs, "ext4" };
		struct job job = { .op = OP_TRUNCATE, .first = 0 };
		struct pin pin;
		char *p[2];
		int fd[2];

		for (int k = 0; k < 2; k++) {
			half[k].bound = e->ko && k == round;
			bind_next(e, half[k].bound);
			mount_new(&half[k], fs[k]);
		}
		for (int k = 0; k < 2; k++) {
			fd[k] = create_file(&half[k], "g", N, 1000 * (k + 1));
			p[k] = map_file(fd[k], N, RW);
			for (size_t i = 0; i < N; i++)
				check_page(p[k] + i * PAGE, 1000 * (k + 1) + i, "both in use");
		}
		/* A pin of the one is nothing to the other. */
		pin_pages(&pin, p[0] + 3 * PAGE, 1);
		must(ftruncate(fd[1], 0));
		job.fd = fd[0];
		job_start(&job);
		check(job_sleeps(&job), "truncate did not wait");
		unpin_all(&pin);
		job_succeeds(&job);
		for (int k = 0; k < 2; k++) {
			must(munmap(p[k], N * PAGE));
			close(fd[k]);
		}
		for (int k = 0; k < 2; k++)
			use_mount(&half[k]);
		for (int k = 0; k < 2; k++) {
			bind_next(e, half[k].bound);
			remounted(&half[k], fs[k]);
		}
		for (int k = 0; k < 2; k++)
			must(umount(half[k].dir));
	}
	partition(e->dev, 0, 0);
	unload(e);
}

static void on_dm(const struct env *e, const char *table)
{
	struct env dm = *e;

	load(e);
	bind_next(e, e->bound);
	make_dm(table);
	dm.dev = DM_DEV;
	mount_new(&dm, e->fs);
	use_mount(&dm);
	remounted(&dm, e->fs);
	use_mount(&dm);
	must(umount(dm.dir));
	remove_dm();
	unload(e);
}

/* Short pieces of both in turn, so that every file has pages on both. */
static void dm_linear(const struct env *e)
{
	char table[2048] = "";
	const unsigned int mib = 2, pieces = MOUNT_MIB / mib;

	for (unsigned int i = 0; i < pieces; i++)
		snprintf(table + strlen(table), sizeof(table) - strlen(table),
			 "%u %u linear %s %u\n", i * SECTORS(mib), SECTORS(mib),
			 i % 2 ? e->other : e->dev, i / 2 * SECTORS(mib));
	on_dm(e, table);
}

static void dm_stripe(const struct env *e)
{
	char table[256];

	snprintf(table, sizeof(table), "0 %u striped 2 %u %s 0 %s 0\n", SECTORS(MOUNT_MIB),
		 SECTORS(2), e->dev, e->other);
	on_dm(e, table);
}

/* Blocks of files on one device, those of the file system on the other. */
static void realtime(const struct env *e)
{
	struct fsxattr attr;
	char *p, buf[PAGE];
	struct job job = { .op = OP_TRUNCATE, .first = 0 };
	struct pin pin;
	int fd[2];

	load(e);
	bind_next(e, e->bound);
	snprintf(buf, sizeof(buf), "%s -r rtdev=%s,extsize=4k,size=128m",
		 "-d size=128m -l size=24m -m reflink=0,rmapbt=0", e->other);
	make_xfs(e, buf);
	snprintf(buf, sizeof(buf), ",rtdev=%s", e->other);
	check(!mount_fs("xfs", e->dev, e->dir, buf), "mount: %m");
	check(mount_is_bound(e->dir) == e->bound, "bound or not");
	for (int k = 0; k < 2; k++) {
		fd[k] = must(open(in_dir(e, k ? "data" : "realtime"), O_RDWR | O_CREAT, 0644));
		if (!k) {
			must(ioctl(fd[k], FS_IOC_FSGETXATTR, &attr));
			attr.fsx_xflags |= FS_XFLAG_REALTIME;
			must(ioctl(fd[k], FS_IOC_FSSETXATTR, &attr));
		}
		must(do_op(OP_ALLOCATE, fd[k], 0, N));
		p = map_file(fd[k], N, RW);
		for (size_t i = 0; i < N; i++)
			fill_page(p + i * PAGE, 100 * k + i);
		must(do_op(OP_PUNCH, fd[k], 10, 4));
		for (size_t i = 0; i < N; i++)
			check_file_page(fd[k], i, i >= 10 && i < 14 ? 0 : 100 * k + i, "read(2)");
		pin_pages(&pin, p + 20 * PAGE, 1);
		job.fd = fd[k];
		job_start(&job);
		check(job_sleeps(&job), "truncate did not wait");
		unpin_page(&pin, buf);
		check_page(buf, 100 * k + 20, "page in the pipe");
		job_succeeds(&job);
		must(munmap(p, N * PAGE));
		close(fd[k]);
	}
	use_mount(e);
	must(umount(e->dir));
	unload(e);
}

static const struct test tests[] = {
	{ "R16 two partitions of a device, one of them bound", two_partitions, EVERYWHERE },
	{ "R2 a mount on pieces of two devices (dm-linear)", dm_linear, EVERYWHERE },
	{ "R2 a mount on stripes of two devices (dm-stripe)", dm_stripe, EVERYWHERE },
	{ "R2 a mount with a realtime device", realtime, XFS_ONLY },
	{ }
};

GROUP_UNMOUNTED(stack, tests);
