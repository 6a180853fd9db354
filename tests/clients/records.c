// SPDX-License-Identifier: GPL-2.0
/*
 * A database of LMDB, with a record for each key that has a value.
 *
 * records run DIR COUNTS SEED STEPS HOW: go on with the database, or make it, up to that
 * step; 0 is for ever. HOW is "write" (records are written), "writemap" (they are stored to
 * the map), or "nosync": stored to the map, which is synced each SYNC_EACH steps only. If
 * that goes on for ever, it stops then until it gets SIGCONT. Each SYNC_EACH steps the map
 * grows.
 *
 * records check DIR SEED PROMISED BEGUN: whether it is what some step from PROMISED to BEGUN
 * left.
 */
#include <inttypes.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

#define MIB		((size_t)1 << 20)
#define SYNC_EACH	64
#define FIRST_BYTES	(8 * MIB)
#define MOST_MAP	(64 * MIB)
/* The key of the number of the last step. */
#define LAST		KEYS

static void need(int error, const char *what)
{
	if (error)
		fail("%s: %s", what, mdb_strerror(error));
}

static unsigned int flags_of(const char *how)
{
	if (!strcmp(how, "write"))
		return 0;
	if (!strcmp(how, "writemap"))
		return MDB_WRITEMAP;
	if (!strcmp(how, "nosync"))
		return MDB_WRITEMAP | MDB_NOSYNC;
	fail("HOW is write, writemap or nosync, not %s", how);
}

static MDB_val val(void *data, size_t bytes)
{
	return (MDB_val) { .mv_size = bytes, .mv_data = data };
}

static uint64_t last_of(MDB_txn *txn, MDB_dbi dbi)
{
	uint32_t number = LAST;
	MDB_val key = val(&number, sizeof(number)), data;
	uint64_t last;
	const int error = mdb_get(txn, dbi, &key, &data);

	if (error == MDB_NOTFOUND)
		return 0;
	need(error, "get");
	if (data.mv_size != sizeof(last))
		fail("the number of the last step has %zu bytes", data.mv_size);
	memcpy(&last, data.mv_data, sizeof(last));
	return last;
}

static unsigned int transaction(MDB_env *env, MDB_dbi dbi, uint64_t seed, uint64_t step)
{
	static unsigned char bytes[MOST_BYTES];
	struct change changes[MOST_CHANGES];
	const unsigned int n = changes_of(seed, step, changes);
	uint32_t number = LAST;
	MDB_val key = val(&number, sizeof(number)), data = val(&step, sizeof(step));
	MDB_txn *txn;
	int error;

	need(mdb_txn_begin(env, NULL, 0, &txn), "begin");
	need(mdb_put(txn, dbi, &key, &data, 0), "put");
	for (unsigned int i = 0; i < n; i++) {
		number = changes[i].key;
		if (changes[i].bytes) {
			data = val(bytes, changes[i].bytes);
			fill_value(bytes, number,
				   (struct value) { .step = step, .bytes = changes[i].bytes });
			need(mdb_put(txn, dbi, &key, &data, 0), "put");
		} else {
			error = mdb_del(txn, dbi, &key, NULL);
			if (error != MDB_NOTFOUND)
				need(error, "remove");
		}
	}
	need(mdb_txn_commit(txn), "commit");
	return n;
}

/* Whether each key has its value and there is no other key. */
static uint64_t compare(MDB_txn *txn, MDB_dbi dbi, uint64_t seed, uint64_t last)
{
	static struct value values[KEYS];
	uint64_t wrong = 0, found = 0;
	MDB_stat stat;

	values_after(seed, last, values);
	for (uint32_t number = 0; number < KEYS; number++) {
		const struct value value = values[number];
		MDB_val key = val(&number, sizeof(number)), data;
		const int error = mdb_get(txn, dbi, &key, &data);

		if (error != MDB_NOTFOUND)
			need(error, "get");
		found += !error;
		if (error ? !value.step : (value.step && data.mv_size == value.bytes &&
					   is_value(data.mv_data, number, value)))
			continue;
		if (!wrong++)
			printf("# key %u: not what step %" PRIu64 " of %" PRIu64 " left\n", number,
			       value.step, last);
	}
	need(mdb_stat(txn, dbi, &stat), "stat");
	return wrong + (stat.ms_entries != found + (last != 0));
}

static uint64_t last_and_compare(MDB_env *env, MDB_dbi dbi, uint64_t seed, uint64_t *errors)
{
	MDB_txn *txn;
	uint64_t last;

	need(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "begin");
	last = last_of(txn, dbi);
	*errors = compare(txn, dbi, seed, last);
	mdb_txn_abort(txn);
	return last;
}

static MDB_env *open_env(const char *path, unsigned int flags)
{
	MDB_env *env;

	need(mdb_env_create(&env), "create");
	if (!(flags & MDB_RDONLY))
		need(mdb_env_set_mapsize(env, FIRST_BYTES), "size");
	need(mdb_env_open(env, path, flags, 0600), "open");
	return env;
}

static MDB_dbi dbi_of(MDB_env *env, unsigned int flags)
{
	MDB_txn *txn;
	MDB_dbi dbi;

	need(mdb_txn_begin(env, NULL, flags & MDB_RDONLY, &txn), "begin");
	need(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi), "database");
	need(mdb_txn_commit(txn), "commit");
	return dbi;
}

static void grow(MDB_env *env)
{
	MDB_envinfo info;

	need(mdb_env_info(env, &info), "info");
	if (info.me_mapsize < MOST_MAP)
		need(mdb_env_set_mapsize(env, info.me_mapsize + MIB), "grow");
}

static int run(const char *path, const char *counts_path, uint64_t seed, uint64_t steps,
	       const char *how)
{
	const unsigned int flags = flags_of(how);
	struct counts *counts = counts_of(counts_path);
	MDB_env *env = open_env(path, flags);
	const MDB_dbi dbi = dbi_of(env, flags);
	uint64_t operations = 0, errors;
	const uint64_t last = last_and_compare(env, dbi, seed, &errors);

	counts->begun = last;
	counts->promised = last;
	for (uint64_t step = last + 1; !errors && (!steps || step <= steps); step++) {
		counts->begun = step;
		operations += transaction(env, dbi, seed, step);
		if (!(flags & MDB_NOSYNC))
			counts->promised = step;
		if (step % SYNC_EACH)
			continue;
		grow(env);
		if (flags & MDB_NOSYNC) {
			need(mdb_env_sync(env, 1), "sync");
			counts->promised = step;
			if (!steps)
				raise(SIGSTOP);
		}
	}
	if (!errors)
		last_and_compare(env, dbi, seed, &errors);
	mdb_env_close(env);
	tell(operations, errors);
	return errors != 0;
}

static int check(const char *path, uint64_t seed, uint64_t promised, uint64_t begun)
{
	const unsigned int flags = MDB_RDONLY | MDB_NOLOCK;
	MDB_env *env = open_env(path, flags);
	uint64_t errors;
	const uint64_t last = last_and_compare(env, dbi_of(env, flags), seed, &errors);

	if (last < promised || last > begun)
		fail("step %" PRIu64 " is the last one, of %" PRIu64 " promised, %" PRIu64 " begun",
		     last, promised, begun);
	tell(KEYS, errors);
	return errors != 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], number_of(argv[4]), number_of(argv[5]), argv[6]);
	if (argc == 6 && !strcmp(argv[1], "check"))
		return check(argv[2], number_of(argv[3]), number_of(argv[4]), number_of(argv[5]));
	fail("usage: records run DIR COUNTS SEED STEPS HOW | check DIR SEED PROMISED BEGUN");
}
