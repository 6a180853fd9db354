/* SPDX-License-Identifier: GPL-2.0 */

/* src/pgmap and src/folio: references, requests, the free path, associations. */

/*
 * PgmapRef::live(): get_dev_pagemap(), percpu_ref_tryget_live(). Two steps inside RCU: the count
 * may go up after percpu_ref_kill() on another CPU, but not after a grace period.
 */
inline pgmap_live(is_live)
{
	d_step { ENTER_RCU; is_live = !dying; }
	d_step {
		pgref = pgref + is_live;
		LEAVE_RCU;
	}
}

/* PgmapRef::dying_or_live(): tryget_dev_pagemap() */
inline pgmap_dying_or_live(is_there)
{
	d_step {
		is_there = (pgref > 0);
		pgref = pgref + is_there;
	}
}

/* Drop for PgmapRef */
inline pgmap_put()
{
	d_step {
		CHECK(one_pgmap_reference, pgref > 0);
		pgref--;
	}
}

/* Folio::is_ours() */
#define IS_OURS(f)	(ours[f])

/*
 * folio::free(), and what calls it: the count is 0. Any context: called from irqs, and with the
 * i_pages lock held. It is a process of its own, which its caller waits for, since inlined it would
 * be most of the model.
 */
proctype free_path(byte caller)
{
	byte f;

end:	do
	:: d_step { freeing[caller] != 0 -> f = freeing[caller] - 1; }
#ifdef MUT_FREE_TAKES_I_PAGES
		/* R3: the free path waits for the lock that its caller may hold. */
		lock_pages(0);
		unlock_pages(0);
#endif
#ifdef MUT_PGMAP_PUT_EARLY
		d_step {
			CHECK(one_pgmap_reference, held[f] == 1 && pgref > 0);
			held[f]--;
			pgref--;
		}
#endif
#ifdef SHARERS
		d_step { TOUCH(); FORGET_SHARERS(f); }
#endif
		/* replay: folio.free.released folio.free.unpinned folio.free.alone */
		/* The reset of the fields. */
		d_step {
			TOUCH();
			CHECK(free_path_alone, cnt[f] == 0 && ours[f]);
#ifndef MUT_NO_RESET
			owner[f] = 0;
			share[f] = 0;
			zapped[f] = false;
#endif
		}
#ifdef MUT_WAKE_BEFORE_IDLE
		wake(FOLIO_ADDRESS(f));
#endif
		/* The exchange of the owner mark: idle from here on. A large folio keeps its shape. */
		d_step {
			TOUCH();
			CHECK(free_path_alone, cnt[f] == 0 && ours[f]);
#ifdef SHARERS
			CHECK_FORGOTTEN(f);
#endif
			ours[f] = false;
#ifdef LARGE
			shape[f] = SHAPE_OF(f);
#endif
		}
#ifndef MUT_WAKE_BEFORE_IDLE
		wake(FOLIO_ADDRESS(f));
#endif
#ifndef MUT_PGMAP_PUT_EARLY
		d_step { CHECK(one_pgmap_reference, held[f] > 0 && pgref > 0); held[f]--; pgref--; }
#endif
		d_step { f = 0; freeing[caller] = 0; }
	od;
}

/* Runs the free path if the count just became 0, until it is done. */
#define AT_ZERO(f) \
	freeing[_pid] = (cnt[f] == 0 -> f + 1 : 0)
#define FREED	(freeing[_pid] == 0)

/* folio_put(): free_zone_device_folio() finds the mark and calls the owner. */
inline folio_put(f)
{
	d_step { TOUCH(); CHECK(count_is_right, cnt[f] > 0); cnt[f]--; AT_ZERO(f); }
	FREED;
}

/* folio_try_get() */
inline folio_try_get(f, got)
{
	d_step {
		TOUCH();
		got = (cnt[f] > 0);
		cnt[f] = cnt[f] + got;
	}
}

/* FolioRef::free_if_last(): folio_ref_freeze() */
inline free_if_last(f, freed)
{
	d_step {
		TOUCH();
		CHECK(count_is_right, cnt[f] > 0);
		freed = (cnt[f] == 1);
		cnt[f] = (freed -> 0 : cnt[f]);
		AT_ZERO(f);
	}
	FREED;
}

/* Folio::look(). ACTIVE comes with a reference. */
inline look_at(f)
{
	folio_try_get(f, ok);
	if
	:: ok ->
		d_step { TOUCH(); ok = IS_OURS(f); }
		if
		:: ok -> look = ACTIVE;
		:: else -> folio_put(f); look = IDLE;
		fi;
	:: else ->
#ifdef MUT_WAIT_FOR_ZERO
		/* R4: a count of 0 is taken for idle. */
		look = IDLE;
#else
		d_step { TOUCH(); look = (IS_OURS(f) -> DRAINING : IDLE); }
#endif
	fi;
	ok = false;
}

/* Folio::wait_drained() */
inline wait_drained(f)
{
	do
	:: true ->
		prepare(FOLIO_ADDRESS(f));
		look_at(f);
		if
		:: look == DRAINING -> schedule();
		:: look == ACTIVE -> folio_put(f); break;
		:: else -> break;
		fi;
	od;
	look = 0;
	finish_wait(FOLIO_ADDRESS(f));
}

#ifdef LARGE
#include "shape.pml"
#else
#define FOLIO_AROUND(f)	(f)
#define REBUILT	false

/*
 * Folio::are_free(): loads of fields that become free one after the other and stay so while
 * the folio lock is held: the conjunction is as good as its last load.
 */
#define IS_FREE(f)	(cnt[f] == 0 && owner[f] == 0 && !IS_OURS(f))
#ifdef MUT_REQUEST_DRAINING
/* R4: the count alone says that a folio is free. */
#define MAY_REQUEST(f)	(cnt[f] == 0)
#else
#define MAY_REQUEST(f)	IS_FREE(f)
#endif

/* folio::request() of one page, for entry s - 1, or for nobody if s is 0. */
inline request(f, s, won)
{
#ifdef MUT_PGMAP_AFTER_COUNT
	/* R1: the count goes up before there is a pgmap reference; the loser's undo is a put. */
	pgmap_put();
#endif
#ifndef MUT_REQUEST_UNLOCKED
	d_step { !folio_lock[PIECE(f)] -> folio_lock[PIECE(f)] = true; }
#endif
	d_step { TOUCH(); won = MAY_REQUEST(f); }
	if
	:: won ->
		/* take(); replay: folio.request.page */
		d_step { TOUCH(); owner[f] = s; }
		d_step {
			TOUCH();
			CHECK(one_request_wins, cnt[f] == 0);
#ifndef MUT_PGMAP_AFTER_COUNT
			held[f]++;
#endif
			cnt[f] = 1;
		}
		d_step { TOUCH(); ours[f] = true; }
	:: else
	fi;
#ifndef MUT_REQUEST_UNLOCKED
	folio_lock[PIECE(f)] = false;
#endif
#ifdef MUT_PGMAP_AFTER_COUNT
	if
	:: won ->
		pgmap_live(live);
		if
		:: live -> held[f]++;
		:: else -> folio_put(f); won = false;
		fi;
	:: else -> pgref++;
	fi;
#endif
}
#endif

/*
 * FolioRef::associate(), of an entry, with a reference. Under the folio lock: nobody else reads
 * or writes these fields but the free path, which our reference keeps out.
 */
#define ASSOCIATE(f, s, may_share, joined) \
	/* replay: folio.join.share folio.join.revive folio.join.take_over */ \
	if \
	:: owner[f] == 0 && share[f] == 0 -> joined = false; \
	:: owner[f] == s + 1 -> joined = true; zapped[f] = false; \
	:: owner[f] != s + 1 && (owner[f] != 0 || share[f] != 0) -> \
		joined = may_share; \
		if \
		:: may_share && owner[f] != 0 && zapped[f] -> \
			owner[f] = s + 1; zapped[f] = false; \
		:: may_share && owner[f] != 0 && !zapped[f] -> \
			owner[f] = 0; share[f] = 2; \
		:: may_share && owner[f] == 0 -> share[f]++; \
		:: else \
		fi; \
	fi

inline associate(f, s, may_share, joined)
{
	d_step { !folio_lock[PIECE(f)] -> TOUCH(); CHECK(count_is_right, cnt[f] > 0);
#ifdef MEMORY_FAILURE
		kept_out = IS_KEPT_OUT(f, s, may_share);
		if
		:: kept_out -> joined = false;
		:: else -> ASSOCIATE(f, s, may_share, joined);
		fi;
#else
		ASSOCIATE(f, s, may_share, joined);
#endif
	}
}

/* FolioRef::disassociate() */
inline disassociate(f, s, others)
{
	/* replay: folio.leave.shared folio.leave.last */
#ifdef MUT_SHARE_UNLOCKED
	/* D12: two locks, so that what was read may have changed when it is written. */
	d_step { TOUCH(); others = (owner[f] == 0 && share[f] > 1); look = share[f]; }
	d_step {
		if
		:: others -> owner[f] = 0; share[f] = look - 1;
		:: else -> owner[f] = s + 1; share[f] = 0; zapped[f] = true;
		fi;
		look = 0;
	}
#else
	d_step { !folio_lock[PIECE(f)] -> TOUCH(); CHECK(count_is_right, cnt[f] > 0);
		others = (owner[f] == 0 && share[f] > 1);
		if
		:: others -> share[f]--;
		:: else -> owner[f] = s + 1; share[f] = 0; zapped[f] = true;
		fi;
	}
#endif
}

/* FolioRef::is_owned_by() */
inline is_owned_by(f, s, owned)
{
	d_step { !folio_lock[PIECE(f)] -> TOUCH(); owned = (owner[f] == s + 1); }
}
