# SPDX-License-Identifier: GPL-2.0
"""Checks the model of tests/model: every world, every mutation of it, every litmus test.

A world is searched exhaustively, or it counts as failed. A mutation is a mistake in the model that a
named property must reject; it counts as failed if nothing does, or another property alone.
"""

import fnmatch
import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from . import cache, kernel, ktap, sandbox, toolchain, tools
from .progress import BUILD, CHECKOUT, Fail, shown, step
from .sandbox import Bind

SOURCES = CHECKOUT / "tests/model"
_OUT = BUILD / "model"
_RESULTS = BUILD / "results"

# What spin itself says when a search ends badly; all other properties are in state.pml.
STUCK = "invalid end state"
STARVED = "acceptance cycle"


@dataclass(frozen=True)
class Mutation:
    """A mistake, the world that shows it, and the property that must reject it."""

    name: str
    world: str
    rejected_by: str

    @property
    def define(self) -> str:
        return f"MUT_{self.name.upper()}"


MUTATIONS = (
    # src/folio/request.rs
    Mutation("request_unlocked", "requests", "one_request_wins"),
    Mutation("request_head_only", "large", "one_request_wins"),
    Mutation("request_draining", "join", "free_path_alone"),
    Mutation("pgmap_after_count", "requests", "one_pgmap_reference"),
    Mutation("loser_keeps_pgmap", "requests", STUCK),
    Mutation("insert_dying", "removal_faults", STUCK),
    # src/folio/shape.rs
    Mutation("shape_draining", "large", "one_request_wins"),
    Mutation("dissolve_unlocked", "large", "one_rebuilds"),
    Mutation("no_second_look", "gib", "shape_is_whole"),
    Mutation("apart_uncovered", "gib_faults", "one_rebuilds"),
    # src/folio/rebuild.rs
    Mutation("claim_unlocked", "gib_faults", "one_rebuilds"),
    Mutation("claim_stays", "gib", "nothing_kept"),
    Mutation("split_unmarked", "gib_faults", "one_rebuilds"),
    Mutation("piece_unmarked", "gib", "shape_is_whole"),
    Mutation("piece_unlocked", "gib", "shape_is_whole"),
    Mutation("split_in_order", "gib_faults", "busy_is_unexpected"),
    Mutation("join_in_order", "gib", "free_path_alone"),
    Mutation("rebuild_quiet", "gib_faults", STUCK),
    Mutation("rebuilt_in_use", "gib_faults", "busy_is_unexpected"),
    Mutation("no_look_after_room", "gib_faults", "busy_is_unexpected"),
    Mutation("dissolve_no_wait", "gib_dissolve", "shape_is_whole"),
    # src/folio/free.rs, src/folio/association.rs
    Mutation("pgmap_put_early", "requests", "no_use_after_pgmap"),
    Mutation("wake_before_idle", "reuse", STUCK),
    Mutation("free_takes_i_pages", "multi", STUCK),
    Mutation("no_reset", "reuse", "busy_is_unexpected"),
    Mutation("wait_for_zero", "reuse", "block_free_idle"),
    Mutation("share_unlocked", "shared", "block_free_unpinned"),
    # src/mapping/pages.rs
    Mutation("entry_queue_late", "multi", STUCK),
    # src/fsdax/insert.rs, src/fsdax/layout_break.rs
    Mutation("look_unheld", "removal", "no_use_after_pgmap"),
    Mutation("busy_is_active", "join", STUCK),
    Mutation("revive_no_wake", "interrupted", STUCK),
    Mutation("revive_no_reference", "interrupted", "count_is_right"),
    Mutation("no_revive", "multi", STUCK),
    Mutation("wait_ignores_revival", "fair", STARVED),
    Mutation("zap_after_wait", "reuse", STUCK),
    Mutation("count_after_unmap", "reuse", "count_is_right"),
    Mutation("unmapped_exit", "interrupted", "block_free_unpinned"),
    Mutation("zap_skips_locked", "multi", "nothing_lost"),
    Mutation("remove_before_idle", "interrupted", "block_free_unpinned"),
    Mutation("spent_busy", "interrupted", "block_free_unpinned"),
    Mutation("refused_removes", "interrupted", "block_free_unpinned"),
    Mutation("clear_all_marks", "interrupted", "block_free_unpinned"),
    Mutation("no_mark", "pages", "nothing_lost"),
    Mutation("settle_no_unmap", "pages", STUCK),
    Mutation("check_before_queue", "reuse", STUCK),
    Mutation("cow_no_wait", "copy", "block_free_unpinned"),
    Mutation("give_up_mapped", "copy", "no_stale_pte"),
    # src/fsdax/fault.rs, src/fsdax/layout_break.rs, src/mapping/flush.rs
    Mutation("dirty_late", "dirty", "stores_are_flushed"),
    Mutation("undo_cleans", "dirty_break", "stores_are_flushed"),
    Mutation("spent_dirty", "dirty_spent", "stores_are_flushed"),
    Mutation("keep_drops", "dirty_break", "stores_are_flushed"),
    Mutation("part_drops", "dirty_part", "stores_are_flushed"),
    Mutation("rest_mapped", "dirty_part", STUCK),
    Mutation("flush_before_protect", "dirty", "stores_are_flushed"),
    Mutation("clean_first", "dirty", "stores_are_flushed"),
    Mutation("to_write_first", "dirty", "stores_are_flushed"),
    Mutation("sync_skips_locked", "dirty", "stores_are_flushed"),
    # src/fsdax/around.rs, src/mapping/around.rs
    Mutation("around_sleeping", "around", "nothing_lost"),
    Mutation("around_late", "around", "block_free_unpinned"),
    # src/fsdax/memory_failure.rs, src/mapping/locked.rs
    Mutation("held_ignored", "failure", STUCK),
    Mutation("hold_unseen", "failure", STUCK),
    Mutation("failure_no_rcu", "failure_evict", "no_use_after_inode"),
    Mutation("evict_no_wait", "failure_evict", "no_use_after_inode"),
    Mutation("around_unlocked", "failure_around", "failure_alone"),
    # src/folio/sharers.rs, src/folio/association.rs
    Mutation("part_twice", "sharers", "list_is_right"),
    Mutation("part_is_all", "sharers_multi", "list_is_right"),
    Mutation("list_unlocked", "sharers_all", "block_free_idle"),
    Mutation("list_kept", "sharers_all", "list_is_empty"),
    Mutation("parts_wait", "sharers", "one_waits"),
    Mutation("zap_others", "sharers_all", "list_is_right"),
    Mutation("waits_on", "sharers_taken", "one_waits"),
    Mutation("room_ignored", "sharers_room", "list_is_right"),
    Mutation("closed_ignored", "sharers", "closed_to_parts"),
    # src/fsdax/give_up.rs, src/fsdax/make_way.rs, src/fsdax/layout_break.rs
    Mutation("parts_stay", "sharers", "timers_help"),
    Mutation("part_quiet", "sharers", STUCK),
    Mutation("no_alarm", "sharers", STUCK),
    Mutation("taken_quiet", "sharers_taken", STUCK),
    Mutation("apart_is_busy", "sharers_room", "busy_is_unexpected"),
    Mutation("race_is_busy", "sharers_way", "busy_is_unexpected"),
    # src/fsdax/removal.rs
    Mutation("revoke_skips_locked", "removal_faults", STUCK),
    Mutation("unmap_before_revoke", "removal_faults", STUCK),
    Mutation("no_grace_period", "removal", "no_use_after_pgmap"),
    Mutation("no_grace_without_files", "removal", "no_use_after_pgmap"),
)

# Worlds that take minutes.
_LONG_ONLY = ("small",)
# Lines of the model that no search reaches, and why that is right. In src/ they are warnings, or for
# callers that break the rules.
_UNREACHED = {
    ":: else -> result = BUSY; break;": "no file faults a block that another one has for itself",
    ":: !ok && !KEPT_OUT -> folio_put(f); pgmap_put(); result = BUSY; break;": "the same",
    ":: refused == NOT_SHARED && big[INODE(e)] == head[around] -> result = BUSY;": "the same",
    ":: else -> marked[s] = false;": "a break that may not sleep has zapped everything itself",
}

# Worlds and mutations whose search goes through a million states and more.
_LARGE = {"copy", "dirty_break", "failure_evict", "gib", "gib_dissolve", "removal", "shared", "share_unlocked"}

_DEPTH = {False: 20_000, True: 2_000_000}
_HASH_BITS = {False: 22, True: 27}
_MEMORY_MIB = 2_000
# The packages of what makes a program of a model.
_TOOLS = re.compile(r"spin|gcc|cpp|binutils|libc6-dev|linux-libc-dev")

_TABLE = CHECKOUT / "Documentation/testing.rst"
_ROW = re.compile(r"^``(\w+)`` .* ``([\w ]+)`` +``(\w+)``$", re.MULTILINE)

_INCLUDE = re.compile(r'^#include "(.+)"$')
_PROPERTY = re.compile(r"^hidden byte (\w+);\s+/\* ", re.MULTILINE)
_MUTANT = re.compile(r"\bMUT_\w+")
_ERROR = re.compile(r"^pan:\d+: (.+) \(at depth \d+\)$", re.MULTILINE)
_STATES = re.compile(r"^ *(\d+(?:\.\d+e\+\d+)?) states, stored", re.MULTILINE)
_DEEP = re.compile(r"depth reached (\d+), errors: (\d+)")
# Anything that makes a search less than exhaustive, or no search at all.
_INCOMPLETE = re.compile(r"^.*(?:max search depth too small|Search not completed|out of memory|"
                         r"pan: error|Interrupted|aborting).*$", re.MULTILINE)
_PROCTYPE = re.compile(r"^(?:unreached in )?(?:proctype|init|claim) ?(\S*)$")
_STATE = re.compile(r"^\tstate +(\d+) -\(tr.*\S+\.pml:(\d+) => ")
_UNREACHED_STATE = re.compile(r"^\t\S+\.pml:(\d+), state (\d+), ")


@dataclass
class Outcome:
    """What one run showed; problem is empty if it is as it must be."""

    kind: str
    name: str
    problem: str = ""
    rejected_by: str = ""
    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    skipped: bool = False

    @property
    def case(self) -> ktap.Case:
        name = f"{self.kind}.{self.name}"
        if self.kind == "mutation":
            name += f" is rejected: {self.rejected_by}"
        if self.skipped:
            return ktap.Case(name, "skipped")
        return ktap.Case(f"{name}: {self.problem}" if self.problem else name,
                         "failed" if self.problem else "passed")


@dataclass
class _Search:
    """The output of one search."""

    errors: list[str]
    incomplete: str
    states: int
    depth: int
    # Lines that could be reached, and those that were.
    lines: set[int] = field(default_factory=set)
    reached: set[int] = field(default_factory=set)


@dataclass
class _Flat:
    """A world with all that it includes in one file: spin forgets the file of an inline."""

    lines: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> "_Flat":
        flat = cls()
        flat._add(path)
        return flat

    def _add(self, path: Path) -> None:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := _INCLUDE.match(line):
                self._add((path.parent / match[1]).resolve())
            else:
                self.lines.append(line)
                self.origins.append(f"{path.name}:{number}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def worlds(*, long: bool) -> list[str]:
    """The names of the worlds."""
    return [path.stem for path in sorted((SOURCES / "worlds").glob("*.pml"))
            if long or path.stem not in _LONG_ONLY]


def litmus_tests() -> list[str]:
    """The names of the litmus tests."""
    return [path.stem for path in sorted((SOURCES / "litmus").glob("*.litmus"))]


def properties() -> list[str]:
    """The names of what is asserted."""
    return _PROPERTY.findall((SOURCES / "state.pml").read_text())


def _search(world: str, mutation: Mutation | None, *, long: bool, go_on: bool = False) -> _Search:
    """Run one search, whose program is built or in the cache."""
    root = toolchain.ensure()
    out = _OUT / (f"{world}-{mutation.name}" if mutation else world)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    flat = _Flat.of(SOURCES / f"worlds/{world}.pml")
    (out / "flat.pml").write_text(flat.text)
    fair = "#define LIVENESS" in flat.lines
    program = _program(root, out, flat, mutation, fair=fair, long=long,
                       large=(mutation.name if mutation else world) in _LARGE)
    pan, bind = str(program / "pan"), sandbox.ro(program)

    text = _tool(root, out, [pan, f"-m{_DEPTH[long]}", f"-w{_HASH_BITS[long]}", *(["-a", "-f"] if fair else []),
                             *(["-c0"] if go_on else [])], bind, check=False)
    (out / "output").write_text(text)

    states, deep = _STATES.search(text), _DEEP.search(text)
    incomplete = _INCOMPLETE.search(text)
    # The first lines of the state-space report come last: without them the search died.
    problem = incomplete[0].strip() if incomplete else "" if states and deep else "the search died"
    search = _Search(_ERROR.findall(text), problem, int(float(states[1])) if states else 0,
                     int(deep[1]) if deep else 0)
    if not mutation:
        _coverage(search, _tool(root, out, [pan, "-d"], bind, check=False), text)
    return search


def _program(root: Path, out: Path, flat: _Flat, mutation: Mutation | None, *, fair: bool, long: bool,
             large: bool) -> Path:
    """The directory with the program of a search, which is kept as long as nothing changes that goes into it.

    What it finds is not: each search runs. OUT has the model, and is where the program is built.
    """
    generate = ["spin", "-a", *([f"-D{mutation.define}"] if mutation else []), *(["-DLONG"] if long else []),
                "flat.pml"]
    # Compiling with optimization takes longer than a short search, but for the largest worlds. With fairness
    # spin counts the processes that were passed over.
    build = ["gcc", "-O2" if long else "-O1" if large else "-O0", "-w", "-s", "-DCOLLAPSE", "-DVECTORSZ=4096",
             f"-DMEMLIM={_memory_mib() if long else _MEMORY_MIB}", "-DNFAIR=4" if fair else "-DSAFETY",
             "-o", "pan", "pan.c"]

    def make(partial: Path) -> None:
        for argv in (generate, build):
            _tool(root, out, argv)
        shutil.move(out / "pan", partial / "pan")

    return cache.entry(f"pan-{cache.key(_versions(root), flat.text, *generate, *build)}", make)


@functools.cache
def _versions(root: Path) -> bytes:
    """The versions of what makes a program of a model."""
    return toolchain.versions(root, _TOOLS)


def _memory_mib() -> int:
    """Half of the memory: a long search has the machine for itself."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (2 << 20)


def _tool(root: Path, out: Path, argv: Sequence[str], *binds: Bind, check: bool = True) -> str:
    """Run a tool in a directory of a search; return what it says."""
    done = subprocess.run(sandbox.command(root, argv, cwd=out, binds=[sandbox.rw(out), *binds]),
                          capture_output=True, text=True, errors="replace", check=False)
    text = done.stdout + done.stderr
    if check and done.returncode:
        log = out / f"{argv[0]}.log"
        log.write_text(text)
        raise Fail(f"{argv[0]} failed: read {shown(log)}.")
    return text


def _coverage(search: _Search, listing: str, text: str) -> None:
    """Which lines of the flat file have states, and which of them were reached."""
    unreached: set[tuple[str, int]] = set()
    process = ""
    for line in text.splitlines():
        if line.startswith("unreached in "):
            match = _PROCTYPE.match(line)
            process = match[1] if match else ""
        elif match := _UNREACHED_STATE.match(line):
            unreached.add((process, int(match[2])))
    process = ""
    for line in listing.splitlines():
        if match := _STATE.match(line):
            number = int(match[2])
            search.lines.add(number)
            if (process, int(match[1])) not in unreached:
                search.reached.add(number)
        elif match := _PROCTYPE.match(line):
            process = match[1]


def check_world(world: str, *, long: bool) -> tuple[Outcome, set[str], set[str]]:
    """Search a world, which has no errors; also which lines it has, and which it reached."""
    begun = time.monotonic()
    search = _search(world, None, long=long)
    outcome = Outcome("world", world, search.errors[0] if search.errors else search.incomplete,
                      states=search.states, depth=search.depth, seconds=time.monotonic() - begun)
    origins = _Flat.of(SOURCES / f"worlds/{world}.pml").origins
    return (outcome, {origins[line - 1] for line in search.lines},
            {origins[line - 1] for line in search.reached})


def check_mutation(mutation: Mutation) -> Outcome:
    """Search a world with a mistake in it, which the expected property rejects."""
    begun = time.monotonic()
    search = _search(mutation.world, mutation, long=False)
    if search.errors and not _names(mutation.rejected_by, search.errors):
        # Another property was first: go on until the expected one comes.
        search = _search(mutation.world, mutation, long=False, go_on=True)
    outcome = Outcome("mutation", mutation.name, rejected_by=mutation.rejected_by,
                      states=search.states, depth=search.depth, seconds=time.monotonic() - begun)
    if not _names(mutation.rejected_by, search.errors):
        outcome.problem = search.errors[0] if search.errors else search.incomplete or "nothing did"
    return outcome


def _names(wanted: str, errors: Iterable[str]) -> bool:
    return any(re.search(rf"\b{wanted}\b", error) for error in errors)


def check_litmus(name: str) -> Outcome:
    """Run a litmus test; the outcome is what the test itself says."""
    outcome = Outcome("litmus", name)
    root = _herd()
    if not root:
        outcome.skipped = True
        return outcome
    begun = time.monotonic()
    source = SOURCES / f"litmus/{name}.litmus"
    expected = re.search(r"^ \* Result: (\w+)$", source.read_text(), re.MULTILINE)
    memory_model = kernel.source_tree() / "tools/memory-model"
    done = subprocess.run(
        sandbox.command(root, ["herd7", "-conf", "linux-kernel.cfg", str(source)], cwd=memory_model,
                        binds=[sandbox.ro(memory_model), sandbox.ro(SOURCES)]),
        capture_output=True, text=True, check=False)
    seen = re.search(r"^Observation \S+ (\w+) ", done.stdout, re.MULTILINE)
    flags = re.findall(r"^Flag (.+)$", done.stdout, re.MULTILINE)
    outcome.seconds = time.monotonic() - begun
    if not expected or not seen:
        outcome.problem = (done.stderr.strip().splitlines() or ["it says no result"])[-1]
    elif flags:
        outcome.problem = f"herd7 flags {', '.join(flags)}"
    elif seen[1] != expected[1]:
        outcome.problem = f"{seen[1]} instead of {expected[1]}"
    return outcome


def _herd() -> Path | None:
    """A root with herd7; None if it cannot be had."""
    try:
        return tools.ensure("herd", "herdtools7")
    except Fail as fail:
        step(f"the litmus tests are skipped: {fail}")
        return None


def consistency() -> Iterator[Outcome]:
    """Every mutation is listed and documented, and every property rejects one."""
    outcome = Outcome("model", "every mutation is listed")
    written = {name for path in SOURCES.glob("*.pml") for name in _MUTANT.findall(path.read_text())}
    listed = {mutation.define for mutation in MUTATIONS}
    if odd := sorted(written ^ listed):
        outcome.problem = ", ".join(odd)
    yield outcome
    outcome = Outcome("model", "the table of mutations is right")
    table = {match[1]: (match[2], match[3]) for match in _ROW.finditer(_TABLE.read_text())}
    rows = {mutation.name: (mutation.rejected_by, mutation.world) for mutation in MUTATIONS}
    if odd := sorted(name for name in {*table, *rows} if table.get(name) != rows.get(name)):
        outcome.problem = f"{shown(_TABLE)}: {', '.join(odd)}"
    yield outcome
    outcome = Outcome("model", "every property rejects a mutation")
    rejecting = {mutation.rejected_by for mutation in MUTATIONS}
    if idle := sorted({*properties(), STUCK, STARVED} ^ rejecting):
        outcome.problem = ", ".join(idle)
    yield outcome


def _unreached(lines: set[str], reached: set[str]) -> Outcome:
    """Whether every line of the model was reached in some world."""
    outcome = Outcome("model", "every line is reached")
    never = {origin: _line(origin) for origin in lines - reached}
    odd = sorted(f"{origin} {text}" for origin, text in never.items() if text not in _UNREACHED)
    if odd:
        outcome.problem = "; ".join(odd)
    elif needless := sorted(set(_UNREACHED) - set(never.values())):
        outcome.problem = f"reached after all: {'; '.join(needless)}"
    return outcome


def _line(origin: str) -> str:
    name, number = origin.split(":")
    path = next(path for path in SOURCES.rglob("*.pml") if path.name == name)
    return path.read_text().splitlines()[int(number) - 1].strip()


def names(*, long: bool) -> list[str]:
    """Every world, mutation and litmus test, as patterns select them."""
    return [*(f"world.{name}" for name in worlds(long=long)),
            *(f"mutation.{mutation.name}" for mutation in MUTATIONS),
            *(f"litmus.{name}" for name in litmus_tests())]


def run(patterns: Sequence[str] = (), *, long: bool = False, jobs: int = 1,
        tell: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
    """Check what the patterns select, or all; keep the outcomes in build/results/model.json."""
    def chosen(kind: str, name: str) -> bool:
        return not patterns or any(fnmatch.fnmatch(text, pattern) for pattern in patterns
                                   for text in (name, f"{kind}.{name}"))

    picked = [name for name in worlds(long=long) if chosen("world", name)]
    lines: set[str] = set()
    reached: set[str] = set()

    def world(name: str) -> Outcome:
        outcome, has, got = check_world(name, long=long)
        lines.update(has)
        reached.update(got)
        return outcome

    tasks: list[Callable[[], Outcome]] = [partial(world, name) for name in picked]
    tasks += [partial(check_mutation, mutation) for mutation in MUTATIONS
              if chosen("mutation", mutation.name)]
    tasks += [partial(check_litmus, name) for name in litmus_tests() if chosen("litmus", name)]

    def told(task: Callable[[], Outcome]) -> Outcome:
        outcome = task()
        tell(outcome)
        return outcome

    toolchain.ensure()
    with ThreadPoolExecutor(1 if long else jobs) as pool:
        outcomes = list(pool.map(told, tasks))
    whole = list(consistency()) if not patterns else []
    # Only all worlds together have to reach everything.
    if picked == worlds(long=long):
        whole.append(_unreached(lines, reached))
    for outcome in whole:
        tell(outcome)
    outcomes += whole
    _RESULTS.mkdir(parents=True, exist_ok=True)
    (_RESULTS / "model.json").write_text(json.dumps([
        {"case": outcome.case.name, "result": outcome.case.result, "states": outcome.states,
         "depth": outcome.depth, "seconds": round(outcome.seconds, 1)}
        for outcome in outcomes], indent=1) + "\n")
    return outcomes
