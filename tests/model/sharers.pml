/* SPDX-License-Identifier: GPL-2.0 */

/*
 * A large folio that files share: src/folio/sharers.rs, association.rs, claim.rs, and what src/fsdax
 * and src/mapping/locked.rs do with entries of 2 MiB and of single pages (R24).
 *
 * The folio is pages 0 and 1. Each file has two pages, and an entry for both or one for each. A world
 * defines NI, at most 3, NF and NP as for model.pml, and for how many files the list has room (MOST).
 * What other worlds are about is coarser here: requests, looks at a folio, entry locks, whose waiters
 * just get them, and the device, which stays.
 */

#define NS		(2 * NI)
#define INODE(s)	((s) / 2)
#define LARGE
#define SHARERS
#include "state.pml"

/*
 * How a file shares the folio, in words of tail pages: by so many parts, 1 or 2, or by one of these. 0
 * if it is not in the list.
 */
#define BY_ALL	3	/* Share::Whole */
#define WAITS	4	/* Share::Zapped */
#define CLOSED	5	/* Share::Closed */
byte list[3];

#define SUM(what)	(what(0) + what(1) + what(2))
#define IS_LISTED(i)	(list[i] != 0)
#define IS_BY_ALL(i)	(list[i] == BY_ALL)
#define IS_WAITING(i)	(list[i] >= WAITS)
#define IS_CLOSED(i)	(list[i] == CLOSED)
#define HAS_PARTS(i)	(list[i] == 1 || list[i] == 2)
#define PARTS_OF(i)	(HAS_PARTS(i) * list[i])
#define FILES		SUM(IS_LISTED)
#define WHOLES		SUM(IS_BY_ALL)
#define WAITING		SUM(IS_WAITING)
#define PARTS		SUM(PARTS_OF)
#define IS_ANY_CLOSED	(SUM(IS_CLOSED) > 0)
#define CLEAR_LIST	list[0] = 0; list[1] = 0; list[2] = 0
/* The first file for which that is so, from 1 on; or 0 */
#define FIRST_FILE(what) \
	(what(0) -> 1 : (what(1) -> 2 : (what(2) -> 3 : 0)))

/* The entry at the first page of a file is one for both. */
bool big[NI];
/* The process maps both by a PMD. */
bool pmd[NI];
/* How many actors are not done yet */
byte running;

/* The entry that is at page s of its file, if there is one, and the page behind it */
#define FIRST(s)	((s) - (s) % 2)
#define AT(s)		(big[INODE(s)] -> FIRST(s) : (s))
#define BEHIND(s)	(big[INODE(s)] -> FIRST(s) + 2 : (s) + 1)

/* After each change, under the folio lock. */
#define CHECK_LIST \
	CHECK(list_is_right, FILES <= MOST && (head[0] || FILES == 0)); \
	CHECK(list_is_right, !head[0] || share[0] == PARTS + WHOLES); \
	CHECK(one_waits, FILES == 0 || (WHOLES > 0) + WAITING == 1)

/* forget_sharers(), of the free path */
#ifdef MUT_LIST_KEPT
/* R24: a folio that becomes free keeps its list. */
#define FORGET_SHARERS(f)
#else
#define FORGET_SHARERS(f) \
	if \
	:: f == 0 && head[0] && owner[0] == 0 && share[0] > 0 -> CLEAR_LIST; \
	:: else \
	fi
#endif
#define CHECK_FORGOTTEN(f)	CHECK(list_is_empty, f != 0 || FILES == 0)

#include "folio.pml"

#ifdef MUT_PART_TWICE
/* R11: the second part of a file counts twice. */
#define ONE_MORE	2
#else
#define ONE_MORE	1
#endif
#ifdef MUT_CLOSED_IGNORED
/* R24: parts are to be had while they are given back. */
#define KEPT_OUT	false
#else
#define KEPT_OUT	(!is_whole && IS_ANY_CLOSED)
#endif
#ifdef MUT_WAITS_ON
/* R11: who gets all of the folio does not relieve the one that waits. */
#define RELIEVED(i)	list[i]
#else
#define RELIEVED(i)	(is_whole && IS_WAITING(i) -> 0 : list[i])
#endif
#ifdef MUT_ROOM_IGNORED
/* R24: there is always room for one more. */
#define HAS_ROOM	true
#else
#define HAS_ROOM	(FILES < MOST)
#endif

#define JOINED		0
#define NOT_SHARED	1
#define APART		2

/* add_sharer() */
#define ADD_SHARER(f, e) \
	if \
	:: KEPT_OUT -> refused = APART; \
	:: else -> \
		if \
		:: owner[f] != 0 -> \
			list[INODE(owner[f] - 1)] = (zapped[f] -> WAITS : BY_ALL); \
			share[f] = !zapped[f]; \
			owner[f] = 0; \
			zapped[f] = false; \
		:: else \
		fi; \
		if \
		:: HAS_PARTS(INODE(e)) && !is_whole -> \
			list[INODE(e)] = list[INODE(e)] + ONE_MORE; \
			share[f]++; \
		:: !(HAS_PARTS(INODE(e)) && !is_whole) -> \
			/* Entries of a file do not overlap. */ \
			CHECK(list_is_right, list[INODE(e)] == 0); \
			list[0] = RELIEVED(0); \
			list[1] = RELIEVED(1); \
			list[2] = RELIEVED(2); \
			if \
			:: HAS_ROOM -> \
				list[INODE(e)] = (is_whole -> BY_ALL : 1); \
				share[f]++; \
			:: else -> refused = APART; \
			fi; \
		fi; \
	fi

/* LockedFolio::add() of entry e, which is locked. Sets refused. */
inline add(f, e, may_share)
{
	d_step {
		!folio_lock[PIECE(f)] -> TOUCH();
		CHECK(count_is_right, cnt[f] > 0);
		is_whole = (big[INODE(e)] == head[f]);
		refused = JOINED;
		if
		:: owner[f] == 0 && share[f] == 0 -> refused = NOT_SHARED;
		:: owner[f] == e + 1 && is_whole ->
			CHECK(list_is_right, zapped[f]);
			zapped[f] = false;
		:: share[f] > 0 && head[f] && is_whole && IS_WAITING(INODE(e)) ->
			list[INODE(e)] = BY_ALL;
			share[f]++;
		:: else ->
			if
			:: !(may_share) -> refused = NOT_SHARED;
			:: (may_share) && owner[f] != 0 && zapped[f] && is_whole ->
				owner[f] = e + 1;
				zapped[f] = false;
			:: (may_share) && !(owner[f] != 0 && zapped[f] && is_whole) && head[f] ->
				ADD_SHARER(f, e);
			:: (may_share) && !(owner[f] != 0 && zapped[f] && is_whole) && !head[f] ->
				share[f] = (owner[f] != 0 -> 2 : share[f] + 1);
				owner[f] = 0;
			fi;
		fi;
		CHECK_LIST;
		is_whole = false;
	}
}

#ifdef MUT_PART_IS_ALL
/* R11: with one of its parts a file is off the list. */
#define LESS_A_PART(has)	0
#else
#define LESS_A_PART(has)	((has) - 1)
#endif
#ifdef MUT_PARTS_WAIT
/* R11: who has parts is taken to wait for the pins. */
#define OTHERS_WAIT	true
#else
#define OTHERS_WAIT	(WHOLES > 1)
#endif
#ifdef MUT_ZAP_OTHERS
/* R11: a break zaps what other files have, too. */
#define AS_IT_WAS(i)	(IS_BY_ALL(i) -> WAITS : list[i])
#else
#define AS_IT_WAS(i)	list[i]
#endif

#define BECOMES_OWNED(f, id) \
	owner[f] = id; share[f] = 0; zapped[f] = true

/* take_off(), take_off_sharer(). Sets ok if others wait for the pins. */
#define TAKE_OFF(f, e) \
	if \
	:: head[f] && share[f] > 0 && HAS_PARTS(INODE(e)) -> \
		list[INODE(e)] = LESS_A_PART(list[INODE(e)]); \
		if \
		:: share[f] > 1 -> share[f]--; \
		:: else -> \
			/* One is left, which waits for the pins. */ \
			BECOMES_OWNED(f, 2 * FIRST_FILE(IS_LISTED) - 1); \
			CLEAR_LIST; \
		fi; \
		ok = true; \
	:: head[f] && share[f] > 1 && !HAS_PARTS(INODE(e)) -> \
		CHECK(list_is_right, IS_BY_ALL(INODE(e))); \
		ok = OTHERS_WAIT; \
		list[INODE(e)] = (ok -> 0 : WAITS); \
		list[0] = AS_IT_WAS(0); \
		list[1] = AS_IT_WAS(1); \
		list[2] = AS_IT_WAS(2); \
		share[f]--; \
	:: !head[f] && share[f] > 1 -> share[f]--; ok = true; \
	:: else -> BECOMES_OWNED(f, e + 1); CLEAR_LIST; ok = false; \
	fi

inline take_off(f, e)
{
#ifdef MUT_LIST_UNLOCKED
	/* R11: whether others have all is looked at without the folio lock. */
	d_step { TOUCH(); ok = (head[f] && WHOLES > 1 && IS_BY_ALL(INODE(e))); }
	d_step {
		!folio_lock[PIECE(f)] -> TOUCH();
		if
		:: ok -> list[INODE(e)] = 0; share[f]--;
		:: else -> TAKE_OFF(f, e);
		fi;
		CHECK_LIST;
	}
#else
	d_step {
		!folio_lock[PIECE(f)] -> TOUCH();
		CHECK(count_is_right, cnt[f] > 0);
		TAKE_OFF(f, e);
		CHECK_LIST;
	}
#endif
}

/* Claim::release(). Sets left if somebody keeps the folio whom no other entry waits for. */
inline release(f, e)
{
	free_if_last(f, ok);
	if
	:: ok -> left = false;
	:: else ->
		take_off(f, e);
		left = !ok;
		ok = false;
		if
		:: left -> free_if_last(f, ok); left = !ok;
		:: else
		fi;
		if
		:: ok -> skip;
		:: else -> folio_put(f);
		fi;
	fi;
	ok = false;
}

/* Folio::look(), in one step: ACTIVE comes with a reference. */
inline peek(f)
{
	d_step {
		TOUCH();
		look = (ours[f] -> (cnt[f] > 0 -> ACTIVE : DRAINING) : IDLE);
		cnt[f] = cnt[f] + (look == ACTIVE);
	}
}
#define IS_DRAINING(f)	(ours[f] && cnt[f] == 0)

/*
 * is_busy(): what begins at the entry; a tail page has no count of its own. Sets busy, and beside as
 * has_parts_beside().
 */
inline is_busy(e)
{
	peek(names[e]);
	busy = (look == DRAINING);
	if
	:: look == ACTIVE ->
		/* LockedFolio::is_zapped_by() */
		d_step {
			!folio_lock[PIECE(names[e])] -> g = names[e];
			busy = (share[g] > 0 && head[g] -> IS_WAITING(INODE(e)) : owner[g] == e + 1);
			beside = (busy && head[g] && share[g] > 0 && PARTS > 0);
		}
		folio_put(g);
		g = 0;
	:: else
	fi;
	look = 0;
}

#include "sharers_fsdax.pml"
#include "sharers_actors.pml"
