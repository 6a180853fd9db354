/* SPDX-License-Identifier: GPL-2.0 */

/*
 * State of the world: folios, entries, page tables, the device, and who sleeps.
 *
 * A world (worlds.pml) says how many of each there are. Steps are as small as in the code: one
 * atomic operation, or what a lock keeps together when nobody looks at it without the lock. The
 * bodies of d_step hold one such step, and checks.
 */

/* A property: the text of a failed assertion has its name. */
#define CHECK(property, condition)	assert((condition) || property)

hidden byte no_use_after_pgmap;	/* the memmap is touched only while the pgmap is there */
hidden byte block_free_unpinned;	/* no block is freed while somebody pins or maps it */
hidden byte block_free_idle;		/* nor while its folio is not idle */
hidden byte nothing_lost;		/* nor while an entry names it */
hidden byte one_request_wins;		/* a request activates what is free, all of it */
hidden byte stores_are_flushed;		/* fsync() flushes each store that returned before it */
hidden byte no_use_after_inode;		/* who comes from a folio finds the file, or does not look */
hidden byte failure_alone;		/* nobody maps a page whose entry memory failure has */
hidden byte one_rebuilds;		/* free memory is given another shape by one alone */
hidden byte shape_is_whole;		/* and nobody gets it meanwhile */
hidden byte nothing_kept;		/* at the end each reference is that of an entry */
hidden byte one_pgmap_reference;		/* per active folio, taken before and put once */
hidden byte free_path_alone;		/* the free path shares the folio with nobody */
hidden byte count_is_right;		/* no reference is dropped twice or taken from 0 */
hidden byte busy_is_unexpected;		/* warn_on_once!() of fault::insert() */
hidden byte no_stale_pte;		/* a fault finds no page table entry of another block */
hidden byte list_is_right;	/* a large folio knows who shares it, and how */
hidden byte one_waits;		/* while files have parts of it, one has all, or one waits for the pins */
hidden byte list_is_empty;	/* nobody shares a folio that is free */
hidden byte closed_to_parts;	/* while parts are given back there are no new ones */
hidden byte timers_help;	/* who is woken by a timer gets on */

/* Folios: each is a page but with LARGE, where its first page has all of this. */
byte cnt[NF];			/* reference count */
bool ours[NF];			/* the owner mark: zone_device_data */
byte owner[NF];			/* folio->mapping and ->index: an entry, from 1 on; or 0 */
byte share[NF];			/* folio->share, if owner is 0 */
bool zapped[NF];		/* ZAPPED in folio->private */
#ifdef LARGE
/* A PMD has two pages here, and with GIB there are two of them, which have 1 GiB. */
#define PIECE(f)	((f) / 2)
bool folio_lock[NF / 2];	/* FolioLock: the folios of a PMD have the same one */
bool head[NF];			/* the flag of a head page */
byte lead[NF];			/* the head that a tail page leads to, from 1 on; or 0 */
byte shape[NF];			/* in the word of the owner mark: a free large folio */
bool rewritten[NF];		/* for checks: somebody gives it another shape */

#define NO_SHAPE	0
#define PMD_SHAPE	1
#define PUD_SHAPE	2

/* The first page of the folio that this page is part of: Folio::whole() */
#define HEAD(f)	(lead[f] != 0 -> lead[f] - 1 : f)

/* The mark that the free path leaves, of an order that is constant then. */
#ifdef GIB
#define SHAPE_OF(f) \
	(!head[f] -> NO_SHAPE : (f == 0 && lead[2] == 1 -> PUD_SHAPE : PMD_SHAPE))
#else
#define SHAPE_OF(f)	(head[f] -> PMD_SHAPE : NO_SHAPE)
#endif

#else
#define PIECE(f)	0
bool folio_lock[1];
#endif

/* For checks only. */
byte held[NF];			/* pgmap references that belong to the folio */
byte pins[NF];			/* pins that their owners rely on */

/* The folio, from 1 on, whose free path an actor runs; or 0 */
byte freeing[NP];

#ifdef LIVENESS
bool broken;			/* a break came to its end */
#endif

/* The device. */
byte pgref = 1;			/* pgmap->ref; one is memremap_pages()'s own */
bool dying;			/* percpu_ref_kill() was called */
bool gone;			/* the memmap is freed */
byte rcu;			/* bit n: process n is inside an RCU read-side section */
byte kill_waits;		/* and percpu_ref_kill() began after that */
byte sync_waits;		/* and synchronize_rcu() did */
#define ENTER_RCU	rcu = rcu | ME
#define LEAVE_RCU \
	rcu = rcu & ~ME; \
	kill_waits = kill_waits & rcu; \
	sync_waits = sync_waits & rcu

/* Entries: one page offset of a file each. */
#define NONE	0
#define EMPTY	1
#define TRACKED	2
#define ZAPPED	3
byte entry[NS];
byte names[NS];			/* the block that the entry names */
bool locked[NS];		/* its lock */
bool marked[NS];		/* Mark::Busy */
byte pte[NS];			/* what the process maps there: a folio, from 1 on; or 0 */

#ifdef DIRTY
bool dirty[NS];			/* Mark::Dirty */
bool to_write[NS];		/* Mark::ToWrite */
bool writable[NS];		/* what the process maps there, it may store to */

/* For checks: the block has data that was not flushed; bit n: fsync() of process n has to do it. */
bool unflushed[NF];
byte owed[NF];

#define CLEAN(s)	dirty[s] = false; to_write[s] = false
#define PROTECT(s)	writable[s] = false
#define FORGET_DATA(f)	unflushed[f] = false; owed[f] = 0
/* What a break does with data. */
#define DISCARD		0
#define KEEP		1
#define DECIDE		2
#define REST		3	/* of an entry that is only partly in the range: it lives on */
#else
#define CLEAN(s)
#define PROTECT(s)
#define FORGET_DATA(f)
#endif

#ifdef MEMORY_FAILURE
bool kept[NF];			/* HELD in folio->private */
bool inode_gone[NI];		/* the inode is freed */

#ifdef MUT_HELD_IGNORED
/* R13: another file joins a folio whose entry memory failure has. */
#define IS_KEPT_OUT(f, s, may_share)	false
#else
/* Refused::Held of LockedFolio::add() */
#define IS_KEPT_OUT(f, s, may_share)	(may_share && kept[f] && owner[f] != s + 1)
#endif
#endif

/* Files, and what the filesystem knows. */
bool i_pages[NI];		/* the i_pages lock */
byte block[NS];			/* which block the file has there, from 1 on; 0 is a hole */
byte blocks[NF];		/* how many files have the block */
byte readers[NI];		/* invalidate_lock */
bool writer[NI];
byte waiting[NI];		/* writers that wait: readers queue behind them */
byte sleeping[NI];		/* SLEEPING_BREAKS */

/* Wait queues: bit n of an address: process n queued there; of woken: it was woken since. */
#define FOLIO_ADDRESS(f)	(f)
#define ENTRY_ADDRESS(s)	(NF + (s))
byte queue[NF + NS];
byte woken;
#define ME	(1 << _pid)
hidden int n;			/* for loops inside d_step */

/* Each access to a struct page. */
#define TOUCH()	CHECK(no_use_after_pgmap, !gone)

/* What each actor has on its stack. */
#ifdef LARGE
#define SHAPE_LOCALS	; bool won; bool made; byte whole; byte room; byte around
#else
#define SHAPE_LOCALS
#endif
#define LOCALS \
	byte look; bool ok; bool live; bool busy; bool left SHAPE_LOCALS

/* Order */
#define PTE		0
#define PMD		1
#define PUD		2

#define IDLE		0
#define DRAINING	1
#define ACTIVE		2

/* wait::Address::wake(). The address is compared, not dereferenced. */
inline wake(address)
{
	woken = woken | queue[address];
}

/* wait::Wait::prepare() */
#define PREPARE(address) \
	queue[address] = queue[address] | ME; woken = woken & ~ME
inline prepare(address)
{
	d_step { PREPARE(address); }
}

/* wait::sleep(). A wake-up that came since prepare() ends it at once. */
inline schedule()
{
	(woken & ME);
}

/* The end of sleep::on(): finish_wait() */
inline finish_wait(address)
{
	atomic { queue[address] = queue[address] & ~ME; woken = woken & ~ME; }
}

/* Cursor::lock(), and the drop of Pages */
inline lock_pages(i)
{
	d_step { !i_pages[i] -> i_pages[i] = true; }
}

inline unlock_pages(i)
{
	i_pages[i] = false;
}

/* The filesystem's lock: faults take it for reading, breaks for writing. An rwsem is fair. */
inline lock_faults_out(i)
{
	waiting[i]++;
	d_step { !writer[i] && readers[i] == 0 -> writer[i] = true; waiting[i]--; }
}

inline let_faults_in(i)
{
	writer[i] = false;
}

inline lock_breaks_out(i)
{
	d_step { !writer[i] && waiting[i] == 0 -> readers[i]++; }
}

inline let_breaks_in(i)
{
	readers[i]--;
}
