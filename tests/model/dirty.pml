/* SPDX-License-Identifier: GPL-2.0 */

/*
 * src/mapping/flush.rs, src/fsdax/writeback.rs: what is stored to is marked, and flushed. The
 * device stays, so that a zapped entry finds its pgmap.
 */

/* LockedEntry::write_back(): write-protects, then flushes. */
inline write_back(s)
{
	/* Or it is EIO. */
	/* replay: entry.writeback.tracked entry.writeback.zapped */
	CHECK(stores_are_flushed, entry[s] >= TRACKED);
#ifdef MUT_FLUSH_BEFORE_PROTECT
	/* R9: what is stored between the two is not flushed, and the mark goes. */
	flush(s);
	PROTECT(s);
#else
	PROTECT(s);
	flush(s);
#endif
}

inline flush(s)
{
	d_step { FORGET_DATA(names[s]); }
}

/* LockedEntry::flush_now(), of an entry that a walk is at, and then is at again */
inline flush_now(s)
{
	d_step { locked[s] = true; i_pages[INODE(s)] = false; }
	write_back(s);
	lock_pages(INODE(s));
	CLEAN(s);
	unlock_pages(INODE(s));
	unlock_entry(s);
	lock_pages(INODE(s));
}

#ifdef MUT_PART_DROPS
/* R9, D13: the rest of an entry is dropped with a part of it. */
#define KEEPS_REST	false
#else
#define KEEPS_REST	(data == REST)
#endif

/*
 * At::while_locked() of clean_and_unmap(): the rest of an entry goes with a part of it, which alone
 * the break has unmapped.
 */
inline clean_and_unmap(s, f)
{
	d_step { locked[s] = true; i_pages[INODE(s)] = false; }
	d_step { !i_pages[INODE(s)] -> ok = dirty[s] && KEEPS_REST; }
	if
	:: ok ->
		write_back(s);
		d_step { !i_pages[INODE(s)] -> CLEAN(s); }
		ok = false;
	:: else
	fi;
#ifndef MUT_REST_MAPPED
	unmap(s, f);
#endif
	unlock_entry(s);
	lock_pages(INODE(s));
}

#ifdef SYNCER
/* fsdax::write_back(), and At::flush() of each entry */
inline write_back_range(i, s)
{
	/* tag_for_writeback() */
	lock_pages(i);
	d_step {
		for (n : 0 .. NS - 1) {
			if
			:: INODE(n) == i -> to_write[n] = to_write[n] || dirty[n];
			:: else
			fi;
		}
		n = 0;
	}
	unlock_pages(i);

	lock_pages(i);
	do
	:: s == NS -> break;
	:: s < NS && (INODE(s) != i || !to_write[s]) -> s++;
#ifdef MUT_SYNC_SKIPS_LOCKED
	/* R9: what another one writes back, or is faulted. */
	:: s < NS && INODE(s) == i && to_write[s] && locked[s] -> s++;
#else
	:: s < NS && INODE(s) == i && to_write[s] && locked[s] -> wait_unlocked(s);
#endif
	:: s < NS && INODE(s) == i && to_write[s] && !locked[s] ->
#ifdef MUT_CLEAN_FIRST
		/* R9: who asks while this goes on finds nothing to wait for. */
		CLEAN(s);
#endif
#ifdef MUT_TO_WRITE_FIRST
		/* R9: nor does who has asked just before. */
		to_write[s] = false;
#endif
		d_step { locked[s] = true; i_pages[i] = false; }
		write_back(s);
		lock_pages(i);
		d_step { CLEAN(s); locked[s] = false; }
		wake(ENTRY_ADDRESS(s));
		s++;
	od;
	s = 0;
	unlock_pages(i);
}
#endif
