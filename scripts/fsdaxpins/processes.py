# SPDX-License-Identifier: GPL-2.0
"""Which processes have to do with busy pages, as far as /proc says it.

A page that a file gave up is in no page table for long, and what holds it is no property of a
process. What can be told: who maps or opens the file, and whose direct I/O is under way into such a
mapping. Pages in pipes and sockets see kernel_memory.py. Pins that last, as VFIO, RDMA and the
registered buffers of io_uring want them, the kernel refuses for fsdax pages.
"""

from __future__ import annotations

import json
import os
import platform
import re
import select
import signal
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .machine import Fail, Machine, device_of
from .state import Busy

_PAGE = 4096
# How a process has to do with a page, the surest first.
HOWS = ("pipe", "socket", "direct_io", "page_table", "async_io", "mapping", "open")

_MAPS = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) ([1-9]\d*)\b")
_O_PATH = 0o10000000  # the same on all architectures that DAX knows
# System calls that pin the memory of their caller if the file is open with O_DIRECT.
_CALLS = {
    "x86_64": {0: "read", 1: "write", 17: "pread64", 18: "pwrite64", 19: "readv", 20: "writev",
               295: "preadv", 296: "pwritev", 327: "preadv2", 328: "pwritev2"},
    "aarch64": {63: "read", 64: "write", 65: "readv", 66: "writev", 67: "pread64", 68: "pwrite64",
                69: "preadv", 70: "pwritev", 286: "preadv2", 287: "pwritev2"},
}.get(platform.machine(), {})
_IOVEC = struct.Struct("=QQ")
_MAX_IOVECS = 1024
_PRESENT = 1 << 63
_PFN = (1 << 55) - 1


@dataclass
class Holder:
    """A process, and how it has to do with pages of a file."""

    pid: int
    comm: str
    how: str  # one of HOWS
    dev: str
    ino: int
    first: int | None  # pages of the file: of its mapping, or those that it holds
    last: int | None
    fd: int | None
    detail: str
    path: str | None = None


@dataclass
class _Vma:
    start: int
    end: int
    flags: str
    first: int  # page of the file
    dev: str
    ino: int

    @property
    def last(self) -> int:
        return self.first + (self.end - self.start) // _PAGE - 1

    def pages(self, address: int, length: int) -> tuple[int, int] | None:
        """The pages of the file that a part of the address space shows."""
        begin, end = max(address, self.start), min(address + length, self.end)
        if begin >= end:
            return None
        return (self.first + (begin - self.start) // _PAGE,
                self.first + (end - 1 - self.start) // _PAGE)


class Files:
    """The busy pages, by file."""

    def __init__(self, busy: Iterable[Busy]) -> None:
        self._busy: dict[tuple[str, int], list[Busy]] = {}
        for page in busy:
            self._busy.setdefault((page.dev, page.ino), []).append(page)
        self.inodes = {ino for _, ino in self._busy}

    def has(self, dev: str, ino: int) -> bool:
        return (dev, ino) in self._busy

    def within(self, vma: _Vma, first: int, last: int) -> list[Busy]:
        """The busy pages of a mapping that are in a range."""
        return [page for page in self._busy.get((vma.dev, vma.ino), ())
                if page.index <= last and page.last >= first]


def find(machine: Machine, busy: list[Busy], patience_s: float = 2.0,
         all_s: float = 20.0) -> tuple[list[Holder], list[int]]:
    """The processes, and the ids of those that could not be looked at.

    A map that is locked by somebody who hangs makes its reader hang as well: a child reads, and
    who takes too long is left out.
    """
    if not busy:
        return [], []
    try:
        # Without this one, which may have inherited a file.
        todo = sorted(int(path.name) for path in machine.proc.iterdir()
                      if path.name.isdecimal() and int(path.name) != os.getpid())
    except OSError as error:
        raise Fail(f"Cannot list {machine.proc}: {error.strerror}.") from None
    files, holders, stuck = Files(busy), [], []
    over = time.monotonic() + all_s
    while todo:
        found, at = _child(machine, files, todo, patience_s)
        holders += found
        if at is None:
            break
        stuck.append(at)
        todo = todo[todo.index(at) + 1:]
        if time.monotonic() > over:
            stuck += todo
            break
    return holders, stuck


def _child(machine: Machine, files: Files, pids: list[int],
           patience_s: float) -> tuple[list[Holder], int | None]:
    """Look at the processes; the second is the one at which that came to nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                for pid in pids:
                    print(pid, file=out, flush=True)
                    for holder in _process(machine, files, pid):
                        print(json.dumps(asdict(holder)), file=out)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    holders, at, rest, hangs = [], pids[0], b"", False
    try:
        while True:
            if not select.select([reading], [], [], patience_s)[0]:
                hangs = True
                break
            if not (data := os.read(reading, 1 << 16)):
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.isdigit():
                    at = int(line)
                else:
                    holders.append(Holder(**json.loads(line)))
    finally:
        os.close(reading)
        status = _end(child, hangs)
    if hangs or status:
        return [holder for holder in holders if holder.pid != at], at
    return holders, None


def _end(child: int, hangs: bool) -> int:
    """Reap it; one that not even a signal ends is left behind."""
    if not hangs:
        return os.waitpid(child, 0)[1]
    os.kill(child, signal.SIGKILL)
    for _ in range(20):
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.05)
    return 1


def _process(machine: Machine, files: Files, pid: int) -> Iterator[Holder]:
    place = machine.proc / str(pid)
    try:
        comm = (place / "comm").read_bytes().rstrip(b"\n").decode("utf-8", "replace")
        vmas = list(_vmas(place, files))
    except OSError:
        return  # It went away.
    for holder in (*_mappings(place, files, vmas), *_direct_io(place, files, vmas),
                   *_descriptors(machine, place, files), *_async_io(place, files, vmas)):
        holder.pid, holder.comm = pid, comm
        yield holder


def _holder(how: str, vma: _Vma, pages: tuple[int, int], fd: int | None = None, detail: str = "") -> Holder:
    return Holder(0, "", how, vma.dev, vma.ino, *pages, fd, detail)


def _vmas(place: Path, files: Files) -> Iterator[_Vma]:
    """The mappings of files that have busy pages."""
    for line in (place / "maps").read_bytes().splitlines():
        if not (match := _MAPS.match(line)):
            continue
        start, end, offset, major, minor = (int(match[i], 16) for i in (1, 2, 4, 5, 6))
        dev, ino = f"{major}:{minor}", int(match[7])
        if files.has(dev, ino):
            yield _Vma(start, end, match[3].decode(), offset // _PAGE, dev, ino)


def _mappings(place: Path, files: Files, vmas: list[_Vma]) -> Iterator[Holder]:
    """Who maps busy pages; neighbours of the same kind are one mapping."""
    merged: Holder | None = None
    for vma in vmas:
        inside = files.within(vma, vma.first, vma.last)
        for page in inside:
            if page.mapcount and (at := _present(place, vma, page)) is not None:
                yield _holder("page_table", vma, (at, at))
        if not inside:
            continue
        detail = ("shared" if "s" in vma.flags else "private") + (" rw" if "w" in vma.flags else " ro")
        if merged and merged.last is not None and merged.last + 1 == vma.first and \
                (merged.dev, merged.ino, merged.detail) == (vma.dev, vma.ino, detail):
            merged.last = vma.last
            continue
        if merged:
            yield merged
        merged = _holder("mapping", vma, (vma.first, vma.last), detail=detail)
    if merged:
        yield merged


def _present(place: Path, vma: _Vma, page: Busy) -> int | None:
    """A page of the file at which the page table has the busy page."""
    at = max(page.index, vma.first)
    try:
        with (place / "pagemap").open("rb", buffering=0) as pagemap:
            pagemap.seek((vma.start // _PAGE + at - vma.first) * 8)
            word = int.from_bytes(pagemap.read(8), "little")
    except OSError:
        return None
    return at if word & _PRESENT and word & _PFN == page.pfn + at - page.index else None


def _touched(files: Files, vmas: list[_Vma],
             parts: Iterable[tuple[int, int]]) -> Iterator[tuple[_Vma, tuple[int, int]]]:
    """The busy pages behind parts of the address space."""
    for address, length in parts:
        for vma in vmas:
            pages = vma.pages(address, length)
            if pages and (inside := files.within(vma, *pages)):
                yield vma, (max(pages[0], inside[0].index), min(pages[1], inside[-1].last))


def _direct_io(place: Path, files: Files, vmas: list[_Vma]) -> Iterator[Holder]:
    """Threads that sleep in a direct I/O from or to a mapping of such a page."""
    if not vmas:
        return
    try:
        threads = sorted((path.name for path in (place / "task").iterdir() if path.name.isdecimal()), key=int)
    except OSError:
        return
    for tid in threads:
        try:
            words = (place / "task" / tid / "syscall").read_text().split()
            if len(words) < 7 or (name := _CALLS.get(int(words[0]))) is None:
                continue
            fd, buffer, length = (int(word, 16) for word in words[1:4])
            if not _flags((place / "fdinfo" / str(fd)).read_text()) & os.O_DIRECT:
                continue
            parts = _iovecs(place, buffer, length) if "v" in name else [(buffer, length)]
        except (OSError, ValueError):
            continue
        for vma, pages in _touched(files, vmas, parts):
            yield _holder("direct_io", vma, pages, fd, f"{name} of thread {tid}")


def _iovecs(place: Path, address: int, number: int) -> list[tuple[int, int]]:
    with (place / "mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        raw = memory.read(min(number, _MAX_IOVECS) * _IOVEC.size)
    return [(base, length) for base, length in _IOVEC.iter_unpack(raw[:len(raw) // 16 * 16])]


def _flags(fdinfo: str) -> int:
    for line in fdinfo.splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    return 0


def _fdinfos(place: Path) -> Iterator[tuple[str, str]]:
    """Number and description of each open file."""
    try:
        numbers = sorted((path.name for path in (place / "fdinfo").iterdir() if path.name.isdecimal()), key=int)
    except OSError:
        return
    for number in numbers:
        try:
            yield number, (place / "fdinfo" / number).read_text(errors="replace")
        except OSError:
            continue  # It was closed.


def _descriptors(machine: Machine, place: Path, files: Files) -> Iterator[Holder]:
    """Who has the file open."""
    mounts: dict[int, str] | None = None
    for number, text in _fdinfos(place):
        words = {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()[:6]}
        ino = words.get("ino", "")
        if not ino.isdecimal() or int(ino) not in files.inodes:
            continue
        if mounts is None:
            mounts = {point.id: point.dev for point in machine.mountpoints(place.name)}
        dev = mounts.get(int(words.get("mnt_id", -1))) or _device(place, number)
        if dev and files.has(dev, int(ino)) and not (flags := _flags(text)) & _O_PATH:
            yield Holder(0, "", "open", dev, int(ino), None, None, int(number),
                         ("ro", "wo", "rw", "-")[flags & os.O_ACCMODE]
                         + (" direct" if flags & os.O_DIRECT else ""))


def _device(place: Path, number: str) -> str | None:
    """The device of an open file whose mount the process does not see."""
    try:
        return device_of((place / "fd" / number).stat().st_dev)
    except OSError:
        return None


def _async_io(place: Path, files: Files, vmas: list[_Vma]) -> Iterator[Holder]:
    """Who maps a page with pins of direct I/O, and has the means to do that without a thread."""
    pinned = [(vma, page) for vma in vmas for page in files.within(vma, vma.first, vma.last) if page.pins]
    if not pinned:
        return
    vma, page = pinned[0]
    pages = max(page.index, vma.first), min(page.last, vma.last)
    for number, text in _fdinfos(place):
        if "\nSqMask:" in text:
            yield _holder("async_io", vma, pages, int(number), "io_uring")
    if b"/[aio]" in (place / "maps").read_bytes():
        yield _holder("async_io", vma, pages, detail="libaio")
