// SPDX-License-Identifier: GPL-2.0
/* Numbers for randomized runs (xorshift). */
#include "rng.h"

uint64_t rnd(struct rng *r, uint64_t below)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return (r->state >> 11) % below;
}

struct rng rng_of(unsigned long seed, unsigned int round, unsigned int who)
{
	struct rng r = {
		(seed + 1) * 0x9e3779b97f4a7c15ull ^
		(round + 1) * 0xbf58476d1ce4e5b9ull ^ (who + 1) * 0x94d049bb133111ebull
	};

	rnd(&r, 2);
	return r;
}
