/* SPDX-License-Identifier: GPL-2.0 */

/* src/mapping and src/fsdax: entry locks, insert, zap, revive, break, revoke. */

/* Pages::wait_unlocked(): the waiter queues under the i_pages lock, and is woken under it. */
inline wait_unlocked(s)
{
#ifdef MUT_ENTRY_QUEUE_LATE
	/* The lock is dropped before the waiter is queued. */
	unlock_pages(INODE(s));
	prepare(ENTRY_ADDRESS(s));
#else
	d_step { PREPARE(ENTRY_ADDRESS(s)); i_pages[INODE(s)] = false; }
#endif
	schedule();
	finish_wait(ENTRY_ADDRESS(s));
	lock_pages(INODE(s));
}

/*
 * LockedEntry::grab(); with create false, Mapping::lock_entry(). Sets ok if the entry is locked,
 * clears it if there is none.
 */
inline lock_entry(s, create)
{
	lock_pages(INODE(s));
	do
	:: locked[s] -> wait_unlocked(s);
	:: !locked[s] && (entry[s] != NONE || create) ->
		d_step {
			locked[s] = true;
			ok = true;
			if
			:: entry[s] == NONE -> entry[s] = EMPTY;
			:: else
			fi;
		}
		break;
	:: !locked[s] && entry[s] == NONE && !create -> ok = false; break;
	od;
	unlock_pages(INODE(s));
}

/* Drop for LockedEntry: finish(). An empty entry has done its work. */
inline unlock_entry(s)
{
	lock_pages(INODE(s));
	d_step {
		locked[s] = false;
		if
		:: entry[s] == EMPTY -> entry[s] = NONE; marked[s] = false; CLEAN(s);
		:: else
		fi;
	}
	wake(ENTRY_ADDRESS(s));
	unlock_pages(INODE(s));
}

/* LockedEntry::set(), with the change of a mark */
inline set_entry(s, to, mark)
{
	lock_pages(INODE(s));
	d_step { entry[s] = to; marked[s] = mark; }
	unlock_pages(INODE(s));
}

/*
 * Mapping::unmap() of one page: the page table entry goes first, its reference later. Nobody waits
 * for GUP-fast here: not every TLB flush interrupts the other CPUs.
 */
inline unmap(s, f)
{
	d_step { f = pte[s]; pte[s] = 0; PROTECT(s); }
	if
	:: f != 0 -> folio_put(f - 1); f = 0;
	:: else
	fi;
}

/* Fault::map(): vmf_insert_page_mkwrite() under the page table lock */
inline map(s, f)
{
	d_step {
		CHECK(no_stale_pte, pte[s] == 0 || pte[s] == f + 1);
		if
		:: pte[s] == 0 ->
			TOUCH();
			CHECK(count_is_right, cnt[f] > 0);
			cnt[f]++;
			pte[s] = f + 1;
		:: else
		fi;
#ifdef DIRTY
		writable[s] = writable[s] || store;
#endif
	}
}

/* release(): drops the reference of the entry. Sets left if somebody keeps the folio. */
inline release(f, s)
{
	free_if_last(f, ok);
	if
	:: ok -> left = false;
	:: else ->
		disassociate(f, s, ok);
		if
		:: ok ->
			/* Entries of other files keep track of the pins. */
			folio_put(f);
			left = false;
		:: else ->
			free_if_last(f, ok);
			if
			:: ok -> left = false;
			:: else -> folio_put(f); left = true;
			fi;
		fi;
	fi;
	ok = false;
}

/* zap(), with the i_pages lock held */
inline zap(s)
{
#ifdef MUT_COUNT_AFTER_UNMAP
	/* Without pins the count is that of the entry; but GUP-fast comes and goes. */
	CHECK(count_is_right, cnt[names[s]] == 1 || pins[names[s]] > 0);
#endif
	/* replay: entry.zap entry.busy */
	entry[s] = ZAPPED;
	release(names[s], s);
	marked[s] = left;
}

/* is_busy(): whether pins keep the folio busy that the zapped entry names */
inline is_busy(s, f)
{
#ifdef MUT_LOOK_UNHELD
	/* Nothing keeps the memmap. */
	live = true;
#else
	pgmap_dying_or_live(live);
#endif
	if
	:: !live -> busy = false;
	:: else ->
		look_at(f);
		if
		:: look == IDLE -> busy = false;
		:: look == DRAINING -> busy = true;
		:: look == ACTIVE ->
#ifdef MUT_BUSY_IS_ACTIVE
			/* D6: whoever uses the folio, be it a mapping of another file. */
			busy = true;
#else
			is_owned_by(f, s, busy);
#endif
			folio_put(f);
		fi;
#ifndef MUT_LOOK_UNHELD
		pgmap_put();
#endif
	fi;
	d_step { live = false; look = 0; }
}

#ifdef MUT_NO_MARK
#define MARK_FOR_BREAK(s)	(marked[s])
#else
/* mark_for_break() */
#define MARK_FOR_BREAK(s)	(marked[s] || sleeping[INODE(s)] > 0)
#endif

#ifdef MEMORY_FAILURE
#include "failure.pml"
#define KEPT_OUT	kept_out
#else
#define KEPT_OUT	false
#endif

/* How insert() ends. */
#define INSERTED	1
#define DYING		2
#define BUSY		3
#define KNOWN		4	/* it was tracked before */
#define OTHER_ORDER	5

#ifdef MUT_INSERT_DYING
/* R1: a pgmap that is dying will do. */
#define PGMAP_TO_INSERT(is_live)	pgmap_dying_or_live(is_live)
#else
#define PGMAP_TO_INSERT(is_live)	pgmap_live(is_live)
#endif

/* activate() and join(): gets a reference to folio f, associated with entry s, which is locked. */
inline activate(s, f, may_share, result)
{
	do
	:: true ->
		PGMAP_TO_INSERT(live);
		if
		:: !live -> result = DYING; break;
		:: else
		fi;
#ifdef GIB
		find_folio(f);
#endif
		look_at(FOLIO_AROUND(f));
		if
		:: look == DRAINING -> wait_drained(FOLIO_AROUND(f)); pgmap_put();
		:: look == IDLE ->
#ifdef GIB
			is_tail(f, ok);
			if
			:: ok -> pgmap_put(); result = OTHER_ORDER; break;
			:: else
			fi;
#endif
			request(f, s + 1, ok);
			/* The folio has the pgmap reference now, or it is dropped. */
			if
			:: ok -> result = INSERTED; break;
			:: !ok ->
#ifndef MUT_LOSER_KEEPS_PGMAP
				pgmap_put();
#endif
				if
				:: may_share || REBUILT
				:: else -> result = BUSY; break;
				fi;
			fi;
#ifdef GIB
		:: look == ACTIVE && around != f ->
			folio_put(around); pgmap_put(); result = OTHER_ORDER; break;
#endif
		:: look == ACTIVE && FOLIO_AROUND(f) == f ->
			associate(f, s, may_share, ok);
			if
			:: ok ->
#ifdef MUT_REVIVE_NO_REFERENCE
				/* R5: a zapped entry is taken to have its reference still. */
				if
				:: entry[s] == ZAPPED -> folio_put(f);
				:: else
				fi;
#endif
				pgmap_put();
				result = INSERTED;
				break;
#ifdef MEMORY_FAILURE
			:: !ok && kept_out -> wait_unheld(f); folio_put(f); pgmap_put();
#endif
			:: !ok && !KEPT_OUT -> folio_put(f); pgmap_put(); result = BUSY; break;
			fi;
		fi;
	od;
	atomic { ok = false; live = false; look = 0; }
}

#ifdef DIRTY
#ifdef MUT_DIRTY_LATE
/* R9: the entry is marked when the page is mapped. */
#define MARK_DIRTY(s)	skip
#define TRACK_DIRTY	false
#else
#define MARK_DIRTY(s)	mark_dirty(s)
#define TRACK_DIRTY	store
#endif
#ifdef MUT_SPENT_DIRTY
/* R9: a slot that is idle goes at once, dirty or not. */
#define IS_CLEAN(s)	true
#else
#define IS_CLEAN(s)	(!dirty[s])
#endif
#define MAY_STAY	else

/* The change of the mark of a locked entry */
inline mark_dirty(s)
{
	lock_pages(INODE(s));
	dirty[s] = dirty[s] || store;
	unlock_pages(INODE(s));
}
#else
#define MARK_DIRTY(s)	skip
#define IS_CLEAN(s)	true
#define MAY_STAY	true
#endif

/* insert(): makes the locked entry tracked; revives it if it is zapped. */
inline insert(s, f, may_share, result)
{
	if
	:: entry[s] == TRACKED ->
		MARK_DIRTY(s);
		result = KNOWN;
	:: else ->
#ifdef MUT_NO_REVIVE
		/* R7: a fault waits until the folio of a zapped entry is idle. */
		if
		:: entry[s] == ZAPPED ->
			do
			:: true ->
				prepare(FOLIO_ADDRESS(f));
				is_busy(s, f);
				if
				:: busy -> schedule();
				:: else -> break;
				fi;
			od;
			finish_wait(FOLIO_ADDRESS(f));
		:: else
		fi;
#endif
		activate(s, f, may_share, result);
		if
		:: result == INSERTED ->
			lock_pages(INODE(s));
			/* replay: entry.insert entry.revive */
			d_step {
				entry[s] = TRACKED;
				names[s] = f;
				marked[s] = MARK_FOR_BREAK(s);
#ifdef DIRTY
				dirty[s] = dirty[s] || TRACK_DIRTY;
#endif
			}
			unlock_pages(INODE(s));
#ifndef MUT_REVIVE_NO_WAKE
			wake(FOLIO_ADDRESS(f));
#endif
		:: else
		fi;
	fi;
}

/* What a break does when a folio is busy. */
#define FAIL		0	/* OnBusy::Fail */
#define SLEEP		1	/* OnBusy::Sleep, no signal comes */
#define SIGNAL		2	/* OnBusy::Sleep, a signal may come */
#define EVICT		3	/* OnBusy::Evict: no faults, whatever happens */

#ifdef MUT_WAIT_IGNORES_REVIVAL
#define STILL_ZAPPED(s)	true
#else
/* still_zapped() */
#define STILL_ZAPPED(s)	(entry[s] == ZAPPED)
#endif

/* wait_for(): sleeps until the zapped entry is not busy, or not zapped any more. */
inline wait_for(s, f, mode, interrupted)
{
	/* replay: break.wait break.wait.end */
	pgmap_dying_or_live(live);
	if
	:: live ->
		live = false;
		do
		:: mode == SIGNAL && signalled -> interrupted = true; break;
		:: mode != SIGNAL || !signalled ->
#ifndef MUT_CHECK_BEFORE_QUEUE
			prepare(FOLIO_ADDRESS(f));
#endif
			lock_pages(INODE(s));
			busy = STILL_ZAPPED(s);
			unlock_pages(INODE(s));
			if
			:: busy -> is_busy(s, f);
			:: else
			fi;
			if
			:: busy ->
				busy = false;
#ifdef MUT_CHECK_BEFORE_QUEUE
				prepare(FOLIO_ADDRESS(f));
#endif
				/* The callback: faults come in while we sleep. */
				if
				:: mode != EVICT -> let_faults_in(INODE(s));
				:: else
				fi;
				if
				:: schedule();
				:: mode == SIGNAL -> signalled = true;
				fi;
				if
				:: mode != EVICT -> lock_faults_out(INODE(s));
				:: else
				fi;
			:: else -> break;
			fi;
		od;
		finish_wait(FOLIO_ADDRESS(f));
		pgmap_put();
	:: else
	fi;
}

#ifdef DIRTY
#include "dirty.pml"
#define IS_PART	(data == REST && !cleaned)
#define NEXT_PART	cleaned = false
#else
#define IS_PART	false
#define NEXT_PART	skip
#endif

/*
 * zap_range(): step 1, over the entries of the file. Sets any if a folio is busy. What is idle and
 * clean goes at once if the break waits; without DIRTY any entry may be clean or dirty.
 */
inline zap_range(i, s, any, mode)
{
	lock_pages(i);
	s = 0;
	do
	:: s == NS -> break;
	:: s < NS && (INODE(s) != i || entry[s] == NONE) -> s++;
#ifdef MUT_ZAP_SKIPS_LOCKED
	:: s < NS && INODE(s) == i && locked[s] -> s++;
#else
	:: s < NS && INODE(s) == i && locked[s] -> wait_unlocked(s);
#endif
#ifdef DIRTY
	:: s < NS && INODE(s) == i && !locked[s] && entry[s] == TRACKED && IS_PART ->
		clean_and_unmap(s, f);
		cleaned = true;
#endif
	:: s < NS && INODE(s) == i && !locked[s] && entry[s] == TRACKED && !IS_PART ->
		zap(s);
		if
#ifdef MUT_SPENT_BUSY
		:: mode != FAIL && IS_CLEAN(s) ->
#else
		:: mode != FAIL && !left && IS_CLEAN(s) ->
#endif
			/* replay: entry.remove.spent */
			d_step { entry[s] = NONE; names[s] = 0; marked[s] = false; CLEAN(s); }
		:: MAY_STAY
		fi;
		any = any || left;
		left = false;
		NEXT_PART;
		s++;
	:: s < NS && INODE(s) == i && !locked[s] && entry[s] == ZAPPED ->
		if
		:: marked[s] ->
			is_busy(s, names[s]);
			d_step { any = any || busy; marked[s] = busy; busy = false; }
		:: else
		fi;
		s++;
	od;
	s = 0;
	unlock_pages(i);
}

/* The next entry of the file with Mark::Busy, or NS */
#define FIND_MARKED(i, s) \
	s = 0; \
	do \
	:: s == NS -> break; \
	:: s < NS && INODE(s) == i && marked[s] -> break; \
	:: else -> s++; \
	od
inline find_marked(i, s)
{
	d_step { FIND_MARKED(i, s); }
}

/* busy_entry(): whether a zapped entry is busy, looked at again */
inline busy_entry(i, s, any)
{
	any = false;
	lock_pages(i);
	do
	:: true ->
		find_marked(i, s);
		if
		:: s == NS -> break;
		:: s < NS && entry[s] == ZAPPED ->
			is_busy(s, names[s]);
			if
			:: busy -> d_step { any = true; busy = false; } break;
			:: else -> marked[s] = false;
			fi;
		:: else -> marked[s] = false;
		fi;
	od;
	s = 0;
	unlock_pages(i);
}

/* settle_next(), until no entry is marked: step 2 */
inline settle(i, s, f, mode, interrupted)
{
	do
	:: interrupted -> break;
	:: !interrupted ->
		lock_pages(i);
		do
		:: true ->
			find_marked(i, s);
			if
			:: s < NS && locked[s] -> wait_unlocked(s);
			:: else -> break;
			fi;
		od;
		if
		:: s == NS -> unlock_pages(i); break;
		:: s < NS && entry[s] == ZAPPED ->
			is_busy(s, names[s]);
			if
			:: busy ->
				busy = false;
				unlock_pages(i);
				if
				:: mode == FAIL -> interrupted = true;
				:: else -> wait_for(s, names[s], mode, interrupted);
				fi;
			:: else -> marked[s] = false; unlock_pages(i);
			fi;
		:: s < NS && entry[s] == TRACKED ->
			/* Inserted or revived while the lock was dropped. */
#ifdef DIRTY
			clean_and_unmap(s, f);
#else
			d_step { locked[s] = true; i_pages[i] = false; }
#ifndef MUT_SETTLE_NO_UNMAP
			unmap(s, f);
#endif
			unlock_entry(s);
			lock_pages(i);
#endif
			if
			:: entry[s] == TRACKED && !locked[s] -> zap(s); left = false;
			:: else
			fi;
			unlock_pages(i);
		fi;
	od;
	s = 0;
}

/* Drop for SleepingBreak: clear_marks() */
inline sleeping_break_ends(i, s)
{
	d_step { sleeping[i]--; ok = (sleeping[i] == 0); }
	if
	:: ok ->
		ok = false;
		lock_pages(i);
		d_step {
			s = 0;
			do
			:: s == NS -> break;
#ifdef MUT_CLEAR_ALL_MARKS
			/* Also those of zapped entries, which an interrupted break leaves. */
			:: s < NS && INODE(s) == i -> marked[s] = false; s++;
			:: else -> s++;
#else
			:: s < NS && INODE(s) == i && entry[s] != ZAPPED -> marked[s] = false; s++;
			:: else -> s++;
#endif
			od;
			s = 0;
		}
		unlock_pages(i);
	:: else
	fi;
}

/* remove_range(): step 3 */
inline remove_range(i, s)
{
	lock_pages(i);
	s = 0;
	do
	:: s == NS -> break;
	:: s < NS && (INODE(s) != i || entry[s] == NONE) -> s++;
	:: s < NS && INODE(s) == i && locked[s] ->
#ifdef MUT_ZAP_SKIPS_LOCKED
		s++;
#else
		wait_unlocked(s);
#endif
	:: s < NS && INODE(s) == i && !locked[s] && entry[s] != NONE ->
		/* replay: entry.remove.idle entry.remove.shared entry.remove.hole break.end.kept */
		/* warn_on_once!() of remove_range() */
		CHECK(nothing_lost, entry[s] != TRACKED);
#ifdef DIRTY
		if
		:: dirty[s] && data == DECIDE -> s++;
#ifndef MUT_KEEP_DROPS
		:: dirty[s] && (data == KEEP || KEEPS_REST) -> flush_now(s);
#endif
		:: else ->
			/* From here on the data is gone, whether the block is yet or not. */
			d_step {
				if
				:: data == DISCARD && entry[s] == ZAPPED -> FORGET_DATA(names[s]);
				:: else
				fi;
				entry[s] = NONE;
				names[s] = 0;
				marked[s] = false;
				CLEAN(s);
			}
			s++;
		fi;
#else
		d_step { entry[s] = NONE; names[s] = 0; marked[s] = false; }
		s++;
#endif
	od;
	s = 0;
	unlock_pages(i);
}

inline unmap_range(i, s, f)
{
	s = 0;
	do
	:: s == NS -> break;
	:: s < NS && INODE(s) == i -> unmap(s, f); s++;
	:: else -> s++;
	od;
	s = 0;
}

#ifdef MUT_ZAP_AFTER_WAIT
inline wait_for_one(i, s)
{
	s = 0;
	do
	:: s == NS -> break;
	:: s < NS && INODE(s) == i && entry[s] == TRACKED ->
		prepare(FOLIO_ADDRESS(names[s]));
		if
		:: cnt[names[s]] > 1 -> let_faults_in(i); schedule(); lock_faults_out(i);
		:: else -> s++;
		fi;
		finish_wait(FOLIO_ADDRESS(names[s]));
	:: else -> s++;
	od;
	s = 0;
}
#endif

#ifdef MUT_REMOVE_BEFORE_IDLE
/* The slot goes when it is zapped; the folio is waited for afterwards. */
inline remove_marked(i, s, f, mode, interrupted)
{
	find_marked(i, s);
	f = names[s];
	remove_range(i, s);
	do
	:: mode == FAIL -> interrupted = true; break;
	:: mode == SIGNAL && signalled -> interrupted = true; break;
	:: mode != FAIL ->
		prepare(FOLIO_ADDRESS(f));
		look_at(f);
		if
		:: look == ACTIVE -> folio_put(f);
		:: else
		fi;
		if
		:: look != IDLE ->
			let_faults_in(i);
			if
			:: schedule();
			:: mode == SIGNAL -> signalled = true;
			fi;
			lock_faults_out(i);
		:: else -> break;
		fi;
	od;
	finish_wait(FOLIO_ADDRESS(f));
	d_step { f = 0; look = 0; }
}
#endif

/* break_and_remove(), with the filesystem's lock held */
inline break_layouts(i, s, f, mode, any, interrupted)
{
	/* replay: break.begin break.end.done break.end.failed */
#ifdef MUT_UNMAPPED_EXIT
	/* What is not mapped is taken to be idle, here the only page. */
	if
	:: pte[0] == 0 -> goto no_entries;
	:: else
	fi;
#endif
#ifdef DIRTY
	if
	:: data != REST -> unmap_range(i, s, f);
	:: else
	fi;
#else
	unmap_range(i, s, f);
#endif
#ifdef MUT_ZAP_AFTER_WAIT
	/* Waits for the count that the entry alone makes, then zaps. */
	wait_for_one(i, s);
#endif
	zap_range(i, s, any, mode);
#ifdef MUT_REMOVE_BEFORE_IDLE
	if
	:: any -> remove_marked(i, s, f, mode, interrupted); any = false;
	:: else
	fi;
#endif
	if
	:: any && mode == FAIL -> busy_entry(i, s, interrupted);
	:: else
	fi;
	if
	:: any && !interrupted ->
		sleeping[i]++;
		settle(i, s, f, mode, interrupted);
		sleeping_break_ends(i, s);
	:: else
	fi;
	any = false;
#ifdef MUT_UNMAPPED_EXIT
no_entries:
	skip;
#endif
#ifdef MUT_REFUSED_REMOVES
	/* R6: what is refused or interrupted takes the entries along. */
	remove_range(i, s);
#else
	if
	:: !interrupted -> remove_range(i, s);
	:: else
	fi;
#endif
}

/* unmap_and_zap(), of a locked entry. Sets left if that leaves its folio busy. */
inline unmap_and_zap(s, f)
{
#ifndef MUT_GIVE_UP_MAPPED
	unmap(s, f);
#endif
	if
	:: entry[s] == TRACKED ->
		/* replay: entry.zap */
		set_entry(s, ZAPPED, true);
		release(names[s], s);
		if
		:: left -> is_busy(s, names[s]); left = busy; busy = false;
		:: else
		fi;
	:: entry[s] == ZAPPED -> is_busy(s, names[s]); left = busy; busy = false;
	:: else -> left = false;
	fi;
}

/* undo_insert(), of an insertion that made the entry tracked; before says what it was */
inline undo_insert(s, before)
{
	/* replay: entry.zap entry.remove.spent */
	set_entry(s, ZAPPED, true);
	release(names[s], s);
	if
	:: !left && before != ZAPPED -> set_entry(s, EMPTY, marked[s]);
	:: else
	fi;
	left = false;
}

/* revoke(), of one file. Sets any if it had entries. */
inline revoke(i, s, f, any)
{
#ifdef MUT_UNMAP_BEFORE_REVOKE
	unmap_range(i, s, f);
#endif
	lock_pages(i);
	s = 0;
	do
	:: s == NS -> break;
	:: s < NS && (INODE(s) != i || entry[s] == NONE) -> s++;
#ifdef MUT_REVOKE_SKIPS_LOCKED
	:: s < NS && INODE(s) == i && locked[s] -> s++;
#else
	:: s < NS && INODE(s) == i && locked[s] -> wait_unlocked(s);
#endif
	:: s < NS && INODE(s) == i && !locked[s] && entry[s] == TRACKED ->
		any = true;
		zap(s);
		left = false;
		s++;
	:: s < NS && INODE(s) == i && !locked[s] && entry[s] == ZAPPED -> any = true; s++;
	od;
	s = 0;
	unlock_pages(i);
#ifndef MUT_UNMAP_BEFORE_REVOKE
	if
	:: any -> unmap_range(i, s, f);
	:: else
	fi;
#endif
}
