# SPDX-License-Identifier: GPL-2.0
"""What the module says in its files of debugfs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .machine import MODULE, NO_DEBUGFS, NOT_PERMITTED, Fail, unescape

PAGE_KIB = 4
_SIZES = {0: "4 KiB", 9: "2 MiB", 18: "1 GiB"}
_DEVICE = re.compile(r"(\d+):(\d+)")
_Line = TypeVar("_Line")


@dataclass
class Counts:
    """Entries and folios of one order on a mount."""

    tracked: int
    zapped: int
    busy: int
    shared: int


@dataclass
class Mount:
    """A mount that the module serves."""

    dev: str
    s_id: str
    fs: str
    provider: str
    orders: dict[int, Counts]


@dataclass
class Busy:
    """A page, or 2 MiB of them, that the file gave up and that is still in use."""

    dev: str
    ino: int
    index: int
    pfn: int
    order: int
    refcount: int
    mapcount: int
    pins: int
    age_ms: int
    waiter_pid: int | None
    path: str | None = None

    @property
    def last(self) -> int:
        """The last page of it."""
        return self.index + (1 << self.order) - 1


@dataclass
class Waiter:
    """A thread that sleeps until a page is not in use any more."""

    pid: int
    comm: str
    what: str
    dev: str | None
    ino: int | None
    index: int | None
    pfn: int
    waited_ms: int
    path: str | None = None


@dataclass
class Faults:
    """How faults on a mount ended, since it was mounted."""

    dev: str
    s_id: str
    fs: str
    served: dict[int, dict[str, int]]  # by order: how
    fallbacks: dict[int, dict[str, int]]  # by order: why
    copy: int
    retried: int
    failed: int
    around: int  # pages that read faults mapped besides their own


@dataclass
class State:
    """All that the kernel says."""

    mounts: list[Mount] = field(default_factory=list)
    busy: list[Busy] = field(default_factory=list)
    more_busy: bool = False  # than the kernel shows
    waiters: list[Waiter] = field(default_factory=list)
    faults: list[Faults] = field(default_factory=list)


def size(order: int) -> str:
    """Of an entry or a fault, as 4 KiB."""
    return _SIZES.get(order, f"order {order}")


def _rows(name: str, text: str) -> Iterator[dict[str, str]]:
    """The lines of a table with a header, by column. A last line may say "more"."""
    lines = text.splitlines()
    if not lines:
        raise Fail(f"The kernel's file {name} is empty.")
    header = lines[0].split(" ")
    for line in lines[1:]:
        if line == "more":
            return
        words = line.split(" ")
        if len(words) != len(header):
            raise Fail(f"The kernel's file {name} has a line that does not fit its header: {line}")
        yield dict(zip(header, words, strict=True))


def _table(name: str, text: str, make: Callable[[dict[str, str]], _Line]) -> list[_Line]:
    """What make() makes of each line."""
    made = []
    for row in _rows(name, text):
        try:
            made.append(make(row))
        except KeyError as error:
            raise Fail(f"The kernel's file {name} has no column {error}: "
                       "take the fsdax-pins that belongs to the module.") from None
        except ValueError as error:
            raise Fail(f"The kernel's file {name} has a strange value: {error}.") from None
    return made


def _device(word: str) -> str:
    if not _DEVICE.fullmatch(word):
        raise ValueError(f"device {word}")
    return word


def _mount(row: dict[str, str]) -> Mount:
    orders = sorted(int(name.partition(".")[2]) for name in row if name.startswith("tracked."))
    return Mount(_device(row["dev"]), unescape(row["s_id"]), unescape(row["fs"]), row["provider"],
                 {order: Counts(*(int(row[f"{kind}.{order}"])
                                  for kind in ("tracked", "zapped", "busy", "shared")))
                  for order in orders})


def _busy(row: dict[str, str]) -> Busy:
    return Busy(_device(row["dev"]), int(row["ino"]), int(row["index"]), int(row["pfn"], 16),
                int(row["order"]), int(row["refcount"]), int(row["mapcount"]), int(row["pins"]),
                int(row["age_ms"]), int(row["waiter_pid"]) or None)


def _waiter(row: dict[str, str]) -> Waiter:
    ino = int(row["ino"])
    return Waiter(int(row["pid"]), unescape(row["comm"]), row["what"],
                  _device(row["dev"]) if ino else None, ino or None,
                  int(row["index"]) if ino else None, int(row["pfn"], 16), int(row["waited_ms"]))


def _faults(row: dict[str, str]) -> Faults:
    faults = Faults(_device(row["dev"]), unescape(row["s_id"]), unescape(row["fs"]), {}, {},
                    int(row["copy"]), int(row["retried"]), int(row["failed"]),
                    # A module of 0.1 does not count these.
                    int(row.get("around", 0)))
    for name, value in row.items():
        what, _, order = name.rpartition(".")
        if not order.isdecimal():
            continue
        if what.startswith("fallback."):
            faults.fallbacks.setdefault(int(order), {})[what.removeprefix("fallback.")] = int(value)
        else:
            faults.served.setdefault(int(order), {})[what] = int(value)
    return faults


def parse_faults(text: str) -> list[Faults]:
    return _table("faults", text, _faults)


def parse_mounts(text: str) -> list[Mount]:
    return _table("mounts", text, _mount)


def parse(mounts: str, busy: str, waiters: str, faults: str) -> State:
    """The contents of the files of the module."""
    return State(parse_mounts(mounts), _table("busy", busy, _busy),
                 busy.endswith("\nmore\n"), _table("waiters", waiters, _waiter), parse_faults(faults))


def read_files(where: Path, *names: str) -> list[str]:
    """Some of the module's files."""
    try:
        return [(where / name).read_text() for name in names]
    except PermissionError:
        raise Fail(f"Only root may read {where}: sudo {Path(sys.argv[0]).name}.", NOT_PERMITTED) from None
    except FileNotFoundError as error:
        raise Fail(f"There is no {error.filename}: load a module {MODULE} that has it, into a kernel "
                   "with CONFIG_DEBUG_FS.", NO_DEBUGFS) from None
    except OSError as error:
        raise Fail(f"Cannot read {error.filename or where}: {error.strerror}.") from None


def read(where: Path) -> State:
    return parse(*read_files(where, "mounts", "busy", "waiters", "faults"))


def read_faults(where: Path) -> list[Faults]:
    return parse_faults(*read_files(where, "faults"))


def read_mounts(where: Path) -> list[Mount]:
    return parse_mounts(*read_files(where, "mounts"))
