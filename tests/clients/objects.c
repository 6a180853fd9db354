// SPDX-License-Identifier: GPL-2.0
/*
 * A pool of libpmemobj, with an object for each key that has a value.
 *
 * objects run POOL COUNTS SEED STEPS: go on with the pool, or make it, up to that step; 0 is
 * for ever.
 * objects check POOL SEED PROMISED BEGUN: whether it is what some step from PROMISED to BEGUN
 * left.
 */
#include <inttypes.h>
#include <libpmemobj.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

#define LAYOUT		"fsdax clients"
#define POOL_BYTES	((size_t)32 << 20)
/* Each so many steps one that is aborted comes before. */
#define ABORTS		8

struct item {
	uint64_t step;
	uint32_t bytes;
	unsigned char data[];
};

struct root {
	uint64_t last;
	PMEMoid items[KEYS];
};

static void need(int error, const char *what)
{
	if (error)
		fail("%s: %s", what, pmemobj_errormsg());
}

static void put(PMEMoid *slot, uint32_t key, struct value value)
{
	struct item *item = pmemobj_direct(*slot);

	if (item && item->bytes == value.bytes) {
		need(pmemobj_tx_add_range_direct(item, sizeof(*item) + value.bytes), "overwrite");
	} else {
		need(pmemobj_tx_add_range_direct(slot, sizeof(*slot)), "replace");
		if (item)
			need(pmemobj_tx_free(*slot), "free");
		*slot = pmemobj_tx_alloc(sizeof(*item) + value.bytes, 1);
		need(OID_IS_NULL(*slot), "allocate");
		item = pmemobj_direct(*slot);
	}
	item->step = value.step;
	item->bytes = value.bytes;
	fill_value(item->data, key, value);
}

static void drop(PMEMoid *slot)
{
	if (OID_IS_NULL(*slot))
		return;
	need(pmemobj_tx_add_range_direct(slot, sizeof(*slot)), "remove");
	need(pmemobj_tx_free(*slot), "free");
	*slot = OID_NULL;
}

static unsigned int transaction(PMEMobjpool *pool, struct root *root, uint64_t seed, uint64_t step,
				bool abort)
{
	struct change changes[MOST_CHANGES];
	const unsigned int n = changes_of(seed, step, changes);

	need(pmemobj_tx_begin(pool, NULL, TX_PARAM_NONE), "begin");
	for (unsigned int i = 0; i < n; i++) {
		PMEMoid *slot = &root->items[changes[i].key];

		if (changes[i].bytes)
			put(slot, changes[i].key,
			    (struct value) { .step = step, .bytes = changes[i].bytes });
		else
			drop(slot);
	}
	need(pmemobj_tx_add_range_direct(&root->last, sizeof(root->last)), "count");
	root->last = step;
	if (abort)
		pmemobj_tx_abort(0);
	else
		pmemobj_tx_commit();
	(void)pmemobj_tx_end();
	return n;
}

static struct root *root_of(PMEMobjpool *pool)
{
	const PMEMoid oid = pmemobj_root(pool, sizeof(struct root));

	need(OID_IS_NULL(oid), "root");
	return pmemobj_direct(oid);
}

static uint64_t compare(struct root *root, uint64_t seed)
{
	static struct value values[KEYS];
	uint64_t wrong = 0;

	values_after(seed, root->last, values);
	for (uint32_t key = 0; key < KEYS; key++) {
		const struct item *item = pmemobj_direct(root->items[key]);
		const struct value value = values[key];

		if (!item ? !value.step : (value.step == item->step && value.bytes == item->bytes &&
					   is_value(item->data, key, value)))
			continue;
		if (!wrong++)
			printf("# key %u: not what step %" PRIu64 " of %" PRIu64 " left\n", key,
			       value.step, root->last);
	}
	return wrong;
}

/* The library has its own libpmem, which cannot be asked; the kernel can: "sf" is MAP_SYNC. */
static bool is_synchronous(const void *at)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool inside = false, synchronous = false;
	uintptr_t start, end;
	char line[512];

	if (!smaps)
		fail("/proc/self/smaps: %m");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
			inside = (uintptr_t)at >= start && (uintptr_t)at < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			synchronous = strstr(line, " sf ");
	}
	fclose(smaps);
	return synchronous;
}

static int run(const char *path, const char *counts_path, uint64_t seed, uint64_t steps)
{
	struct counts *counts = counts_of(counts_path);
	uint64_t operations = 0, errors;
	PMEMobjpool *pool;
	struct root *root;
	int none = 0;

	/* No memory counts its unsafe shutdowns here, and to look for who does takes long. */
	need(pmemobj_ctl_set(NULL, "sds.at_create", &none), "shutdown count");
	pool = access(path, F_OK) ? pmemobj_create(path, LAYOUT, POOL_BYTES, 0600) :
				    pmemobj_open(path, LAYOUT);
	need(!pool, "pool");
	root = root_of(pool);
	if (!is_synchronous(pool))
		fail("the pool is not mapped by MAP_SYNC: libpmemobj does not take it for pmem");
	counts->begun = root->last;
	counts->promised = root->last;
	for (uint64_t step = root->last + 1; !steps || step <= steps; step++) {
		counts->begun = step;
		if (step % ABORTS == 0)
			transaction(pool, root, ~seed, step, true);
		operations += transaction(pool, root, seed, step, false);
		counts->promised = step;
	}
	errors = compare(root, seed);
	pmemobj_close(pool);
	tell(operations, errors);
	return errors != 0;
}

static int check(const char *path, uint64_t seed, uint64_t promised, uint64_t begun)
{
	PMEMobjpool *pool = pmemobj_open(path, LAYOUT);
	struct root *root;
	uint64_t errors;

	need(!pool, "open");
	root = root_of(pool);
	if (root->last < promised || root->last > begun)
		fail("step %" PRIu64 " is the last one, of %" PRIu64 " promised, %" PRIu64 " begun",
		     root->last, promised, begun);
	errors = compare(root, seed);
	pmemobj_close(pool);
	tell(KEYS, errors);
	return errors != 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], number_of(argv[4]), number_of(argv[5]));
	if (argc == 6 && !strcmp(argv[1], "check"))
		return check(argv[2], number_of(argv[3]), number_of(argv[4]), number_of(argv[5]));
	fail("usage: objects run POOL COUNTS SEED STEPS | check POOL SEED PROMISED BEGUN");
}
