/* SPDX-License-Identifier: GPL-2.0 */

/* src/folio/shape.rs, rebuild.rs, and what request.rs does with them: folios of several pages. */

/*
 * Checks. Whoever rewrites pages has them for himself: they are free, and he alone does so. Whoever
 * takes a folio gets all of it.
 */
#define PAGES_OF(order)	(1 << (order))
#define BEGIN_REWRITING(f, order) \
	for (n : f .. f + PAGES_OF(order) - 1) { \
		CHECK(one_rebuilds, cnt[n] == 0 && cnt[HEAD(n)] == 0 && !rewritten[n]); \
		rewritten[n] = true; \
	} \
	n = 0
#define END_REWRITING(f, order) \
	for (n : f .. f + PAGES_OF(order) - 1) { \
		rewritten[n] = false; \
	} \
	n = 0
#define CHECK_WHOLE(f, order) \
	for (n : f .. f + PAGES_OF(order) - 1) { \
		CHECK(one_request_wins, cnt[n] == 0 && cnt[HEAD(n)] == 0 && !ours[n]); \
		CHECK(shape_is_whole, \
		      !rewritten[n] && head[n] == (n == f && order != PTE) && \
		      lead[n] == (n == f -> 0 : f + 1)); \
	} \
	n = 0

inline lock_folio(f)
{
	d_step { !folio_lock[PIECE(f)] -> folio_lock[PIECE(f)] = true; }
}

inline unlock_folio(f)
{
	folio_lock[PIECE(f)] = false;
}

/*
 * Folio::are_unused() of one page, with its flag of a head. The free path makes a page free by one
 * store, and it stays so under the folio lock; but who rebuilds 1 GiB has no lock.
 */
inline look_unused(f, free)
{
	d_step { TOUCH(); free = !head[f]; }
	d_step { TOUCH(); free = free && cnt[f] == 0 && owner[f] == 0 && lead[f] == 0; }
	d_step { TOUCH(); free = free && !IS_OURS(f); }
}

/* Folio::is_shape() and is_pud_shape() */
#ifdef MUT_SHAPE_DRAINING
/* R18: the count alone says that a large folio is free. */
#define IS_SHAPE(f)	(head[f] && cnt[f] == 0)
#else
#define IS_SHAPE(f)	(shape[f] == PMD_SHAPE)
#endif
#define IS_PUD_SHAPE(f)	(shape[f] == PUD_SHAPE)

/* Folio::dissolve(), under the folio lock */
inline dissolve(f, done)
{
	d_step { TOUCH(); done = IS_SHAPE(f); }
	if
	:: done ->
		d_step { TOUCH(); BEGIN_REWRITING(f, PMD); head[f] = false; }
		d_step { TOUCH(); lead[f + 1] = 0; END_REWRITING(f, PMD); }
		d_step { TOUCH(); shape[f] = NO_SHAPE; }
	:: else
	fi;
}

/* Folio::take_shape() of a page. A piece of 1 GiB that is taken apart begins elsewhere. */
inline take_page(f)
{
	look_unused(f, won);
#ifndef MUT_NO_SECOND_LOOK
	/* Folio::is_marked() */
	d_step { TOUCH(); won = won && !IS_OURS(f) && shape[f] == NO_SHAPE; }
	d_step { TOUCH(); won = won && lead[f] == 0; }
#endif
	if
	:: won
	:: else ->
		/* take_apart() */
		d_step { TOUCH(); whole = HEAD(f); }
#ifdef MUT_APART_UNCOVERED
		/* R18: whatever folio is around the page, by the lock of the page. */
		dissolve(whole, won);
#else
		if
		:: PIECE(whole) == PIECE(f) -> dissolve(whole, won);
		:: else
		fi;
#endif
	fi;
}

/* The same of a PMD */
inline take_pmd(f)
{
	d_step { TOUCH(); won = IS_SHAPE(f); }
	if
	:: won
	:: else ->
		look_unused(f, won);
#ifndef MUT_REQUEST_HEAD_ONLY
		if
		:: won -> look_unused(f + 1, won);
		:: else
		fi;
#endif
		if
		:: won ->
			/* make_large(): rust_fsdax_prep_compound_page() */
			d_step {
				TOUCH();
				CHECK(one_request_wins, !ours[f] && !ours[f + 1]);
				BEGIN_REWRITING(f, PMD);
				head[f] = true;
			}
			d_step { TOUCH(); lead[f + 1] = f + 1; END_REWRITING(f, PMD); }
		:: else
		fi;
	fi;
}

inline take_shape(f, order)
{
	if
	:: order == PTE -> take_page(f);
	:: order == PMD -> take_pmd(f);
#ifdef GIB
	:: order == PUD -> d_step { TOUCH(); won = IS_PUD_SHAPE(f); }
#endif
	fi;
}

/* take() */
inline take(f, order, s)
{
	/* replay: folio.request.page folio.request.2m folio.request.1g */
	d_step { TOUCH(); owner[f] = s; }
	d_step { TOUCH(); CHECK_WHOLE(f, order); held[f]++; cnt[f] = 1; }
	d_step { TOUCH(); ours[f] = true; shape[f] = NO_SHAPE; }
}

#ifdef GIB
#ifdef MUT_REBUILD_QUIET
/* R4: who waits for memory that is rebuilt is not told of its end. */
#define WAKE_WAITERS(f)	skip
#else
#define WAKE_WAITERS(f)	wake(FOLIO_ADDRESS(f))
#endif

/* Claimed::publish() */
inline publish(f, mark)
{
	d_step { TOUCH(); ours[f] = false; shape[f] = mark; }
	WAKE_WAITERS(f);
}

inline split_first()
{
	d_step { TOUCH(); head[0] = false; }
	d_step { TOUCH(); head[0] = true; END_REWRITING(0, PMD); }
	publish(0, PMD_SHAPE);
}

/* Whole::claim() and split(): two pieces of free memory of 1 GiB. The first one is done last. */
inline split_pud(f, done)
{
#ifdef MUT_CLAIM_UNLOCKED
	/* R18: that the shape is free is seen and written without the folio lock. */
	d_step { TOUCH(); done = IS_PUD_SHAPE(f); }
	if
	:: done -> d_step { TOUCH(); ours[f] = true; shape[f] = NO_SHAPE; }
	:: else
	fi;
#else
	d_step {
		!folio_lock[PIECE(f)] -> TOUCH();
		done = IS_PUD_SHAPE(f);
#ifndef MUT_SPLIT_UNMARKED
		if
		:: done -> ours[f] = true; shape[f] = NO_SHAPE;
		:: else
		fi;
#endif
	}
#endif
	if
	:: done ->
		d_step { BEGIN_REWRITING(0, PUD); }
#ifdef MUT_SPLIT_IN_ORDER
		split_first();
#endif
#ifdef MUT_PIECE_UNLOCKED
		/* R18: who looks at the page may have seen a part of a larger folio, and no mark. */
		d_step { TOUCH(); ours[2] = true; }
#else
#ifndef MUT_PIECE_UNMARKED
		d_step { !folio_lock[1] -> TOUCH(); ours[2] = true; }
#endif
#endif
		d_step { TOUCH(); lead[2] = 0; }
		d_step { TOUCH(); head[2] = true; }
		d_step { TOUCH(); lead[3] = 3; END_REWRITING(2, PMD); }
		publish(2, PMD_SHAPE);
#ifndef MUT_SPLIT_IN_ORDER
		split_first();
#endif
	:: else
	fi;
}

/* Pieces::claim() of one piece */
inline claim_piece(f)
{
	lock_folio(f);
	take_pmd(f);
	if
	:: won -> d_step { TOUCH(); ours[f] = true; shape[f] = NO_SHAPE; }
	:: else
	fi;
	unlock_folio(f);
}

/* Pieces::claim() and join() */
inline join_pieces(done)
{
	claim_piece(0);
	if
	:: won ->
		claim_piece(2);
		done = won;
		if
		:: done ->
			d_step { TOUCH(); BEGIN_REWRITING(0, PUD); head[0] = false; }
			d_step { TOUCH(); head[2] = false; }
			d_step { TOUCH(); head[0] = true; }
			d_step { TOUCH(); lead[2] = 1; }
			d_step { TOUCH(); lead[3] = 1; END_REWRITING(0, PUD); }
#ifdef MUT_JOIN_IN_ORDER
			/* R18: the first head is let go of while others are claimed. */
			publish(0, PUD_SHAPE);
			publish(2, NO_SHAPE);
#else
			publish(2, NO_SHAPE);
			publish(0, PUD_SHAPE);
#endif
#ifdef MUT_CLAIM_STAYS
		/* R18: what was claimed before some other piece was in use. */
		:: else
#else
		:: else -> publish(0, PMD_SHAPE);
#endif
		fi;
	:: else
	fi;
	won = false;
}

/* Folio::is_draining() */
inline is_draining(f, is)
{
	d_step { TOUCH(); is = IS_OURS(f); }
	d_step { TOUCH(); is = is && cnt[f] == 0; }
}

/* What Folio::make_room() says. */
#define MADE		1
#define NOT_NOW		2	/* Room::Rebuilt */
#define AS_BEFORE	3

inline make_room(f, order)
{
	d_step { TOUCH(); whole = HEAD(f); }
	if
	:: order == PUD -> join_pieces(made);
	:: order != PUD -> split_pud(whole, made);
	fi;
	if
	:: made -> room = MADE; made = false;
	:: else ->
		is_draining(whole, made);
		room = (made -> NOT_NOW : AS_BEFORE);
		made = false;
	fi;
}

/* Folio::no_pud() */
inline no_pud(f)
{
	do
	:: true ->
		split_pud(f, made);
		if
		:: made -> break;
		:: else
		fi;
		d_step { TOUCH(); around = HEAD(f); }
		is_draining(around, made);
		if
#ifdef MUT_DISSOLVE_NO_WAIT
		/* R18: what somebody else is taking apart counts as done. */
		:: made -> break;
#else
		:: made -> made = false; wait_drained(around);
#endif
		:: else -> break;
		fi;
	od;
	atomic { made = false; around = 0; }
}

/* Folio::is_tail(): of a folio that is not free */
inline is_tail(f, is)
{
	d_step { TOUCH(); is = (lead[f] != 0); }
	d_step { TOUCH(); whole = HEAD(f); }
	d_step { TOUCH(); is = is && shape[whole] == NO_SHAPE; }
	d_step { TOUCH(); is = is && lead[f] != 0; whole = 0; }
}

/* What join() looks at */
inline find_folio(f)
{
	is_tail(f, made);
	d_step { TOUCH(); around = (made -> HEAD(f) : f); made = false; }
}
#define FOLIO_AROUND(f)	around
#ifdef MUT_REBUILT_IN_USE
/* R18: a fault takes memory that is rebuilt for memory in use. */
#define REBUILT	false
#else
#define REBUILT	(room == MADE || room == NOT_NOW)
#endif

/* make_way() where the folio around is gone, or on its way: wait_gone(), is_foreign_at() */
inline make_way(f)
{
	pgmap_live(live);
	if
	:: live ->
		live = false;
		d_step { TOUCH(); around = HEAD((f) - (f) % 2); }
		wait_drained(around);
		lock_folio(f);
		d_step { TOUCH(); around = HEAD(f); }
		d_step { TOUCH(); made = (!IS_OURS(around) && shape[around] == NO_SHAPE); }
		d_step { TOUCH(); made = (made && lead[f] == around + 1); }
		unlock_folio(f);
		CHECK(busy_is_unexpected, !made);
		pgmap_put();
	:: else
	fi;
	d_step { around = 0; made = false; }
}
#else
#define FOLIO_AROUND(f)	(f)
#define REBUILT	false
#endif

/* folio::request() of an order, for entry s - 1, or for nobody if s is 0 */
inline request_order(f, order, s)
{
	room = 0;
	do
	:: true ->
		lock_folio(f);
		take_shape(f, order);
		if
		:: won -> take(f, order, s); unlock_folio(f); break;
		:: else -> unlock_folio(f);
		fi;
#ifdef GIB
		/* take_rebuilt() */
		if
		:: room == 0 -> make_room(f, order);
		:: else -> break;
		fi;
		if
#ifdef MUT_NO_LOOK_AFTER_ROOM
		/* R18: somebody else may have made room meanwhile. */
		:: room != MADE -> break;
#else
		:: room == NOT_NOW -> break;
#endif
		:: else
		fi;
#else
		break;
#endif
	od;
	whole = 0;
}

/* folio::request() of a page: see folio.pml */
inline request(f, s, is_won)
{
	request_order(f, PTE, s);
	is_won = won;
	won = false;
}
