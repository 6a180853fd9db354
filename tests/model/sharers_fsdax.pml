/* SPDX-License-Identifier: GPL-2.0 */

/* What src/mapping and src/fsdax do with large folios that files share: see sharers.pml. */

/* Pages::wait_unlocked() */
inline wait_unlocked(e)
{
	unlock_pages(INODE(e));
	d_step { !i_pages[INODE(e)] && !locked[e] -> i_pages[INODE(e)] = true; }
}

/* LockedEntry::grab() of a page. Sets e to the entry. An empty one that is larger goes. */
inline grab(s, e)
{
	d_step {
		!i_pages[INODE(s)] && !locked[AT(s)] ->
		big[INODE(s)] = big[INODE(s)] && entry[FIRST(s)] != EMPTY;
		e = AT(s);
		locked[e] = true;
		entry[e] = (entry[e] == NONE -> EMPTY : entry[e]);
	}
}

#define REMOVE(e) \
	entry[e] = NONE; names[e] = 0; marked[e] = false; big[INODE(e)] = false

/* The drop of LockedEntry */
inline unlock_entry(e)
{
	d_step {
		!i_pages[INODE(e)] -> locked[e] = false;
		if
		:: entry[e] == EMPTY -> REMOVE(e);
		:: else
		fi;
	}
}

/* Mapping::unmap() of what a PMD maps, and of a page */
inline unmap_pmd(i)
{
	d_step { ok = pmd[i]; pmd[i] = false; }
	if
	:: ok -> ok = false; folio_put(0);
	:: else
	fi;
}

inline unmap_page(s)
{
	d_step { p = (pte[s] != 0 -> HEAD(pte[s] - 1) + 1 : 0); pte[s] = 0; }
	if
	:: p != 0 -> folio_put(p - 1); p = 0;
	:: else
	fi;
}

/* Pages from lo to hi of a file; a PMD that maps one of them goes. */
inline unmap_range(i, lo, hi)
{
	unmap_pmd(i);
	s = lo;
	do
	:: s > hi -> break;
	:: else -> unmap_page(s); s++;
	od;
	s = 0;
}

/*
 * give_up() of the locked entry that e is, with LockedEntry::zap(): it is empty then, or zapped, and
 * left is set.
 */
inline give_up(e)
{
	last = BEHIND(e) - 1;
	unmap_range(INODE(e), e, last);
	last = 0;
	if
	:: entry[e] == TRACKED ->
		d_step {
			!i_pages[INODE(e)] -> entry[e] = ZAPPED;
			marked[e] = true;
			home = HEAD(names[e]);
		}
		release(home, e);
		home = 0;
	:: else -> left = (entry[e] == ZAPPED);
	fi;
	if
	:: left -> is_busy(e); left = busy; busy = false; beside = false;
	:: else
	fi;
	if
	:: left
	:: else -> d_step { !i_pages[INODE(e)] -> entry[e] = EMPTY; marked[e] = false; names[e] = 0; }
	fi;
}

/* Which::PartsBeside, All and One; and with_entry_of() */
#define BESIDE	1
#define ALL	2
#define ONE	3
#define OWNER	4

/* LockedFolio::sharer(), for file i, of an active folio: a file, from 1 on; or 0 */
#define IS_LIST		(head[0] && share[0] > 0)
#define SHARER(i) \
	(which == BESIDE -> (IS_LIST && IS_WAITING(i) -> FIRST_FILE(HAS_PARTS) : 0) : \
	 (!IS_LIST || IS_ANY_CLOSED -> 0 : \
	  (which == ONE && HAS_PARTS(i) -> i + 1 : \
	   (PARTS > 0 -> FIRST_FILE(HAS_PARTS) : FIRST_FILE(IS_BY_ALL)))))

#define IS_SHARER(n) \
	(entry[n] == TRACKED && !locked[n] && names[n] < 2 && (!big[INODE(n)] || which != BESIDE))

/*
 * with_sharer_of(), with_entry_of(): sets o to an entry, from 1 on, that is locked; or to 0. Looks at
 * the entries of the file in one step. What is locked is waited for.
 */
inline lock_other(i)
{
	do
	:: true ->
		peek(0);
		if
		:: look != ACTIVE -> o = 0; break;
		:: else
		fi;
		d_step {
			!folio_lock[0] -> o = (which == OWNER -> owner[0] : SHARER(i));
			g = (which == OWNER && o != 0 -> INODE(o - 1) : o - 1);
			CHECK(closed_to_parts, which != BESIDE || !IS_CLOSED(i) || PARTS <= most);
			most = (which == BESIDE -> PARTS : 0);
		}
		if
		:: o == 0 -> folio_put(0); break;
		:: else
		fi;
		d_step {
			!i_pages[g] ->
			if
			:: which == OWNER ->
				o = (entry[o - 1] >= TRACKED && names[o - 1] == 0 && owner[0] == o ->
				     o : 0);
				p = (o != 0 && locked[o - 1] -> o : 0);
				o = (p != 0 -> 0 : o);
			:: else ->
				p = (locked[2 * g] -> 2 * g + 1 : (locked[2 * g + 1] -> 2 * g + 2 : 0));
				o = (IS_SHARER(2 * g) -> 2 * g + 1 :
				     (IS_SHARER(2 * g + 1) -> 2 * g + 2 : 0));
			fi;
			if
			:: o != 0 -> locked[o - 1] = true; p = 0;
			:: else
			fi;
		}
		folio_put(0);
		if
		:: o != 0 -> break;
		:: o == 0 && p != 0 -> !locked[p - 1];
		:: o == 0 && p == 0
		fi;
		p = 0;
	od;
	atomic { look = 0; g = 0; p = 0; }
}

/* give_back(): until there is no other one, or once. */
inline give_back(i)
{
	do
	:: true ->
		lock_other(i);
		if
		:: o == 0 -> break;
		:: else -> give_up(o - 1); unlock_entry(o - 1);
		fi;
		/* What is given back does not come again. */
		most = (most > 0 -> most - 1 : 0);
		if
		:: which == ONE || which == OWNER -> break;
		:: else -> left = false;
		fi;
	od;
}

/* LockedFolio::set_closed() for the zapped entry e. Sets ok if the folio may have parts. */
inline set_closed(e, to)
{
	peek(0);
	if
	:: look == ACTIVE ->
		d_step {
			!folio_lock[0] -> ok = (IS_LIST && IS_WAITING(INODE(e)));
			list[INODE(e)] = (ok -> to : list[INODE(e)]);
			most = (ok && to == CLOSED -> PARTS : 0);
		}
		folio_put(0);
	:: else -> ok = false;
	fi;
	look = 0;
}

/* give_back_parts() of the zapped entry e, which was one for both pages and is not locked */
#ifdef MUT_PARTS_STAY
/* R24: nobody has to give parts back. */
#define MAY_CLOSE	false
#else
#define MAY_CLOSE	true
#endif
inline give_back_parts(e)
{
	set_closed(e, CLOSED);
	if
	:: ok && MAY_CLOSE ->
		ok = false;
		which = BESIDE;
		give_back(INODE(e));
		which = 0;
		set_closed(e, WAITS);
		ok = false;
		wake(FOLIO_ADDRESS(0));
	:: else -> ok = false;
	fi;
}

/*
 * A timer: it ends a sleep when nothing else happens, and once at any time if it may come EARLY. Who is
 * woken by it again and again has got nowhere.
 */
#define OFTEN	3
#define RINGS	late++; CHECK(timers_help, late < OFTEN)

/*
 * folio::request() for entry e, in two steps under the folio lock. What is found free stays so.
 */
#define IS_UNUSED(f)	(!head[f] && lead[f] == 0 && cnt[f] == 0 && owner[f] == 0 && !ours[f])
#define HAS_SHAPE(f)	(shape[HEAD(f)] == PMD_SHAPE)
inline request_for(f, e)
{
	d_step {
		!folio_lock[PIECE(f)] -> TOUCH();
		ok = (HAS_SHAPE(f) || (IS_UNUSED(f) && (!big[INODE(e)] || IS_UNUSED((f) + 1))));
		if
		:: ok ->
			if
			:: f < 2 -> head[0] = big[INODE(e)]; lead[1] = head[0]; shape[0] = NO_SHAPE;
			:: else
			fi;
			CHECK(one_request_wins, cnt[f] == 0 && !ours[HEAD(f)]);
			CHECK_FORGOTTEN(HEAD(f));
			folio_lock[PIECE(f)] = true;
			owner[f] = e + 1;
			held[f]++;
			pgref++;
			cnt[f] = 1;
		:: else
		fi;
	}
	if
	:: ok -> d_step { ours[f] = true; folio_lock[PIECE(f)] = false; }
	:: else
	fi;
}

/* How insert() ends. */
#define INSERTED	1
#define BUSY		2
#define KNOWN		3
#define OTHER_ORDER	4

/*
 * activate() and join(): gets a reference to the folio around page f, associated with entry e, which is
 * locked. Whoever lost a race may try again; or not, for a large folio: the bound is left out.
 */
#define IS_TAIL(f)	(lead[f] != 0 && shape[HEAD(f)] == NO_SHAPE)
#ifdef MUT_APART_IS_BUSY
/* R24: what cannot be had as a part is taken for a block that is in use. */
#define OTHER	BUSY
#else
#define OTHER	OTHER_ORDER
#endif
#ifdef MUT_RACE_IS_BUSY
/* R24: who loses a race for a page that is not shared does not look what it is part of now. */
#define MAY_LOOK_AGAIN(e, may_share)	(may_share)
#else
#define MAY_LOOK_AGAIN(e, may_share)	((may_share) || !big[INODE(e)])
#endif
inline join(e, f, may_share)
{
	do
	:: true ->
		d_step { TOUCH(); around = (IS_TAIL(f) -> HEAD(f) : f); }
		peek(around);
		if
		:: look == DRAINING -> !IS_DRAINING(around);
		:: look == IDLE ->
			d_step { TOUCH(); ok = IS_TAIL(f); }
			if
			:: ok -> ok = false; result = OTHER; break;
			:: else
			fi;
			request_for(f, e);
			if
			:: ok -> ok = false; around = f; result = INSERTED; break;
			:: !ok && MAY_LOOK_AGAIN(e, may_share)
			:: !ok && (big[INODE(e)] || !MAY_LOOK_AGAIN(e, may_share)) ->
				result = BUSY;
				break;
			fi;
		:: look == ACTIVE ->
			/* FolioRef::claim() */
			if
			:: head[around] || (around == f && !big[INODE(e)]) -> add(around, e, may_share);
			:: else -> refused = APART;
			fi;
			if
			:: refused == JOINED -> result = INSERTED; break;
			:: refused == NOT_SHARED && big[INODE(e)] == head[around] -> result = BUSY;
			:: else -> result = OTHER;
			fi;
			folio_put(around);
			break;
		fi;
	od;
	atomic { look = 0; refused = 0; }
}

#ifdef MUT_PART_QUIET
/* R7: who gets a part wakes nobody. */
#define WAKES(e)	(ok && big[INODE(e)])
#else
#ifdef MUT_TAKEN_QUIET
/* R11: who gets all of the folio does not wake the one that waited. */
#define WAKES(e)	(ok && !big[INODE(e)])
#else
#define WAKES(e)	ok
#endif
#endif

/* insert(), of the folio or the part that begins at page f */
inline insert(e, f, may_share)
{
	CHECK(no_stale_pte, entry[e] == EMPTY || names[e] == f);
	if
	:: entry[e] == TRACKED -> result = KNOWN;
	:: else ->
		join(e, f, may_share);
		if
		:: result == INSERTED ->
			d_step {
				!i_pages[INODE(e)] -> ok = (entry[e] == ZAPPED || may_share);
				entry[e] = TRACKED;
				names[e] = f;
				marked[e] = (marked[e] || sleeping[INODE(e)] > 0);
			}
			if
			:: WAKES(e) -> wake(FOLIO_ADDRESS(around));
			:: else
			fi;
			ok = false;
		:: result == BUSY && big[INODE(e)] -> result = OTHER_ORDER;
		:: else
		fi;
	fi;
	around = 0;
}

/* Whether make_way() of page f is done; else it sets which. */
inline look_in_the_way(f)
{
	peek(0);
	if
	:: look == ACTIVE ->
		d_step {
			!folio_lock[0] ->
			/* Requested for no entry. */
			CHECK(busy_is_unexpected, owner[0] != 0 || share[0] != 0);
			which = (!head[0] -> 0 : (owner[0] != 0 -> OWNER : (shared -> ONE : ALL)));
		}
		folio_put(0);
	:: else
	fi;
	look = 0;
	if
	:: which == 0 ->
		/* wait_gone(), is_foreign_at() */
		d_step {
			!IS_DRAINING(0) && !folio_lock[0] ->
			CHECK(busy_is_unexpected, lead[f] == 0 || ours[0] || shape[0] == PMD_SHAPE);
		}
	:: else
	fi;
}

/*
 * What a fault does when entry e, one for both pages if was_big is set, is unlocked: wait_briefly(),
 * with give_back_parts(), if it is zapped and somebody keeps its folio; else make_way() for page f.
 */
inline get_on(e, f)
{
	if
	:: left ->
		left = false;
		if
		:: was_big ->
			set_closed(e, CLOSED);
			which = (ok && MAY_CLOSE -> BESIDE : 0);
			ok = false;
		:: else
		fi;
		d_step { sleeps = true; home = (was_big -> 0 : f); }
	:: else -> look_in_the_way(f);
	fi;
	if
	:: which != 0 ->
		give_back(INODE(e));
		sleeps = (sleeps || which == ALL || (which == ONE && o == 0) || left);
		left = false;
	:: else
	fi;
	if
	:: which == BESIDE ->
		which = 0;
		set_closed(e, WAITS);
		ok = false;
		wake(FOLIO_ADDRESS(0));
		sleeps = true;
	:: else
	fi;
	if
	:: sleeps ->
		prepare(FOLIO_ADDRESS(home));
		if
		:: which == 0 ->
			d_step {
				!i_pages[INODE(e)] ->
				busy = (entry[e] == ZAPPED && big[INODE(e)] == was_big);
			}
			if
			:: busy -> is_busy(e); beside = false;
			:: else
			fi;
		:: else -> busy = ours[0];
		fi;
		if
		:: busy ->
			busy = false;
			if
			:: schedule();
			:: d_step { timeout -> RINGS; }
			:: EARLY && !early -> early = true;
			fi;
		:: else
		fi;
		finish_wait(FOLIO_ADDRESS(home));
		atomic { sleeps = false; home = 0; }
	:: else
	fi;
	atomic { which = 0; o = 0; }
}
