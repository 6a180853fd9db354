/* SPDX-License-Identifier: GPL-2.0 */

/* src/mapping/around.rs, src/fsdax/around.rs: a read fault maps the page behind its own, too. */

/*
 * Window::of() and Iomaps::look_ahead(): the block behind that of the fault, from 1 on, as the
 * filesystem names it before the entry is locked; 0 if nothing is mapped around.
 */
#define LOOK_AHEAD(s, how) \
	next = 0; \
	if \
	:: how == READ && f != 0 && s + 1 < NS && INODE(s + 1) == INODE(s) && pte[s + 1] == 0 -> \
		next = block[s + 1]; \
		if \
		:: next != 0 && blocks[next - 1] > 1 -> next = 0; \
		:: else \
		fi; \
	:: else \
	fi

#ifdef MUT_AROUND_SLEEPING
/* R6: that a break of the file sleeps does not matter. */
#define IS_BREAKING(i)	false
#else
/* is_breaking() */
#define IS_BREAKING(i)	(sleeping[i] > 0)
#endif

/* track_one(), with the i_pages lock held. Sets next to 0 if the entry is left out. */
inline track_one(s)
{
	if
	:: locked[s] || entry[s] == ZAPPED || IS_BREAKING(INODE(s)) -> next = 0;
	:: !locked[s] && !IS_BREAKING(INODE(s)) && entry[s] == TRACKED ->
		next = (names[s] == next - 1 -> next : 0);
		locked[s] = (next != 0);
	:: !locked[s] && !IS_BREAKING(INODE(s)) && entry[s] < TRACKED ->
		/* folio::request_as_is() */
		pgmap_live(live);
		if
		:: live -> request(next - 1, s + 1, ok);
		:: else
		fi;
		if
		:: ok ->
			/* replay: entry.insert */
			d_step { entry[s] = TRACKED; names[s] = next - 1; locked[s] = true; }
		:: !ok && live -> pgmap_put(); next = 0;
		:: !ok && !live -> next = 0;
		fi;
		d_step { live = false; ok = false; }
	fi;
}

/* Around::track(), Fault::map_around(), and the drop of Around */
inline map_around(s)
{
	if
	:: next != 0 ->
		lock_pages(INODE(s));
		track_one(s + 1);
#ifdef MUT_AROUND_UNLOCKED
		/* R13: an entry is not left locked until its page is mapped. */
		locked[s + 1] = locked[s + 1] && next == 0;
#endif
		unlock_pages(INODE(s));
	:: else
	fi;
	if
	:: next != 0 ->
		map(s + 1, next - 1);
		next = 0;
#ifndef MUT_AROUND_UNLOCKED
		lock_pages(INODE(s));
		locked[s + 1] = false;
		wake(ENTRY_ADDRESS(s + 1));
		unlock_pages(INODE(s));
#endif
	:: else
	fi;
}
