# SPDX-License-Identifier: GPL-2.0
"""Where /proc, /sys and debugfs are, and what is mounted."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MODULE = "rust_fsdax"
(OK, UNREADABLE, USAGE, NOT_LOADED, NO_DEBUGFS, NOT_PERMITTED, STOCK, TIMEOUT) = range(8)
INTERRUPTED = 130

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Fail(Exception):
    """Ends the program; its text is a sentence that says what to do."""

    def __init__(self, text: str, status: int = UNREADABLE) -> None:
        super().__init__(text)
        self.status = status


def unescape(word: str) -> str:
    r"""Undo the \ooo of the kernel, whose names are bytes."""
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 8) & 0xFF), word)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


@dataclass
class Mountpoint:
    """A line of a mountinfo file."""

    id: int
    dev: str
    root: str
    path: str
    fs: str
    source: str
    options: str  # of the superblock


def parse_mountinfo(text: str) -> list[Mountpoint]:
    """The lines of a mountinfo, of which each character stands for a byte."""
    points = []
    for line in text.splitlines():
        front, _, back = line.partition(" - ")
        words, last = front.split(" "), back.split(" ")
        if len(words) >= 5 and len(last) >= 3 and words[0].isdecimal():
            points.append(Mountpoint(int(words[0]), words[2], unescape(words[3]), _opened(words[4]),
                                     last[0], unescape(last[1]), last[2]))
    return points


def _opened(word: str) -> str:
    r"""Undo \ooo in a path that is to be opened: what is no UTF-8 stays what it is."""
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 8) & 0xFF), word)
    return os.fsdecode(raw.encode("latin-1", "replace"))


def device_of(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


class Machine:
    """This machine, or what a directory shows of another one (for tests, or a copy of /proc)."""

    def __init__(self, root: str = "/") -> None:
        self._root = Path(root)
        self.proc = self._root / "proc"
        self.sys = self._root / "sys"

    def place(self, path: str) -> str:
        """Where a path of that machine is found here."""
        return path if self._root == Path("/") else str(self._root / path.lstrip("/"))

    def name(self, place: str) -> str:
        """The reverse of place()."""
        return place if self._root == Path("/") else "/" + os.path.relpath(place, self._root)

    def mountpoints(self, process: str = "self") -> list[Mountpoint]:
        try:
            raw = (self.proc / process / "mountinfo").read_bytes()
        except OSError as error:
            if process != "self":
                return []
            raise Fail(f"Cannot read {error.filename}: {error.strerror}. Is /proc mounted?") from None
        return parse_mountinfo(raw.decode("latin-1"))

    def loaded(self) -> bool:
        return (self.sys / "module" / MODULE).is_dir()

    def parameter(self, name: str) -> str | None:
        """A parameter of the module."""
        try:
            return (self.sys / "module" / MODULE / "parameters" / name).read_text().strip()
        except OSError:
            return None

    def dax_device(self, dev: str) -> bool:
        """Whether a block device, or the disk of a partition, can do DAX."""
        place = self.sys / "dev/block" / dev
        for queue in (place / "queue/dax", place / "../queue/dax"):
            try:
                return queue.read_text().strip() == "1"
            except OSError:
                continue
        return False

    def directory(self) -> Path:
        """Where the module's files are, or what to do."""
        if not self.loaded():
            raise Fail(f"The module {MODULE} is not loaded: insmod {MODULE}.ko (or modprobe {MODULE}), "
                       "and mount with -o dax after that.", NOT_LOADED)
        for point in self.mountpoints():
            if point.fs == "debugfs":
                return Path(self.place(point.path), MODULE)
        raise Fail("debugfs is not mounted: mount -t debugfs none /sys/kernel/debug (as root).",
                   NO_DEBUGFS)
