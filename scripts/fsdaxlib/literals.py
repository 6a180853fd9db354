# SPDX-License-Identifier: GPL-2.0
"""Whether what the documents name is there: functions, files, commands, make targets, tracepoints.

What is in literals is looked for in the checkout, the patches included, and then in the kernel source.
Paths, make targets and names with the prefix of the module are looked for in all of the text.
"""

import fnmatch
import functools
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .progress import CHECKOUT

_CODE = ("src", "csrc", "rust", "include", "tests", "bench", "scripts", "patches")
_FILES = ("Makefile", "Kbuild", "dkms.conf", ".gitignore", ".ci/run")
_BINARY = (".pyc", ".svg")
_OF_THE_KERNEL = ("arch/x86", "Documentation", "drivers", "fs", "include", "kernel", "lib", "mm", "tools")
# Where a word of a document may come from; the rest of the kernel is not what they are about.
_SEARCHED = ("arch/x86/include", "arch/x86/kernel", "drivers/dax", "drivers/md", "drivers/nvdimm", "fs", "include",
             "kernel", "lib", "mm", "rust", "scripts", "tools/testing/kunit", "tools/memory-model")
_CRATES = ("alloc", "clippy", "core", "kernel", "rustdoc", "std")
# What neither has: programs, and what the reader is to replace.
_ELSEWHERE = frozenset((
    "b4", "clwb", "clflush", "clflushopt", "movnti", "bpftrace", "bubblewrap", "cp", "dmesg", "insmod", "mmdebstrap",
    "modinfo", "ndctl", "rmmod", "spin", "herd7", "llvm", "xfs_io", "filter_glob", "my_unlock_schedule_lock",
    "linux-fsdax", "PID", "SEED", "SECONDS", "DIR", "python3-sphinx", "reflink"))

_RST = re.compile(r"``(?P<literal>[^`\n]+(?:\n[^`\n]+)?)``")
_MARKDOWN = re.compile(r"(?<!`)`(?P<literal>[^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_TOP = "|".join((*_CODE, *_OF_THE_KERNEL))
_PATH = re.compile(rf"(?<![\w./~$-])(?:\$FSDAX_CHECKOUT/)?(?P<path>(?:{_TOP})/[\w./*\[\]?+-]*[\w*])")
_MAKE = re.compile(r"^make (?P<target>[a-z][\w-]*)")
_OURS = re.compile(r"\brust_fsdax_\w+")
_IDENTIFIER = re.compile(r"(?<!\w)[A-Za-z_]\w*")
_GLOB = re.compile(r"(?<!\w)[A-Za-z_][\w*]*")
# 12 digits of a commit.
_COMMIT = re.compile(r"[0-9a-f]{12,40}")
# break_ENTRIES_BUSY: what the reader is to put in is in capitals.
_PLACEHOLDER = re.compile(r"(?P<before>[a-z0-9_]+_)[A-Z]{2,}\w*|(?P<capitals>[A-Z]+_)X_Y")
_FUNCTION = re.compile(r"(?P<name>[A-Za-z_][\w*]*)!?\(\)")
_RUST_PATH = re.compile(r"(?<![\w:])(?P<path>\w+(?:::\w+)+)")
_OPTION = re.compile(r"(?<!\S)(?P<option>--[a-z][a-z-]*)")
_CASE = re.compile(r'"(?P<name>(?:R\d+|D\d+|power failure:) [^"]+)"')
_STALE = re.compile(r"\b[Ss]ection \d+\b")
_DEFINES = r"\b(?:fn|struct|enum|trait|type|const|static|mod|macro_rules!)\s+{}\b"


@dataclass(frozen=True)
class Problem:
    """Something that a document names and that is not there."""

    place: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.text}"


class Tree:
    """What a checkout has."""

    def __init__(self, top: Path = CHECKOUT) -> None:
        self.top = top
        self.texts: dict[Path, str] = {}
        for name in _CODE:
            for path in sorted((top / name).rglob("*")):
                # This file and its test name what is not there.
                if path.is_file() and path.suffix not in _BINARY and path.stem not in ("literals", "test_literals") \
                        and "__pycache__" not in path.parts:
                    self.texts[path] = path.read_text(errors="replace")
        for name in _FILES:
            if (top / name).is_file():
                self.texts[top / name] = (top / name).read_text()

    @functools.cached_property
    def words(self) -> frozenset[str]:
        found = {word for text in self.texts.values() for word in _IDENTIFIER.findall(text)}
        return frozenset(found | {part for path in self.texts for part in (path.name, path.stem)})

    @functools.cached_property
    def functions(self) -> frozenset[str]:
        """What is defined in Rust or Python, or called in something else: C says a name only if it is there."""
        found: set[str] = set()
        for path, text in self.texts.items():
            if path.suffix == ".rs":
                found.update(re.findall(r"\b(?:fn|macro_rules!)\s+(\w+)", text))
            elif path.suffix == ".py" or text.startswith("#!/usr/bin/env python3"):
                found.update(re.findall(r"\bdef (\w+)", text))
            else:
                found.update(re.findall(r"\b([A-Za-z_]\w*)\s*\(", text))
        return frozenset(found)

    @functools.cached_property
    def targets(self) -> frozenset[str]:
        makefile = self.texts.get(self.top / "Makefile", "")
        rules = re.findall(r"^([a-z][\w ]*):(?!=)", makefile, re.MULTILINE)
        return frozenset(word for rule in rules for word in rule.split())

    def has_path(self, name: str) -> bool:
        return any(True for _ in self.top.glob(name)) if "*" in name else (self.top / name).exists()

    def defines(self, path: str) -> bool:
        """Whether a Rust path of at least two parts leads to something."""
        *_, within, name = path.split("::")
        if path.split("::", maxsplit=1)[0] in _CRATES:
            return True
        defined = re.compile(_DEFINES.format(name))
        rust = {file: text for file, text in self.texts.items() if file.suffix == ".rs"}
        module = [text for file, text in rust.items() if file.stem == within or within in file.parts]
        if module and not within[0].isupper():
            return any(defined.search(text) for text in module)
        kind = re.compile(rf"\b(?:struct|enum|trait|type|impl)\b[^;{{]*\b{within}\b")
        return any(kind.search(text) and re.search(rf"\b{name}\b", text) for text in rust.values())


class Kernel:
    """What a kernel source has of some names. Without a source it has everything."""

    def __init__(self, tree: Path | None) -> None:
        self._tree = tree

    def has_path(self, name: str) -> bool:
        return self._tree is None or ("*" in name and any(True for _ in self._tree.glob(name))) \
            or (self._tree / name).exists()

    def words(self, wanted: Iterable[str]) -> set[str]:
        """Those of the words that are somewhere in the source."""
        wanted = sorted(set(wanted))
        if self._tree is None or not wanted:
            return set(wanted)
        places = [name for name in _SEARCHED if (self._tree / name).exists()]
        found = subprocess.run(["grep", "-rhowF", "-I", *(f"--regexp={word}" for word in wanted), *places],
                               cwd=self._tree, capture_output=True, text=True, errors="replace", check=False)
        return set(found.stdout.split())


def documents(top: Path = CHECKOUT) -> list[Path]:
    return [*sorted(top.glob("*.md")), *sorted((top / "Documentation").glob("*.rst"))]


def check(tree: Tree, kernel: Kernel, paths: Sequence[Path] | None = None) -> list[Problem]:
    """What the documents name and neither the checkout nor the kernel has, in order."""
    problems: list[Problem] = []
    asked: dict[str, list[Problem]] = {}
    for path in paths if paths is not None else documents(tree.top):
        text = path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            problems += (Problem(_shown(path, tree), number, what) for what in _in_line(line, tree, kernel))
        pattern = _RST if path.suffix == ".rst" else _MARKDOWN
        for match in pattern.finditer(text):
            number = text.count("\n", 0, match.start()) + 1
            for what, word in _in_literal(" ".join(match["literal"].split()), tree):
                problem = Problem(_shown(path, tree), number, what)
                if word is None:
                    problems.append(problem)
                else:
                    asked.setdefault(word, []).append(problem)
    known = kernel.words(asked)
    problems += (problem for word, all_of_it in asked.items() if word not in known for problem in all_of_it)
    return sorted(set(problems), key=lambda problem: (problem.place, problem.line, problem.text))


def _shown(path: Path, tree: Tree) -> str:
    return str(path.relative_to(tree.top)) if path.is_relative_to(tree.top) else str(path)


def _in_line(line: str, tree: Tree, kernel: Kernel) -> Iterator[str]:
    """What is wrong with a line, wherever in it that is."""
    for match in _PATH.finditer(line):
        name = match["path"].rstrip(".")
        if line[match.end():].startswith(": "):
            continue  # the subject of a commit
        name = re.sub(r"\.o$", ".c", name)
        if not tree.has_path(name) and not kernel.has_path(name) and "X.Y" not in name:
            yield f"there is no {name}"
    for name in _OURS.findall(line):
        if name not in tree.words and not any(word.startswith(name) for word in tree.words):
            yield f"nothing is called {name}"
    for match in _CASE.finditer(line):
        if not any(match["name"] in text for file, text in tree.texts.items() if "tests" in file.parts):
            yield f"no test is called \"{match['name']}\""
    if found := _STALE.search(line):
        yield f"\"{found[0]}\": no document here has numbered sections"
    if (made := _MAKE.match(line.strip())) and line[:1].isspace() and made["target"] not in tree.targets:
        yield f"there is no make target {made['target']}"


def _in_literal(text: str, tree: Tree) -> Iterator[tuple[str, str | None]]:
    """What is wrong with a literal, each with a word that the kernel may have, or None."""
    if made := _MAKE.match(text):
        if made["target"] not in tree.targets:
            yield f"there is no make target {made['target']}", None
        return
    if text.startswith("scripts/"):
        yield from ((f"no program here knows {match['option']}", None) for match in _OPTION.finditer(text)
                    if not any(f'"{match["option"]}"' in code for code in tree.texts.values())
                    and match["option"] != "--help")
        return
    yield from _names_in(text, tree)


def _names_in(text: str, tree: Tree) -> Iterator[tuple[str, str | None]]:
    """As _in_literal(), of what is no command."""
    rest = text
    for match in _RUST_PATH.finditer(text):
        if not tree.defines(match["path"]):
            yield f"there is no {match['path']}", None
        rest = rest.replace(match["path"], " ")
    for match in _FUNCTION.finditer(rest):
        name = match["name"]
        rest = rest.replace(match[0], " ")
        if name.startswith("_"):  # dax_break_layout(), _final()
            there = any(each.endswith(name) for each in tree.functions)
        else:
            there = _is_there(name, tree.functions)
        if not there:
            yield f"there is no function {name}()", name if name.isidentifier() else None
    if "/" not in rest and not _COMMIT.fullmatch(rest):
        yield from _words_in(rest, tree)


def _words_in(rest: str, tree: Tree) -> Iterator[tuple[str, str | None]]:
    """As _in_literal(), of single words."""
    words = _GLOB.findall(rest)
    for word in words:
        # In a longer literal, a command for instance, only what looks like a name of code.
        if (len(words) > 1 and "_" not in word) or len(word) < 3 or word in _ELSEWHERE:
            continue
        if not _is_there(word, tree.words):
            yield f"nothing is called {word}", word if word.isidentifier() else None


def _is_there(name: str, among: frozenset[str]) -> bool:
    """Whether a name, which may have stars or a placeholder, is among others."""
    if found := _PLACEHOLDER.fullmatch(name):
        name = f"{found['before'] or found['capitals']}*"
    if "*" in name:
        return any(fnmatch.fnmatchcase(each, name) for each in among)
    return name in among
