# SPDX-License-Identifier: GPL-2.0
"""Reads what tests/vm/tracer.c kept of the events of the module, in the order in which they were.

The clock of such a trace is a counter that all CPUs share. An event has its number while its tracepoint
runs, so that of two that a lock keeps apart the first one has the lower number, on whatever CPUs.
"""

import heapq
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .progress import Fail, shown

PREFIX = "rust_fsdax_"
# Written by tracer.c when the module has gone.
UNLOADED = "unloaded"

_FORMAT = re.compile(r"^name: (\w+)\nID: (\d+)\n(.*?)^print fmt:", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\tfield:.*\b(\w+);\toffset:(\d+);\tsize:(\d+);\tsigned:(\d);$", re.MULTILINE)
_STATS_LOST = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)
_LETTERS = {1: "b", 2: "h", 4: "i", 8: "q"}
# Of a page of the ring buffer: time, bytes of events with two flags.
_PAGE = struct.Struct("<QQ")
_SIZE_MASK = 0x3fffffff
_LOST = 1 << 31
# Of an event: 5 bits of length or type, 27 of time since the last one.
_WORD = struct.Struct("<I")
_COMMON = struct.Struct("<HBBi")
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_TIME_BITS = 27
# What common_flags says: in a hard or soft interrupt.
_IN_IRQ = 0x08 | 0x10
_ADVICE = "enlarge the buffer (--buffer) or trace less"


class Event(NamedTuple):
    """What a tracepoint said, without the prefix of its name."""

    number: int  # that of the clock
    pid: int
    irq: bool  # pid is whoever was interrupted
    name: str
    fields: dict[str, int]

    def __str__(self) -> str:
        fields = " ".join(f"{name}={_text(name, value)}" for name, value in self.fields.items())
        return f"{self.pid}{' (irq)' if self.irq else ''} {self.name} {fields}"


def _text(name: str, value: int) -> str:
    if name == "dev":
        return f"{value >> 20}:{value & 0xfffff}"
    return f"{value:#x}" if name == "pfn" else str(value)


def parse(text: str) -> list[Event]:
    """Events as str() shows them, one a line; what begins with # is a comment."""
    events: list[Event] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        irq = words[1] == "(irq)"
        name, *fields = words[1 + irq:]
        events.append(Event(len(events), int(words[0]), irq, name, {
            key: int(value.partition(":")[0]) << 20 | int(value.partition(":")[2]) if ":" in value else int(value, 0)
            for key, _, value in (word.partition("=") for word in fields)}))
    return events


@dataclass
class _Format:
    name: str
    names: tuple[str, ...]
    layout: struct.Struct


@dataclass
class Load:
    """The events from a load of the module on."""

    place: Path
    unloaded: bool  # whether it was unloaded at the end
    cpus: list[Path] = field(default_factory=list)

    def events(self) -> Iterator[Event]:
        """In the order in which they were."""
        formats = _formats(self.place / "formats")
        return heapq.merge(*(_read(path, formats) for path in self.cpus), key=lambda event: event.number)


def loads(place: Path) -> list[Load]:
    """What tracer.c left in PLACE, which has lost no event."""
    if not place.is_dir():
        raise Fail(f"There is no directory {place}: name one that scripts/replay or tracer made.")
    found = []
    for directory in sorted((path for path in place.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)):
        cpus = sorted(path for path in directory.glob("cpu*"))
        if not cpus:
            continue
        for stats in directory.glob("stats*"):
            if lost := sum(map(int, _STATS_LOST.findall(stats.read_text()))):
                raise Fail(f"{lost} events were lost, as {shown(stats)} says: {_ADVICE}.")
        if not (directory / "formats").exists():
            raise Fail(f"There is no file formats in {shown(directory)}, since the module was unloaded by nothing that "
                       "asks tracer first: use module_unload() of tests/vm.")
        found.append(Load(directory, (directory / UNLOADED).exists(), cpus))
    if not found:
        raise Fail(f"There are no events in {shown(place)}: run something that uses the module.")
    return found


def _formats(path: Path) -> dict[int, _Format]:
    formats = {}
    for name, number, text in _FORMAT.findall(path.read_text()):
        fields = [(field, int(offset), int(size), signed == "1") for field, offset, size, signed in _FIELD.findall(text)
                  if not field.startswith("common_")]
        layout, end = "<", 0
        for _, offset, size, signed in sorted(fields, key=lambda of: of[1]):
            letter = _LETTERS[size]
            layout += f"{offset - end}x{letter if signed else letter.upper()}"
            end = offset + size
        formats[int(number)] = _Format(name.removeprefix(PREFIX),
                                       tuple(of[0] for of in sorted(fields, key=lambda of: of[1])),
                                       struct.Struct(layout))
    return formats


def _read(path: Path, formats: dict[int, _Format]) -> Iterator[Event]:
    data = path.read_bytes()
    position = 0
    while position < len(data):
        if len(data) - position < _PAGE.size:
            raise Fail(f"{shown(path)} ends within a page: copy it again.")
        order, size = _PAGE.unpack_from(data, position)
        if size & _LOST:
            raise Fail(f"Events were lost, as {shown(path)} says: {_ADVICE}.")
        position += _PAGE.size
        end = position + (size & _SIZE_MASK)
        if end > len(data):
            raise Fail(f"{shown(path)} ends within a page: copy it again.")
        yield from _page(data, position, end, order, formats)
        position = end


def _page(data: bytes, position: int, end: int, order: int, formats: dict[int, _Format]) -> Iterator[Event]:
    """The events of a page, see include/linux/ring_buffer.h."""
    while position < end:
        word, = _WORD.unpack_from(data, position)
        kind, delta = word & 0x1f, word >> 5
        body = position + _WORD.size
        if kind == _PADDING and not delta:
            return
        if kind in (_TIME_EXTEND, _TIME_STAMP):
            more = (_WORD.unpack_from(data, body)[0] << _TIME_BITS) + delta
            # That of a time stamp has no more than 59 bits.
            order = order + more if kind == _TIME_EXTEND else order >> 59 << 59 | more
            position = body + _WORD.size
            continue
        order += delta
        if 0 < kind < _PADDING:
            position = body + 4 * kind
        else:
            # What is longer, or was taken back, has its length in front.
            position = body + _WORD.unpack_from(data, body)[0]
            body += _WORD.size
            if kind == _PADDING:
                continue
        number, flags, _, pid = _COMMON.unpack_from(data, body)
        if known := formats.get(number):
            values = known.layout.unpack_from(data, body)
            yield Event(order, pid, bool(flags & _IN_IRQ), known.name, dict(zip(known.names, values, strict=True)))
