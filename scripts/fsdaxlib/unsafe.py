# SPDX-License-Identifier: GPL-2.0
"""Audits unsafe Rust: what each use of it rests on, which rules it serves, how much there is.

Each `unsafe` needs a `// SAFETY:` comment in its statement, or a `# Safety` section if it is
a promise that callers make; each file with one needs a line `//! Rules: R2, R3.` that names rules of
Documentation/design.rst, or `//! Rules: none, REASON.` A SAFETY text may name rules of its own. It
names the fact that makes the operation right, and a `# Safety` section what must be so. What is done
with entries, src/fsdax, has neither unsafe code nor C bindings.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .progress import CHECKOUT, Fail

PATTERNS = ("src/**/*.rs", "tests/kunit/**/*.rs")
TREND = Path("Documentation/unsafe.rst")
_DESIGN = Path("Documentation/design.rst")

_TOKEN = re.compile(r"""
    (?P<space>\s+)
  | (?P<doc>///(?!/)[^\n]* | //![^\n]*)
  | (?P<comment>//[^\n]*)
  | (?P<block_comment>/\*)
  | (?P<raw_string>(?:b|c)?r(?P<hashes>\#*)")
  | (?P<string>(?:b|c)?"(?:[^"\\]|\\.)*")
  | (?P<char>b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])')
  | (?P<lifetime>'\w+)
  | (?P<word>(?:r\#)?[^\W\d]\w*)
  | (?P<number>\d\w*)
  | (?P<punctuation>[^\w\s"'])
""", re.VERBOSE | re.DOTALL)
_COMMENT_END = re.compile(r"/\*|\*/")
_OPENING, _CLOSING = "([{", ")]}"
# How a paragraph of a comment begins, as in "// INVARIANT: ...".
_PARAGRAPH = re.compile(r"^([A-Z]+): *")
_HEADING = re.compile(r"^#+ +(.*\S)")
_RULES = re.compile(r"^//! Rules: (.*)$")
_RULE = re.compile(r"\bR\d+\b")
_NO_RULES = re.compile(r"none, .*\S\.")
_SOME_RULES = re.compile(r"R\d+(?:, R\d+)*\.")
_DESIGN_RULE = re.compile(r"^(R\d+)\s", re.MULTILINE)
_TREND_TABLE = re.compile(r"^(=[= ]+\nfile .*\n=[= ]+\n(?:[^=\n].*\n)*all .*\n=[= ]+)$", re.MULTILINE)
_TREND_ROW = re.compile(r"^((?:src|tests)/\S+|all|file) +(.*\S)$")
_NO_FILE = r"\-"
_TREND_CELL = re.compile(r"(\d+)/\d+")

# What has no unsafe code and names no bindings: a floor, or a file of plain Rust.
_SAFE = re.compile(r"src/(?:fsdax(?:/|\.)|mapping/(?:entry|scan)\.|pgmap/order\.)")
# Texts with no fact in them. The fact may follow, then the text needs not begin like that.
_NO_FACT = re.compile(r"(?:As above|Any context|By the requirements? of this function)\b|As \[[^]]*\]\.$")
# Who calls says nothing about what must be so.
_NO_PROMISE = re.compile(r"None\.$|The caller \w+ `\w+`\.$"
                         r"|(?:Only )?(?:to be )?(?:called|Called) (?:by|from|through|for|in|once)\b")

# What callers promise is in the documentation; the rest is argued for in comments.
_DOCUMENTED = ("fn", "trait")


@dataclass(frozen=True)
class Token:
    """A word of Rust, with the first and the last line that it is on."""

    kind: str
    text: str
    line: int
    last: int


@dataclass(frozen=True)
class Use:
    """One use of `unsafe`."""

    line: int
    kind: str  # block, fn, trait, impl, extern, or attribute
    safety: str | None
    rules: tuple[str, ...]


@dataclass
class File:
    """What the audit finds in a file."""

    path: str
    lines: int
    unsafe_lines: int = 0  # those that a block is on
    rules: tuple[str, ...] = ()
    uses: list[Use] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def audit(tree: Path = CHECKOUT) -> list[File]:
    """The files of a checkout."""
    known = frozenset(_DESIGN_RULE.findall((tree / _DESIGN).read_text()))
    paths = sorted(path for pattern in PATTERNS for path in tree.glob(pattern))
    return [audit_text(str(path.relative_to(tree)), path.read_text(), known) for path in paths]


def audit_text(path: str, text: str, known: Iterable[str]) -> File:
    """One file; known are the rules that there are."""
    tokens = list(_tokens(path, text))
    file = File(path, lines=text.count("\n"))
    _read_rules(file, tokens, frozenset(known))
    if _SAFE.match(path):
        file.problems += [f"{path}:{token.line}: This file may not name {token.text}." for token in tokens
                          if token.kind == "word" and token.text in ("unsafe", "bindings")]
    inside: set[int] = set()
    for i, token in enumerate(tokens):
        if token.kind != "word" or token.text != "unsafe":
            continue
        kind = _kind(tokens, i)
        if kind == "type":
            continue
        if kind == "unknown":
            file.problems.append(f"{path}:{token.line}: The audit does not know this use of unsafe.")
            continue
        if kind == "block":
            inside.update(range(token.line, _end(path, tokens, i) + 1))
        safety = _documented(tokens, i) if kind in _DOCUMENTED else _argued(tokens, i)
        if wrong := _wrong_reason(kind, safety):
            file.problems.append(f"{path}:{token.line}: {wrong}.")
        named = tuple(_RULE.findall(safety or ""))
        if strange := [rule for rule in named if rule not in known]:
            file.problems.append(f"{path}:{token.line}: {_DESIGN} has no rule {strange[0]}.")
        file.uses.append(Use(token.line, kind, safety, named or file.rules))
    file.unsafe_lines = len(inside)
    return file


def _wrong_reason(kind: str, safety: str | None) -> str | None:
    """What is wrong with the reason that is given for unsafe code."""
    documented = kind in _DOCUMENTED
    if not safety:
        missing = "section \"# Safety\"" if documented else "comment \"SAFETY:\""
        return f"The unsafe {kind} has no {missing}"
    if documented and _NO_PROMISE.match(safety):
        return "The section \"# Safety\" says who calls, and not what must be so"
    if not documented and _NO_FACT.match(safety):
        return "The comment \"SAFETY:\" names no fact"
    return None


def _read_rules(file: File, tokens: Sequence[Token], known: frozenset[str]) -> None:
    found = [(token.line, match[1]) for token in tokens
             if token.kind == "doc" and (match := _RULES.match(token.text))]
    for line, text in found:
        if _NO_RULES.fullmatch(text):
            continue
        if not _SOME_RULES.fullmatch(text):
            file.problems.append(f"{file.path}:{line}: The rules are not of the form \"R2, R3.\" or "
                                 "\"none, REASON.\"")
        elif strange := [rule for rule in _RULE.findall(text) if rule not in known]:
            file.problems.append(f"{file.path}:{line}: {_DESIGN} has no rule {strange[0]}.")
        else:
            file.rules += tuple(_RULE.findall(text))
    if not found and (uses := [token.line for token in tokens
                               if token.kind == "word" and token.text == "unsafe"]):
        file.problems.append(f"{file.path}:{uses[0]}: A file with unsafe code needs a line "
                             "\"//! Rules: R2, R3.\"")


def _tokens(path: str, text: str) -> Iterator[Token]:
    """The words of a file, comments included."""
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise Fail(f"{path}:{line}: the audit cannot read this.")
        kind, end = str(match.lastgroup), match.end()
        if match["raw_string"]:
            kind, end = "string", _find(path, line, text, f'"{match["hashes"]}', end)
        elif kind == "block_comment":
            kind, end = "comment", _comment_end(path, line, text, end)
            if text.startswith(("/**", "/*!"), at) and not text.startswith("/**/", at):
                kind = "doc"
        word = text[at:end]
        last = line + word.count("\n")
        if kind != "space":
            yield Token(kind, word, line, last)
        at, line = end, last


def _find(path: str, line: int, text: str, what: str, begin: int) -> int:
    found = text.find(what, begin)
    if found < 0:
        raise Fail(f"{path}:{line}: this does not end.")
    return found + len(what)


def _comment_end(path: str, line: int, text: str, at: int) -> int:
    """Behind the end of a comment, in which there may be others."""
    depth = 1
    while depth:
        match = _COMMENT_END.search(text, at)
        if not match:
            raise Fail(f"{path}:{line}: this comment does not end.")
        depth += 1 if match[0] == "/*" else -1
        at = match.end()
    return at


def _kind(tokens: Sequence[Token], i: int) -> str:
    """What the `unsafe` at i is about; "type" is that of a function, which does nothing."""
    words = [token.text for token in tokens[i + 1:i + 16] if token.kind not in ("comment", "doc")]
    match words:
        case ["{", *_]:
            return "block"
        case ["impl" | "trait" as kind, *_]:
            return kind
        case ["(", *_]:
            return "attribute"
        case ["auto", "trait", *_]:
            return "trait"
        case ["extern", abi, "{", *_] if abi.startswith('"'):
            return "extern"
        case ["extern", "{", *_]:
            return "extern"
        case ["fn", "(", *_] | ["extern", "fn", "(", *_] | ["extern", _, "fn", "(", *_]:
            return "type"
        case ["fn", *_] | ["extern", "fn", *_] | ["extern", _, "fn", *_]:
            return "fn"
    return "unknown"


def _end(path: str, tokens: Sequence[Token], i: int) -> int:
    """The last line of the block that begins behind i."""
    depth = 0
    for token in tokens[i:]:
        if token.kind == "punctuation":
            depth += (token.text in _OPENING) - (token.text in _CLOSING)
            if token.text == "}" and depth == 0:
                return token.last
    raise Fail(f"{path}:{tokens[i].line}: this block does not end.")


def _before(tokens: Sequence[Token], i: int) -> list[Token]:
    """The comments before i, in their order, that are about its statement, item, field or arm."""
    found, depth, other, above = [], 0, False, tokens[i].line - 1
    for token in reversed(tokens[:i]):
        if token.kind in ("comment", "doc"):
            # Those in parentheses, and those of another element, are about something else, but for
            # what is right above: the other element may be a parameter of a closure.
            if not depth and (not other or token.last == above):
                found.append(token)
                above = token.line - 1
        elif token.kind != "punctuation":
            pass
        elif token.text in ")]":
            depth += 1
        elif token.text in "([":
            # If it was not closed, what is before it is about the whole.
            depth, other = max(depth - 1, 0), other and depth > 0
        elif not depth and token.text in ";{}":
            break
        elif not depth and token.text == ",":
            other = True
    return found[::-1]


def _argued(tokens: Sequence[Token], i: int) -> str | None:
    """The text of the last SAFETY comment before i."""
    lines = [(token.line + n, line.strip().removeprefix("//").removeprefix("/*").removesuffix("*/"))
             for token in _before(tokens, i) if token.kind == "comment"
             for n, line in enumerate(token.text.split("\n"))]
    text: list[str] | None = None
    current, previous = "", 0
    for number, line in lines:
        line = line.strip()
        if match := _PARAGRAPH.match(line):
            current, line = match[1], line[match.end():]
            if current == "SAFETY":
                text = []
        elif number != previous + 1:
            current = ""
        if current == "SAFETY" and text is not None:
            text.append(line)
        previous = number
    return " ".join(text).strip() if text else None


def _documented(tokens: Sequence[Token], i: int) -> str | None:
    """The text of the section "# Safety" in the documentation before i."""
    text, current = [], ""
    for token in _before(tokens, i):
        if token.kind != "doc":
            continue
        for line in token.text.removeprefix("///").removeprefix("/**").removesuffix("*/").split("\n"):
            line = line.strip().removeprefix("* ")
            if match := _HEADING.match(line):
                current = match[1]
            elif current == "Safety":
                text.append(line)
    return " ".join(" ".join(text).split()) or None


def problems(files: Iterable[File]) -> list[str]:
    """All that is wrong, a sentence each."""
    return [problem for file in files for problem in file.problems]


def report(files: Sequence[File]) -> dict[str, object]:
    """All of it, for JSON."""
    return {"files": [asdict(file) for file in files], "problems": problems(files)}


def table(files: Sequence[File]) -> str:
    """How much there is in each file."""
    head = f"{'file':28}  unsafe lines  lines  share  uses\n"
    total = File("all", sum(file.lines for file in files), sum(file.unsafe_lines for file in files),
                 uses=[use for file in files for use in file.uses])
    return head + "".join(
        f"{file.path:28}  {file.unsafe_lines:12}  {file.lines:5}  "
        f"{file.unsafe_lines / max(file.lines, 1):5.1%}  {len(file.uses):4}\n"
        for file in [*files, total])


def increases(files: Iterable[File], trend: str) -> list[str]:
    """Which files have more unsafe lines than the last column of the trend says."""
    _, rows = _read_trend(trend)
    last = {path: cells[-1] for path, cells in rows.items()}
    told = []
    for file in files:
        match = _TREND_CELL.fullmatch(last.get(file.path, ""))
        known = int(match[1]) if match else 0
        if file.unsafe_lines > known:
            told.append(f"{file.path} has {file.unsafe_lines} unsafe lines, and had {known}: "
                        f"see {TREND}.")
    return told


def with_column(files: Sequence[File], trend: str, name: str) -> str:
    """The document of the trend with a column for these files, or with that column renewed."""
    names, rows = _read_trend(trend)
    total = (sum(file.unsafe_lines for file in files), sum(file.lines for file in files))
    now = {file.path: f"{file.unsafe_lines}/{file.lines}" for file in files}
    now["all"] = f"{total[0]}/{total[1]}"
    if name in names:
        drop = names.index(name)
        names.pop(drop)
        for cells in rows.values():
            cells.pop(drop)
    blank = [_NO_FILE] * len(names)
    lines = [[path, *rows.get(path, blank), now.get(path, _NO_FILE)]
             for path in [*sorted({*rows, *now} - {"all"}), "all"]]
    # What never had unsafe code would only make it longer.
    grid = [["file", *names, name],
            *(line for line in lines if any(cell[0] not in "0\\" for cell in line[1:]))]
    widths = [max(len(cell) for cell in column) for column in zip(*grid, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in grid]
    written = "\n".join([rule, text[0], rule, *text[1:], rule])
    return _replace_table(trend, lambda _: written)


def _replace_table(trend: str, write: Callable[[str], str]) -> str:
    parts = _TREND_TABLE.split(trend)
    if len(parts) != 3:
        raise Fail(f"{TREND} has no table of unsafe lines any more, or several: restore it.")
    return parts[0] + write(parts[1]) + parts[2]


def _read_trend(trend: str) -> tuple[list[str], dict[str, list[str]]]:
    """The names of the columns, and the cells of each file."""
    names: list[str] = []
    rows: dict[str, list[str]] = {}

    def read(text: str) -> str:
        for line in text.split("\n"):
            if match := _TREND_ROW.match(line):
                if match[1] == "file":
                    names.extend(match[2].split())
                else:
                    rows[match[1]] = match[2].split()
        return text

    _replace_table(trend, read)
    return names, rows
