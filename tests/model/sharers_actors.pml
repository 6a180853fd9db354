/* SPDX-License-Identifier: GPL-2.0 */

/* Who acts: faults, pins, breaks, and a filesystem that frees the blocks. See sharers.pml. */

/* The filesystem frees what no file has any more; here is where its trust in a break shows. */
#define NAMES(s, f) \
	(entry[s] >= TRACKED && (names[s] == f || (big[INODE(s)] && (s) % 2 == 0 && names[s] + 1 == f)))
#define PUT_BLOCK(f) \
	blocks[f]--; \
	if \
	:: blocks[f] == 0 -> \
		CHECK(block_free_unpinned, pins[f] == 0); \
		for (n : 0 .. NS - 1) { \
			CHECK(block_free_unpinned, pte[n] != f + 1 && !(pmd[INODE(n)] && f < 2)); \
			CHECK(nothing_lost, !NAMES(n, f)); \
		} \
		n = 0; \
		CHECK(block_free_idle, cnt[HEAD(f)] == 0 && !ours[HEAD(f)]); \
	:: else \
	fi

/* What a fault does. */
#define READ	0	/* maps the block if there is one */
#define COW	2	/* replaces a shared block by a copy, page 2 */

/* A fault of page s, as often as it takes. */
inline fault(s, how)
{
	do
	:: true ->
#ifdef COPIES
		/* A PMD that may not be stored to is split. */
		if
		:: how == COW -> unmap_pmd(INODE(s));
		:: else
		fi;
#endif
		lock_breaks_out(INODE(s));
		grab(s, e);
		/* Whether it is mapped; the filesystem's mapping. */
		d_step {
			f = (pmd[INODE(s)] -> 0 : block[s]);
			shared = (f != 0 && blocks[f - 1] > 1);
			copies = (shared && how == COW);
			was_big = big[INODE(s)];
			result = (pmd[INODE(s)] && how == COW -> OTHER_ORDER : 0);
		}
		if
		:: f != 0 && !copies -> insert(e, f - 1 - (s - e), shared);
		:: else
		fi;
		if
		:: copies || (result == OTHER_ORDER && was_big) ->
			give_up(e);
			result = OTHER_ORDER;
		:: else
		fi;
#ifdef COPIES
		if
		:: copies && !left && !was_big ->
			/* iomap_end() makes it the block of the file. */
			CHECK(block_free_idle, blocks[2] == 0);
			request_for(2, e);
			CHECK(busy_is_unexpected, ok);
			d_step {
				!i_pages[INODE(e)] -> entry[e] = TRACKED;
				names[e] = 2;
				marked[e] = (sleeping[INODE(e)] > 0);
				ok = false;
				blocks[2]++;
				block[s] = 3;
				PUT_BLOCK(f - 1);
				f = 3;
				result = INSERTED;
			}
		:: else
		fi;
#endif
		CHECK(busy_is_unexpected, result != BUSY);
		if
		:: result == INSERTED || result == KNOWN ->
			/* The page table lock */
			d_step {
				CHECK(no_stale_pte, pte[s] == 0 || pte[s] == f);
				if
				:: pte[s] == 0 -> cnt[HEAD(f - 1)]++; pte[s] = f;
				:: else
				fi;
			}
		:: else
		fi;
		unlock_entry(e);
		if
		:: result == OTHER_ORDER && (left || (!was_big && !copies && f != 0)) ->
			get_on(e, f - 1);
		:: else
		fi;
		let_breaks_in(INODE(s));
		if
		:: result == OTHER_ORDER
		:: else -> break;
		fi;
	od;
	atomic {
		result = 0; e = 0; f = 0; shared = false; was_big = false; copies = false; late = 0;
	}
}

#define PART_LOCALS \
	byte look; bool ok; bool left; bool busy; bool beside; byte which; \
	byte e; byte g; byte o; byte p; byte s; byte last; byte home; byte most; byte late; bool early
#define FAULT_LOCALS \
	PART_LOCALS; byte f; byte around; byte refused; byte result; \
	bool shared; bool was_big; bool is_whole; bool copies; bool sleeps

#ifdef FAULTER
/* Those who touch a page of their mapping */
proctype faulter(byte at; byte how)
{
	FAULT_LOCALS;

	fault(at, how);
	running--;
}
#endif

#ifdef BIG_FAULTER
/* A fault of a PMD, which falls back, whatever keeps it from that. */
proctype big_faulter(byte i)
{
	FAULT_LOCALS;

	lock_breaks_out(i);
	/* LockedEntry::grab(): it falls back where there are smaller entries, unless they are empty. */
	d_step {
		!i_pages[i] && !(big[i] && locked[2 * i]) ->
		ok = (big[i] || (!locked[2 * i] && entry[2 * i] <= EMPTY &&
				 !locked[2 * i + 1] && entry[2 * i + 1] <= EMPTY));
		e = 2 * i;
		if
		:: ok ->
			entry[e] = (big[i] && entry[e] != NONE -> entry[e] : EMPTY);
			entry[e + 1] = NONE;
			big[i] = true;
			locked[e] = true;
		:: else
		fi;
	}
	if
	:: ok ->
		d_step {
			shared = (blocks[0] > 1);
			ok = (pte[e] == 0 && pte[e + 1] == 0 && block[e] == 1 && block[e + 1] == 2 &&
			      shared == (blocks[1] > 1));
		}
		if
		:: ok ->
			ok = false;
			insert(e, 0, shared);
			if
			:: result != OTHER_ORDER -> d_step { cnt[0] = cnt[0] + !pmd[i]; pmd[i] = true; }
			:: else
			fi;
		:: else
		fi;
		unlock_entry(e);
	:: else
	fi;
	let_breaks_in(i);
	running--;
}
#endif

/* GUP-fast of page s of a file. Sets q to the page, from 1 on, that is pinned, and h to its folio. */
#define MAPPED(s)	(pmd[INODE(s)] -> (s) % 2 + 1 : pte[s])
inline gup_fast(s, q, h)
{
	d_step { q = MAPPED(s); h = (q != 0 -> HEAD(q - 1) : 0); }
	if
	:: q != 0 ->
		folio_try_get(h, ok);
		if
		:: ok ->
			d_step {
				ok = (q == MAPPED(s) && h == HEAD(q - 1));
				pins[q - 1] = pins[q - 1] + ok;
			}
			if
			:: ok -> ok = false;
			:: else -> folio_put(h); q = 0;
			fi;
		:: else -> q = 0;
		fi;
	:: else
	fi;
}

inline unpin(q, h)
{
	d_step { pins[q - 1]--; q = 0; }
	folio_put(h);
	h = 0;
}

#ifdef PINNER
proctype pinner(byte at)
{
	bool ok; byte q; byte h;

	gup_fast(at, q, h);
	if
	:: q != 0 -> unpin(q, h);
	:: else
	fi;
	running--;
}
#endif

#ifdef MULTI
/* Direct I/O from both pages of a file: the second is faulted while the first is pinned. */
proctype multi(byte at)
{
	FAULT_LOCALS; byte q; byte h; byte first; byte around_first;

	do
	:: block[at] == 0 -> break;
	:: block[at] != 0 ->
		gup_fast(at, q, h);
		if
		:: q != 0 && first == 0 ->
			d_step {
				first = q;
				around_first = h;
				q = 0;
				h = 0;
				at = (at % 2 -> at - 1 : at + 1);
			}
		:: q != 0 && first != 0 -> break;
		:: q == 0 -> fault(at, READ);
		fi;
	od;
	if
	:: q != 0 -> unpin(q, h);
	:: else
	fi;
	if
	:: first != 0 -> unpin(first, around_first);
	:: else
	fi;
	running--;
}
#endif

/* What a break does when a folio is busy. */
#define FAIL		0	/* OnBusy::Fail */
#define SLEEP		1	/* OnBusy::Sleep, no signal comes */
#define SIGNAL		2	/* OnBusy::Sleep, a signal may come */

#ifdef BREAKER
/* At::zap(), with the i_pages lock held */
inline zap(e)
{
	d_step { entry[e] = ZAPPED; home = HEAD(names[e]); }
	release(home, e);
	d_step { marked[e] = left; home = 0; }
}

/* Unmaps an entry while it is locked, with the i_pages lock held: At::while_locked() */
inline unmap_entry(e)
{
	d_step { locked[e] = true; last = BEHIND(e) - 1; i_pages[INODE(e)] = false; }
	unmap_range(INODE(e), e, last);
	unlock_entry(e);
	lock_pages(INODE(e));
	last = 0;
}

/* Whether an entry is only partly in the range */
#define IS_PART(e)	(big[INODE(e)] && (lo != FIRST(e) || hi != FIRST(e) + 1))
#define FIRST_MARKED \
	(marked[AT(lo)] -> AT(lo) + 1 : (marked[AT(hi)] -> AT(hi) + 1 : 0))

/*
 * wait_for() of the zapped entry e. When its alarm rang, because others have parts or a fault revived
 * the entry, what is to be done next is found again.
 */
#ifdef MUT_NO_ALARM
/* R7: a break does not look again while others have parts. */
#define ALARM	false
#else
#define ALARM	(armed)
#endif
inline wait_for(i, e)
{
	if
	:: was_big -> give_back_parts(e);
	:: else
	fi;
	do
	:: mode == SIGNAL && signalled -> interrupted = true; break;
	:: else ->
		prepare(FOLIO_ADDRESS(f));
		d_step {
			!i_pages[i] -> ok = (big[i] == was_big && entry[e] == ZAPPED && names[e] == f);
			armed = (big[i] == was_big && entry[e] == TRACKED && names[e] == f);
		}
		if
		:: ok -> is_busy(e); armed = (was_big && beside);
		:: else -> busy = armed;
		fi;
		ok = false;
		if
		:: !busy -> break;
		:: busy && armed && rang -> break;
		:: busy && !(armed && rang) ->
			/* The callback: faults come in while we sleep. */
			let_faults_in(i);
			if
			:: schedule();
			:: mode == SIGNAL -> signalled = true;
			:: ALARM && EARLY && !early -> early = true; rang = true;
			:: d_step { ALARM && timeout -> RINGS; rang = true; }
			fi;
			lock_faults_out(i);
		fi;
		busy = false;
	od;
	finish_wait(FOLIO_ADDRESS(f));
	atomic { armed = false; rang = false; busy = false; beside = false; }
}

/* Truncate: break_layouts() of pages lo to hi of a file, and the filesystem frees the blocks. */
proctype breaker(byte i; byte lo; byte hi; byte mode)
{
	PART_LOCALS; byte f; bool any; bool cleaned; bool interrupted; bool signalled;
	bool was_big; bool asked; bool sleeps; bool armed; bool rang;

	lock_faults_out(i);
	unmap_range(i, lo, hi);
	/* zap_range() */
	lock_pages(i);
	s = lo;
	do
	:: s > hi -> break;
	:: s <= hi && locked[AT(s)] -> e = AT(s); wait_unlocked(e);
	:: s <= hi && !locked[AT(s)] && entry[AT(s)] == TRACKED && IS_PART(s) && !cleaned ->
		/* The rest of it is written back and unmapped, too. */
		d_step { cleaned = true; e = AT(s); which = s; }
		unmap_entry(e);
		d_step { s = which; which = 0; }
	:: s <= hi && !locked[AT(s)] && !(entry[AT(s)] == TRACKED && IS_PART(s) && !cleaned) ->
		d_step { e = AT(s); s = BEHIND(s); }
		if
		:: entry[e] == TRACKED ->
			zap(e);
			if
			:: mode != FAIL && !left -> d_step { REMOVE(e); }
			:: true
			fi;
			any = any || left;
			left = false;
		:: entry[e] == ZAPPED && marked[e] ->
			is_busy(e);
			d_step { any = any || busy; marked[e] = busy; busy = false; beside = false; }
		:: else
		fi;
	od;
	atomic { e = 0; s = 0; cleaned = false; }
	unlock_pages(i);
	if
	:: any && mode != FAIL -> d_step { sleeping[i]++; sleeps = true; }
	:: else
	fi;
	/* settle_next(), until no entry is marked; with OnBusy::Fail first_busy() and busy_entry() */
	do
	:: !any || interrupted -> break;
	:: else ->
		lock_pages(i);
		e = FIRST_MARKED;
		if
		:: e == 0 -> unlock_pages(i); any = false;
		:: e != 0 && locked[e - 1] -> e--; wait_unlocked(e); unlock_pages(i);
		:: e != 0 && !locked[e - 1] && entry[e - 1] == ZAPPED ->
			e--;
			d_step { was_big = big[i]; f = names[e]; }
			is_busy(e);
			beside = false;
			if
			:: busy ->
				busy = false;
				unlock_pages(i);
				if
#ifdef REFUSED
				:: mode == FAIL && (asked || !was_big) -> interrupted = true;
				:: mode == FAIL && !(asked || !was_big) ->
					asked = true;
					give_back_parts(e);
#endif
				:: mode != FAIL -> wait_for(i, e);
				fi;
			:: else -> marked[e] = false; unlock_pages(i);
			fi;
		:: else ->
			/* zap_again() of what was inserted or revived */
			e--;
			if
			:: entry[e] == TRACKED -> unmap_entry(e);
			:: else
			fi;
			if
			:: entry[e] == TRACKED && !locked[e] -> zap(e); left = false;
			:: else
			fi;
			/* One that holds nothing is no business of the break. */
			marked[e] = marked[e] && entry[e] >= TRACKED;
			unlock_pages(i);
		fi;
		atomic { e = 0; f = 0; was_big = false; }
	od;
	if
	:: sleeps ->
		/* The end of while_sleeping(): clear_marks() */
		d_step {
			!i_pages[i] -> sleeping[i]--;
			for (n : 2 * i .. 2 * i + 1) {
				marked[n] = marked[n] && (entry[n] == ZAPPED || sleeping[i] > 0);
			}
			n = 0;
		}
	:: else
	fi;
	if
	:: interrupted
	:: else ->
		/* remove_range() */
		do
		:: s > 1 -> break;
		:: else ->
			d_step {
				!i_pages[i] && !locked[AT(lo + s)] -> e = AT(lo + s);
				CHECK(nothing_lost, lo + s > hi || entry[e] != TRACKED);
				if
				:: lo + s <= hi && entry[e] != NONE -> REMOVE(e);
				:: else
				fi;
				s++;
				e = 0;
			}
		od;
		s = 0;
		d_step {
			for (s : lo .. hi) {
				if
				:: block[s] != 0 -> e = block[s]; block[s] = 0; PUT_BLOCK(e - 1); e = 0;
				:: else
				fi;
			}
			s = 0;
		}
	fi;
	let_faults_in(i);
	running--;
}
#endif

/* File i has page f at its page s when the world begins. */
inline give_block(s, f)
{
	d_step { block[s] = f + 1; blocks[f]++; }
}

inline give_both(i)
{
	give_block(2 * i, 0);
	give_block(2 * i + 1, 1);
}

/* Both are mapped by a PMD, and tracked by an entry for both. */
inline map_both(i)
{
	d_step {
		entry[2 * i] = TRACKED;
		big[i] = true;
		pmd[i] = true;
		cnt[0] = cnt[0] + 2;
		if
		:: !ours[0] ->
			head[0] = true;
			lead[1] = 1;
			ours[0] = true;
			owner[0] = 2 * i + 1;
			held[0] = 1;
			pgref++;
		:: ours[0] && owner[0] != 0 ->
			list[INODE(owner[0] - 1)] = BY_ALL;
			list[i] = BY_ALL;
			owner[0] = 0;
			share[0] = 2;
		:: else -> list[i] = BY_ALL; share[0]++;
		fi;
	}
}

/* A page is mapped, and tracked as a part of what another file has. */
inline map_part(s)
{
	d_step {
		entry[s] = TRACKED;
		names[s] = block[s] - 1;
		pte[s] = block[s];
		cnt[0] = cnt[0] + 2;
		if
		:: owner[0] != 0 -> list[INODE(owner[0] - 1)] = BY_ALL; owner[0] = 0; share[0] = 1;
		:: else
		fi;
		list[INODE(s)]++;
		share[0]++;
	}
}

/* The last lines of a world: each actor may have to free a folio. */
inline begin()
{
	running = NP - 1;
	for (n : 1 .. NP - 1) {
		run free_path(n);
	}
	n = 0;
}

/* When everybody is done: nothing is left but what entries and page tables have. */
#define IS_PART_THERE(s)	(!big[INODE(s)] && entry[s] == TRACKED && names[s] < 2)
inline nothing_is_left()
{
	running == 0;
	d_step {
		CHECK_LIST;
		for (n : 0 .. NI - 1) {
			CHECK(list_is_right, !IS_LIST ||
			      PARTS_OF(n) == IS_PART_THERE(2 * n) + IS_PART_THERE(2 * n + 1));
			CHECK(list_is_right, !IS_BY_ALL(n) || (big[n] && entry[2 * n] == TRACKED));
			CHECK(list_is_right, !IS_WAITING(n) || (big[n] && entry[2 * n] == ZAPPED));
			cnt[0] = cnt[0] - pmd[n];
		}
		for (n : 0 .. NF - 1) {
			CHECK(nothing_kept, held[n] == ours[n]);
		}
		for (n : 0 .. NS - 1) {
			if
			:: entry[n] == TRACKED -> cnt[HEAD(names[n])]--;
			:: else
			fi;
			if
			:: pte[n] != 0 -> cnt[HEAD(pte[n] - 1)]--;
			:: else
			fi;
		}
		for (n : 0 .. NF - 1) {
			CHECK(nothing_kept, cnt[n] == 0);
		}
		n = 0;
	}
}
