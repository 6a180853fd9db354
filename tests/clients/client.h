/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs of this directory share: transactions that follow from a seed, so that whoever
 * knows how many were committed knows all that a store must hold; and what was promised, in memory
 * that other processes see and that outlives a kill.
 */
#ifndef FSDAX_CLIENTS_CLIENT_H
#define FSDAX_CLIENTS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS		1024u
#define MOST_BYTES	4000u
#define MOST_CHANGES	4u

/* Steps are counted from 1; each is one transaction. */
struct counts {
	uint64_t begun;		/* the last one that was begun */
	uint64_t promised;	/* the last one that must be there whatever happens */
};

/* What a step does to a key: a value of so many bytes, or none. */
struct change {
	uint32_t key, bytes;
};

/* Who wrote the value of a key; a step of 0 says that there is none. */
struct value {
	uint64_t step;
	uint32_t bytes;
};

/* Failure: says why and ends the process with status 1. */
__attribute__((noreturn, format(printf, 1, 2)))
void fail(const char *fmt, ...);

/* The counts in the file @path, which is made if it is not there. */
struct counts *counts_of(const char *path);
uint64_t number_of(const char *text);

/* Fills @changes, which are of different keys, and returns how many they are. */
unsigned int changes_of(uint64_t seed, uint64_t step, struct change changes[MOST_CHANGES]);
/* What each key must have after so many steps. */
void values_after(uint64_t seed, uint64_t steps, struct value values[KEYS]);
/* The bytes of the value that a step gives to a key. */
void fill_value(unsigned char *data, uint32_t key, struct value value);
bool is_value(const unsigned char *data, uint32_t key, struct value value);

/* The last line of a program that ends well. */
void tell(uint64_t operations, uint64_t errors);

#endif
