// SPDX-License-Identifier: GPL-2.0
/*
 * More than one device below a mount, or one mount of two on a device: the
 * pgmap comes from the page, who serves it from the mount.
 */
#define _GNU_SOURCE
#include <errno.h>
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

#include "lib.h"

#define RW		(PROT_READ | PROT_WRITE)
#define N		((size_t)64)
#define OTHER_DEV	"/dev/pmem0"
#define OTHER_DIR	"/mnt/other"
#define SECTOR		512
#define SECTORS(mib)	((unsigned int)(mib) << 11)
#define MOUNT_MIB	64	/* filled more than once */
#define PAGE_SECTORS	((unsigned int)(PAGE / SECTOR))

/* A case that failed may have left something. */
static void load(const struct env *e)
{
	umount2(OTHER_DIR, MNT_DETACH);
	umount2(e->dir, MNT_DETACH);
	setenv("DM_DISABLE_UDEV", "1", 1);
	if (e->ko && !module_loaded())
		check(!module_load(e->ko), "cannot load the module: %m");
}

static void unload(const struct env *e)
{
	if (e->ko)
		check(!module_unload(), "cannot unload the module: %m");
}

static void bind_next(const struct env *e, bool on)
{
	if (e->ko)
		module_bind(on);
}

static void make_xfs(const struct env *e, const char *options)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "mkfs.xfs -q -f --unsupported %s %s", options, e->dev);
	check(!system(cmd), "cannot make XFS on %s with %s", e->dev, options);
}

static void make_ext4(const struct env *e)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "mkfs.ext4 -q -F -b 4096 -m 0 -E %s %s",
		 "lazy_itable_init=0,lazy_journal_init=0", e->dev);
	check(!system(cmd), "cannot make ext4 on %s", e->dev);
}

static void mount_made(const struct env *e, const char *fs)
{
	check(!mount_fs(fs, e->dev, e->dir, NULL), "cannot mount %s on %s: %m", fs, e->dev);
	check(mount_is_bound(e->dir) == e->bound, "%s is %sserved by the module", e->dev,
	      e->bound ? "not " : "");
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

static void make_dm(const char *name, const char *table)
{
	char cmd[64];
	FILE *f;

	/* A case that failed has left one. */
	if (!access("/sys/block/dm-0", F_OK))
		system("dmsetup remove_all");
	snprintf(cmd, sizeof(cmd), "dmsetup create %s", name);
	f = popen(cmd, "w");
	check(f && fputs(table, f) >= 0 && !pclose(f), "dmsetup refuses: %s", table);
}

static void on_dm(const struct env *e, const char *table)
{
	struct env dm = *e;

	load(e);
	bind_next(e, e->bound);
	make_dm("fsdax", table);
	dm.dev = "/dev/mapper/fsdax";
	mount_new(&dm, e->fs);
	use_mount(&dm);
	remounted(&dm, e->fs);
	use_mount(&dm);
	must(umount(dm.dir));
	check(!system("dmsetup remove --retry fsdax"), "dmsetup remove");
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
			 i % 2 ? OTHER_DEV : e->dev, i / 2 * SECTORS(mib));
	on_dm(e, table);
}

static void dm_stripe(const struct env *e)
{
	char table[256];

	snprintf(table, sizeof(table), "0 %u striped 2 %u %s 0 %s 0\n", SECTORS(MOUNT_MIB),
		 SECTORS(2), e->dev, OTHER_DEV);
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
	make_xfs(e, "-d size=128m -l size=24m -m reflink=0,rmapbt=0 -r rtdev=" OTHER_DEV
		 ",extsize=4k,size=128m");
	check(!mount_fs("xfs", e->dev, e->dir, ",rtdev=" OTHER_DEV), "mount: %m");
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

/*
 * Extents that lie on many short pieces of both devices. What a copy or a comparison takes for
 * the rest of an extent, behind the end of a piece, is somebody else's: files lie around those
 * that share blocks, and every page has a stamp of its own.
 */
#define RUN		((size_t)50)	/* pages of a write(2) that covers parts of pages */
#define PERIOD		((size_t)61)	/* one begins every so many pages */
#define SPREAD		(4 * PERIOD)	/* pages of a file */
#define ROOM		(SPREAD + 32)	/* for copies: what is behind it is in use */
#define SLACK		((size_t)512)	/* for metadata, elsewhere */
#define AROUND		(2 * SPREAD)	/* pages of the files beside them */
#define INSIDE		((size_t)512)	/* offset in a page */
#define SAME		0x1000
#define WRITTEN		0x2000

struct spread {
	const char *name;
	size_t pages;
	uint64_t stamp;
	/* Whether the byte offset, of 8 bytes, was written over. */
	bool (*written)(size_t at);
};

struct layout {
	const char *name;
	unsigned int pages;	/* of a piece */
	bool striped;		/* or: of both in turn, those in front behind the others */
};

static const struct layout layouts[] = {
	{ "dm-stripe of 16 KiB", 4, true },
	{ "dm-stripe of 64 KiB", 16, true },
	{ "dm-linear of 60 KiB", 15, false },
};

static char *table_of(const struct env *e, const struct layout *l)
{
	const unsigned int len = l->pages * PAGE_SECTORS;
	const unsigned int pieces = SECTORS(48) / len / 2 * 2;
	size_t size;
	char *table;
	FILE *f = open_memstream(&table, &size);

	check(f, "no memory");
	if (l->striped)
		fprintf(f, "0 %u striped 2 %u %s 0 %s 0\n", pieces * len, len, e->dev, OTHER_DEV);
	for (unsigned int i = 0; i < pieces && !l->striped; i++)
		fprintf(f, "%u %u linear %s %u\n", i * len, len, i % 2 ? OTHER_DEV : e->dev,
			(pieces - 1 - i) / 2 * len);
	fclose(f);
	return table;
}

static void check_words(const struct spread *f, const void *page, size_t i, const char *how)
{
	const uint64_t *w = page;

	for (size_t k = 0; k < PAGE / sizeof(*w); k++) {
		bool written = f->written && f->written(i * PAGE + k * sizeof(*w));
		uint64_t want = (written ? WRITTEN : f->stamp) + i;

		check(w[k] == want, "%s, %s: word %zu of page %zu is %#llx, not %#llx", f->name,
		      how, k, i, (unsigned long long)w[k], (unsigned long long)want);
	}
}

static void check_spread(const struct env *e, const struct spread *f, const char *how)
{
	int fd = must(open(in_dir(e, f->name), O_RDONLY));
	char *p = map_file(fd, f->pages, PROT_READ), buf[PAGE];

	for (size_t i = 0; i < f->pages; i++) {
		check(pread(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "%s: read: %m", f->name);
		check_words(f, buf, i, how);
		check_words(f, p + i * PAGE, i, how);
	}
	must(munmap(p, f->pages * PAGE));
	close(fd);
}

/* Every file, now and after a mount. */
static void check_all_spread(const struct env *e, const struct spread *files)
{
	for (const struct spread *f = files; f->name; f++)
		check_spread(e, f, "before a mount");
	must(umount(e->dir));
	check(!mount_fs(e->fs, e->dev, e->dir, NULL), "mount: %m");
	for (const struct spread *f = files; f->name; f++)
		check_spread(e, f, "after a mount");
}

static char *stamped(size_t pages, uint64_t stamp)
{
	char *data = malloc(pages * PAGE);

	check(data, "no memory");
	for (size_t i = 0; i < pages; i++)
		fill_page(data + i * PAGE, stamp + i);
	return data;
}

static void write_spread(int fd, const char *data, size_t bytes, size_t pos)
{
	check(pwrite(fd, data + pos, bytes, pos) == (ssize_t)bytes, "write of %zu: %m", bytes);
}

/* As create_file(), by one write(2). */
static int create_spread(const struct env *e, const struct spread *f)
{
	int fd = must(open(in_dir(e, f->name), O_RDWR | O_CREAT, 0644));
	char *data = stamped(f->pages, f->stamp);

	write_spread(fd, data, f->pages * PAGE, 0);
	must(fsync(fd));
	free(data);
	return fd;
}

/* What shows that a copy or a comparison was not of one piece alone. */
static void check_contiguous(int fd, const struct layout *l)
{
	size_t longest = 1, run = 1;

	for (size_t i = 1; i < SPREAD; i++) {
		run = file_block(fd, i) == file_block(fd, i - 1) + 1 ? run + 1 : 1;
		longest = run > longest ? run : longest;
	}
	check(longest > 2 * l->pages, "no extent is longer than %zu pages", longest);
}

static void on_pieces(const struct env *e, bool bound,
		      void (*use)(const struct env *e, const struct layout *l, int how), int how)
{
	struct env dm = *e;

	load(e);
	dm.dev = "/dev/mapper/fsdax";
	dm.bound = e->ko && bound;
	bind_next(e, dm.bound);
	for (const struct layout *l = layouts; l < layouts + ARRAY_SIZE(layouts); l++) {
		char *table = table_of(e, l);

		printf("# %s\n", l->name);
		make_dm("fsdax", table);
		free(table);
		make_xfs(&dm, "-d size=40m,agcount=1,noalign -l size=16m -m reflink=1,rmapbt=1");
		mount_made(&dm, e->fs);
		use(&dm, l, how);
		must(umount(dm.dir));
		check(!system("dmsetup remove --retry fsdax"), "dmsetup remove");
	}
	unload(e);
}

enum copying { WHOLE_PAGES, PARTS_OF_PAGES, UNSHARE };

static bool all_of_it(size_t at)
{
	(void)at;
	return true;
}

static bool parts_of_it(size_t at)
{
	return at >= INSIDE && (at - INSIDE) % (PERIOD * PAGE) < RUN * PAGE;
}

static void copy_spread(int fd, enum copying how)
{
	char *data = stamped(SPREAD, WRITTEN);

	switch (how) {
	case WHOLE_PAGES:
		write_spread(fd, data, SPREAD * PAGE, 0);
		break;
	case PARTS_OF_PAGES:
		for (size_t i = 0; i < SPREAD; i += PERIOD)
			write_spread(fd, data, RUN * PAGE, i * PAGE + INSIDE);
		break;
	case UNSHARE:
		must(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, SPREAD * PAGE));
		break;
	}
	must(fsync(fd));
	free(data);
}

static void copied(const struct env *e, const struct layout *l, int how)
{
	static bool (*const written[])(size_t) = {
		[WHOLE_PAGES] = all_of_it,
		[PARTS_OF_PAGES] = parts_of_it,
		[UNSHARE] = NULL,
	};
	struct spread files[] = {
		{ "source", SPREAD, SAME, NULL },
		{ "clone", SPREAD, SAME, written[how] },
		{ "before", AROUND, 0x10000, NULL },
		{ "behind", AROUND, 0x20000, NULL },
		{ }
	};
	int fd[2], room, rest;

	close(create_spread(e, &files[2]));
	fd[0] = create_spread(e, &files[0]);
	fd[1] = create_file(e, "clone", 0, 0);
	room = create_file(e, "room", 0, 0);
	must(do_op(OP_ALLOCATE, room, 0, ROOM));
	must(fsync(room));
	close(create_spread(e, &files[3]));
	rest = fill_free_space(e, "rest", 0x5555);
	must(ftruncate(rest, file_size(rest) - SLACK * PAGE));
	close(rest);
	/* Not by an unlink, which frees blocks later. */
	must(ftruncate(room, 0));
	must(syncfs(room));
	close(room);
	must(ioctl(fd[1], FICLONE, fd[0]));
	check_contiguous(fd[0], l);
	copy_spread(fd[1], how);
	check_contiguous(fd[1], l);
	for (size_t i = 0; i < SPREAD; i++)
		check((file_block(fd[0], i) != file_block(fd[1], i)) ==
		      (how != PARTS_OF_PAGES || i % PERIOD <= RUN),
		      "page %zu is %sshared", i, i % PERIOD <= RUN ? "" : "not ");
	for (int k = 0; k < 2; k++)
		close(fd[k]);
	check_all_spread(e, files);
}

enum comparing { EQUAL, DIFFERENT };

static void replace_page(int fd, size_t i, uint64_t stamp)
{
	char buf[PAGE];

	fill_page(buf, stamp);
	check(pwrite(fd, buf, PAGE, i * PAGE) == (ssize_t)PAGE, "write: %m");
}

static void dedupe_spread(int fd, int from, size_t first, size_t pages)
{
	check(!do_pair(&(struct pair) { DEDUPE, fd, from, first, pages }),
	      "dedupe of equal data, pages %zu to %zu: %s", first, first + pages - 1,
	      errno == EILSEQ ? "said to differ" : strerror(errno));
	for (size_t i = first; i < first + pages; i++)
		check(file_block(fd, i) == file_block(from, i), "page %zu is not shared", i);
}

/* The last page of the range is not the same: the more pages, the more pieces before it. */
static void differs(int fd, int from, size_t last)
{
	replace_page(fd, last, 7);
	for (size_t more = 1; more <= last && more <= 32; more *= 2)
		check(do_pair(&(struct pair) { DEDUPE, fd, from, last - more, more + 1 }) < 0 &&
		      errno == EILSEQ, "page %zu differs, and is deduped with the %zu before it",
		      last, more);
	check(do_pair(&(struct pair) { DEDUPE, fd, from, 0, SPREAD }) < 0 && errno == EILSEQ,
	      "page %zu differs, and all of the file is deduped", last);
	check_file_page(fd, last, 7, "page that differs");
	replace_page(fd, last, SAME + last);
}

static void compared(const struct env *e, const struct layout *l, int how)
{
	struct spread files[] = {
		{ "source", SPREAD, SAME, NULL },
		{ "other", SPREAD, SAME, NULL },
		{ "before", AROUND, 0x10000, NULL },
		{ "between", 6, 0x30000, NULL },
		{ "behind", AROUND, 0x20000, NULL },
		{ }
	};
	int fd[2];

	/* A difference could be missed if the pieces of both files end at the same pages. */
	if (how == DIFFERENT)
		files[3].pages = 2 * l->pages - SPREAD % (2 * l->pages);
	close(create_spread(e, &files[2]));
	fd[0] = create_spread(e, &files[0]);
	close(create_spread(e, &files[3]));
	fd[1] = create_spread(e, &files[1]);
	close(create_spread(e, &files[4]));
	for (int k = 0; k < 2; k++)
		check_contiguous(fd[k], l);
	if (how == DIFFERENT) {
		for (size_t i = 33; i < SPREAD; i += 30)
			differs(fd[1], fd[0], i);
	} else {
		for (size_t i = 0; i < SPREAD / 2; i += 30)
			dedupe_spread(fd[1], fd[0], i, 29);
		dedupe_spread(fd[1], fd[0], SPREAD / 2, SPREAD / 2);
	}
	for (int k = 0; k < 2; k++)
		close(fd[k]);
	check_all_spread(e, files);
}

#define ON_PIECES(name, bound, use, how) \
	static void name(const struct env *e) { on_pieces(e, bound, use, how); }

ON_PIECES(whole_pages_on_pieces, true, copied, WHOLE_PAGES)
ON_PIECES(whole_pages_on_pieces_by_c, false, copied, WHOLE_PAGES)
ON_PIECES(parts_of_pages_on_pieces, true, copied, PARTS_OF_PAGES)
ON_PIECES(parts_of_pages_on_pieces_by_c, false, copied, PARTS_OF_PAGES)
ON_PIECES(unshare_on_pieces, true, copied, UNSHARE)
ON_PIECES(unshare_on_pieces_by_c, false, copied, UNSHARE)
ON_PIECES(equal_on_pieces, true, compared, EQUAL)
ON_PIECES(equal_on_pieces_by_c, false, compared, EQUAL)
ON_PIECES(different_on_pieces, true, compared, DIFFERENT)
ON_PIECES(different_on_pieces_by_c, false, compared, DIFFERENT)

static const struct test tests[] = {
	{ "R16 two partitions of a device, one of them bound", two_partitions, EVERYWHERE },
	{ "R2 a mount on pieces of two devices (dm-linear)", dm_linear, EVERYWHERE },
	{ "R2 a mount on stripes of two devices (dm-stripe)", dm_stripe, EVERYWHERE },
	{ "R2 a mount with a realtime device", realtime, XFS_ONLY },
	{ "R11 write(2) of whole pages to a clone on pieces of two devices",
	  whole_pages_on_pieces, XFS_ONLY },
	{ "R11 write(2) of whole pages to a clone on pieces of two devices, not bound",
	  whole_pages_on_pieces_by_c, XFS_ONLY },
	{ "R11 write(2) of parts of pages to a clone on pieces of two devices",
	  parts_of_pages_on_pieces, XFS_ONLY },
	{ "R11 write(2) of parts of pages to a clone on pieces of two devices, not bound",
	  parts_of_pages_on_pieces_by_c, XFS_ONLY },
	{ "R11 unshare on pieces of two devices", unshare_on_pieces, XFS_ONLY },
	{ "R11 unshare on pieces of two devices, not bound", unshare_on_pieces_by_c, XFS_ONLY },
	{ "R11 dedupe of equal data on pieces of two devices", equal_on_pieces, XFS_ONLY },
	{ "R11 dedupe of equal data on pieces of two devices, not bound",
	  equal_on_pieces_by_c, XFS_ONLY },
	{ "R11 dedupe of different data on pieces of two devices",
	  different_on_pieces, XFS_ONLY },
	{ "R11 dedupe of different data on pieces of two devices, not bound",
	  different_on_pieces_by_c, XFS_ONLY },
	{ }
};

GROUP_UNMOUNTED(stack, tests);
