/* SPDX-License-Identifier: GPL-2.0 */

/* Who acts: faults, pins, breaks, the removal. A filesystem that frees and reuses blocks. */

/* The filesystem frees what no file has any more; here is where its trust in a break shows. */
#define PUT_BLOCK(f) \
	blocks[f]--; \
	if \
	:: blocks[f] == 0 -> \
		FORGET_DATA(f); \
		CHECK(block_free_unpinned, pins[f] == 0); \
		for (n : 0 .. NS - 1) { \
			CHECK(block_free_unpinned, pte[n] != f + 1); \
			CHECK(nothing_lost, entry[n] < TRACKED || names[n] != f); \
		} \
		n = 0; \
		CHECK(block_free_idle, cnt[f] == 0 && !ours[f]); \
	:: else \
	fi

/* A free block, from 1 on; 0 if there is none */
#define FIND_BLOCK(f) \
	f = 0; \
	do \
	:: f == NF -> f = 0; break; \
	:: f < NF && blocks[f] == 0 -> f++; break; \
	:: else -> f++; \
	od

/* wait_briefly(): woken or not, it ends. */
inline wait_briefly(s, f)
{
	/* replay: break.brief break.brief.end */
	pgmap_dying_or_live(live);
	if
	:: live ->
		live = false;
		prepare(FOLIO_ADDRESS(f));
		lock_pages(INODE(s));
		busy = (entry[s] == ZAPPED);
		unlock_pages(INODE(s));
		if
		:: busy -> is_busy(s, f);
		:: else
		fi;
		if
		:: busy ->
			busy = false;
			if
			:: schedule();
			:: true;
			fi;
		:: else
		fi;
		finish_wait(FOLIO_ADDRESS(f));
		pgmap_put();
	:: else
	fi;
}

/* What a fault does. */
#define READ	0	/* maps the block if there is one */
#define WRITE	1	/* allocates a block in a hole */
#define COW	2	/* replaces a shared block by a copy */
#define STORE	3	/* maps the block such that it may be stored to */

#ifndef DIRTY
#define UNDO_DIRTY(s)	skip
#else
/* The mark of a zapped entry may be older than the fault. */
#ifdef MUT_UNDO_CLEANS
#define UNDO_DIRTY(s)	undo_dirty(s, true)
#else
#define UNDO_DIRTY(s)	undo_dirty(s, before != ZAPPED)
#endif
inline undo_dirty(s, clears)
{
	lock_pages(INODE(s));
	dirty[s] = dirty[s] && !(store && (clears));
	unlock_pages(INODE(s));
}
#endif

#ifdef AROUND
#include "around.pml"
#endif

/* dax_iomap_fault(): iomap_fault() and serve(). Sets result. */
inline fault(s, how)
{
#ifdef DIRTY
	store = (how == STORE);
#endif
	do
	:: true ->
		lock_breaks_out(INODE(s));
		lock_entry(s, true);
		/* The filesystem's mapping; another file may let go of the block from here on. */
		d_step {
			ok = false;
			f = block[s];
			if
			:: f == 0 && how == WRITE ->
				FIND_BLOCK(f);
				if
				:: f != 0 -> block[s] = f; blocks[f - 1]++;
				:: else
				fi;
			:: else
			fi;
			shared = (f != 0 && blocks[f - 1] > 1);
			before = entry[s];
#ifdef AROUND
			LOOK_AHEAD(s, how);
#endif
		}
		if
		:: f != 0 && how == COW && shared ->
			/* give_up() */
#ifdef MUT_COW_NO_WAIT
			/* R17: the block is replaced whoever pins it. */
			unmap(s, old);
			if
			:: entry[s] == TRACKED -> set_entry(s, EMPTY, false); release(f - 1, s);
			:: else -> set_entry(s, EMPTY, false);
			fi;
			left = false;
#else
			unmap_and_zap(s, old);
#endif
			if
			:: left ->
				left = false;
				unlock_entry(s);
				let_breaks_in(INODE(s));
				/* wait_to_replace(): the fault is taken again. */
				wait_briefly(s, f - 1);
				d_step { f = 0; shared = false; before = 0; }
			:: else ->
				/* replay: entry.remove.spent entry.remove.idle entry.remove.shared */
				set_entry(s, EMPTY, false);
				d_step {
					old = f;
					FIND_BLOCK(f);
					if
					:: f != 0 -> blocks[f - 1]++;
					:: else
					fi;
					shared = false;
					before = EMPTY;
				}
				break;
			fi;
		:: else -> break;
		fi;
	od;
	if
	:: f != 0 ->
		insert(s, f - 1, shared, result);
		CHECK(busy_is_unexpected, result != BUSY);
		if
		:: result == INSERTED || result == KNOWN ->
			if
			:: map(s, f - 1);
#ifdef MAP_FAILS
			:: result == INSERTED -> UNDO_DIRTY(s); undo_insert(s, before);
#endif
			fi;
#ifdef MUT_DIRTY_LATE
			mark_dirty(s);
#endif
		:: else
		fi;
	:: else
	fi;
#ifdef AROUND
#ifndef MUT_AROUND_LATE
	map_around(s);
#endif
#endif
	/* iomap_end() of a copy: the file has the new block now. */
	d_step {
		if
		:: old != 0 && f != 0 && entry[s] != EMPTY ->
			block[s] = f;
			PUT_BLOCK(old - 1);
		:: old != 0 && f != 0 && entry[s] == EMPTY -> blocks[f - 1]--;
		:: else
		fi;
		old = 0;
	}
	unlock_entry(s);
#ifdef GIB
	if
	:: result == OTHER_ORDER -> make_way(f - 1);
	:: else
	fi;
#endif
	let_breaks_in(INODE(s));
#ifdef MUT_AROUND_LATE
	map_around(s);
#endif
	d_step { f = 0; shared = false; before = 0; }
}

#ifdef AROUND
#define AROUND_LOCALS	; byte next
#else
#define AROUND_LOCALS
#endif
#ifdef MEMORY_FAILURE
#define FAILURE_LOCALS	; bool kept_out
#else
#define FAILURE_LOCALS
#endif
#ifdef DIRTY
#define DIRTY_LOCALS	; bool store
#else
#define DIRTY_LOCALS
#endif
#define FAULT_LOCALS \
	LOCALS; byte f; byte old; byte before; byte result; bool shared \
	DIRTY_LOCALS AROUND_LOCALS FAILURE_LOCALS

#ifdef FAULTER
/* A process that touches its mapping. */
proctype faulter(byte s; byte how; byte times)
{
	FAULT_LOCALS;

	do
	:: times > 0 ->
		fault(s, how);
		/* Or it is taken again. */
		times = times - (result != OTHER_ORDER);
		result = 0;
	:: times == 0 -> break;
	od;
}
#endif

#ifdef REFAULTER
/* One that never stops. */
proctype refaulter(byte s)
{
	FAULT_LOCALS;

end:	do
	:: true -> fault(s, READ); result = 0;
	od;
}
#endif

/*
 * GUP-fast: irqs are off from the look at the page table to the second look. Sets p to the folio,
 * from 1 on, that is pinned.
 */
inline gup_fast(s, p)
{
	d_step { ENTER_RCU; p = pte[s]; }
	if
	:: p != 0 ->
		folio_try_get(p - 1, ok);
		if
		:: ok ->
			d_step {
				ok = (pte[s] == p);
				if
				:: ok -> pins[p - 1]++;
				:: else
				fi;
			}
			if
			:: ok -> ok = false;
			:: else -> folio_put(p - 1); p = 0;
			fi;
		:: else -> p = 0;
		fi;
	:: else
	fi;
	d_step { LEAVE_RCU; }
}

/* The end of a pin: in an irq, when the device is done. */
inline unpin(p)
{
	pins[p - 1]--;
	folio_put(p - 1);
	p = 0;
}

#ifdef PINNER
/* Direct I/O from another file, a pipe: a pin that ends at any time, or none. */
proctype pinner(byte s)
{
	LOCALS; byte p;

	gup_fast(s, p);
	if
	:: p != 0 -> unpin(p);
	:: else
	fi;
}
#endif

#ifdef MULTI
/* Direct I/O from two pages of the folio: the second is faulted while the first is pinned. */
proctype multi(byte s)
{
	FAULT_LOCALS; byte p; byte first;

	do
	:: true ->
		gup_fast(s, p);
		if
		:: p != 0 && first == 0 -> first = p; p = 0;
		:: p != 0 && first != 0 -> break;
		:: p == 0 && (block[s] == 0 || result == DYING) -> break;
		:: p == 0 && block[s] != 0 && result != DYING -> result = 0; fault(s, READ);
		fi;
	od;
	do
	:: p != 0 -> unpin(p);
	:: p == 0 && first != 0 -> p = first; first = 0;
	:: p == 0 && first == 0 -> break;
	od;
}
#endif

#ifdef UNMAPPER
/* munmap(), or the exit of the process */
proctype unmapper(byte s)
{
	LOCALS; byte f;

	unmap(s, f);
}
#endif

#ifdef DIRTY
#define BREAK_LOCALS	; byte data; bool cleaned
#else
#define BREAK_LOCALS
#endif

#ifdef BREAKER
/* Truncate, punch, unlink, by what the filesystem does: break, then free the blocks. */
proctype breaker(byte i; byte mode; bool signalled)
{
	LOCALS; byte f; byte s; bool any; bool interrupted BREAK_LOCALS;

	lock_faults_out(i);
	break_layouts(i, s, f, mode, any, interrupted);
	if
	:: !interrupted ->
		d_step {
			for (s : 0 .. NS - 1) {
				if
				:: INODE(s) == i && block[s] != 0 ->
					f = block[s];
					block[s] = 0;
					PUT_BLOCK(f - 1);
					f = 0;
				:: else
				fi;
			}
			s = 0;
		}
	:: else
	fi;
	let_faults_in(i);
#ifdef LIVENESS
	broken = true;
#endif
}
#endif

#ifdef KEEPER
/* A break after which the file has its blocks and data still. */
proctype keeper(byte i; byte mode; byte data; bool signalled)
{
	LOCALS; byte f; byte s; bool any; bool interrupted; bool cleaned;

	lock_faults_out(i);
	break_layouts(i, s, f, mode, any, interrupted);
	let_faults_in(i);
}
#endif

#ifdef STORER
/* A process that stores to its mapping. */
proctype storer(byte s; byte times)
{
	FAULT_LOCALS;

	do
	:: atomic { times > 0 && writable[s] -> unflushed[pte[s] - 1] = true; times--; }
	:: times > 0 && !writable[s] && block[s] != 0 -> fault(s, STORE); result = 0;
	:: times == 0 || block[s] == 0 -> break;
	od;
}
#endif

#ifdef SYNCER
/* fsync(), whose caller relies on what was stored before. No lock keeps faults out meanwhile. */
proctype syncer(byte i)
{
	byte s;

	d_step {
		for (n : 0 .. NS - 1) {
			if
			:: INODE(n) == i && block[n] != 0 && unflushed[block[n] - 1] ->
				owed[block[n] - 1] = owed[block[n] - 1] | ME;
			:: else
			fi;
		}
		n = 0;
	}
	write_back_range(i, s);
	d_step {
		for (n : 0 .. NF - 1) {
			CHECK(stores_are_flushed, (owed[n] & ME) == 0);
		}
		n = 0;
	}
}
#endif

inline synchronize_rcu()
{
	sync_waits = rcu;
	sync_waits == 0;
}

#ifdef MEMORY_FAILURE
/* memory_failure(): dax_lock_folio(), who maps the page loses it, dax_unlock_folio() */
proctype memory_failure(byte f)
{
	LOCALS; byte s; byte g;

	lock_entry_of(f, s);
	if
	:: s != 0 ->
		unmap(s - 1, g);
		CHECK(failure_alone, locked[s - 1] && pte[s - 1] == 0);
		unlock_entry_of(f, s);
	:: else
	fi;
}
#endif

#ifdef EVICTER
/* An inode that nobody uses goes, and its file stays: the blocks are not free. */
proctype evicter(byte i)
{
	LOCALS; byte f; byte s; bool any; bool interrupted; bool signalled;

#ifdef MUT_EVICT_NO_WAIT
	/* R6, R13: what is pinned is left behind. */
	unmap_range(i, s, f);
	zap_range(i, s, any, EVICT);
	any = false;
	remove_range(i, s);
#else
	break_layouts(i, s, f, EVICT, any, interrupted);
#endif
	synchronize_rcu();
	inode_gone[i] = true;
}
#endif

#ifdef LOCKER
/* Whoever else locks an entry for a while. */
proctype locker(byte s)
{
	LOCALS;

	lock_entry(s, false);
	if
	:: ok -> ok = false; unlock_entry(s);
	:: else
	fi;
}
#endif

#ifdef REMOVER
/* memunmap_pages() and pgmap_dying() */
proctype remover()
{
	LOCALS; byte f; byte s; byte i; bool any; bool files;

	/* percpu_ref_kill() starts a grace period, before which the count does not reach 0. */
	/* replay: pgmap.dying pgmap.revoked pgmap.gone */
	d_step { dying = true; kill_waits = rcu; }
	do
	:: i < NI ->
		revoke(i, s, f, any);
		files = files || any;
		any = false;
		i++;
	:: i == NI -> break;
	od;
	i = 0;
#ifndef MUT_NO_GRACE_PERIOD
#ifdef MUT_NO_GRACE_WITHOUT_FILES
	if
	:: files -> synchronize_rcu();
	:: else
	fi;
#else
	synchronize_rcu();
#endif
#endif
	/* wait_for_pins() */
	do
	:: f < NF ->
		prepare(FOLIO_ADDRESS(f));
		d_step { TOUCH(); ok = IS_OURS(f); }
		if
		:: ok -> schedule();
		:: else -> f++;
		fi;
		finish_wait(FOLIO_ADDRESS(f));
	:: f == NF -> break;
	od;
	atomic { f = 0; ok = false; files = false; }
	/* The references of memremap_pages() go, and the last one frees the memmap. */
	pgmap_put();
	d_step { pgref == 0 && kill_waits == 0 -> gone = true; }
}
#endif

#ifdef REQUESTER
/* Another module: pgmap_request_folio(), folio_put() */
proctype requester(byte f; byte order)
{
#ifdef LARGE
	LOCALS;
#else
	LOCALS; bool won;
#endif

	pgmap_live(live);
	if
	:: live ->
		live = false;
#ifdef LARGE
		request_order(f, order, 0);
#else
		request(f, 0, won);
#endif
		if
		:: won -> won = false; folio_put(f);
#ifdef MUT_LOSER_KEEPS_PGMAP
		:: else
#else
		:: else -> pgmap_put();
#endif
		fi;
	:: else
	fi;
}
#endif

#ifdef LARGE
/* folio::dissolve(), before somebody else gets the memory */
proctype dissolver()
{
	LOCALS; bool done; byte f;

	do
	:: f < NF ->
#ifdef GIB
		no_pud(f);
#endif
#ifndef MUT_DISSOLVE_UNLOCKED
		lock_folio(f);
#endif
		dissolve(f, done);
#ifndef MUT_DISSOLVE_UNLOCKED
		/* fs/dax.c gets single pages. */
		CHECK(shape_is_whole, !done || (!head[f] && lead[f + 1] == 0 && shape[f] == NO_SHAPE));
		unlock_folio(f);
#endif
		f = f + 2;
	:: f == NF -> break;
	od;
	atomic { done = false; f = 0; }
#ifdef ONLY_SPLITS
	/* Nor is there anything that somebody else splits. */
	CHECK(shape_is_whole, shape[0] != PUD_SHAPE && lead[2] == 0 && lead[3] == 0);
#endif
}
#endif

/* The file has the block there when the world begins. */
inline give_block(s, f)
{
	block[s] = f + 1;
	blocks[f]++;
}

/* The same, tracked and mapped: after a fault of each file that has the block. */
inline map_block(s, f)
{
	give_block(s, f);
	d_step {
		entry[s] = TRACKED;
		names[s] = f;
		pte[s] = f + 1;
		cnt[f] = cnt[f] + 2;
		if
		:: !ours[f] -> ours[f] = true; owner[f] = s + 1; held[f] = 1; pgref++;
		:: else -> owner[f] = 0; share[f] = cnt[f] / 2;
		fi;
	}
}

#ifdef DIRTY
/* And stored to. */
inline store_to(s)
{
	d_step { dirty[s] = true; writable[s] = true; unflushed[names[s]] = true; }
}
#endif

/* The last line of a world: each actor may have to free a folio. */
inline free_paths()
{
	for (n : 1 .. NP - 1) {
		run free_path(n);
	}
	n = 0;
}

#ifdef LARGE
/* The memory is a free folio of 1 GiB. */
inline free_gib()
{
	d_step {
		head[0] = true;
		shape[0] = PUD_SHAPE;
		for (n : 1 .. NF - 1) {
			lead[n] = 1;
		}
		n = 0;
	}
}
#endif

/* When everybody has come to the end: nothing is left but what entries and page tables have. */
inline nothing_is_left()
{
	/* replay: world.end */
	timeout;
	d_step {
		for (n : 0 .. NF - 1) {
			pgref = pgref - ours[n];
			CHECK(nothing_kept, ours[n] == (cnt[n] > 0) && held[n] == ours[n]);
		}
		CHECK(nothing_kept, pgref == 1);
		for (n : 0 .. NS - 1) {
			if
			:: entry[n] == TRACKED -> cnt[names[n]]--;
			:: else
			fi;
			if
			:: pte[n] != 0 -> cnt[pte[n] - 1]--;
			:: else
			fi;
		}
		for (n : 0 .. NF - 1) {
			CHECK(nothing_kept, cnt[n] == 0);
		}
		n = 0;
	}
}
