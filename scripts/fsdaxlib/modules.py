# SPDX-License-Identifier: GPL-2.0
"""The files of the module as a graph: who uses whom, on which floor it is, how long it is.

A floor is a file of src/ and the directory of the same name. It uses lower floors only. The file
of a floor says what others may use of it, by `pub(crate) use`, which is no use of its own; the
files of a floor use each other without a circle.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .progress import CHECKOUT

# The lowest first.
FLOORS = ("ffi", "pgmap", "folio", "mapping", "fsdax", "provider", "rust_fsdax_main")
LONGEST_FILE = 800
LONGEST_FUNCTION = 60

_SOURCES = Path("src")
_COMMENT = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"')
_TEST_ONLY = re.compile(r"#\[cfg\(RUST_FSDAX_KUNIT\)\]\n[^;{]*(?:\{\n(?:[^\n]*\n)*?\};|;)")
_FACADE = re.compile(r"^pub\(crate\) use (?!crate\b|super\b)[^;]*;", re.MULTILINE)
_USE = re.compile(r"\buse ((?:crate|super)\b[^;]*);")
_PATH = re.compile(r"\b(?:crate|super)(?:::\w+)+")
_INLINE = re.compile(r"^(?:pub\(\w+\) )?mod \w+ \{\n.*?^\}", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+|::|[{},]")
_FN = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Function:
    """A function and how many lines it has."""

    path: str
    line: int
    name: str
    lines: int


@dataclass(frozen=True)
class Graph:
    """What is known of the files, each by its path below src/, without the suffix."""

    uses: Mapping[str, frozenset[str]]
    lines: Mapping[str, int]
    functions: tuple[Function, ...]

    def floors(self) -> list[list[str]]:
        """The files of each floor, each behind those that it uses."""
        return [[name for name in self._sorted() if floor(name) == of] for of in FLOORS]

    def _sorted(self) -> list[str]:
        done: list[str] = []

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in done or name in above:
                return
            for used in sorted(self.uses[name]):
                visit(used, (*above, name))
            done.append(name)

        for name in sorted(self.uses):
            visit(name, ())
        return done


def floor(name: str) -> str:
    """The floor that a file is on."""
    return name.split("/", maxsplit=1)[0]


def graph(tree: Path = CHECKOUT) -> Graph:
    """The files of a checkout."""
    root = tree / _SOURCES
    return graph_of({str(path.relative_to(root).with_suffix("")): path.read_text()
                     for path in sorted(root.glob("**/*.rs"))})


def graph_of(texts: Mapping[str, str]) -> Graph:
    """The graph of files, given as names and texts."""
    uses = {name: frozenset(_used(name, text, texts)) - {name} for name, text in texts.items()}
    return Graph(uses, {name: text.count("\n") for name, text in texts.items()},
                 tuple(function for name, text in texts.items() for function in _functions(name, text)))


def _used(name: str, text: str, names: Iterable[str]) -> Iterator[str]:
    known = frozenset(names)
    text = _TEST_ONLY.sub("", _COMMENT.sub(lambda match: " " * len(match[0]), text))
    # To a module in a file, the file is what is above.
    above = f"crate::{name.replace('/', '::')}::"
    text = _INLINE.sub(lambda match: re.sub(r"(?<!::)\bsuper::", above, match[0]), text)
    text = _FACADE.sub("", text)
    paths = [path for match in _USE.finditer(text) for path in _paths(match[1])]
    text = _USE.sub("", text)
    paths += [match[0].split("::") for match in _PATH.finditer(text)]
    # A floor may name its own files without more.
    paths += [["crate", name, match[1]] for match in re.finditer(r"(?<![\w:])(\w+)::", text)
              if f"{name}/{match[1]}" in known]
    for path in paths:
        if (found := _resolved(name, path, known)) and found != "kunit":
            yield found


def _paths(tree: str) -> Iterator[list[str]]:
    """The paths of a tree of `use`."""
    words = _WORD.findall(tree)
    begun: list[list[str]] = [[]]
    path: list[str] = []
    for word in words:
        if word == "{":
            begun.append(path)
        elif word in ",}":
            if path != begun[-1]:
                yield path
            path = begun[-1]
            if word == "}":
                begun.pop()
                # What is behind it begins at the outer brace; the whole was given back already.
                path = begun[-1]
        elif word != "::":
            path = [*path, word]
    if path and path != begun[-1]:
        yield path


def _resolved(name: str, path: list[str], known: frozenset[str]) -> str | None:
    """The file that a path leads to: the longest that is one, or what the file of a floor gives."""
    at: list[str] = [] if path[0] == "crate" or "/" not in name else name.split("/")
    for word in path:
        if word == "super":
            at = at[:-1]
        elif word != "crate":
            at = [*at, word]
    while at:
        if "/".join(at) in known:
            return "/".join(at)
        at = at[:-1]
    return None


def _functions(name: str, text: str) -> Iterator[Function]:
    for match in _FN.finditer(text):
        end = re.compile(rf"^{match[1]}\}}$", re.MULTILINE).search(text, match.end())
        # One without a body is a declaration.
        if end and ";" not in text[match.end():text.find("{", match.end())].rsplit("\n", maxsplit=1)[-1]:
            line = text.count("\n", 0, match.start()) + 1
            yield Function(name, line, match[2], text.count("\n", 0, end.start()) + 2 - line)


def problems(found: Graph) -> list[str]:
    """All that is wrong, a sentence each."""
    told = []
    for name, used in found.uses.items():
        if floor(name) not in FLOORS:
            told.append(f"src/{name}.rs: it is on none of the floors {', '.join(FLOORS)}.")
            continue
        told += [f"src/{name}.rs: it uses {other}, which is on a higher floor." for other in sorted(used)
                 if floor(other) in FLOORS and FLOORS.index(floor(other)) > FLOORS.index(floor(name))]
    told += [f"src/{circle[0]}.rs: it uses itself, by {', '.join(circle[1:]) or 'itself'}."
             for circle in circles(found)]
    told += [f"src/{name}.rs: it has {lines} lines, and may have {LONGEST_FILE}."
             for name, lines in found.lines.items() if lines > LONGEST_FILE]
    told += [f"src/{function.path}.rs:{function.line}: {function.name}() has {function.lines} lines, and may "
             f"have {LONGEST_FUNCTION}." for function in found.functions if function.lines > LONGEST_FUNCTION]
    return told


def circles(found: Graph) -> list[list[str]]:
    """The files that use each other, each circle once."""
    reach = {name: _reached(found, name) for name in found.uses}
    told: list[list[str]] = []
    for name in sorted(found.uses):
        if name in reach[name] and not any(name in circle for circle in told):
            told.append([name, *(other for other in sorted(reach[name]) if other != name and name in reach[other])])
    return told


def _reached(found: Graph, name: str) -> frozenset[str]:
    seen: set[str] = set()
    left = [name]
    while left:
        for used in found.uses.get(left.pop(), frozenset()):
            if used not in seen:
                seen.add(used)
                left.append(used)
    return frozenset(seen)
