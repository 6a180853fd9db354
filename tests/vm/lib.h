/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the guest programs share: test cases and their environment, pins that
 * last (pages in a pipe), operations in the background and whether they
 * sleep, counters of the kernel (faults, flushed pages), the kernel log.
 *
 * A test case runs in a process of its own. check() ends it on failure, so
 * nothing needs an error path, and the pins of a failed case go with it.
 */
#ifndef FSDAX_VM_LIB_H
#define FSDAX_VM_LIB_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE	((size_t)4096)
#define MIB	((size_t)1 << 20)
#define HUGE	((size_t)512)	/* pages of 4 KiB in 2 MiB */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The mount that a case runs on. */
struct env {
	const char *label;	/* "rust", "C" or "stock" */
	const char *fs;		/* "ext4" or "xfs" */
	const char *dev;	/* block device */
	const char *dir;	/* mount point; empty at the start of a case */
	const char *ko;		/* the module, NULL to test the stock kernel */
	bool bound;		/* expected to be served by the module */
	bool first, last;	/* of the kinds of file systems */
	unsigned long seed;
	unsigned long ops;
};

/*
 * Where a case holds: everywhere, only where the module serves the mount, on one file system. If
 * there are two, what is the same on each runs on the first, and what looks back on all of the
 * run does so after the last.
 */
enum where {
	EVERYWHERE = 0,
	BOUND_ONLY = 1,
	EXT4_ONLY = 2,
	XFS_ONLY = 4,
	FIRST_ONLY = 8,
	LAST_ONLY = 16,
	C_ONLY = 32,	/* only where fs/dax.c serves the mount */
};

struct test {
	const char *name;	/* starts with the rule it proves */
	void (*run)(const struct env *e);
	unsigned int where;	/* of enum where */
};

struct group {
	const char *name;
	const struct test *tests;	/* an empty one ends them */
	bool unmounted;		/* the cases do their own mounts */
};

#define GROUP(ident, table) \
	const struct group ident##_group = { #ident, table, false }
#define GROUP_UNMOUNTED(ident, table) \
	const struct group ident##_group = { #ident, table, true }

extern const struct group data_group, holes_group, dirty_group, layout_group,
	interrupt_group, races_group, direct_group, evict_group, space_group,
	stress_group, module_group, stock_group, leaks_group, removal_group, observe_group,
	tools_group, moves_group, calls_group,
	huge_group, reflink_group,
	poison_group,
	unwritten_group, stress2_group, stack_group, erofs_group, powerfail_group,
	powerfail_removal_group, inject_group, injected_group, options_group;

/* Failure: print a diagnostic, drop all pins and leave the process. */
__attribute__((noreturn, format(printf, 3, 4)))
void fail_at(const char *file, int line, const char *fmt, ...);
#define fail(...)	fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define check(cond, ...) do { if (!(cond)) fail(__VA_ARGS__); } while (0)
/* The case cannot run here: say why and leave the process. */
#define SKIPPED	77
__attribute__((noreturn, format(printf, 1, 2)))
void skip(const char *fmt, ...);
/* For system calls that must succeed: evaluates to their result. */
#define must(call) ({ \
	__typeof__(call) _r = (call); \
	if (_r == (__typeof__(_r))-1) \
		fail("%s: %m", #call); \
	_r; })
/* What fail_at() calls before it leaves, for waits that an exit cannot end. */
void at_fail(void (*fn)(void *), void *arg);

/* Content: every 8 bytes of a page carry its stamp. */
void fill_page(void *page, uint64_t stamp);
bool page_is(const void *page, uint64_t stamp);
void check_page_at(const char *file, int line, const void *page,
		   uint64_t stamp, const char *what);
#define check_page(page, stamp, what) \
	check_page_at(__FILE__, __LINE__, page, stamp, what)

/* Files: @pages pages, page i stamped @stamp + i and on the medium. */
const char *in_dir(const struct env *e, const char *name);
int create_file(const struct env *e, const char *name, size_t pages,
		uint64_t stamp);
void check_file_page(int fd, size_t index, uint64_t stamp, const char *what);
/* Shared mapping in 4 KiB pages. */
char *map_file(int fd, size_t pages, int prot);
/* The same at a 2 MiB boundary, with 2 MiB pages wherever the kernel can. */
char *map_file_huge(int fd, size_t pages, int prot);
/* An allocated file of @huge times 2 MiB, at 2 MiB boundaries of the device. */
int create_huge(const struct env *e, const char *name, size_t huge);
/*
 * Pieces of 2 MiB, piece i stamped 100 + i, each an extent of its own: a clone shares one after the
 * other. The file is mapped by 2 MiB and read backwards meanwhile, since a clone is made from the
 * front.
 */
int create_pieces(const struct env *e, const char *name, size_t pieces);

struct piece_reader {
	char *map;
	size_t pieces;
	atomic_int stop, laps, failures;
};

void *read_pieces(void *reader);
off_t file_size(int fd);
/* Physical block (in 4 KiB units) behind a page, 0 for a hole. */
uint64_t file_block(int fd, size_t index);
/* Fill the free space with pages of one stamp; check that nobody changed them. */
int fill_free_space(const struct env *e, const char *name, uint64_t stamp);
/*
 * The same by many small files, which take small holes that a large one does
 * not get. The check removes them.
 */
void fill_small_files(const struct env *e, uint64_t stamp);
void check_small_files(const struct env *e, uint64_t stamp);
void check_all_pages(int fd, uint64_t stamp, const char *what);

/* Store to or load from a page that may raise SIGBUS: returns the signal or 0. */
int try_store(char *addr, char value);
int try_load(const char *addr, char *value);

/* A pin that lasts: pages of a mapping sit in a pipe. */
struct pin {
	int rd, wr;
	size_t pages;
};

void pin_pages(struct pin *pin, void *addr, size_t pages);
/* Take the oldest page out (its data goes to @buf, may be NULL). */
void unpin_page(struct pin *pin, void *buf);
void unpin_all(struct pin *pin);

/* An operation that a thread of its own executes. */
enum op { OP_TRUNCATE, OP_PUNCH, OP_ZERO, OP_COLLAPSE, OP_INSERT, OP_ALLOCATE, OP_UNLINK,
	  OP_FSYNC, OP_SWAP_BOOT, OP_CALL };

struct job {
	enum op op;
	int fd;
	size_t first, pages;	/* in pages; truncate: the new size is @first */
	const char *path;	/* unlink */
	int (*call)(void *arg);	/* call: 0 or -1 with errno */
	void *arg;

	int rc, err;
	uint64_t cpu_ns;
	pthread_t thread;
	atomic_int tid, done;
};

extern const char *const op_name[];

int do_op(enum op op, int fd, size_t first, size_t pages);
void job_start(struct job *job);
/* Wait until the job has ended (false) or sleeps in the kernel (true). */
bool job_sleeps(struct job *job);
bool task_sleeps(pid_t pid, pid_t tid, atomic_int *done);
/* Wait until the job has ended or sleeps, if only for a moment. */
void job_until_asleep(struct job *job);
/* Interrupt the job by a signal whose handler does nothing. */
void job_signal(struct job *job);
void job_join(struct job *job);
/* Join and check success. */
void job_succeeds(struct job *job);

/* Calls about the same pages of two files, of XFS. */
enum pair_op { CLONE, CLONE_RANGE, DEDUPE, EXCHANGE, SWAPEXT };

struct pair {
	enum pair_op op;
	int fd, other;		/* destination, source */
	size_t first, pages;
};

extern const char *const pair_op_name[];

int do_pair(void *pair);

/* Of fs/ext4/ext4.h, which user space has no header of. */
struct move_extent {
	uint32_t reserved;
	uint32_t donor_fd;
	uint64_t orig_start;
	uint64_t donor_start;
	uint64_t len;
	uint64_t moved_len;
};

#define EXT4_IOC_MOVE_EXT	_IOWR('f', 15, struct move_extent)

/* Figures. */
long minor_faults(void);
uint64_t thread_cpu_ns(void);
/* Whole pages written back to the medium between the two calls, by anybody. */
void flush_count_start(void);
long flush_count_stop(void);

/* Faults of a file between the two calls, by the tracepoints of fs_dax. */
struct dax_faults {
	long huge, fallback;	/* of 2 MiB: mapped, fell back to 4 KiB */
	long small;		/* of 4 KiB */
	long huge_zero, small_zero;	/* gave a zero page */
};

void faults_start(void);
struct dax_faults faults_stop(int fd);
/* Of a mapping, in pages of 4 KiB: present at all, in 2 MiB. */
size_t present_pages(const char *map, size_t pages);
size_t huge_pages(const char *map, size_t pages);
/* Rss in smaps of the mappings there; RssFile of the process. */
long rss_kib(const char *map, size_t pages);
long rss_file_kib(void);

/* The longest time between two timer interrupts of this CPU, in microseconds. */
struct irq_gaps {
	int timer;
	cpu_set_t before;
};

void irq_gaps_start(struct irq_gaps *g, long period_us);
long irq_gaps_stop(struct irq_gaps *g);

/* The kernel log from here on. */
int kmsg_open(void);
/* Wait for a line that has all of the words, NULL-terminated. */
bool kmsg_wait(int fd, int seconds, ...);
bool kmsg_has(int fd, ...);

/* Small files of procfs and sysfs. */
bool write_text(const char *path, const char *text);
void set_text(const char *path, const char *text);	/* must succeed */
bool read_text(const char *path, char *buf, size_t size);

/* Provider and mounts. */
#define MODULE_NAME "rust_fsdax"
bool module_loaded(void);
int module_load(const char *ko);
int module_unload(void);
void module_bind(bool on);
bool make_fs(const char *fs, const char *dev);
int mount_fs(const char *fs, const char *dev, const char *dir,
	     const char *extra);
/* Tell the provider from outside: stock forgets dirty pages on a punch. */
bool mount_is_bound(const char *dir);

/* Take the driver from a pmem device, give it back. */
void device_name(const char *dev, char *name, size_t size);
bool device_unbind(const char *name);
bool device_bind(const char *name);

/* Have the driver refuse access to a block of 4 KiB, as to one whose memory failed. */
void make_bad(const struct env *e, uint64_t block);
/*
 * It forgets that when it goes: take it from the device, which is not mounted, give it back, and
 * mount a new file system.
 */
void forget_bad(const struct env *e);

/* A file whose direct reads stay in flight until they are released (FUSE). */
struct slow_file {
	int dev;
	char path[64];
	uint64_t stamp;
	pthread_t server;
	atomic_int held, release;
};

void slow_file_start(struct slow_file *f, uint64_t stamp);
void slow_file_wait_held(struct slow_file *f);
void slow_file_release(struct slow_file *f);
void slow_file_stop(struct slow_file *f);

/* A direct read of such a file into @buf, in flight until it is ended. */
struct slow_read {
	struct slow_file file;
	int fd;
	char *buf;
	size_t pages;
	ssize_t rc;
	int err;
	pthread_t thread;
};

void slow_read_start(struct slow_read *r, char *buf, size_t pages, uint64_t stamp);
/* The answer lands in the buffer. */
void slow_read_end(struct slow_read *r);

/* Figures of the demo that are not in demo.c, ended by an empty one. */
struct defect_figure {
	const char *name;
	void (*run)(const struct env *e);
};

extern const struct defect_figure defect_figures[];

/* Numbers that depend on the seed of a run, its round and who asks. */
struct rng {
	uint64_t state;
};

struct rng rng_of(unsigned long seed, unsigned int round, unsigned int who);
uint64_t rnd(struct rng *r, uint64_t below);
/* A block device over @file, open for direct I/O; it goes with the last one who has it open. */
int open_loop_device(int file, bool read_only);

#endif
