// SPDX-License-Identifier: GPL-2.0
/*
 * Extents that lie on many short pieces of both devices. What a copy or a comparison takes for
 * the rest of an extent, behind the end of a piece, is somebody else's: files lie around those
 * that share blocks, and every page has a stamp of its own.
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
#include <unistd.h>

#include "devices.h"
#include "lib.h"

#define PAGE_SECTORS	((unsigned int)(PAGE / SECTOR))
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
		fprintf(f, "0 %u striped 2 %u %s 0 %s 0\n", pieces * len, len, e->dev, e->other);
	for (unsigned int i = 0; i < pieces && !l->striped; i++)
		fprintf(f, "%u %u linear %s %u\n", i * len, len, i % 2 ? e->other : e->dev,
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

static void on_pieces(const struct env *e,
		      void (*use)(const struct env *e, const struct layout *l, int how), int how)
{
	struct env dm = *e;

	load(e);
	dm.dev = DM_DEV;
	bind_next(e, e->bound);
	for (const struct layout *l = layouts; l < layouts + ARRAY_SIZE(layouts); l++) {
		char *table = table_of(e, l);

		printf("# %s\n", l->name);
		make_dm(table);
		free(table);
		make_xfs(&dm, "-d size=40m,agcount=1,noalign -l size=16m -m reflink=1,rmapbt=1");
		mount_made(&dm, e->fs);
		use(&dm, l, how);
		must(umount(dm.dir));
		remove_dm();
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
	uint64_t first;
	int fd[2], room;

	close(create_spread(e, &files[2]));
	fd[0] = create_spread(e, &files[0]);
	fd[1] = create_file(e, "clone", 0, 0);
	room = create_file(e, "room", 0, 0);
	must(do_op(OP_ALLOCATE, room, 0, ROOM));
	must(fsync(room));
	first = file_block(room, 0);
	check(file_block(room, ROOM - 1) == first + ROOM - 1, "no room in one piece");
	close(create_spread(e, &files[3]));
	leave_free(e, SLACK);
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
	/* So that what is behind a copy is in use, where that ends. */
	for (size_t i = 0; i < SPREAD; i++) {
		uint64_t block = file_block(fd[1], i);

		check(block == file_block(fd[0], i) || (block >= first && block < first + ROOM),
		      "page %zu was copied to block %llu, not to the room", i,
		      (unsigned long long)block);
	}
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

#define ON_PIECES(name, use, how) \
	static void name(const struct env *e) { on_pieces(e, use, how); }

ON_PIECES(write_of_whole_pages, copied, WHOLE_PAGES)
ON_PIECES(write_of_parts_of_pages, copied, PARTS_OF_PAGES)
ON_PIECES(unshare_shared, copied, UNSHARE)
ON_PIECES(dedupe_of_equal_data, compared, EQUAL)
ON_PIECES(dedupe_of_different_data, compared, DIFFERENT)

static const struct test tests[] = {
	{ "R11 write(2) of whole pages to a clone on pieces of two devices",
	  write_of_whole_pages, XFS_ONLY | BY_EITHER },
	{ "R11 write(2) of parts of pages to a clone on pieces of two devices",
	  write_of_parts_of_pages, XFS_ONLY | BY_EITHER },
	{ "R11 unshare on pieces of two devices", unshare_shared, XFS_ONLY | BY_EITHER },
	{ "R11 dedupe of equal data on pieces of two devices",
	  dedupe_of_equal_data, XFS_ONLY | BY_EITHER },
	{ "R11 dedupe of different data on pieces of two devices",
	  dedupe_of_different_data, XFS_ONLY | BY_EITHER },
	{ }
};

GROUP_UNMOUNTED(pieces, tests);
