// SPDX-License-Identifier: GPL-2.0
/*
 * The system calls of the fuzzer: a function for each operation, -1 and errno if it fails. They
 * know nothing of the model, and are complete: scripts/fsdaxlib/fuzzing.py takes those that a
 * reduced program needs from here, with the functions that they call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

int fd[FILES], pipes[PIPES][2], scratch, uffd = -1;
struct slot slot[SLOTS];
uint64_t stamp_base;

static void put_stamp(void *to, size_t bytes, uint64_t stamp)
{
	uint64_t *word = to;

	for (size_t i = 0; i < bytes / sizeof(*word); i++)
		word[i] = stamp;
}

/* Where a mapping of this part of a file can have pages of 2 MiB. */
static char *find_room(size_t page, size_t pages)
{
	const size_t huge = HUGE * PAGE, skip = page % HUGE * PAGE, length = pages * PAGE;
	char *room = mmap(NULL, length + 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)room + huge - 1) / huge * huge) + skip;

	if (room == MAP_FAILED)
		return NULL;
	munmap(room, at - room);
	munmap(at + length, room + length + 2 * huge - (at + length));
	return at;
}

long do_map(long s, long f, long page, long pages, long kind)
{
	const int flags[] = { MAP_SHARED, MAP_SHARED, MAP_SHARED_VALIDATE | MAP_SYNC, MAP_PRIVATE,
			      MAP_SHARED };
	int prot = kind == READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	char *at;

	if (slot[s].addr)
		munmap(slot[s].addr, slot[s].pages * PAGE);
	slot[s].addr = NULL;
	at = find_room(page, pages);
	if (!at || mmap(at, pages * PAGE, prot, flags[kind] | MAP_FIXED, fd[f],
			page * PAGE) == MAP_FAILED)
		return -1;
	madvise(at, pages * PAGE, kind == SMALL ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	slot[s] = (struct slot) { at, pages };
	return 0;
}

long do_unmap(long s, long page, long pages)
{
	return munmap(slot[s].addr + page * PAGE, pages * PAGE);
}

long do_remap(long s, long pages, long away)
{
	const size_t was = slot[s].pages * PAGE;
	char *at = away ? find_room((uintptr_t)slot[s].addr / PAGE, pages) : NULL;

	at = mremap(slot[s].addr, was, pages * PAGE,
		    MREMAP_MAYMOVE | (away ? MREMAP_FIXED : 0), at);
	if (at == MAP_FAILED)
		return -1;
	slot[s] = (struct slot) { at, pages };
	return 0;
}

long do_protect(long s, long page, long pages, long protection)
{
	const int prot[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE };

	return mprotect(slot[s].addr + page * PAGE, pages * PAGE, prot[protection]);
}

long do_advise(long s, long page, long pages, long advice)
{
	const int all[] = { MADV_DONTNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_WILLNEED,
				MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLD, MADV_PAGEOUT,
				MADV_COLLAPSE, MADV_MERGEABLE };

	return madvise(slot[s].addr + page * PAGE, pages * PAGE, all[advice]);
}

long do_load(long s, long page, long pages)
{
	volatile uint64_t sum = 0;

	for (long i = page; i < page + pages; i++)
		sum += *(volatile uint64_t *)(slot[s].addr + i * PAGE);
	return 0;
}

long do_store(long s, long page, long sector, long sectors, long value)
{
	put_stamp(slot[s].addr + page * PAGE + sector * SECTOR, sectors * SECTOR, STAMP(value));
	return 0;
}

long do_sync(long s, long page, long pages)
{
	return msync(slot[s].addr + page * PAGE, pages * PAGE, MS_SYNC);
}

long do_remove(long s, long page, long pages)
{
	return madvise(slot[s].addr + page * PAGE, pages * PAGE, MADV_REMOVE);
}

long do_write(long f, long page, long sector, long sectors, long value)
{
	char *buf = aligned_alloc(PAGE, (sectors + IN_PAGE) / IN_PAGE * PAGE);
	ssize_t n;

	put_stamp(buf, sectors * SECTOR, STAMP(value));
	n = pwrite(fd[f], buf, sectors * SECTOR, page * PAGE + sector * SECTOR);
	free(buf);
	return n == (ssize_t)(sectors * SECTOR) ? 0 : -1;
}

long do_read(long f, long page, long pages)
{
	char *buf = aligned_alloc(PAGE, pages * PAGE);
	ssize_t n = pread(fd[f], buf, pages * PAGE, page * PAGE);

	free(buf);
	return n < 0 ? -1 : 0;
}

long do_punch(long f, long page, long sector, long sectors)
{
	return fallocate(fd[f], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 page * PAGE + sector * SECTOR, sectors * SECTOR);
}

long do_zero(long f, long page, long sector, long sectors)
{
	return fallocate(fd[f], FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			 page * PAGE + sector * SECTOR, sectors * SECTOR);
}

long do_collapse(long f, long page, long pages)
{
	return fallocate(fd[f], FALLOC_FL_COLLAPSE_RANGE, page * PAGE, pages * PAGE);
}

long do_insert(long f, long page, long pages)
{
	return fallocate(fd[f], FALLOC_FL_INSERT_RANGE, page * PAGE, pages * PAGE);
}

long do_allocate(long f, long page, long pages)
{
	return fallocate(fd[f], 0, page * PAGE, pages * PAGE);
}

long do_truncate(long f, long page, long sector)
{
	return ftruncate(fd[f], page * PAGE + sector * SECTOR);
}

long do_unshare(long f, long page, long pages)
{
	return fallocate(fd[f], FALLOC_FL_UNSHARE_RANGE, page * PAGE, pages * PAGE);
}

long do_clone(long f, long page, long from, long from_page, long pages)
{
	struct file_clone_range range = {
		.src_fd = fd[from],
		.src_offset = from_page * PAGE,
		.src_length = pages * PAGE,
		.dest_offset = page * PAGE,
	};

	return ioctl(fd[f], FICLONERANGE, &range);
}

long do_dedupe(long f, long page, long from, long from_page, long pages)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range = {
		.head = { from_page * PAGE, pages * PAGE, 1, 0, 0 },
		.info = { .dest_fd = fd[f], .dest_offset = page * PAGE },
	};

	if (ioctl(fd[from], FIDEDUPERANGE, &range))
		return -1;
	errno = range.info.status < 0 ? -range.info.status : EILSEQ;
	return range.info.status == FILE_DEDUPE_RANGE_SAME ? 0 : -1;
}

/* XFS_IOC_EXCHANGE_RANGE. */
long do_exchange(long f, long page, long from, long from_page, long pages)
{
	struct {
		int32_t file1_fd;
		uint32_t pad;
		uint64_t file1_offset, file2_offset, length, flags;
	} range = { fd[from], 0, from_page * PAGE, page * PAGE, pages * PAGE, 0 };

	return ioctl(fd[f], _IOC(_IOC_WRITE, 'X', 129, sizeof(range)), &range);
}

long do_fsync(long f)
{
	return fsync(fd[f]);
}

long do_child(long s, long page, long pages)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		do_load(s, page, pages);
		_exit(0);
	}
	return pid < 0 ? -1 : waitpid(pid, &status, 0);
}

long do_vmsplice(long s, long page, long pages, long q)
{
	struct iovec iov = { slot[s].addr + page * PAGE, pages * PAGE };

	return vmsplice(pipes[q][1], &iov, 1, SPLICE_F_NONBLOCK);
}

long do_drain(long q)
{
	char buf[PAGE];

	while (read(pipes[q][0], buf, sizeof(buf)) > 0)
		;
	return 0;
}

long do_tee(long from, long to)
{
	return tee(pipes[from][0], pipes[to][1], 16 * PAGE, SPLICE_F_NONBLOCK);
}

long do_splice_out(long q, long f, long page)
{
	loff_t at = page * PAGE;

	return splice(pipes[q][0], NULL, fd[f], &at, 16 * PAGE, SPLICE_F_NONBLOCK);
}

long do_splice_in(long f, long page, long pages, long q)
{
	loff_t at = page * PAGE;

	return splice(fd[f], &at, pipes[q][1], NULL, pages * PAGE, SPLICE_F_NONBLOCK);
}

long do_direct_write(long s, long page, long pages)
{
	ssize_t n = pwrite(scratch, slot[s].addr + page * PAGE, pages * PAGE, 0);

	return n == (ssize_t)(pages * PAGE) ? 0 : -1;
}

static void fill_scratch(long pages, long value)
{
	char *buf = aligned_alloc(PAGE, pages * PAGE);

	put_stamp(buf, pages * PAGE, STAMP(value));
	if (pwrite(scratch, buf, pages * PAGE, 0) != (ssize_t)(pages * PAGE))
		abort();
	free(buf);
}

long do_direct_read(long s, long page, long pages, long value)
{
	ssize_t n;

	fill_scratch(pages, value);
	n = pread(scratch, slot[s].addr + page * PAGE, pages * PAGE, 0);
	return n == (ssize_t)(pages * PAGE) ? 0 : -1;
}

static int submit_read(int ring, const struct io_uring_params *p, char *to, size_t bytes)
{
	size_t size = p->sq_off.array + p->sq_entries * sizeof(unsigned int);
	size_t cqes = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	char *sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
			IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, cqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
			IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	int result = -EINVAL;

	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		return result;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_READ;
	sqe->fd = scratch;
	sqe->addr = (uintptr_t)to;
	sqe->len = bytes;
	((unsigned int *)(sq + p->sq_off.array))[0] = 0;
	__atomic_store_n((unsigned int *)(sq + p->sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1)
		result = ((struct io_uring_cqe *)(cq + p->cq_off.cqes))[0].res;
	munmap(sq, size);
	munmap(cq, cqes);
	munmap(sqe, sizeof(*sqe));
	return result;
}

long do_uring_read(long s, long page, long pages, long value)
{
	struct io_uring_params p = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, &p), n;

	if (ring < 0)
		return -1;
	fill_scratch(pages, value);
	n = submit_read(ring, &p, slot[s].addr + page * PAGE, pages * PAGE);
	close(ring);
	errno = n < 0 ? -n : EIO;
	return n == (int)(pages * PAGE) ? 0 : -1;
}

long do_protect_writes(long s, long page, long pages, long on)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = {
		.range = { (uintptr_t)slot[s].addr, slot[s].pages * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)slot[s].addr + page * PAGE, pages * PAGE },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	if (uffd < 0) {
		uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
		ioctl(uffd, UFFDIO_API, &api);
	}
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		return -1;
	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

long do_scan(long s, long page, long pages, long again)
{
	struct page_region found[16];
	const uintptr_t from = (uintptr_t)slot[s].addr + page * PAGE;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = again ? PM_SCAN_WP_MATCHING : 0,
		.start = from,
		.end = from + pages * PAGE,
		.vec = (uintptr_t)found,
		.vec_len = 16,
		.category_mask = again ? PAGE_IS_WRITTEN : 0,
		.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_HUGE | PAGE_IS_FILE,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n;

	n = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	close(pagemap);
	return n;
}

long do_freeze(void)
{
	int rc = ioctl(fd[0], FIFREEZE, 0);

	if (rc)
		return rc;
	usleep(2000);
	return ioctl(fd[0], FITHAW, 0);
}

long do_poison(long s, long page)
{
	return madvise(slot[s].addr + page * PAGE, PAGE, MADV_HWPOISON);
}

/* XFS_IOC_GOINGDOWN, EXT4_IOC_SHUTDOWN: with the log flushed, or not. */
long do_shut_down(long keep_log)
{
	uint32_t how = keep_log ? 1 : 2;

	return ioctl(fd[0], _IOR('X', 125, uint32_t), &how);
}
