/* SPDX-License-Identifier: GPL-2.0 */

/* src/fsdax/memory_failure.rs, src/mapping/locked.rs: from a folio to its entry. */

/* FolioRef::wait_unheld() */
inline wait_unheld(f)
{
	do
	:: true ->
		prepare(FOLIO_ADDRESS(f));
		d_step { !folio_lock[PIECE(f)] -> ok = kept[f]; }
		if
		:: ok -> schedule();
		:: else -> break;
		fi;
	od;
	atomic { ok = false; kept_out = false; }
	finish_wait(FOLIO_ADDRESS(f));
}

/* What is done with a file that somebody comes to from a folio. */
#define TOUCH_INODE(i)	CHECK(no_use_after_inode, !inode_gone[i])

#ifdef MUT_FAILURE_NO_RCU
/* R13: the file may be freed as soon as it was found. */
#define KEEP_INODES	skip
#else
#define KEEP_INODES	ENTER_RCU
#endif

#ifdef MUT_HOLD_UNSEEN
/* R13: that the entry names the folio is enough; others may share it since. */
#define HAS_OWNER(f, s)	true
#else
#define HAS_OWNER(f, s)	(owner[f] == s)
#endif

/* with_entry_of(), FolioRef::hold(). Sets s to the entry, from 1 on, that is locked; 0: none. */
inline lock_entry_of(f, s)
{
	do
	:: true ->
		look_at(f);
		if
		:: look != ACTIVE -> s = 0; break;
		:: else
		fi;
		d_step { KEEP_INODES; }
		/* Shared by entries, or requested for none. */
		d_step { !folio_lock[PIECE(f)] -> TOUCH(); s = owner[f]; }
		if
		:: s == 0 -> d_step { LEAVE_RCU; } folio_put(f); break;
		:: else
		fi;
		d_step {
			!i_pages[INODE(s - 1)] -> TOUCH_INODE(INODE(s - 1));
			i_pages[INODE(s - 1)] = true;
		}
		if
		:: entry[s - 1] != NONE && locked[s - 1] ->
			d_step { PREPARE(ENTRY_ADDRESS(s - 1)); i_pages[INODE(s - 1)] = false; }
			d_step { LEAVE_RCU; }
			folio_put(f);
			schedule();
			finish_wait(ENTRY_ADDRESS(s - 1));
		:: !locked[s - 1] && entry[s - 1] >= TRACKED && names[s - 1] == f ->
			d_step {
				!folio_lock[PIECE(f)] -> ok = HAS_OWNER(f, s);
				kept[f] = ok;
				locked[s - 1] = ok;
			}
			unlock_pages(INODE(s - 1));
			d_step { LEAVE_RCU; }
			if
			:: ok -> break;
			:: else -> folio_put(f);
			fi;
		:: !locked[s - 1] && (entry[s - 1] < TRACKED || names[s - 1] != f) ->
			/* It was removed: see whose the folio is now. */
			unlock_pages(INODE(s - 1));
			d_step { LEAVE_RCU; }
			folio_put(f);
		fi;
	od;
	atomic { look = 0; ok = false; }
}

/* The drop of LockedFolioEntry, which finds the entry by the folio. */
inline unlock_entry_of(f, s)
{
	d_step { !folio_lock[PIECE(f)] -> TOUCH(); s = owner[f]; kept[f] = false; }
	wake(FOLIO_ADDRESS(f));
	folio_put(f);
	if
	:: s != 0 -> TOUCH_INODE(INODE(s - 1)); unlock_entry(s - 1);
	:: else
	fi;
}
