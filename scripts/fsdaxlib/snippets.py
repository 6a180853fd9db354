# SPDX-License-Identifier: GPL-2.0
"""Whether the code that a document shows is literally in the file that the caption names.

That is a file of the checkout, or what a patch leaves of one; the name may have stars. Where a line
is `...`, something is left out. How far the whole is indented does not matter.
"""

import re
import textwrap
from pathlib import Path

from .progress import CHECKOUT

_BLOCK = re.compile(r"^\.\. code-block:: \w+\n {3}:caption: (?P<file>\S+)\n\n(?P<code>(?:(?: {3}.*)?\n)+)",
                    re.MULTILINE)
_CODE = re.compile(r"^\.\. code-block:: c$", re.MULTILINE)
_LEFT_OUT = "..."


def check(top: Path = CHECKOUT) -> list[str]:
    """What is wrong with the code in the documents, a sentence each."""
    return [f"{path.relative_to(top)}:{line}: {problem}" for path in sorted((top / "Documentation").glob("*.rst"))
            for line, problem in _problems(path.read_text(), top)]


def _problems(document: str, top: Path) -> list[tuple[int, str]]:
    found = []
    shown = {match.start(): match for match in _BLOCK.finditer(document)}
    for begin in _CODE.finditer(document):
        line = document.count("\n", 0, begin.start()) + 1
        match = shown.get(begin.start())
        if not match:
            found.append((line, "the code has no caption that names its file."))
            continue
        files = sorted(top.glob(match["file"]))
        if len(files) != 1:
            found.append((line, f"there are {len(files)} files {match['file']}."))
        elif missing := _missing(match["code"], files[0]):
            found.append((line, f"{match['file']} has no lines from '{missing}' on as they are here."))
    return found


def _missing(code: str, file: Path) -> str | None:
    """The first line of what the file does not have, behind what is in front of it in the code."""
    lines = _lines(file)
    at = 0
    for piece in _pieces(code):
        found = next((begin for begin in range(at, len(lines) - len(piece) + 1)
                      if _dedented(lines[begin:begin + len(piece)]) == piece), None)
        if found is None:
            return piece[0]
        at = found + len(piece)
    return None


def _pieces(code: str) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for line in textwrap.dedent(code).strip("\n").split("\n"):
        if line.strip() == _LEFT_OUT:
            pieces.append([])
        else:
            pieces[-1].append(line)
    stripped = ["\n".join(piece).strip("\n").split("\n") for piece in pieces]
    return [_dedented(piece) for piece in stripped if piece != [""]]


def _lines(file: Path) -> list[str]:
    lines = file.read_text().split("\n")
    if file.suffix == ".patch":
        lines = [line[1:] for line in lines if line[:1] in ("+", " ")]
    return [line.expandtabs(8).rstrip() for line in lines]


def _dedented(lines: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")
