// SPDX-License-Identifier: GPL-2.0
/* Transactions that follow from a seed; see client.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"

void fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("# ", stdout);
	vprintf(fmt, args);
	putchar('\n');
	va_end(args);
	fflush(stdout);
	_exit(1);
}

struct counts *counts_of(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct counts *counts;

	if (fd < 0 || ftruncate(fd, sizeof(*counts)))
		fail("%s: %m", path);
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		fail("%s: %m", path);
	close(fd);
	return counts;
}

uint64_t number_of(const char *text)
{
	char *end;
	const uint64_t number = strtoull(text, &end, 0);

	if (*end || end == text)
		fail("%s is no number", text);
	return number;
}

/* The constants are those of splitmix64. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

unsigned int changes_of(uint64_t seed, uint64_t step, struct change changes[MOST_CHANGES])
{
	uint64_t random = mix(seed ^ mix(step));
	const unsigned int wanted = 1 + random % MOST_CHANGES;
	unsigned int n = 0;

	for (unsigned int i = 0; i < wanted; i++) {
		struct change change;
		bool taken = false;

		random = mix(random);
		change.key = random % KEYS;
		/* A quarter are removals; most values are small. */
		change.bytes = 1 + (random >> 32) % (random >> 24 & 7 ? 120 : MOST_BYTES);
		if (!(random >> 16 & 3))
			change.bytes = 0;
		for (unsigned int k = 0; k < n; k++)
			taken |= changes[k].key == change.key;
		if (!taken)
			changes[n++] = change;
	}
	return n;
}

void values_after(uint64_t seed, uint64_t steps, struct value values[KEYS])
{
	struct change changes[MOST_CHANGES];

	memset(values, 0, KEYS * sizeof(*values));
	for (uint64_t step = 1; step <= steps; step++) {
		const unsigned int n = changes_of(seed, step, changes);

		for (unsigned int i = 0; i < n; i++)
			values[changes[i].key] = (struct value) {
				.step = changes[i].bytes ? step : 0, .bytes = changes[i].bytes,
			};
	}
}

static unsigned char byte_of(uint32_t key, struct value value, uint32_t i)
{
	return value.step * 31 + key * 7 + i * 13 + (i >> 8) + 1;
}

void fill_value(unsigned char *data, uint32_t key, struct value value)
{
	for (uint32_t i = 0; i < value.bytes; i++)
		data[i] = byte_of(key, value, i);
}

bool is_value(const unsigned char *data, uint32_t key, struct value value)
{
	for (uint32_t i = 0; i < value.bytes; i++)
		if (data[i] != byte_of(key, value, i))
			return false;
	return true;
}

void tell(uint64_t operations, uint64_t errors)
{
	printf("operations %" PRIu64 " errors %" PRIu64 "\n", operations, errors);
	fflush(stdout);
}
