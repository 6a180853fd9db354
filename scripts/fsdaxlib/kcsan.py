# SPDX-License-Identifier: GPL-2.0
"""KCSAN and Rust: whether an object is instrumented, and what reports say of tests/kcsan."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import sandbox
from .progress import Fail

# Pairs of functions of tests/kcsan/racy.rs that race. It has others, of which nothing may be said.
RACES = frozenset(frozenset(pair) for pair in (
    ("plain_read", "plain_write"), ("plain_read", "volatile_write"), ("plain_read", "atomic_write"),
    ("plain_add", "plain_write")))
# They race as well, and are reported only without KCSAN_REPORT_VALUE_CHANGE_ONLY.
HIDDEN = frozenset(frozenset(pair) for pair in (("volatile_read", "plain_write"), ("atomic_read", "plain_write")))

# Without one of these, flags are missing, or a compiler has dropped some.
CRATE = ("read", "write")
MODULE = (*CRATE, "volatile_read", "volatile_write")

_CALL = re.compile(r"\b__tsan_(?:unaligned_)?((?:volatile_)?(?:read_write|read|write))\d+\b")
_TIME = re.compile(r"^\[\s*\d+\.\d+\](?:\[[^]]*\])? ")
_TITLE = re.compile(r"^BUG: KCSAN: ")
_RULE = re.compile(r"^={20,}$")
_SIDE = re.compile(r"^(?:race at unknown origin, with )?([\w (),-]+?) to 0x[0-9a-f]+ of \d+ bytes by ")
_FRAME = re.compile(r"^ (\S+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?)")
_RACY = re.compile(r"_4racy(\d+)(\w+)\+")


@dataclass
class Side:
    """One of the accesses that race: what it is ("read", "write (marked)", ...) and where, innermost first."""

    access: str
    frames: list[str] = field(default_factory=list)


@dataclass
class Report:
    """A report: its title, and the accesses, of which one may be unknown."""

    title: str
    sides: list[Side] = field(default_factory=list)


def calls(relocations: str) -> Counter[str]:
    """How many accesses of each sort are instrumented, by what llvm-objdump -r says of an object."""
    return Counter(match[1] for match in _CALL.finditer(relocations))


def check_instrumented(root: Path, path: Path, what: str, wanted: Iterable[str]) -> int:
    """The number of accesses that an object which rustc made has instrumented; Fail if a sort that is WANTED lacks."""
    done = subprocess.run(sandbox.command(root, ["llvm-objdump", "-r", str(path)], binds=[sandbox.ro(path.parent)]),
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Fail(f"llvm-objdump cannot read {path}: {done.stderr.strip()}.")
    found = calls(done.stdout)
    if lacking := [sort for sort in wanted if not found[sort]]:
        raise Fail(f"KCSAN would not see the Rust of {what}, which has no call of __tsan_{lacking[0]}*(): look at "
                   "rust/kcsan.rustflags, whose options are those of the LLVM in rustc.")
    return found.total()


def reports(console: str) -> Iterator[Report]:
    """The reports on a console."""
    report: Report | None = None
    for raw in console.splitlines():
        line = _TIME.sub("", raw.rstrip())
        if _TITLE.match(line):
            report = Report(_TITLE.sub("", line))
        elif report and _RULE.match(line):
            yield report
            report = None
        elif report and (match := _SIDE.match(line)):
            report.sides.append(Side(match[1]))
        elif report and report.sides and (match := _FRAME.match(line)):
            report.sides[-1].frames.append(match[1])


def _function(side: Side) -> str:
    """The function of tests/kcsan that an access is of, or nothing."""
    for frame in side.frames:
        if match := _RACY.search(frame):
            return match[2][:int(match[1])]
    return ""


def problems(console: str) -> list[str]:
    """What is wrong with the reports that the module of tests/kcsan led to, a sentence each."""
    racing = frozenset[str]().union(*RACES)
    found = set()
    for report in reports(console):
        names = frozenset(filter(None, map(_function, report.sides)))
        # One that saw a value change, and not who changed it: of which pair is not known.
        if names and not (len(report.sides) == 1 and names <= racing):
            found.add(names)
    told = [f"no report of {' and '.join(sorted(pair))}" for pair in RACES - found]
    told += [f"a report of {' and '.join(sorted(pair))}, which do not race" for pair in found - RACES - HIDDEN]
    return sorted(told)
