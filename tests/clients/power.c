// SPDX-License-Identifier: GPL-2.0
/*
 * power DEVICE COUNTS: the power fails under a pmem device, by its number. What is left is on
 * the device behind the watched ones. Prints what was promised before and what was begun until
 * after it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "../vm/arch.h"
#include "client.h"

int main(int argc, char **argv)
{
	const volatile struct counts *counts;
	uint64_t device, promised;

	if (argc != 3)
		fail("usage: power DEVICE COUNTS");
	device = number_of(argv[1]);
	counts = counts_of(argv[2]);
	if (!ask_medium(MEDIUM_DEVICES, 0, 0, 0))
		fail("the guest has no medium: boot it with --medium");
	promised = counts->promised;
	if (ask_medium(MEDIUM_POWER_FAILURE, device, 0, 0))
		fail("there is no device %" PRIu64, device);
	printf("%" PRIu64 " %" PRIu64 "\n", promised, counts->begun);
	return 0;
}
