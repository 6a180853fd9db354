# SPDX-License-Identifier: GPL-2.0
"""Which lines of the module each test gets to, and how long it takes: for scripts/mutants.

A test that does not get to a line cannot see a mistake there.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import coverage, module, sandbox
from .counters import Program
from .kernel import Built
from .progress import CHECKOUT, LOGS, run_logged
from .sandbox import Bind

_SUITE = re.compile(r"^#\[kunit_tests\((\w+)\)\]", re.MULTILINE)
_TAKEN = re.compile(r"^# (\w+): ([\d.]+) to ([\d.]+)\s*$", re.MULTILINE)
# Lines by file.
Lines = dict[str, set[int]]


@dataclass
class Reach:
    """What is known of tests that ran without a mistake, and passed."""

    path: Path
    key: str  # of the sources and the tests
    code: Lines = field(default_factory=dict)  # lines that are counted
    tests: dict[str, Lines] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def read(self) -> None:
        """Take what is known if it is of the same sources and tests."""
        if not self.path.exists():
            return
        text = json.loads(self.path.read_text())
        if text["key"] == self.key:
            self.code = _sets(text["code"])
            self.tests = {name: _sets(lines) for name, lines in text["tests"].items()}
            self.seconds = text["seconds"]

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({
            "key": self.key, "seconds": self.seconds, "code": _lists(self.code),
            "tests": {name: _lists(lines) for name, lines in self.tests.items()}}) + "\n")
        partial.replace(self.path)

    def learn(self, name: str, files: Iterable[coverage.File], seconds: float) -> None:
        """What a test has done."""
        found = list(files)
        self.code |= {file.path: set(file.runs) for file in found}
        self.tests[name] = {file.path: {line for line, runs in file.runs.items() if runs} for file in found}
        self.seconds[name] = round(seconds, 1)

    def gets_to(self, name: str, file: str, lines: Iterable[int]) -> bool:
        """Whether a test gets to one of these lines, or nobody can know since they are not counted."""
        counted = set(lines) & self.code.get(file, set())
        return not counted or bool(counted & self.tests[name].get(file, set()))

    def quickest(self, names: Iterable[str], file: str, lines: Iterable[int]) -> list[str]:
        """Those that get there, quickest first. If none does, all: constants are never counted."""
        wanted = list(lines)
        known = sorted(names, key=lambda name: self.seconds[name])
        return [name for name in known if self.gets_to(name, file, wanted)] or known


def kunit_suites() -> list[str]:
    """Of KUnit, by what their sources say."""
    return [name for path in sorted((CHECKOUT / "tests/kunit").glob("*.rs"))
            for name in _SUITE.findall(path.read_text())]


def taken(output: str) -> dict[str, float]:
    """How many seconds each suite took, as tests/kunit/insmod.sh says."""
    return {name: float(ended) - float(begun) for name, begun, ended in _TAKEN.findall(output)}


def dumps(results: Path) -> list[Path]:
    """The counters that a guest has left, in the order in which it did."""
    return sorted(results.glob("counters.*"), key=lambda path: int(path.suffix[1:]))


class Counted:
    """The module with counters, and what tells lines by them."""

    def __init__(self, built: Built, workspace: Path) -> None:
        workspace.mkdir(parents=True, exist_ok=True)
        self._root, self._workspace = built.root, workspace
        self.ko, saver = module.build_coverage(built)
        self.wrapper = (str(CHECKOUT / "tests/coverage/run.sh"), str(saver))
        self._program = Program(built.root, self.ko, workspace)

    def files(self, found: Iterable[Path]) -> list[coverage.File]:
        """How often each line ran, by the counters of one test."""
        profile, log = self._workspace / "test.profdata", LOGS / "mutants-lcov.log"
        self._program.merge(found, profile)
        binds = [sandbox.ro(self.ko.parent), sandbox.rw(self._workspace), Bind(CHECKOUT, module.SOURCE_INSIDE)]
        run_logged(sandbox.command(
            self._root, ["llvm-cov", "export", "--format=lcov", f"--instr-profile={profile}", str(self.ko), "--sources",
                         *(str(module.SOURCE_INSIDE / name) for name in coverage.SOURCES)], binds=binds),
            log, "count lines", quiet=True)
        return coverage.parse_lcov(log.read_text(), module.SOURCE_INSIDE, CHECKOUT)


def _sets(lines: Mapping[str, list[int]]) -> Lines:
    return {file: set(numbers) for file, numbers in lines.items()}


def _lists(lines: Lines) -> dict[str, list[int]]:
    return {file: sorted(numbers) for file, numbers in lines.items() if numbers}
