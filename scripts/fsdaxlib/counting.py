# SPDX-License-Identifier: GPL-2.0
"""Runs the benchmark in a guest under a TCG plugin of QEMU, and reads what that reports."""

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from . import kernel, machine, plugin, usage
from .progress import BUILD, CHECKOUT, LOGS, Fail, shown

_SOURCES = CHECKOUT / "bench/plugin"
_SYMBOLS = BUILD / "results/profile.kallsyms"  # the guest's
_SCRIPT = CHECKOUT / "bench/bench.sh"
# In a mangled Rust name: a disambiguator or back reference, or the length of a word.
_RUST_PART = re.compile(r"(?:C?s|B)[0-9A-Za-z]*_|(\d+)(?:_(?=[\d_]))?")


@dataclass
class Report:
    """What a plugin counted during one run of the benchmark program."""

    operations: int
    functions: dict[str, int]  # name -> instructions

    @property
    def insns(self) -> int:
        return sum(self.functions.values())


def run(name: str, arguments: list[str], pmem: int, timeout: int,
        output: BinaryIO | None = None) -> list[Report]:
    """Run bench.sh under the plugin NAME; a report for each metric and provider, in that order.

    The console and what the plugin says stay in build/logs.
    """
    options = ["--icount", "--pmem", str(pmem), "--timeout", str(timeout)]
    text, kallsyms = watch(name, options, arguments, output)
    return parse(text, symbols(kallsyms.splitlines()))


def watch(name: str, machine_options: list[str], arguments: list[str],
          output: BinaryIO | None = None) -> tuple[str, str]:
    """Run bench.sh in such a guest under the plugin NAME; return what that wrote, and the guest's kallsyms."""
    options = usage.Parser()
    machine.add_options(options)
    machine.add_run_options(options)
    vm = machine.prepare(options.parse_args(machine_options))
    counts, console = LOGS / f"{name}.counts", LOGS / f"{name}.console"
    vm.plugin = plugin.build(kernel.ensure("plain").root, _SOURCES / f"{name}.c",
                             _SOURCES / "plugin.c")
    vm.plugin_out, vm.kvm = counts.name, False
    _SYMBOLS.unlink(missing_ok=True)
    status = vm.run([str(_SCRIPT), "-p", *arguments], console, output=output)
    if status or not _SYMBOLS.exists():
        raise Fail(f"The guest ended with status {status}: look at what is said above and at "
                   f"{shown(console)}.")
    return counts.read_text(), _SYMBOLS.read_text()


def symbols(kallsyms: Iterable[str]) -> list[tuple[int, str]]:
    """Address and name of each function of the guest's kernel and modules."""
    found = []
    for line in kallsyms:
        address, kind, name = line.split()[:3]
        if kind in "tTwW":
            found.append((int(address, 16), readable(name)))
    return sorted(found)


def readable(name: str) -> str:
    """The last words of a mangled Rust name: no more is needed to find the function."""
    if not name.startswith("_R"):
        return name
    words = []
    at = 2
    while match := _RUST_PART.search(name, at):
        at = match.end()
        if match[1]:
            words.append(name[at:at + int(match[1])])
            at += int(match[1])
    # A closure has no name.
    return "::".join([word for word in words if word][-3:]) or name


def parse(text: str, table: list[tuple[int, str]]) -> list[Report]:
    """What a plugin wrote, by function."""
    starts = [address for address, _ in table]
    found = []
    for part in text.split("\n\n"):
        lines = part.split("\n")
        if not lines[0].startswith("marks "):
            continue
        functions: dict[str, int] = defaultdict(int)
        for line in lines[1:]:
            address, count = line.split()
            place = bisect.bisect_right(starts, int(address, 16)) - 1
            functions[table[place][1] if place >= 0 else "?"] += int(count)
        found.append(Report(int(lines[0].split()[1]), dict(functions)))
    return found
