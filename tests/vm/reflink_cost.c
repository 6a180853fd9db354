// SPDX-License-Identifier: GPL-2.0
/* What a clone takes away from who has the source mapped: no more than with fs/dax.c. */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reflink.h"

#define LARGE	((size_t)4)		/* of 2 MiB: 8 MiB */
#define PAGES	(LARGE * HUGE)

/* The source, mapped by 2 MiB and clean. */
static char *mapped_source(const struct env *e, int *fd)
{
	char *p;

	*fd = create_huge(e, "a", LARGE);
	p = map_file_huge(*fd, PAGES, RW);
	for (size_t i = 0; i < PAGES; i++)
		fill_page(p + i * PAGE, 100 + i);
	must(fsync(*fd));
	check(huge_pages(p, PAGES) == PAGES, "the source is not mapped in 2 MiB");
	return p;
}

static long faults_to_read(const char *p, const char *what)
{
	long faults = minor_faults();

	for (size_t i = 0; i < PAGES; i++)
		check_page(p + i * PAGE, 100 + i, what);
	return minor_faults() - faults;
}

/* Again and again, over what is mapped by 2 MiB already: a fault for each 2 MiB. */
static void one_fault_for_2m(const struct env *e)
{
	int fd[2];
	char *p[2];

	p[0] = mapped_source(e, &fd[0]);
	fd[1] = create_huge(e, "b", LARGE);
	p[1] = map_file_huge(fd[1], PAGES, PROT_READ);
	for (int n = 0; n < 6; n++) {
		clone_all(fd[1], fd[0]);
		for (int k = 0; k < 2; k++) {
			long faults = faults_to_read(p[k], k ? "clone" : "source");

			check(faults <= (long)LARGE, "%ld faults to read the %s after clone %d",
			      faults, k ? "clone" : "source", n);
			check(huge_pages(p[k], PAGES) == PAGES, "the %s is not mapped in 2 MiB",
			      k ? "clone" : "source");
		}
	}
}

static bool is_one_piece(int fd, size_t piece)
{
	const uint64_t first = file_block(fd, piece * HUGE);

	return first % HUGE == 0 && file_block(fd, piece * HUGE + HUGE - 1) == first + HUGE - 1;
}

/* Where XFS has 2 MiB in one piece for the copy, the file stays mapped by 2 MiB. */
static void copied_by_2m(const struct env *e)
{
	enum { SELF = 1, OTHER = 2 };
	int fd[2];
	char *p[2];
	long n;

	p[0] = mapped_source(e, &fd[0]);
	fd[1] = new_file(e, "b");
	clone_all(fd[1], fd[0]);
	p[1] = map_file_huge(fd[1], PAGES, RW);
	for (int k = 0; k < 2; k++)
		faults_to_read(p[k], "before");
	/* Read before, and not. */
	fill_page(p[0] + (SELF * HUGE + 7) * PAGE, 1);
	must(madvise(p[1], PAGES * PAGE, MADV_DONTNEED));
	fill_page(p[1] + (OTHER * HUGE + 8) * PAGE, 2);
	check(is_one_piece(fd[0], SELF) && is_one_piece(fd[1], OTHER), "no 2 MiB for a copy");
	check(file_block(fd[0], SELF * HUGE) != file_block(fd[1], SELF * HUGE) &&
	      file_block(fd[0], OTHER * HUGE) != file_block(fd[1], OTHER * HUGE), "no copies");
	n = minor_faults();
	for (size_t i = 0; i < PAGES; i++) {
		check_page(p[0] + i * PAGE, i == SELF * HUGE + 7 ? 1 : 100 + i, "a");
		check_page(p[1] + i * PAGE, i == OTHER * HUGE + 8 ? 2 : 100 + i, "b");
	}
	n = minor_faults() - n;
	check(n <= 2 * (long)LARGE, "%ld faults to read both after a store to each", n);
	for (int k = 0; k < 2; k++)
		check(huge_pages(p[k], PAGES) == PAGES, "file %d is not mapped by 2 MiB", k);
	/* What shares nothing any more is written in place. */
	n = file_block(fd[0], SELF * HUGE);
	fill_page(p[0] + (SELF * HUGE + 9) * PAGE, 3);
	fill_page(p[1] + (SELF * HUGE + 9) * PAGE, 4);
	check((long)file_block(fd[0], SELF * HUGE) == n, "copied once more");
	check_page(p[0] + (SELF * HUGE + 9) * PAGE, 3, "a, stored to by both");
	check_page(p[1] + (SELF * HUGE + 9) * PAGE, 4, "b, stored to by both");
	check_page(p[1] + (SELF * HUGE + 7) * PAGE, 107 + SELF * HUGE, "b after a store to a");
	for (int k = 0; k < 2; k++)
		must(fsync(fd[k]));
	must(ftruncate(fd[0], 0));
	check_file_page(fd[1], SELF * HUGE + 9, 4, "b after the truncate of a");
	must(ftruncate(fd[1], 0));
}

/* What is dirty, so that the clone has it after a power failure; nothing that is clean. */
static void written_back_once(const struct env *e)
{
	int fd, b = new_file(e, "b");
	char *p = mapped_source(e, &fd);
	long n;

	flush_count_start();
	clone_all(b, fd);
	n = flush_count_stop();
	check(!n, "%ld pages of a clean file were written back", n);
	must(ftruncate(b, 0));
	fill_page(p + (HUGE + 7) * PAGE, 107 + HUGE);
	flush_count_start();
	clone_all(b, fd);
	n = flush_count_stop();
	check(n == (long)HUGE, "%ld pages were written back, not %zu", n, HUGE);
	flush_count_start();
	must(fsync(fd));
	must(fsync(b));
	n = flush_count_stop();
	check(!n, "%ld pages were written back once more", n);
	check(faults_to_read(p, "source") <= (long)LARGE, "more faults than pages of 2 MiB");
}

/* A clone of 2 MiB leaves the rest of the file mapped, and dirty. */
static void rest_stays(const struct env *e)
{
	int fd, b = new_file(e, "b");
	struct file_clone_range range;
	char *p = mapped_source(e, &fd);
	long n;

	range = (struct file_clone_range) { fd, HUGE * PAGE, HUGE * PAGE, 0 };
	fill_page(p, 100);
	fill_page(p + 2 * HUGE * PAGE, 100 + 2 * HUGE);
	flush_count_start();
	must(ioctl(b, FICLONERANGE, &range));
	n = flush_count_stop();
	check(!n, "%ld pages beside the range were written back", n);
	check(huge_pages(p, PAGES) == PAGES - HUGE, "%zu pages are mapped by 2 MiB, not %zu",
	      huge_pages(p, PAGES), PAGES - HUGE);
	n = faults_to_read(p, "source");
	check(n == 1, "%ld faults to read the source, not 1", n);
	flush_count_start();
	must(fsync(fd));
	n = flush_count_stop();
	check(n == 2 * (long)HUGE, "%ld pages were written back by fsync, not %zu", n, 2 * HUGE);
}

static const struct test tests[] = {
	{ "R24 a clone costs a fault for each 2 MiB of its source", one_fault_for_2m, XFS },
	{ "R24 a clone of 2 MiB pages is copied by 2 MiB", copied_by_2m, XFS },
	{ "R24 a clone writes back what is dirty, once", written_back_once, BOUND },
	{ "R24 a clone of 2 MiB leaves the rest mapped and dirty", rest_stays, BOUND },
	{ }
};

GROUP(reflink_cost, tests);
