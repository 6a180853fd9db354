# SPDX-License-Identifier: GPL-2.0
"""Replays a trace: each event must be a step that the protocol allows in the state that all before have left.

No event may come early or late. Each is emitted where a lock, or being the only one with a reference, keeps
whoever makes the next step about the same thing from doing so; Documentation/testing.rst has the list. The
one exception is the note that an entry is busy, when its folio may have become free meanwhile.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from .protocol import (
    ABSENT,
    ASLEEP,
    BOTH,
    BREAKING,
    DYING,
    ELSEWHERE,
    FREE,
    GONE,
    LIVE,
    LOADED,
    REVOKED,
    TRACKED,
    TRANSITIONS,
    UNLOADED,
    WAITED,
    WAITING,
    ZAPPED,
)
from .tracing import Event

_PMD_ORDER, _PUD_ORDER = 9, 18
_SIZE_NAMES = {0: "page", _PMD_ORDER: "2m", _PUD_ORDER: "1g"}
# How a break may fail: a folio is busy and a signal came or it does not wait; and with fault injection.
_ERRORS = (-512, -4)
_HISTORY = 12
_MOST_VIOLATIONS = 20

# Device, inode, page offset.
Key = tuple[int, int, int]
# Whose claim it was nobody knows: it was dropped before an entry had it.
_NOBODY: Key = (-1, -1, -1)


class Wrong(Exception):
    """The event is no step that is allowed."""


@dataclass
class Violation:
    """An event that nothing explains, with what went before it about the same things."""

    event: Event
    why: str
    history: list[Event]

    def __str__(self) -> str:
        return "\n".join([f"event {self.event.number}: {self.why}", *(f"    {event}" for event in self.history),
                          f"  > {self.event}"])


@dataclass
class _Claim:
    """An entry to be has a reference, and is none yet."""

    fresh: bool  # by a request
    before: str = FREE  # state of the folio
    waiter: Key | None = None  # who waited for it then
    waits: bool = False  # and does still


@dataclass
class _Folio:
    """A folio that is active."""

    order: int
    entries: int = 1
    waiter: Key | None = None
    claims: dict[int, _Claim] = field(default_factory=dict)  # by thread
    users: dict[Key, int] = field(default_factory=dict)  # tracked entries, with their order
    leaving: dict[int, Key] = field(default_factory=dict)  # by thread: zapped, the reference is there yet

    @property
    def state(self) -> str:
        if self.waiter is None:
            return TRACKED
        return BOTH if self.entries else WAITED

    def has_whole(self) -> bool:
        """Whether any entry is known to have all of it. What is claimed of a large one may be a part."""
        return self.order in self.users.values() or (not self.order and bool(self.claims))


@dataclass
class _Entry:
    state: str
    pfn: int
    order: int


@dataclass
class _Thread:
    state: str = ELSEWHERE
    span: tuple[int, int, int, int] = (0, 0, 0, 0)
    wait: tuple[int, ...] = ()
    # How its last release of an entry ended: whether that waits.
    released: Key | None = None
    waits: bool = False


class Replay:
    """The state of everything after the events so far, and what was wrong with them."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.events = 0
        self.violations: list[Violation] = []
        self.unexplained = 0
        self._folios: dict[int, _Folio] = {}
        self._small: Counter[int] = Counter()  # active folios of a page by 2 MiB
        self._memory: set[int] = set()  # 2 MiB that are memory of devices
        self._files: dict[tuple[int, int], dict[int, _Entry]] = {}
        self._small_entries: Counter[tuple[int, int, int]] = Counter()
        self._threads: dict[int, _Thread] = {}
        self._pgmaps: dict[tuple[int, int], str] = {}
        self._late: deque[Event] = deque(maxlen=20_000)

    def run(self, events: Iterable[Event], *, unloaded: bool = False) -> None:
        """Replay what happened from a load of the module on; UNLOADED if that is over."""
        last = None
        for event in events:
            self.events += 1
            self._step(event)
            last = event
        if unloaded:
            self._step(Event(last.number + 1 if last else 0, 0, irq=False, name="unloaded", fields={}))

    def _step(self, event: Event) -> None:
        handler = getattr(self, f"_{event.name}", None)
        try:
            if not handler:
                raise Wrong(f"nothing is known of an event {event.name}: write it down in protocol.py")
            if event.irq and event.name != "free":
                raise Wrong("only a folio may become free in an interrupt")
            handler(event, **event.fields)
        except Wrong as wrong:
            self.unexplained += 1
            if len(self.violations) < _MOST_VIOLATIONS:
                self.violations.append(Violation(event, str(wrong), self._about(event)))
        self._late.append(event)

    def _about(self, event: Event) -> list[Event]:
        def about(other: Event) -> bool:
            return ((other.pid == event.pid and other.name.startswith("break_"))
                    or ("pfn" in event.fields and other.fields.get("pfn") == event.fields["pfn"])
                    or ("index" in event.fields and all(other.fields.get(key) == event.fields[key]
                                                        for key in ("dev", "ino", "index"))))

        return [other for other in self._late if about(other)][-_HISTORY:]

    def _go(self, name: str, before: str, after: str) -> None:
        """Take a step, if there is one."""
        transition = TRANSITIONS[name]
        if (before, after) not in transition.steps:
            allowed = " or ".join(sorted(f"from {a} to {b}" for a, b in transition.steps))
            raise Wrong(f"{name} goes {allowed}, and not from {before} to {after}")
        self.seen[name] += 1

    # Folios

    def _at(self, pfn: int) -> tuple[int, _Folio] | None:
        """The active folio that has a page, and its first one."""
        for order in (0, _PMD_ORDER, _PUD_ORDER):
            head = pfn >> order << order
            folio = self._folios.get(head)
            if folio and folio.order >= order:
                return head, folio
        return None

    def _active(self, pfn: int) -> _Folio:
        found = self._at(pfn)
        if not found:
            raise Wrong(f"the folio at {pfn:#x} is free")
        return found[1]

    def _exactly(self, pfn: int, order: int) -> _Folio:
        folio = self._active(pfn)
        if self._folios.get(pfn) is not folio or folio.order != order:
            raise Wrong(f"the page at {pfn:#x} is part of a folio of order {folio.order}")
        return folio

    def _in_the_way(self, pfn: int, order: int) -> bool:
        """Whether a page of the folio is in use."""
        if self._at(pfn):
            return True
        if order == 0:
            return False
        if order == _PMD_ORDER:
            return self._small[pfn >> _PMD_ORDER] > 0
        return any(pfn <= other < pfn + (1 << order) for other in self._folios)

    def _request(self, event: Event, pfn: int, order: int, refs: int) -> None:
        if self._in_the_way(pfn, order):
            raise Wrong("memory that is in use is requested (R1)")
        if refs != 1:
            raise Wrong(f"a folio is requested with {refs} references (R1)")
        if any(first <= pfn <= last and state == GONE for (first, last), state in self._pgmaps.items()):
            # It is there again: nothing says when a driver takes memory.
            self._pgmaps = {span: state for span, state in self._pgmaps.items() if not span[0] <= pfn <= span[1]}
        self._go(f"folio.request.{_SIZE_NAMES[order]}", FREE, TRACKED)
        self._folios[pfn] = _Folio(order, claims={event.pid: _Claim(fresh=True)})
        self._small[pfn >> _PMD_ORDER] += order == 0
        self._memory.update(range(pfn >> _PMD_ORDER, (pfn + (1 << order) - 1 >> _PMD_ORDER) + 1))

    def _join(self, event: Event, pfn: int, order: int, entries: int, waits: int) -> None:
        folio = self._exactly(pfn, order)
        if event.pid in folio.claims:
            raise Wrong("a thread has two claims of a folio")
        if entries != folio.entries + 1:
            raise Wrong(f"{entries} entries track the folio, and {folio.entries} did before one more came (R11)")
        if waits and folio.waiter is None:
            raise Wrong("an entry waits for the pins that was not zapped (R11)")
        folio.claims[event.pid] = _Claim(fresh=False, before=folio.state, waiter=folio.waiter, waits=bool(waits))
        folio.entries = entries
        if not waits:
            folio.waiter = None

    def _claimed(self, event: Event, key: Key, pfn: int, order: int) -> None:
        """An entry has the claim that this thread made, and says what kind of a join it was."""
        folio = self._active(pfn)
        claim = folio.claims.pop(event.pid, None)
        if not claim:
            raise Wrong("the entry has no reference to the folio: there was neither request nor join (R5)")
        whole = order == folio.order
        folio.users[key] = order
        if claim.fresh:
            if not whole:
                raise Wrong("a folio is requested of another order than the entry has")
            return
        after = BOTH if claim.waits else TRACKED
        if whole and claim.waits:
            raise Wrong("an entry has all of a folio, and another one waits for it nevertheless (R11)")
        if not whole:
            name = "part"
        elif claim.waiter is None:
            name = "share"
        else:
            name = "revive" if claim.waiter == key else "take_over"
        self._go(f"folio.join.{name}", claim.before, after)

    def _leave(self, event: Event, pfn: int, order: int, entries: int, waits: int) -> None:
        folio, thread = self._exactly(pfn, order), self._thread(event)
        before = folio.state
        if entries != folio.entries - 1:
            raise Wrong(f"{entries} entries track the folio, and {folio.entries} did before one went (R11)")
        key = folio.leaving.pop(event.pid, None)
        if key is None and event.pid not in folio.claims:
            raise Wrong("a reference goes that no entry of this thread had (R5)")
        folio.entries = entries
        entry = self._entry(key) if key else None
        if key is None:
            del folio.claims[event.pid]
            name, folio.waiter = "unused", (folio.waiter or _NOBODY) if waits else None
        elif entry and entry.order < order:
            name = "part"
            if bool(waits) != (folio.waiter is not None):
                raise Wrong("a part of a folio goes, and with it who waits for all, or he comes (R11)")
        elif waits:
            if folio.has_whole():
                raise Wrong("an entry waits for pins that others have the folio for (R11)")
            name, folio.waiter = "parts" if entries else "last", key
        else:
            if not entries:
                raise Wrong("the last entry goes, and none waits for the pins (R6)")
            name = "shared"
        thread.released, thread.waits = key, folio.waiter == key
        self._go(f"folio.leave.{name}", before, folio.state)

    def _free(self, event: Event, pfn: int, order: int, refs: int) -> None:
        if not self._at(pfn):
            raise Wrong("a folio becomes free twice (R2)")
        folio, thread = self._exactly(pfn, order), self._thread(event)
        if refs:
            raise Wrong(f"a folio with {refs} references becomes free")
        key = None if event.irq else folio.leaving.get(event.pid)
        if folio.users:
            raise Wrong(f"a folio becomes free that {len(folio.users)} entries track (R5)")
        if key and folio.entries == 1:
            name = "released"
            thread.released, thread.waits = key, False
        elif not folio.entries:
            name = "unpinned"
        elif folio.entries == 1 and len(folio.claims) == 1 and not folio.leaving:
            name = "alone"
        else:
            raise Wrong(f"a folio becomes free, and {folio.entries} entries have references to it (R5)")
        self._go(f"folio.free.{name}", folio.state, FREE)
        del self._folios[pfn]
        self._small[pfn >> _PMD_ORDER] -= order == 0

    # Entries

    def _entry(self, key: Key) -> _Entry | None:
        return self._files.get(key[:2], {}).get(key[2])

    def _state(self, key: Key, pfn: int, order: int) -> str:
        """The state of an entry that names this."""
        entry = self._entry(key)
        if not entry:
            return ABSENT
        if (entry.pfn, entry.order) != (pfn, order):
            raise Wrong(f"the entry names {entry.pfn:#x} of order {entry.order}")
        return entry.state

    def _put(self, key: Key, pfn: int, order: int) -> None:
        dev, ino, index = key
        self._files.setdefault((dev, ino), {})[index] = _Entry(TRACKED, pfn, order)
        self._small_entries[dev, ino, index >> _PMD_ORDER] += order == 0

    def _drop(self, key: Key) -> None:
        dev, ino, index = key
        entry = self._files[dev, ino].pop(index)
        self._small_entries[dev, ino, index >> _PMD_ORDER] -= entry.order == 0

    def _covered(self, key: Key, order: int) -> bool:
        """Whether another entry is where an entry of an order is to be."""
        dev, ino, index = key
        file = self._files.get((dev, ino), {})
        if any((large := file.get(index >> above << above)) and large.order >= above for above in (0, 9, 18)):
            return True
        if order == _PMD_ORDER:
            return self._small_entries[dev, ino, index >> _PMD_ORDER] > 0
        return order == _PUD_ORDER and any(index <= other < index + (1 << order) for other in file)

    def _insert(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        key = dev, ino, index
        if self._covered(key, order):
            raise Wrong("an entry is inserted over another one (R5)")
        self._claimed(event, key, pfn, order)
        self._go("entry.insert", ABSENT, TRACKED)
        self._put(key, pfn, order)

    def _revive(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        key = dev, ino, index
        self._go("entry.revive", self._state(key, pfn, order), TRACKED)
        self._claimed(event, key, pfn, order)
        self._files[dev, ino][index].state = TRACKED

    def _zap(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        key = dev, ino, index
        self._go("entry.zap", self._state(key, pfn, order), ZAPPED)
        folio = self._active(pfn)
        if event.pid in folio.leaving:
            raise Wrong("a thread zaps an entry before the reference of the last one has gone (R5)")
        folio.users.pop(key)
        folio.leaving[event.pid] = key
        self._files[dev, ino][index].state = ZAPPED

    def _keeps(self, key: Key, pfn: int) -> None:
        """The entry has no reference, and nothing about its folio is its business."""
        found = self._at(pfn)
        if not found:
            return
        if key in found[1].leaving.values():
            raise Wrong("the reference of a zapped entry has not gone yet (R5)")
        if found[1].waiter == key:
            raise Wrong("its folio is in use, and no other entry waits for the pins (R6)")

    def _break_busy(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        key, thread = (dev, ino, index), self._thread(event)
        if (thread.released, thread.waits) != (key, True):
            raise Wrong("an entry is busy whose folio is idle, or has other entries (R11)")
        # Its pins may have gone since. In any case the slot stays for now.
        thread.released = None
        self._go("entry.busy", self._state(key, pfn, order), ZAPPED)

    def _remove(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        key, thread = (dev, ino, index), self._thread(event)
        before = self._state(key, pfn, order)
        # One for a hole names a zero page.
        if before == ABSENT and pfn >> _PMD_ORDER not in self._memory:
            self._go("entry.remove.hole", before, ABSENT)
            return
        self._keeps(key, pfn)
        name = "spent" if thread.released == key else "shared" if self._at(pfn) else "idle"
        self._go(f"entry.remove.{name}", before, ABSENT)
        self._drop(key)
        thread.released = None

    def _split(self, _event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        key, step = (dev, ino, index), 1 << _PMD_ORDER
        self._keeps(key, pfn)
        self._go("entry.split", self._state(key, pfn, order), ABSENT)
        self._drop(key)
        for offset in range(0, 1 << order, step):
            self._put((dev, ino, index + offset), pfn + offset, _PMD_ORDER)
            self._files[dev, ino][index + offset].state = ZAPPED

    def _writeback(self, _event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        state = self._state((dev, ino, index), pfn, order)
        if state == ABSENT:
            raise Wrong("an entry is written back that is not there (R9)")
        self._go(f"entry.writeback.{state}", state, state)

    # Breaks

    def _thread(self, event: Event) -> _Thread:
        return self._threads.setdefault(event.pid, _Thread())

    def _break_begin(self, event: Event, dev: int, ino: int, first: int, last: int) -> None:
        thread = self._thread(event)
        self._go("break.begin", thread.state, BREAKING)
        thread.state, thread.span, thread.released = BREAKING, (dev, ino, first, last), None

    def _in_range(self, span: tuple[int, int, int, int]) -> list[tuple[int, _Entry]]:
        dev, ino, first, last = span
        file = self._files.get((dev, ino), {})
        if last - first < len(file):
            inside = [(index, file[index]) for index in range(first, last + 1) if index in file]
            around = ((first >> order << order, order) for order in (_PMD_ORDER, _PUD_ORDER))
            return inside + [(index, file[index]) for index, order in around
                             if index < first and index in file and file[index].order >= order]
        return [(index, entry) for index, entry in file.items()
                if index <= last and index + (1 << entry.order) > first]

    def _break_end(self, event: Event, dev: int, ino: int, first: int, last: int, error: int) -> None:
        thread = self._thread(event)
        before, span, thread.state, thread.released = thread.state, thread.span, ELSEWHERE, None
        if before == BREAKING and span != (dev, ino, first, last):
            raise Wrong("the break that ends is not the one that began")
        if error:
            if error not in _ERRORS:
                raise Wrong(f"a break fails with {error}")
            self._go("break.end.failed", before, ELSEWHERE)
            return
        left = self._in_range(span)
        for index, entry in left:
            if entry.state == TRACKED:
                raise Wrong(f"a break returns, and there is an entry at {index} that is tracked (R6)")
            self._keeps((dev, ino, index), entry.pfn)
        self._go("break.end.kept" if left else "break.end.done", before, ELSEWHERE)

    def _wait_begin(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        thread = self._thread(event)
        name, after = ("wait", ASLEEP) if thread.state == BREAKING else ("brief", WAITING)
        self._go(f"break.{name}", thread.state, after)
        thread.state, thread.wait = after, (dev, ino, index, pfn, order)

    def _wait_end(self, event: Event, dev: int, ino: int, index: int, pfn: int, order: int) -> None:
        thread = self._thread(event)
        name, after = ("brief", ELSEWHERE) if thread.state == WAITING else ("wait", BREAKING)
        self._go(f"break.{name}.end", thread.state, after)
        if thread.wait != (dev, ino, index, pfn, order):
            raise Wrong("the wait that ends is not the one that began")
        thread.state = after

    # The device

    def _removal_begin(self, _event: Event, first: int, last: int) -> None:
        self._pgmaps[first, last] = self._removed(first, last, "dying", DYING)

    def _removal_revoked(self, _event: Event, first: int, last: int, **_: int) -> None:
        self._pgmaps[first, last] = self._removed(first, last, "revoked", REVOKED)

    def _removal_end(self, _event: Event, first: int, last: int, **_: int) -> None:
        self._pgmaps[first, last] = self._removed(first, last, "gone", GONE)
        if left := [pfn for pfn in self._folios if first <= pfn <= last]:
            raise Wrong(f"a device goes, and {len(left)} of its folios are in use, as {left[0]:#x} (R14)")
        for (dev, ino), file in self._files.items():
            if any(entry.state == TRACKED and first <= entry.pfn <= last for entry in file.values()):
                raise Wrong(f"a device goes that inode {ino} of {dev >> 20}:{dev & 0xfffff} has pages of (R14)")

    def _removed(self, first: int, last: int, name: str, after: str) -> str:
        before = self._pgmaps.get((first, last), LIVE)
        self._go(f"pgmap.{name}", LIVE if before == GONE and after == DYING else before, after)
        return after

    # All

    def _unloaded(self, _event: Event) -> None:
        entries = sum(len(file) for file in self._files.values())
        threads = sum(thread.state != ELSEWHERE for thread in self._threads.values())
        if self._folios or entries or threads:
            raise Wrong(f"the module goes, and there are {len(self._folios)} active folios, {entries} entries with "
                        f"blocks and {threads} threads that wait or break (R15)")
        self._go("world.end", LOADED, UNLOADED)
