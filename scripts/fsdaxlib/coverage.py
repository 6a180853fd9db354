# SPDX-License-Identifier: GPL-2.0
"""Which lines of the module ran, and whether it is said why the others did not.

tests/coverage/unreached holds the explanations. They name lines by their text, so that they survive
edits elsewhere:

    [FILE FUNCTION]
    Why no test gets here.
    <tab>a line of the source
    <tab>another one

[FILE FUNCTION sometimes] is about lines that only some runs reach. The one line "..." stands for all
lines of the function. Comments and lines without a word, such as a closing brace, need no explanation.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

GOAL_PERCENT = 97
# In order of the report.
SOURCES = ("src", "rust", "csrc")
_ALL = "..."
_HEADER = re.compile(r"^\[(\S+) (\S+?)( sometimes)?\]$")
_RUST_FUNCTION = re.compile(r"^\s*(?:pub(?:\(\w+\))? )?(?:const )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)")
_C_FUNCTION = re.compile(r"^\w[^;=]*?\b(\w+)\([^;]*$")
_OUTSIDE = "-"


@dataclass(frozen=True)
class File:
    """A source file, and how often each line with code ran."""

    path: str
    text: list[str]
    runs: Mapping[int, int]  # by line number

    @property
    def missed(self) -> list[int]:
        return sorted(line for line, runs in self.runs.items() if not runs)

    @property
    def percent(self) -> float:
        return percent(len(self.runs) - len(self.missed), len(self.runs))

    def functions(self) -> list[str]:
        """For each line, the function that it is in; the first line is number 1."""
        begins = _RUST_FUNCTION if self.path.endswith(".rs") else _C_FUNCTION
        found, name = [_OUTSIDE], _OUTSIDE
        for line in self.text:
            if match := begins.match(line):
                name = match[1]
            found.append(name)
        return found


@dataclass
class Explanation:
    """Why some lines of a function are not reached."""

    file: str
    function: str
    sometimes: bool
    reason: str = ""
    lines: list[str] = field(default_factory=list)


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def parse_lcov(text: str, inside: Path, checkout: Path) -> list[File]:
    """The files of the module in the output of llvm-cov, which knows them below INSIDE."""
    found: dict[str, dict[int, int]] = {}
    path = ""
    for line in text.splitlines():
        word, _, rest = line.partition(":")
        if word == "SF":
            path = rest.removeprefix(f"{inside}/")
        elif word == "DA" and path.split("/")[0] in SOURCES and ".." not in path:
            number, runs = rest.split(",")[:2]
            found.setdefault(path, {})[int(number)] = int(runs)
    return [File(path, (checkout / path).read_text().splitlines(), runs)
            for path, runs in sorted(found.items(),
                                     key=lambda item: (SOURCES.index(item[0].split("/")[0]), item[0]))]


def parse_explanations(text: str) -> tuple[list[Explanation], list[str]]:
    """The explanations, and what is wrong with how they are written."""
    found: list[Explanation] = []
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if match := _HEADER.match(line):
            found.append(Explanation(match[1], match[2], bool(match[3])))
        elif not found:
            problems.append(f"line {number} of the explanations is before the first [FILE FUNCTION]")
        elif line.startswith("\t"):
            found[-1].lines.append(line.strip())
        else:
            found[-1].reason += line + "\n"
    problems += [f"{entry.file}: {entry.function}: the explanation has no {what}" for entry in found
                 for what, there in (("reason", entry.reason), ("lines", entry.lines)) if not there]
    return found, problems


def judge(files: Iterable[File], explanations: Iterable[Explanation]) -> list[str]:
    """What is missed without an explanation, and what is explained for nothing."""
    problems = []
    left = list(explanations)
    for file in files:
        of_line = file.functions()
        for function in dict.fromkeys(of_line):
            mine = [entry for entry in left if (entry.file, entry.function) == (file.path, function)]
            left = [entry for entry in left if entry not in mine]
            lines = [number for number, name in enumerate(of_line) if name == function and number]
            problems += [f"{file.path}{problem}" for problem in _judge_function(file, function, lines, mine)]
    return problems + [f"{entry.file}: {entry.function}: explained, and there is no such function"
                       for entry in left]


def _judge_function(file: File, function: str, lines: list[int],
                    explanations: list[Explanation]) -> list[str]:
    code = {number: file.text[number - 1].strip() for number in lines if number in file.runs}
    missed = {number: text for number, text in code.items() if not file.runs[number]
              and any(letter.isalnum() for letter in text) and not text.startswith("//")}
    wrong = []
    unused: Counter[str] = Counter()
    sometimes: Counter[str] = Counter()
    for entry in explanations:
        if entry.lines == [_ALL]:
            if not entry.sometimes and any(file.runs[number] for number in code):
                wrong.append(f": {function}: explained as never called, and it is")
            missed = {}
        else:
            (sometimes if entry.sometimes else unused).update(entry.lines)
    for number, text in missed.items():
        for explained in (unused, sometimes):
            if explained[text]:
                explained[text] -= 1
                break
        else:
            wrong.append(f":{number}: {function}: not reached, and not explained: {text}")
    present = Counter(code.values())
    wrong += [f": {function}: explained, but reached or gone: {text}" for text in unused.elements()]
    wrong += [f": {function}: explained, but gone: {text}" for text in sometimes
              if text not in present]
    return wrong
