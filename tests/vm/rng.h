/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers that a seed decides on. */
#ifndef FSDAX_VM_RNG_H
#define FSDAX_VM_RNG_H

#include <stdint.h>

/* Numbers that depend on the seed of a run, its round and who asks. */
struct rng {
	uint64_t state;
};

struct rng rng_of(unsigned long seed, unsigned int round, unsigned int who);
uint64_t rnd(struct rng *r, uint64_t below);

#endif
