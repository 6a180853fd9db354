# SPDX-License-Identifier: GPL-2.0
"""The steps of the protocol that tracepoints show, and where the model of tests/model takes them.

TRANSITIONS is the only place where they are written down. The replay (replaying.py) takes a step only if
it is there with the states before and after; tests/scripts/test_replay.py holds the places against the model.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .progress import CHECKOUT

# States of a folio: who has references to it.
FREE = "free"
TRACKED = "tracked"  # by an entry, or by some
WAITED = "waited"  # pins alone have it, for which a zapped entry waits
BOTH = "both"  # a large one: one entry waits, others have parts
# Of an entry. Empty ones and those for holes have no reference, and are absent here.
ABSENT = "absent"
ZAPPED = "zapped"
# Of a thread.
ELSEWHERE = "elsewhere"
BREAKING = "breaking"
ASLEEP = "asleep"  # in a break
WAITING = "waiting"  # in a fault, or a deletion
# Of the memory of a device.
LIVE = "live"
DYING = "dying"
REVOKED = "revoked"
GONE = "gone"
# Of all.
LOADED = "loaded"
UNLOADED = "unloaded"

FOLIO, ENTRY, BREAK, PGMAP, WORLD = "folio", "entry", "break", "pgmap", "world"


@dataclass(frozen=True)
class Transition:
    """A step: the events that show it, the states between which it goes, and its places in the model.

    A place is a file of tests/model and an inline, macro or proctype there, which has "replay: NAME" in a
    comment. A step that the model leaves out says why in unmodelled. One that is never seen says why; one that
    takes devices of another kind is seen in the long form.
    """

    machine: str
    name: str
    event: str
    steps: frozenset[tuple[str, str]]
    places: tuple[str, ...] = ()
    unmodelled: str = ""
    long: bool = False
    never: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.machine}.{self.name}"


def _of(machine: str, name: str, event: str, steps: str, *places: str, unmodelled: str = "", long: bool = False,
        never: str = "") -> Transition:
    pairs = frozenset((step.split(">")[0], step.split(">")[1]) for step in steps.split())
    return Transition(machine, name, event, pairs, places, unmodelled, long, never)


_LARGE_SHARED = "large folios that files share are left out of the model (R24)"
_MAPPED_BY_TWO = "folio.pml:ASSOCIATE"

TRANSITIONS = {transition.full_name: transition for transition in (
    # src/folio/request.rs: 0 -> 1, under the folio lock.
    _of(FOLIO, "request.page", "request", "free>tracked", "folio.pml:request", "shape.pml:take"),
    _of(FOLIO, "request.2m", "request", "free>tracked", "shape.pml:take"),
    _of(FOLIO, "request.1g", "request", "free>tracked", "shape.pml:take", long=True),
    # src/folio/association.rs: under the folio lock. Which of these a join was, the insertion says.
    _of(FOLIO, "join.share", "join", "tracked>tracked", _MAPPED_BY_TWO),
    _of(FOLIO, "join.revive", "join", "waited>tracked both>tracked", _MAPPED_BY_TWO),
    _of(FOLIO, "join.take_over", "join", "waited>tracked both>tracked", _MAPPED_BY_TWO),
    _of(FOLIO, "join.part", "join", "tracked>tracked waited>both both>both", unmodelled=_LARGE_SHARED),
    _of(FOLIO, "leave.shared", "leave", "tracked>tracked", "folio.pml:disassociate"),
    _of(FOLIO, "leave.last", "leave", "tracked>waited", "folio.pml:disassociate"),
    _of(FOLIO, "leave.parts", "leave", "tracked>both", unmodelled=_LARGE_SHARED),
    _of(FOLIO, "leave.part", "leave", "tracked>tracked both>both both>waited", unmodelled=_LARGE_SHARED),
    _of(FOLIO, "leave.unused", "leave", "tracked>waited tracked>tracked both>both both>waited",
        unmodelled="a claim that does not fit its entry", never="that is a mistake of the caller, and a warning"),
    # src/folio/free.rs: 1 -> 0, before the folio is idle.
    _of(FOLIO, "free.released", "free", "tracked>free both>free", "folio.pml:free_path"),
    _of(FOLIO, "free.unpinned", "free", "waited>free", "folio.pml:free_path"),
    _of(FOLIO, "free.alone", "free", "tracked>free", "folio.pml:free_path", long=True),

    # The lock of the entry is held, or the i_pages lock and nobody has that of the entry.
    _of(ENTRY, "insert", "insert", "absent>tracked", "fsdax.pml:insert", "around.pml:track_one"),
    _of(ENTRY, "revive", "revive", "zapped>tracked", "fsdax.pml:insert"),
    _of(ENTRY, "zap", "zap", "tracked>zapped", "fsdax.pml:zap", "fsdax.pml:unmap_and_zap", "fsdax.pml:undo_insert"),
    _of(ENTRY, "busy", "break_busy", "zapped>zapped", "fsdax.pml:zap"),
    _of(ENTRY, "remove.spent", "remove", "zapped>absent", "fsdax.pml:zap_range", "actors.pml:fault",
        "fsdax.pml:undo_insert"),
    _of(ENTRY, "remove.idle", "remove", "zapped>absent", "fsdax.pml:remove_range", "actors.pml:fault"),
    _of(ENTRY, "remove.shared", "remove", "zapped>absent", "fsdax.pml:remove_range", "actors.pml:fault"),
    _of(ENTRY, "remove.hole", "remove", "absent>absent", "fsdax.pml:remove_range"),
    _of(ENTRY, "writeback.tracked", "writeback", "tracked>tracked", "dirty.pml:write_back"),
    _of(ENTRY, "writeback.zapped", "writeback", "zapped>zapped", "dirty.pml:write_back"),
    _of(ENTRY, "split", "split", "zapped>absent", long=True,
        unmodelled="entries of 1 GiB are not split in the model, their memory is"),

    # A thread; the filesystem's lock keeps faults out of the range at both ends of a break.
    _of(BREAK, "begin", "break_begin", "elsewhere>breaking", "fsdax.pml:break_layouts"),
    _of(BREAK, "wait", "wait_begin", "breaking>asleep", "fsdax.pml:wait_for"),
    _of(BREAK, "wait.end", "wait_end", "asleep>breaking", "fsdax.pml:wait_for"),
    _of(BREAK, "end.done", "break_end", "breaking>elsewhere", "fsdax.pml:break_layouts"),
    _of(BREAK, "end.kept", "break_end", "breaking>elsewhere", "fsdax.pml:remove_range"),
    _of(BREAK, "end.failed", "break_end", "breaking>elsewhere", "fsdax.pml:break_layouts"),
    _of(BREAK, "brief", "wait_begin", "elsewhere>waiting", "actors.pml:wait_briefly"),
    _of(BREAK, "brief.end", "wait_end", "waiting>elsewhere", "actors.pml:wait_briefly"),

    # src/fsdax/removal.rs, one thread.
    _of(PGMAP, "dying", "removal_begin", "live>dying", "actors.pml:remover"),
    _of(PGMAP, "revoked", "removal_revoked", "dying>revoked", "actors.pml:remover"),
    _of(PGMAP, "gone", "removal_end", "revoked>gone", "actors.pml:remover"),

    # What is left when the module is unloaded.
    _of(WORLD, "end", "unloaded", "loaded>unloaded", "actors.pml:nothing_is_left"),
)}

# What of the model changes the states above and has no event, and why that is right.
SILENT = {
    "fsdax.pml:lock_entry": "an entry that is only locked is empty",
    "fsdax.pml:unlock_entry": "so is one that goes when it is unlocked",
    "fsdax.pml:set_entry": "who calls it has the step",
    "shape.pml:publish": "memory that is given another shape is free",
    "shape.pml:split_pud": "so is this",
    "shape.pml:claim_piece": "and this",
    "actors.pml:map_block": "how a world begins",
}

_MODEL = CHECKOUT / "tests/model"
# A model of its own, of steps that have their places in the other one.
_OTHER = "sharers*.pml"
_FUNCTION = re.compile(r"^(?:inline|proctype) (\w+)\(|^#define (\w+)\(")
_MARK = re.compile(r"replay: ([\w. ]+?) \*/")
# What the states here are made of, written.
_WRITES = re.compile(r"\b(?:(?:entry|ours|owner|share|zapped)\[[^]]+\] *(?:=(?!=)|\+\+|--)|(?:dying|gone) *=(?!=)|"
                     r"set_entry\()")
_CONDITION = re.compile(r"^#(ifdef|ifndef|else|endif)\b *(\w*)")


def _functions() -> Iterator[tuple[str, str]]:
    """The inlines, proctypes and macros of the model by place, with their text, mutations left out."""
    for path in sorted({*_MODEL.glob("*.pml")} - {*_MODEL.glob(_OTHER)}):
        place, body = "", ""
        conditions: list[tuple[bool, bool]] = []  # whether it is about a mutation, and is as without
        for line in path.read_text().splitlines():
            if found := _CONDITION.match(line):
                if found[1] == "endif":
                    conditions.pop()
                elif found[1] == "else":
                    mutation, plain = conditions.pop()
                    conditions.append((mutation, not plain if mutation else True))
                else:
                    mutation = found[2].startswith("MUT_")
                    conditions.append((mutation, not mutation or found[1] == "ifndef"))
            elif all(plain for _, plain in conditions):
                if found := _FUNCTION.match(line):
                    yield place, body
                    place, body = f"{path.name}:{found[1] or found[2]}", line[found.end():]
                else:
                    body += f"\n{line}"
        yield place, body


def marks() -> set[tuple[str, str]]:
    """The transitions that the model names, each with its place there."""
    return {(name, place) for place, body in _functions() for names in _MARK.findall(body) for name in names.split()}


def writers() -> set[str]:
    """The places of the model that change a state which is replayed."""
    return {place for place, body in _functions() if _WRITES.search(body)}
