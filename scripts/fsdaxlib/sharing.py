# SPDX-License-Identifier: GPL-2.0
"""Runs scenarios that want the same machine in one guest, one after the other.

To boot the debug kernel takes a quarter of a minute, and code that QEMU has translated once is there for all. A guest
in which something went wrong is not used again: a case that fails may leave a mount, the module or a task.
"""

import os
import re
import shlex
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from . import guest, ktap, suites
from .progress import Fail, step
from .suites import Scenario, Suite

# Each of these is a guest. In the order that takes least time: what takes longest begins first, so that nothing is
# alone at the end. What takes less, or is not named here, comes behind them, each for itself.
GROUPS = (
    ("model",), ("scripts",), ("kunit",), ("test_xfs_huge", "test_module"), ("test_inject",), ("kunit-module",),
    ("test_xfs", "test_xfs_reflink", "test_observe"), ("test_ext4_huge", "test_ext4", "test_ext4_layout"),
    ("test_xfs_layout", "test_ext4_stress", "test_xfs_stress"), ("test_options",), ("test_devdax", "test_fsdev"),
    ("test_nvdimm",), ("coverage",), ("test_leaks", "test_tools", "test_stock"),
    ("test_ext4_powerfail", "test_xfs_powerfail"), ("fuzz",), ("replay",), ("test_stock_options",),
)
_MARK = re.compile(r"^% (\S+) (?:begins|ends with (\d+))$")


def in_turn(together: Iterable[Suite]) -> list[list[Suite]]:
    """The suites that may run beside others: those that share a guest, in the order in which they are to run."""
    left = {suite.name: suite for suite in together}
    groups = [[left.pop(name) for name in group if name in left] for group in GROUPS]
    return [group for group in groups if group] + [[suite] for suite in left.values()]


def run(group: Sequence[Suite]) -> dict[str, list[ktap.Case]]:
    """Run suites, each to its end, whatever happens to the others."""
    if len(group) == 1:
        return {group[0].name: suites.run(group[0])}
    cases: dict[str, list[ktap.Case]] = {}
    while left := [suite for suite in group if suite.name not in cases]:
        cases |= _Boot(left).run()
    return cases


@dataclass
class _Running:
    """The scenario that runs just now."""

    suite: Suite
    scenario: Scenario
    out: BinaryIO
    since: float
    limit: threading.Timer


class _Boot:
    """One guest, and how the scenarios ended that ran there: one at least."""

    def __init__(self, left: Sequence[Suite]) -> None:
        self._left = {suite.name: (suite, suite.scenario) for suite in left if suite.scenario}
        self._cases: dict[str, list[ktap.Case]] = {}
        self._running: _Running | None = None
        _, first = next(iter(self._left.values()))
        self._console = first.setup.logs / f"{first.name}-and-others.console"
        self._told = 0  # how much of it is in the consoles of scenarios
        self._stop = threading.Event()
        self._limit = 0  # of each, in seconds

    def run(self) -> dict[str, list[ktap.Case]]:
        try:
            self._boot()
        except Fail as fail:
            suite = next(suite for suite, _ in self._left.values() if suite.name not in self._cases)
            self._cases[suite.name] = suites.ended(suite, ktap.Report(problems=[str(fail)]), 0)
        return self._cases

    def _boot(self) -> None:
        vm = next(scenario for _, scenario in self._left.values()).vm()
        self._limit = vm.timeout
        vm.timeout *= len(self._left)
        vm.stop = self._stop
        reader, writer = os.pipe()

        def boot() -> int:
            with os.fdopen(writer, "wb", buffering=0) as out:
                return vm.run(["sh", "-c", self._commands()], self._console, output=out)

        with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb") as lines:
            status = pool.submit(boot)
            for line in lines:
                self._take(vm, line)
            self._close(vm, status.result())

    def _commands(self) -> str:
        """What the guest's shell does. A mark is a line of its own, whatever was printed before it."""
        return "\n".join(f"printf '\\n%% {name} begins\\n'; {shlex.join(scenario.argv)}; "
                         f"printf '\\n%% {name} ends with %d\\n' $?"
                         for name, (_, scenario) in self._left.items())

    def _take(self, vm: guest.Guest, line: bytes) -> None:
        match = _MARK.match(line.decode(errors="replace").rstrip())
        if self._stop.is_set():
            return
        if match and match[2]:
            self._end(vm, int(match[2]))
        elif match:
            self._begin(vm, match[1])
        elif self._running:
            self._running.out.write(line)

    def _begin(self, vm: guest.Guest, name: str) -> None:
        step(f"{name} ...")
        suite, scenario = self._left[name]
        limit = threading.Timer(self._limit, self._stop.set)
        limit.daemon = True
        self._running = _Running(suite, scenario, scenario.tap(vm).open("wb"), time.monotonic(), limit)
        limit.start()

    def _end(self, vm: guest.Guest, status: int) -> None:
        assert self._running
        running, self._running = self._running, None
        running.limit.cancel()
        running.out.close()
        console = self._console.read_bytes()
        part, self._told = console[self._told:], len(console)
        running.scenario.console.write_bytes(part)
        if splat := guest.find_splat(part.decode(errors="replace")):
            step(f"splat: {splat[0].strip()}")
            status = guest.STATUS_SPLAT
        report = running.scenario.judge(running.scenario.tap(vm), status)
        cases = suites.ended(running.suite, report, time.monotonic() - running.since)
        self._cases[running.suite.name] = cases
        if ktap.count(cases, "failed"):
            self._stop.set()

    def _close(self, vm: guest.Guest, status: int) -> None:
        """The guest has ended, with STATUS: that is of whatever ran last."""
        if not self._cases and not self._running:
            self._begin(vm, next(iter(self._left)))
        if self._running:
            self._end(vm, status or guest.STATUS_DIED)
        elif status and not self._stop.is_set():
            name = list(self._cases)[-1]
            report = ktap.Report(problems=[suites.meaning(status, self._console)])
            self._cases[name] += suites.ended(self._left[name][0], report, 0)
