# SPDX-License-Identifier: GPL-2.0
"""What is code in a Rust file that tests run, and where its statements are.

No parser: rustfmt's layout, brackets that match and the few macros of this module are relied on.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPEN, _CLOSE = "([{", ")]}"
_ATTRIBUTE = re.compile(r"#!?\[")
# Items and statements that are there in some builds only, or for tests.
_CONDITIONAL = re.compile(r"#\[cfg\([^\]]*\]")
# Their arguments are for messages, figures and tests.
_REPORTS = re.compile(r"\b(?:warn_on_once!|pr_\w+!|trace::\w+|inject::fails|[\w.:]*\bcount_\w+)\(")
_USE = re.compile(r"(?m)^[ \t]*(?:pub(?:\(\w+\))? )?use [^;]*;")
_CHAR = re.compile(r"b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]+\}|.)|[^\\'\n])'")
_RAW_STRING = re.compile(r'b?r(#*)"')
_FUNCTION = re.compile(r"\bfn (\w+)")
_BRANCH = re.compile(r"^(?:\} )?(?:else\b|if\b|.*=>\s*$)")
_LOOP = re.compile(r"\b(?:loop|while|for)\b")
# What no statement that is an expression begins with.
_NO_EXPRESSION = re.compile(
    r"(?:let|return|break|continue|if|else|match|while|loop|for|use|const|static|fn|pub|impl|struct|enum|trait|type|"
    r"mod|unsafe|extern|where|macro_rules!)(?!\w)")


@dataclass(frozen=True)
class Statement:
    """A statement that is one expression, from START to END in the text, its semicolon included."""

    start: int
    end: int
    block: int  # where the block begins that it is in


def code(text: str) -> str:
    """TEXT with blanks in the place of all that no test would miss: the same length, the same lines."""
    masked = list(_without_literals(text))

    def blank(start: int, end: int) -> None:
        for at in range(start, end):
            if masked[at] != "\n":
                masked[at] = " "

    whole = "".join(masked)
    for match in _CONDITIONAL.finditer(whole):
        blank(match.start(), _end_of_item(whole, match.end()))
    for match in _ATTRIBUTE.finditer(whole):
        blank(match.start(), closing(whole, match.end() - 1) + 1)
    for match in _USE.finditer(whole):
        blank(match.start(), match.end())
    for match in _REPORTS.finditer(whole):
        blank(match.end(), closing(whole, match.end() - 1))
    return "".join(masked)


def closing(text: str, opening: int) -> int:
    """Where the bracket at OPENING is closed."""
    depth = 0
    for at in range(opening, len(text)):
        if text[at] in _OPEN:
            depth += 1
        elif text[at] in _CLOSE:
            depth -= 1
            if not depth:
                return at
    return len(text) - 1


def functions(masked: str) -> list[str]:
    """The function that each line is in, the first line first; "-" outside of all."""
    names = ["-"] * (masked.count("\n") + 1)
    for match in _FUNCTION.finditer(masked):
        body = re.compile(r"[;{]").search(masked, match.end())
        if body and body[0] == "{":
            first, last = (masked.count("\n", 0, at) for at in (match.start(), closing(masked, body.start())))
            names[first:last + 1] = [match[1]] * (last + 1 - first)
    return names


def statements(masked: str) -> Iterator[Statement]:
    """The statements of all functions that are one expression, in order.

    What ends a block counts as well if nothing is made of its value.
    """
    blocks: list[tuple[int, bool]] = []
    for at, letter in enumerate(masked):
        if letter == "{":
            blocks.append((at, _is_unit(masked, at, blocks)))
        if letter in "{};" and blocks:
            if letter == "}":
                blocks.pop()
            if blocks and (found := _statement(masked, at + 1, *blocks[-1])):
                yield found


def conditions(masked: str) -> Iterator[tuple[int, int]]:
    """Where each condition of if, while and of the arms of a match begins and ends, without patterns."""
    for match in re.finditer(r"\b(?:if|while) (?!let\b)", masked):
        depth = 0
        for at in range(match.end(), len(masked)):
            body = masked[at] == "{" and not _begins_value(masked, at)
            if depth == 0 and (body or masked.startswith("=>", at)):
                end = len(masked[:at].rstrip())
                if masked[match.end():end].strip():
                    yield match.end(), end
                break
            depth += (masked[at] in _OPEN) - (masked[at] in _CLOSE)
            if depth < 0:
                break


def operands(masked: str, start: int, end: int, operator: str) -> list[tuple[int, int]]:
    """The parts of an expression that OPERATOR is between, outside of brackets; none if there is one only."""
    parts, depth, begin, at = [], 0, start, start
    while at < end:
        depth += (masked[at] in _OPEN) - (masked[at] in _CLOSE)
        if depth == 0 and masked.startswith(operator, at):
            parts.append((begin, at))
            at += len(operator)
            begin = at
        else:
            at += 1
    if not parts:
        return []
    return [_stripped(masked, *part) for part in [*parts, (begin, end)]]


def _begins_value(masked: str, at: int) -> bool:
    """Whether the block that begins there is a part of an expression, and not what follows one."""
    return masked[:at].rstrip().endswith((" unsafe", "!unsafe"))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _without_literals(text: str) -> str:
    """Comments, and what is in strings and characters, are blanks."""
    out, at = [], 0
    while at < len(text):
        if text.startswith("//", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
        elif text.startswith("/*", at):
            end = _end_of_comment(text, at)
        elif raw := _RAW_STRING.match(text, at) if not _in_word(text, at) else None:
            end = text.index('"' + raw[1], raw.end()) + 1 + len(raw[1])
        elif text[at] == '"':
            end = at + 1
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
        elif char := _CHAR.match(text, at) if not _in_word(text, at) else None:
            end = char.end()
        else:
            out.append(text[at])
            at += 1
            continue
        out.append(re.sub(r"[^\n]", " ", text[at:end]))
        at = end
    return "".join(out)


def _in_word(text: str, at: int) -> bool:
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")


def _end_of_comment(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        if text.startswith(("/*", "*/"), at):
            depth += 1 if text[at] == "/" else -1
            at += 2
            if not depth:
                return at
        else:
            at += 1
    return at


def _end_of_item(masked: str, at: int) -> int:
    """The end of the item, statement, field or arm that begins at AT."""
    depth = 0
    while at < len(masked):
        letter = masked[at]
        if letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
            if depth < 0:
                return at
            if not depth and letter == "}" and not re.match(r"\s*(?:else\b|[.;,?])", masked[at + 1:]):
                return at + 1
        elif letter in ";," and not depth:
            return at + 1
        at += 1
    return at


def _is_unit(masked: str, opening: int, blocks: list[tuple[int, bool]]) -> bool:
    """Whether the value of the block that begins there is ()."""
    header = re.split(r"[;{}]", masked[:opening])[-1].strip()
    if _FUNCTION.search(header):
        return "->" not in header
    if _LOOP.search(header):
        return True
    if header == "unsafe" and masked.startswith(";", closing(masked, opening) + 1):
        return True
    outer = bool(blocks) and blocks[-1][1]
    return outer and (header == "unsafe" or bool(_BRANCH.match(header)))


def _statement(masked: str, at: int, block: int, unit: bool) -> Statement | None:
    start = re.compile(r"\s*").match(masked, at).end()  # type: ignore[union-attr]
    if not re.match(r"[\w*(&]", masked[start:start + 1]) or _NO_EXPRESSION.match(masked, start):
        return None
    depth = 0
    for end in range(start, len(masked)):
        letter = masked[end]
        if not depth and letter in ";,}":
            last = len(masked[:end].rstrip())
            if letter == "," or (letter == "}" and not unit) or masked[last - 1] not in ")?;":
                return None if letter != ";" else Statement(start, end + 1, block)
            return Statement(start, end + 1 if letter == ";" else last, block)
        if not depth and masked.startswith("=>", end):
            return None
        depth += (letter in _OPEN) - (letter in _CLOSE)
    return None
