# SPDX-License-Identifier: GPL-2.0
"""Compiles the guest programs of tests/vm, tests/fuzz and bench, and a selftest of the kernel.

A source with a main() is a program. The other sources of its directory and those of tests/vm are
linked into it. A *_preload.c is a library for LD_PRELOAD.
"""

import re
from pathlib import Path

from . import arm64, sandbox
from .cache import lock
from .progress import BUILD, CHECKOUT, LOGS, run_logged

SOURCES = CHECKOUT / "tests/vm"
# The benchmark counts instructions of x86.
_PLACES = {"amd64": (SOURCES, CHECKOUT / "tests/fuzz", CHECKOUT / "bench"), arm64.KIND: (SOURCES,)}
_OUT = {"amd64": BUILD / "vm-bin", arm64.KIND: BUILD / f"vm-bin-{arm64.KIND}"}
_SYSROOT_INSIDE = Path("/sysroot")
_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
_LIBRARY_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
_PRELOAD = "_preload"
# The kernel's own test of lib/test_hmm.c, of its source.
_HMM = "hmm-tests"
_HMM_DIRECTORY = Path("tools/testing/selftests/mm")
_HMM_SOURCES = (f"{_HMM}.c", "vm_util.c", "hugepage_settings.c")
_HMM_FLAGS = ["-O2", "-w", "-static", "-pthread", "-D_GNU_SOURCE"]
_MAIN = re.compile(r"^int\s+main\(", re.MULTILINE)


def build(root: Path, tree: Path, sysroot: Path | None = None) -> Path:
    """Compile what is out of date, with what is of the kernel source TREE; return where it is.

    With SYSROOT, for the architecture that is arm64.KIND.
    """
    architecture = arm64.KIND if sysroot else "amd64"
    out, places = _OUT[architecture], _PLACES[architecture]
    out.mkdir(parents=True, exist_ok=True)
    sources = [source for place in places for source in sorted(place.glob("*.c"))]
    programs = [source for source in sources
                if _MAIN.search(source.read_text()) or source.stem.endswith(_PRELOAD)]
    headers = [header for place in places for header in place.glob("*.h")]
    compiler = arm64.compiler(str(_SYSROOT_INSIDE)) if sysroot else ["gcc"]
    binds = [sandbox.ro(CHECKOUT), sandbox.rw(BUILD), *([sandbox.Bind(sysroot, _SYSROOT_INSIDE)] if sysroot else [])]
    with lock(out.with_name(f"{out.name}.lock"), "another build of the guest programs"):
        for source in programs:
            flags, library = _FLAGS, [other for other in sources if other not in programs
                                      and other.parent in (SOURCES, source.parent)]
            if source.stem.endswith(_PRELOAD):
                flags, library = _LIBRARY_FLAGS, []
            newest = max(path.stat().st_mtime for path in (source, *library, *headers))
            program = out / source.stem
            if program.exists() and program.stat().st_mtime > newest:
                continue
            partial = program.with_suffix(".partial")
            command = [*compiler, *flags, "-o", str(partial), str(source), *map(str, library)]
            run_logged(sandbox.command(root, command, cwd=CHECKOUT, binds=binds),
                       LOGS / f"program-{source.stem}.log", f"compile {source.name} for {architecture}")
            partial.rename(program)
        if not sysroot:
            _hmm_tests(root, tree)
        for program in out.iterdir():
            if program.name not in {_HMM, f"{_HMM}.of", *(source.stem for source in programs)}:
                program.unlink()
    return out


def _hmm_tests(root: Path, tree: Path) -> None:
    """Compile the selftest, once for each tree."""
    program, made_of = _OUT["amd64"] / _HMM, _OUT["amd64"] / f"{_HMM}.of"
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
