# SPDX-License-Identifier: GPL-2.0
"""Wrong programs, which the types of the module refuse: tests/compile-fail.

Each line with a mark `//~ CODE` must have the error with this code, and no other line may have one.
"""

import re

from .progress import CHECKOUT

FILE = CHECKOUT / "tests/compile-fail/mod.rs"

_MARK = re.compile(r"//~ (E\d{4})$")
_ERROR = re.compile(r"^error(?:\[(E\d{4})\])?: (.*)\n +--> (\S+?):(\d+):\d+$", re.MULTILINE)


def expected(text: str) -> set[tuple[int, str]]:
    """The lines of a text that have a mark, and their codes."""
    return {(number, match[1]) for number, line in enumerate(text.splitlines(), 1)
            if (match := _MARK.search(line))}


def problems(text: str, said: str) -> list[str]:
    """What the compiler says of the programs of a text that it should not, and the other way round."""
    found = {(int(line), code) for code, _, path, line in _ERROR.findall(said) if path.endswith("compile-fail/mod.rs")}
    strange = [f"{path}:{line}: {what}" for _, what, path, line in _ERROR.findall(said)
               if not path.endswith("compile-fail/mod.rs")]
    wanted = expected(text)
    return ([f"line {line}: this compiles, and must not: {code}." for line, code in sorted(wanted - found)]
            + [f"line {line}: this has the error {code or 'of no number'}." for line, code in sorted(found - wanted)]
            + strange + ([] if wanted else ["There is no program that must not compile."]))
