/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rust_fsdax
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE

#if !defined(RUST_FSDAX_EVENTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define RUST_FSDAX_EVENTS_H

#include <linux/tracepoint.h>

/* What happens to a folio: pfn, order and its reference count afterwards. */
DECLARE_EVENT_CLASS(rust_fsdax_folio,
	TP_PROTO(unsigned long pfn, unsigned int order, int refs),
	TP_ARGS(pfn, order, refs),
	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned int, order)
		__field(int, refs)
	),
	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->order = order;
		__entry->refs = refs;
	),
	TP_printk("pfn=%#lx order=%u refs=%d",
		  __entry->pfn, __entry->order, __entry->refs)
);

DEFINE_EVENT(rust_fsdax_folio, rust_fsdax_request,
	TP_PROTO(unsigned long pfn, unsigned int order, int refs),
	TP_ARGS(pfn, order, refs));

DEFINE_EVENT(rust_fsdax_folio, rust_fsdax_free,
	TP_PROTO(unsigned long pfn, unsigned int order, int refs),
	TP_ARGS(pfn, order, refs));

/*
 * Who has a folio: pfn, order, how many entries track it afterwards, and whether one that does not
 * any more waits for its pins.
 */
DECLARE_EVENT_CLASS(rust_fsdax_sharing,
	TP_PROTO(unsigned long pfn, unsigned int order, unsigned long entries, unsigned int waits),
	TP_ARGS(pfn, order, entries, waits),
	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned int, order)
		__field(unsigned int, waits)
		__field(unsigned long, entries)
	),
	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->order = order;
		__entry->waits = waits;
		__entry->entries = entries;
	),
	TP_printk("pfn=%#lx order=%u entries=%lu waits=%u",
		  __entry->pfn, __entry->order, __entry->entries, __entry->waits)
);

DEFINE_EVENT(rust_fsdax_sharing, rust_fsdax_join,
	TP_PROTO(unsigned long pfn, unsigned int order, unsigned long entries, unsigned int waits),
	TP_ARGS(pfn, order, entries, waits));

DEFINE_EVENT(rust_fsdax_sharing, rust_fsdax_leave,
	TP_PROTO(unsigned long pfn, unsigned int order, unsigned long entries, unsigned int waits),
	TP_ARGS(pfn, order, entries, waits));

/* What happens to an entry: file, page offset, and the pfn that it names. */
DECLARE_EVENT_CLASS(rust_fsdax_entry,
	TP_PROTO(unsigned int dev, unsigned long ino, unsigned long index,
		 unsigned long pfn, unsigned int order),
	TP_ARGS(dev, ino, index, pfn, order),
	TP_STRUCT__entry(
		__field(unsigned int, dev)
		__field(unsigned long, ino)
		__field(unsigned long, index)
		__field(unsigned long, pfn)
		__field(unsigned int, order)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->ino = ino;
		__entry->index = index;
		__entry->pfn = pfn;
		__entry->order = order;
	),
	TP_printk("dev=%u:%u ino=%lu index=%lu pfn=%#lx order=%u",
		  __entry->dev >> 20, __entry->dev & 0xfffff,
		  __entry->ino, __entry->index, __entry->pfn, __entry->order)
);

#define DEFINE_ENTRY_EVENT(name)					\
DEFINE_EVENT(rust_fsdax_entry, name,					\
	TP_PROTO(unsigned int dev, unsigned long ino, unsigned long index, \
		 unsigned long pfn, unsigned int order),		\
	TP_ARGS(dev, ino, index, pfn, order))

DEFINE_ENTRY_EVENT(rust_fsdax_insert);
DEFINE_ENTRY_EVENT(rust_fsdax_zap);
DEFINE_ENTRY_EVENT(rust_fsdax_revive);
DEFINE_ENTRY_EVENT(rust_fsdax_remove);
DEFINE_ENTRY_EVENT(rust_fsdax_split);
DEFINE_ENTRY_EVENT(rust_fsdax_writeback);
DEFINE_ENTRY_EVENT(rust_fsdax_wait_begin);
DEFINE_ENTRY_EVENT(rust_fsdax_wait_end);
DEFINE_ENTRY_EVENT(rust_fsdax_break_busy);

/* A layout break: file and page offsets; the error is 0 or a negative errno. */
TRACE_EVENT(rust_fsdax_break_begin,
	TP_PROTO(unsigned int dev, unsigned long ino, unsigned long first,
		 unsigned long last),
	TP_ARGS(dev, ino, first, last),
	TP_STRUCT__entry(
		__field(unsigned int, dev)
		__field(unsigned long, ino)
		__field(unsigned long, first)
		__field(unsigned long, last)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->ino = ino;
		__entry->first = first;
		__entry->last = last;
	),
	TP_printk("dev=%u:%u ino=%lu first=%lu last=%lu",
		  __entry->dev >> 20, __entry->dev & 0xfffff,
		  __entry->ino, __entry->first, __entry->last)
);

TRACE_EVENT(rust_fsdax_break_end,
	TP_PROTO(unsigned int dev, unsigned long ino, unsigned long first,
		 unsigned long last, int error),
	TP_ARGS(dev, ino, first, last, error),
	TP_STRUCT__entry(
		__field(unsigned int, dev)
		__field(unsigned long, ino)
		__field(unsigned long, first)
		__field(unsigned long, last)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->dev = dev;
		__entry->ino = ino;
		__entry->first = first;
		__entry->last = last;
		__entry->error = error;
	),
	TP_printk("dev=%u:%u ino=%lu first=%lu last=%lu error=%d",
		  __entry->dev >> 20, __entry->dev & 0xfffff,
		  __entry->ino, __entry->first, __entry->last, __entry->error)
);

/* The removal of a device: its pfns, what it took from files, how long. */
TRACE_EVENT(rust_fsdax_removal_begin,
	TP_PROTO(unsigned long first, unsigned long last),
	TP_ARGS(first, last),
	TP_STRUCT__entry(
		__field(unsigned long, first)
		__field(unsigned long, last)
	),
	TP_fast_assign(
		__entry->first = first;
		__entry->last = last;
	),
	TP_printk("first=%#lx last=%#lx", __entry->first, __entry->last)
);

DECLARE_EVENT_CLASS(rust_fsdax_removal,
	TP_PROTO(unsigned long first, unsigned long last, unsigned long files,
		 unsigned long ms),
	TP_ARGS(first, last, files, ms),
	TP_STRUCT__entry(
		__field(unsigned long, first)
		__field(unsigned long, last)
		__field(unsigned long, files)
		__field(unsigned long, ms)
	),
	TP_fast_assign(
		__entry->first = first;
		__entry->last = last;
		__entry->files = files;
		__entry->ms = ms;
	),
	TP_printk("first=%#lx last=%#lx files=%lu ms=%lu",
		  __entry->first, __entry->last, __entry->files, __entry->ms)
);

DEFINE_EVENT(rust_fsdax_removal, rust_fsdax_removal_revoked,
	TP_PROTO(unsigned long first, unsigned long last, unsigned long files,
		 unsigned long ms),
	TP_ARGS(first, last, files, ms));

DEFINE_EVENT(rust_fsdax_removal, rust_fsdax_removal_end,
	TP_PROTO(unsigned long first, unsigned long last, unsigned long files,
		 unsigned long ms),
	TP_ARGS(first, last, files, ms));

#endif /* RUST_FSDAX_EVENTS_H */

#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE events
#include <trace/define_trace.h>
