// SPDX-License-Identifier: GPL-2.0
/*
 * persist FILE COUNT: what libpmem does with a file, and whether it takes it for persistent memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"

#define BYTES	((size_t)16 << 20)
#define MOST	((size_t)20000)

static uint64_t errors;

static void expect(bool right, const char *what)
{
	if (right)
		return;
	printf("# %s\n", what);
	errors++;
}

/* The file's own answer: only DAX has such mappings. */
static void map_sync(const char *path)
{
	const int fd = open(path, O_RDWR);
	void *map;

	if (fd < 0)
		fail("%s: %m", path);
	map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	expect(map != MAP_FAILED, "there is no MAP_SYNC");
	if (map != MAP_FAILED) {
		expect(!pmem_is_pmem(map, BYTES), "a mapping of others is pmem to libpmem");
		munmap(map, BYTES);
	}
	close(fd);
}

static void store(char *map, char *copy, uint64_t count)
{
	static unsigned char data[MOST];

	for (uint64_t i = 1; i <= count; i++) {
		const struct value value = { .step = i, .bytes = 1 + i * 7919 % MOST };
		const size_t at = i * 6700417 % (BYTES - value.bytes);

		fill_value(data, 0, value);
		switch (i % 4) {
		case 0:
			pmem_memcpy_persist(map + at, data, value.bytes);
			break;
		case 1:
			memcpy(map + at, data, value.bytes);
			pmem_persist(map + at, value.bytes);
			break;
		case 2:
			pmem_memmove(map + at, data, value.bytes, PMEM_F_MEM_NONTEMPORAL);
			break;
		default:
			pmem_memset(map + at, data[0], value.bytes, PMEM_F_MEM_TEMPORAL);
			memset(data, data[0], value.bytes);
		}
		memcpy(copy + at, data, value.bytes);
	}
}

static void compare(const char *path, const char *map, const char *copy)
{
	const int fd = open(path, O_RDONLY);
	char *read_back = malloc(BYTES);
	size_t done = 0;
	ssize_t n;

	if (fd < 0 || !read_back)
		fail("%s: %m", path);
	while ((n = pread(fd, read_back + done, BYTES - done, done)) > 0)
		done += n;
	expect(done == BYTES, "the file has another size");
	expect(!memcmp(map, copy, BYTES), "the mapping has other data");
	expect(!memcmp(read_back, copy, BYTES), "read(2) has other data");
	close(fd);
	free(read_back);
}

int main(int argc, char **argv)
{
	int is_pmem = 0;
	size_t size = 0;
	uint64_t count;
	char *map, *copy = calloc(1, BYTES);

	if (argc != 3)
		fail("usage: persist FILE COUNT");
	count = number_of(argv[2]);
	map = pmem_map_file(argv[1], BYTES, PMEM_FILE_CREATE | PMEM_FILE_EXCL, 0600, &size,
			    &is_pmem);
	if (!map || !copy)
		fail("pmem_map_file: %s", pmem_errormsg());
	expect(is_pmem, "pmem_map_file() does not take it for pmem");
	expect(pmem_is_pmem(map, size) == 1, "pmem_is_pmem() does not take it for pmem");
	expect(size == BYTES, "the mapping has another size");
	map_sync(argv[1]);
	store(map, copy, count);
	expect(!pmem_deep_persist(map, BYTES), "pmem_deep_persist() failed");
	expect(!pmem_msync(map, BYTES), "pmem_msync() failed");
	compare(argv[1], map, copy);
	pmem_unmap(map, size);
	tell(count, errors);
	return errors != 0;
}
