# SPDX-License-Identifier: GPL-2.0
"""Reads what the plugin bench/plugin/transfers.c writes: which cache lines go from CPU to CPU, and why."""

import bisect
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from . import counting

CPUS = 8
MAX_CPUS = 16  # of bench/transfers.c, which starts a thread on each
MODULE = "rust_fsdax"
# Memory has the addresses then that are told apart below.
CMDLINE = "nokaslr"

_LINE = 64
_IMAGE = 0xffffffff80000000  # of the kernel, and modules
# From where on, with four levels of page tables; the last one that is not above an address.
_REGIONS = ((0xffff888000000000, "memory"), (0xffffc90000000000, "vmalloc"), (0xffffea0000000000, "struct page"),
            (0xffffeb0000000000, "?"))
# They call nothing, so that the last call before them is that of who takes the lock.
_LOCKS = ("_raw_spin_", "_raw_read_", "_raw_write_")
# fs/dax.c beside the module, and the XArray for both.
_DAX = ("dax_", "xas_", "grab_mapping_entry", "get_next_unlocked_entry", "wait_entry_unlocked", "put_unlocked_entry")


@dataclass(frozen=True, order=True)
class Symbol:
    """A function or a variable of the guest's kernel, or of a module."""

    address: int
    name: str
    module: str = ""


class Symbols:
    """All of them, to be found by an address."""

    def __init__(self, kallsyms: Iterable[str]) -> None:
        self._all = sorted(_symbol(line.split()) for line in kallsyms)
        self._starts = [symbol.address for symbol in self._all]

    def at(self, address: int) -> Symbol:
        """The one that an address of the kernel's image or of a module is in."""
        place = bisect.bisect_right(self._starts, address) - 1
        return self._all[place] if place >= 0 and address >= _IMAGE else Symbol(0, "?")


@dataclass(frozen=True)
class Access:
    """What makes lines change hands."""

    function: str  # of a lock, with who takes it
    dax: bool  # it, or who takes the lock, is code of fs/dax.c, the module or the XArray
    place: str  # the line: that of a variable, or what kind of memory
    line: int  # its address
    own: bool  # it is in data of the module


@dataclass
class Report:
    """What the plugin counted during one run of the benchmark program."""

    operations: int
    accesses: dict[Access, int]

    @property
    def all(self) -> float:
        """How many lines change hands with an operation."""
        return self._mean(self.accesses.values())

    @property
    def dax(self) -> float:
        """How many of them by what differs between the two."""
        return self._mean(times for access, times in self.accesses.items() if access.dax)

    @property
    def own(self) -> float:
        """How many of them are variables of the module."""
        return self._mean(times for access, times in self.accesses.items() if access.own)

    @property
    def variables(self) -> set[str]:
        """Which those are."""
        return {access.place for access in self.accesses if access.own}

    def by_function(self) -> dict[str, float]:
        """The same, by function."""
        found: dict[str, float] = defaultdict(float)
        for access, times in self.accesses.items():
            found[access.function] += self._mean([times])
        return found

    def by_line(self) -> dict[str, float]:
        """The same, by what the lines are and the functions that access them."""
        functions: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for access, times in self.accesses.items():
            functions[access.line, access.place][access.function] += times
        found: dict[str, float] = defaultdict(float)
        for (_, place), each in functions.items():
            often = sorted(each, key=lambda name: (-each[name], name))
            found[f"{place}: {', '.join(often)}"] += self._mean(each.values())
        return found

    def _mean(self, times: Iterable[int]) -> float:
        return sum(times) / max(self.operations, 1)


def parse(text: str, symbols: Symbols) -> list[Report]:
    """What the plugin wrote."""
    found = []
    for part in text.split("\n\n"):
        head, *lines = part.split("\n")
        if not head.startswith("marks "):
            continue
        accesses: dict[Access, int] = defaultdict(int)
        for line in lines:
            code, call, address, _, times = line.split()
            accesses[_access(symbols, *(int(number, 16) for number in (code, call, address)))] += int(times)
        found.append(Report(int(head.split()[1]), dict(accesses)))
    return found


def _symbol(words: list[str]) -> Symbol:
    address, _, name, *module = words
    return Symbol(int(address, 16), counting.readable(name), module[0].strip("[]") if module else "")


def _access(symbols: Symbols, code: int, call: int, address: int) -> Access:
    by = [symbols.at(code)]
    if by[0].name.startswith(_LOCKS):
        by.append(symbols.at(call))
    data = symbols.at(address)
    line = address // _LINE * _LINE
    return Access(function=" of ".join(symbol.name for symbol in by), dax=any(map(_is_dax, by)),
                  place=f"{data.name}+{max(line - data.address, 0):#x}" if data.address else _region(address),
                  line=line, own=data.module == MODULE)


def _is_dax(symbol: Symbol) -> bool:
    return symbol.module == MODULE or symbol.name.startswith(_DAX)


def _region(address: int) -> str:
    place = bisect.bisect_right([start for start, _ in _REGIONS], address) - 1
    return _REGIONS[place][1] if place >= 0 else "?"
