# SPDX-License-Identifier: GPL-2.0
"""Compiles the guest programs of tests/vm, tests/fuzz and bench, and a selftest of the kernel.

A source with a main() is a program. The other sources of its directory and those of tests/vm are
linked into it. A *_preload.c is a library for LD_PRELOAD.
"""

import re
from pathlib import Path

from . import sandbox
from .cache import lock
from .progress import BUILD, CHECKOUT, LOGS, run_logged

SOURCES = CHECKOUT / "tests/vm"
_PLACES = (SOURCES, CHECKOUT / "tests/fuzz", CHECKOUT / "bench")
_OUT = BUILD / "vm-bin"
_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
_LIBRARY_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
_PRELOAD = "_preload"
# The kernel's own test of lib/test_hmm.c, of its source.
_HMM = "hmm-tests"
_HMM_DIRECTORY = Path("tools/testing/selftests/mm")
_HMM_SOURCES = (f"{_HMM}.c", "vm_util.c", "hugepage_settings.c")
_HMM_FLAGS = ["-O2", "-w", "-static", "-pthread", "-D_GNU_SOURCE"]
_MAIN = re.compile(r"^int\s+main\(", re.MULTILINE)


def build(root: Path, tree: Path) -> Path:
    """Compile what is out of date, with what is of the kernel source TREE; return where it is."""
    _OUT.mkdir(parents=True, exist_ok=True)
    sources = [source for place in _PLACES for source in sorted(place.glob("*.c"))]
    programs = [source for source in sources
                if _MAIN.search(source.read_text()) or source.stem.endswith(_PRELOAD)]
    headers = [header for place in _PLACES for header in place.glob("*.h")]
    with lock(BUILD / "vm-bin.lock", "another build of the guest programs"):
        for source in programs:
            flags, library = _FLAGS, [other for other in sources if other not in programs
                                      and other.parent in (SOURCES, source.parent)]
            if source.stem.endswith(_PRELOAD):
                flags, library = _LIBRARY_FLAGS, []
            newest = max(path.stat().st_mtime for path in (source, *library, *headers))
            program = _OUT / source.stem
            if program.exists() and program.stat().st_mtime > newest:
                continue
            partial = program.with_suffix(".partial")
            command = ["gcc", *flags, "-o", str(partial), str(source), *map(str, library)]
            run_logged(sandbox.command(root, command, cwd=CHECKOUT,
                                       binds=[sandbox.ro(CHECKOUT), sandbox.rw(BUILD)]),
                       LOGS / f"program-{source.stem}.log", f"compile {source.name}")
            partial.rename(program)
        _hmm_tests(root, tree)
        for program in _OUT.iterdir():
            if program.name not in {_HMM, f"{_HMM}.of", *(source.stem for source in programs)}:
                program.unlink()
    return _OUT


def _hmm_tests(root: Path, tree: Path) -> None:
    """Compile the selftest, once for each tree."""
    program, made_of = _OUT / _HMM, _OUT / f"{_HMM}.of"
    if program.exists() and made_of.exists() and made_of.read_text() == str(tree):
        return
    made_of.unlink(missing_ok=True)
    inside = Path("/src/linux")
    command = ["gcc", *_HMM_FLAGS, "-I..", "-I.", f"-I{inside}", "-isystem", f"{inside}/tools/include/uapi",
               "-o", str(program), *_HMM_SOURCES]
    run_logged(sandbox.command(root, command, cwd=inside / _HMM_DIRECTORY,
                               binds=[sandbox.Bind(tree, inside), sandbox.rw(BUILD)]),
               LOGS / f"program-{_HMM}.log", f"compile {_HMM} of the kernel")
    made_of.write_text(str(tree))
