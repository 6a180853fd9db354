# SPDX-License-Identifier: GPL-2.0
"""Small mistakes in the text of the module: each is one change of one place, by regular expressions.

A change keeps the number of lines, so that what is compiled has the same line numbers elsewhere. Many are
nonsense to the compiler; scripts/mutants tells these apart.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from . import rusttext

# Where the order of statements is the protocol.
_IN_ORDER = ("src/folio/free.rs", "src/folio/claim.rs", "src/folio/request.rs")
# For figures, messages and tests alone, or what bindgen has made.
_NOT = ("src/ffi/bindings.rs", "src/ffi/compat.rs", "src/ffi/inject.rs", "src/ffi/trace.rs", "src/ffi/warn.rs",
        "src/mapping/counters.rs", "src/provider/debugfs.rs")

# Of what is shown.
_LONGEST = 120

_WAKE = re.compile(r"\.wake\([^()]*(?:\([^()]*\))*\)$")
_MARK = re.compile(r"(?:\b\w+(?:\(\))?\.)+(?:set|clear|mark_for_break)\((?:Mark::\w+)?\)")
_ORDERING = re.compile(r"(?<=[(, ])(?:Acquire|Release|Full)(?=\))")
_BARRIER = re.compile(r"\bsmp_mb\(\);")
_BOUNDS = (
    (re.compile(r"(?<= )<(?= )"), "<="), (re.compile(r"(?<= )<=(?= )"), "<"),
    (re.compile(r"(?<= )>(?= )"), ">="), (re.compile(r"(?<= )>=(?= )"), ">"),
    (re.compile(r" [+-] 1\b(?! <<)"), ""), (re.compile(r"(?<=_add\()1(?=\))"), "0"),
    (re.compile(r"(?<=_sub\()1(?=\))"), "0"),
    (re.compile(r"(?<=\.)first\b(?!\()"), "last"), (re.compile(r"(?<=\.)last\b(?!\()"), "first"),
)
_DROP = re.compile(r"(?<![\w.:])drop(?=\()")
_GIVES_BACK = re.compile(r"\b(?:bindings|safe)::\w*(?:unlock|_put|_del|release|finish_wait)\w*\(")
_SIMPLE = re.compile(r"\s*((?:unsafe \{[^{}]*\}|[^{};])+;)")
_NO_STATEMENT = re.compile(r"(?:return|break|continue|fn|pub|const|static|type|trace::\w+)\b")
_ASSIGNS = re.compile(r" [-+|&^*]?= ")
_REPORT = re.compile(r"(?:warn_on_once!|trace::\w+|pr_\w+!|[\w.:]*\bcount_\w+)\(\s*\);?|drop\([^()]*\);?")
# Each is put in the place of the other one.
_CONSTANTS = (("Left::Idle", "Left::Busy"), ("true", "false"), ("After::Zapped", "After::Removed"),
              ("Spent::Stays", "Spent::Goes"), ("Waited::Settled", "Waited::Revived"),
              ("State::Idle", "State::Draining"))
_EQUAL = re.compile(r"(?<= )[=!]=(?= )")
_LOGIC = re.compile(r"(?<= )(?:&&|\|\|)(?= )|(?<=\n)\s*(?:&&|\|\|)(?= )")


@dataclass(frozen=True)
class Mutant:
    """One change of one file: what is from START to END becomes NEW."""

    file: str
    line: int
    function: str
    operator: str
    start: int
    end: int
    old: str
    new: str
    around: tuple[str, str] = ("", "")  # what is before and behind it in its line, if that is one

    @property
    def change(self) -> str:
        """It in one line, as tests/mutants/survivors names it."""
        before, after = (_shown(self.around[0] + text + self.around[1]) for text in (self.old, self.new))
        return f"{self.operator}: {before} -> {after or 'nothing'}"

    @property
    def lines(self) -> range:
        """Those that change."""
        return range(self.line, self.line + self.old.count("\n") + 1)

    @property
    def title(self) -> str:
        return f"{self.file}:{self.line}: {self.function}: {self.change}"

    def applied(self, text: str) -> str:
        """TEXT with the change, and as many lines as before."""
        lost = self.old.count("\n") - self.new.count("\n")
        return text[:self.start] + self.new + "\n" * lost + text[self.end:]


@dataclass(frozen=True)
class _Change:
    start: int
    end: int
    new: str


@dataclass(frozen=True)
class _Text:
    """A file as the operators see it."""

    path: str
    text: str
    code: str
    statements: list[rusttext.Statement]

    def statement_at(self, at: int) -> rusttext.Statement | None:
        """The innermost statement around a place."""
        around = [found for found in self.statements if found.start <= at < found.end]
        return max(around, key=lambda found: found.start, default=None)

    def is_pattern(self, end: int) -> bool:
        """Whether what ends there is a pattern of a match, or is compared."""
        return bool(re.match(r"(?:\([^()]*\))?[\s)]*(?:=>|\|(?!\|)| if |= )", self.code[end:end + 80]))


def _wakes(it: _Text) -> Iterator[_Change]:
    for found in it.statements:
        bare = it.code[found.start:found.end].rstrip(";")
        if _WAKE.search(bare) and "{" not in bare:
            yield _Change(found.start, found.end, "")
    for match in re.finditer(r"(?<==> )[\w.]+\.wake\(\)(?=,)", it.code):
        yield _Change(match.start(), match.end(), "()")


def _swaps(it: _Text) -> Iterator[_Change]:
    if it.path not in _IN_ORDER:
        return
    places = _in_blocks(it.code)
    for first, second in pairwise(places):
        if first[2] == second[2] and not it.code[first[1]:second[0]].strip():
            between = it.text[first[1]:second[0]]
            yield _Change(first[0], second[1], it.text[second[0]:second[1]] + between + it.text[first[0]:first[1]])


def _in_blocks(code: str) -> list[tuple[int, int, int]]:
    """All simple statements, those with let and unsafe as well: start, end and block."""
    found = []
    blocks: list[int] = []
    for at, letter in enumerate(code):
        if letter == "{":
            blocks.append(at)
        elif letter == "}" and blocks:
            blocks.pop()
        if letter in "{};" and blocks:
            match = _SIMPLE.match(code, at + 1)
            if match and not _NO_STATEMENT.match(match[1]):
                found.append((match.start(1), match.end(1), blocks[-1]))
    return found


def _orders(it: _Text) -> Iterator[_Change]:
    for match in _ORDERING.finditer(it.code):
        if not it.code[:match.start()].endswith("barrier::"):
            yield _Change(match.start(), match.end(), "kernel::sync::atomic::Relaxed")
    for match in _BARRIER.finditer(it.code):
        yield _Change(match.start(), match.end(), "")


def _marks(it: _Text) -> Iterator[_Change]:
    for match in _MARK.finditer(it.code):
        if "Mark::" in match[0] or "mark_for_break" in match[0]:
            yield _Change(match.start(), match.end(), "()")


def _bounds(it: _Text) -> Iterator[_Change]:
    for pattern, new in _BOUNDS:
        for match in pattern.finditer(it.code):
            yield _Change(match.start(), match.end(), new)


def _leaks(it: _Text) -> Iterator[_Change]:
    for match in _DROP.finditer(it.code):
        if not it.code[:match.start()].endswith("fn "):
            yield _Change(match.start(), match.end(), "core::mem::forget")
    for match in _GIVES_BACK.finditer(it.code):
        yield _Change(match.start(), rusttext.closing(it.code, match.end() - 1) + 1, "()")


def _conditions(it: _Text) -> Iterator[_Change]:
    whole = list(rusttext.conditions(it.code))
    for start, end in whole:
        text = it.text[start:end]
        if re.fullmatch(r"!?(?:warn_on_once!|inject::fails)\(\s*\)", it.code[start:end]):
            continue
        yield _Change(start, end, f"!({text})")
        for operator in ("||", "&&"):
            if parts := rusttext.operands(it.code, start, end, operator):
                neutral = "true" if operator == "&&" else "false"
                yield from (_Change(*part, neutral) for part in parts)
                break
    outside = [match for match in [*_EQUAL.finditer(it.code), *_LOGIC.finditer(it.code)]
               if not any(start <= match.start() < end for start, end in whole)]
    other = {"==": "!=", "!=": "==", "&&": "||", "||": "&&"}
    for match in outside:
        word = match[0].strip()
        # Closures without arguments look the same.
        if not (word == "||" and re.search(r"[=(,]$", it.code[:match.start()].rstrip())):
            yield _Change(match.end() - 2, match.end(), other[word])


def _constants(it: _Text) -> Iterator[_Change]:
    for pair in _CONSTANTS:
        for old, new in (pair, pair[::-1]):
            for match in re.finditer(rf"(?<![\w:]){old}\b", it.code):
                compared = re.search(r"(?:[=!]=|\|)$", it.code[:match.start()].rstrip())
                if not compared and not it.is_pattern(match.end()):
                    yield _Change(match.start(), match.end(), new)


def _calls(it: _Text) -> Iterator[_Change]:
    for found in it.statements:
        bare = it.code[found.start:found.end]
        if re.search(r"\w\(", bare) and not _assigns(bare) and not _REPORT.fullmatch(bare):
            yield _Change(found.start, found.end, "")


def _assignments(it: _Text) -> Iterator[_Change]:
    for found in it.statements:
        if _assigns(it.code[found.start:found.end]):
            yield _Change(found.start, found.end, "")


def _assigns(statement: str) -> bool:
    before = _ASSIGNS.split(statement, maxsplit=1)
    return len(before) > 1 and before[0].count("(") == before[0].count(")")


# What is another one's is not made a second time by those that follow.
OPERATORS: dict[str, Callable[[_Text], Iterable[_Change]]] = {
    "wake": _wakes, "swap": _swaps, "order": _orders, "mark": _marks, "bound": _bounds, "leak": _leaks,
    "condition": _conditions, "constant": _constants, "assign": _assignments,
    "call": _calls}


def mutants(path: str, text: str) -> list[Mutant]:
    """All of one file, in the order of the places."""
    code = rusttext.code(text)
    it = _Text(path, text, code, list(rusttext.statements(code)))
    function = rusttext.functions(code)
    found: list[Mutant] = []
    taken: set[tuple[int, int]] = set()
    for operator, changes in OPERATORS.items():
        for change in changes(it):
            place = (_core(code, change.start, change.end))
            if operator == "call" and place in taken:
                continue
            taken.add(place)
            line = text.count("\n", 0, change.start) + 1
            if function[line - 1] != "-":
                found.append(Mutant(path, line, function[line - 1], operator, change.start, change.end,
                                    text[change.start:change.end], change.new,
                                    _around(text, change.start, change.end)))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.operator))


def _around(text: str, start: int, end: int) -> tuple[str, str]:
    if "\n" in text[start:end]:
        return "", ""
    last = text.find("\n", end)
    return text[text.rfind("\n", 0, start) + 1:start], text[end:last if last >= 0 else len(text)]


def _core(code: str, start: int, end: int) -> tuple[int, int]:
    """A place without the semicolon."""
    return start, len(code[:end].rstrip("; \n"))


def files(checkout: Path) -> list[str]:
    """Those that mistakes are made in."""
    found = (str(path.relative_to(checkout)) for path in sorted((checkout / "src").rglob("*.rs")))
    return [name for name in found if name not in _NOT]


def of_module(checkout: Path) -> list[Mutant]:
    """All of the module, whose numbers begin with 1."""
    return [mutant for name in files(checkout) for mutant in mutants(name, (checkout / name).read_text())]


def matches(mutant: Mutant, pattern: str) -> bool:
    """Whether PATTERN is of its operator, its file or its function, or of a part of its title."""
    names = (mutant.operator, mutant.file, Path(mutant.file).name, mutant.function, mutant.title)
    return any(fnmatch.fnmatch(name, pattern) for name in names) or pattern in mutant.title


def _shown(text: str) -> str:
    """It in one line, without comments, and without the middle if that is long."""
    line = " ".join(re.sub(r"//[^\n]*", " ", text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST // 2]} ... {line[-_LONGEST // 4:]}"
