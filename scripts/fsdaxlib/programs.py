# SPDX-License-Identifier: GPL-2.0
"""Compiles the guest programs of tests/vm.

A source with a main() is a program; the other sources are linked into every program.
"""

import re
from pathlib import Path

from . import sandbox
from .cache import lock
from .progress import BUILD, CHECKOUT, LOGS, run_logged

SOURCES = CHECKOUT / "tests/vm"
_OUT = BUILD / "vm-bin"
_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
_MAIN = re.compile(r"^int\s+main\(", re.MULTILINE)


def build(root: Path) -> Path:
    """Compile what is out of date; return the directory of the programs."""
    _OUT.mkdir(parents=True, exist_ok=True)
    sources = sorted(SOURCES.glob("*.c"))
    programs = [source for source in sources if _MAIN.search(source.read_text())]
    library = [source for source in sources if source not in programs]
    shared = [*library, *SOURCES.glob("*.h")]
    with lock(BUILD / "vm-bin.lock", "another build of the guest programs"):
        for source in programs:
            newest = max(path.stat().st_mtime for path in (source, *shared))
            program = _OUT / source.stem
            if program.exists() and program.stat().st_mtime > newest:
                continue
            partial = program.with_suffix(".partial")
            command = ["gcc", *_FLAGS, "-o", str(partial), str(source), *map(str, library)]
            run_logged(sandbox.command(root, command, cwd=CHECKOUT,
                                       binds=[sandbox.ro(CHECKOUT), sandbox.rw(BUILD)]),
                       LOGS / f"program-{source.stem}.log", f"compile {source.name}")
            partial.rename(program)
        for program in _OUT.iterdir():
            if program.name not in {source.stem for source in programs}:
                program.unlink()
    return _OUT
