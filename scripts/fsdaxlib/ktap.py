# SPDX-License-Identifier: GPL-2.0
"""Reads KTAP and TAP: which cases ran, how they ended, and whether all that were planned ran."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

HEADER = re.compile(r"^(?:\[\s*\d+\.\d+\] )?KTAP version 1$")
_TIME = re.compile(r"^\[\s*\d+\.\d+\] ")
_PLAN = re.compile(r"^( *)1\.\.(\d+)\s*$")
_SUBTEST = re.compile(r"^ *# Subtest: (.+)$")
_RESULT = re.compile(r"^( *)(not )?ok (\d+)(?: -)? ?(.*?)(?: # (SKIP|TODO)\b.*)?$", re.IGNORECASE)
# What scenarios and KUnit say of a failure: where, and mostly why.
_WHY = re.compile(r"^ *# (.*(?:\.(?:c|h|rs):\d+\b|hangs$|killed by signal).*)$")
_INDENT = 4


@dataclass(frozen=True)
class Case:
    """One test case; result is passed, failed or skipped, and why what it said first of its failure."""

    name: str
    result: str
    why: str = ""

    def told(self) -> str:
        """The name, and why it failed where that is known."""
        return f"{self.name}: {self.why}" if self.why else self.name


def count(cases: Iterable[Case], result: str) -> int:
    """How many ended so."""
    return sum(case.result == result for case in cases)


@dataclass
class Report:
    """The cases of one run, and what was wrong besides."""

    cases: list[Case] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Level:
    """One nesting depth of a run: what it promised and what came."""

    planned: int | None = None
    seen: int = 0
    name: str = ""
    failed: bool = False


def parse(lines: Iterable[str]) -> Report:
    """Read the lines of one run; every level of it must have a plan line."""
    report = Report()
    levels: dict[int, _Level] = {0: _Level()}
    why = ""
    for raw in lines:
        line = _TIME.sub("", raw.rstrip("\r\n"))
        if match := _PLAN.match(line):
            depth = len(match[1]) // _INDENT
            levels.setdefault(depth, _Level()).planned = int(match[2])
        elif match := _SUBTEST.match(line):
            levels.setdefault((len(line) - len(line.lstrip())) // _INDENT, _Level()).name = match[1]
        elif match := _WHY.match(line):
            why = why or match[1]
        elif match := _RESULT.match(line):
            depth = len(match[1]) // _INDENT
            level = levels.setdefault(depth, _Level())
            level.seen += 1
            level.failed |= bool(match[2])
            children = [levels.pop(deeper) for deeper in sorted(levels, reverse=True) if deeper > depth]
            for child in children:
                _close(child, match[4], report)
            # The line of a suite only repeats what its cases said, unless it failed by itself.
            if not children or (match[2] and not any(child.failed for child in children)):
                parents = [levels[outer].name for outer in sorted(levels) if levels[outer].name]
                report.cases.append(Case(".".join([*parents, match[4] or match[3]]),
                                         _result(match[2], match[5]), why if match[2] else ""))
            why = ""
    for depth in sorted(levels, reverse=True):
        _close(levels[depth], "the run", report)
    if not report.cases:
        report.problems.append("no test case ran")
    return report


def _result(negation: str | None, directive: str | None) -> str:
    if directive and directive.upper() == "SKIP":
        return "skipped"
    return "failed" if negation else "passed"


def _close(level: _Level, name: str, report: Report) -> None:
    name = level.name or name
    if level.planned is None:
        report.problems.append(f"{name}: there is no plan line")
    elif level.planned != level.seen:
        report.problems.append(f"{name}: {level.planned} cases were planned and {level.seen} ran")
