# SPDX-License-Identifier: GPL-2.0
"""Reads the coverage counters that guests saved, into a profile that llvm-cov understands.

A guest saves the data of the module (tests/coverage/counters.c). Among it are, for each function of
the source, a record of 64 bytes, and elsewhere its counters:

    u64 hash of the name, u64 hash of the code, s64 distance from here to the counters,
    28 bytes that are not used here, u32 number of counters (at 48), and more

The records begin with the same 16 bytes in the .ko, which tells where they are.
"""

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import sandbox
from .progress import CHECKOUT, LOGS, Fail, run_logged, shown

_RECORD = struct.Struct("<QQq24xI12x")
_HASHES = 16


class Program:
    """The functions of a .ko that was built with counters."""

    def __init__(self, root: Path, ko: Path, workspace: Path) -> None:
        self._root, self._workspace = root, workspace
        records, functions = workspace / "records", workspace / "names"
        self._run(["llvm-objcopy", f"--dump-section=__llvm_prf_data={records}",
                   f"--dump-section=__llvm_prf_names={functions}", str(ko), "/dev/null"], ko.parent,
                  "objcopy")
        self._records = records.read_bytes()
        self._names = dict(names(functions.read_bytes()))

    def merge(self, dumps: Iterable[Path], profile: Path) -> None:
        """Add up the counters of all DUMPS."""
        totals: dict[tuple[str, int], Counter[int]] = {}
        for dump in dumps:
            for function, counters in self._read(dump):
                totals.setdefault(function, Counter()).update(dict(enumerate(counters)))
        text = profile.with_suffix(".proftext")
        text.write_text("".join(
            "\n".join([name, str(code), str(len(counters)), *map(str, counters.values()), "\n"])
            for (name, code), counters in totals.items()))
        self._run(["llvm-profdata", "merge", "-o", str(profile), str(text)], profile.parent, "profile")

    def _read(self, dump: Path) -> Iterator[tuple[tuple[str, int], tuple[int, ...]]]:
        data = dump.read_bytes()
        start = data.find(self._records[:_HASHES])
        if start < 0:
            raise Fail(f"{shown(dump)} has no counters of this build: run scripts/coverage from the "
                       "start.")
        for offset in range(0, len(self._records), _RECORD.size):
            here = start + offset
            _, code, distance, number = _RECORD.unpack_from(data, here)
            if data[here:here + _HASHES] != self._records[offset:offset + _HASHES]:
                raise Fail(f"{shown(dump)} is of another build: run scripts/coverage from the start.")
            name = self._names[data[here:here + 8]]
            yield (name, code), struct.unpack_from(f"<{number}Q", data, here + distance)

    def _run(self, argv: list[str], place: Path, what: str) -> None:
        run_logged(sandbox.command(self._root, argv, cwd=CHECKOUT,
                                   binds=[sandbox.ro(place), sandbox.rw(self._workspace)]),
                   LOGS / f"coverage-{what}.log", f"coverage: {what}")


def names(section: bytes) -> Iterator[tuple[bytes, str]]:
    """The names of all functions by their hashes: parts that may be compressed, each with its sizes."""
    place = 0
    while place < len(section):
        size, place = _uleb128(section, place)
        compressed, place = _uleb128(section, place)
        part = section[place:place + (compressed or size)]
        place += len(part)
        for name in (zlib.decompress(part) if compressed else part).split(b"\1"):
            yield hashlib.md5(name, usedforsecurity=False).digest()[:8], name.decode()


def _uleb128(data: bytes, place: int) -> tuple[int, int]:
    """A number, and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7f) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
