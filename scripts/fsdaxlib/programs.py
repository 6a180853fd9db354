# SPDX-License-Identifier: GPL-2.0
"""Compiles the guest programs of tests/vm, tests/fuzz and bench, and a selftest of the kernel.

A source with a main() is a program. The other sources of its directory and those of tests/vm are
linked into it. A *_preload.c is a library for LD_PRELOAD.
"""

import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import arm64, sandbox
from .cache import lock
from .progress import BUILD, CHECKOUT, LOGS, run_logged, shown
from .sandbox import Bind

SOURCES = CHECKOUT / "tests/vm"
# The benchmark counts instructions of x86.
_PLACES = {"amd64": (SOURCES, CHECKOUT / "tests/fuzz", CHECKOUT / "bench"), arm64.KIND: (SOURCES,)}
_OUT = {"amd64": BUILD / "vm-bin", arm64.KIND: BUILD / f"vm-bin-{arm64.KIND}"}
_SYSROOT_INSIDE = Path("/sysroot")
_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
_LINK_FLAGS = ["-static"]
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
    preloads = [source for source in sources if source.stem.endswith(_PRELOAD)]
    programs = [source for source in sources if _MAIN.search(source.read_text())]
    compiler = arm64.compiler(str(_SYSROOT_INSIDE)) if sysroot else ["gcc"]
    tools = _Tools(root, compiler, architecture,
                   [sandbox.ro(CHECKOUT), sandbox.rw(BUILD), *([Bind(sysroot, _SYSROOT_INSIDE)] if sysroot else [])])
    with lock(out.with_name(f"{out.name}.lock"), "another build of the guest programs"):
        objects = {source: found for place in places
                   for source, found in tools.objects(place, [source for source in sources if source.parent == place
                                                              and source not in preloads]).items()}
        for source in programs:
            library = [objects[other] for other in objects if other not in programs
                       and other.parent in (SOURCES, source.parent)]
            tools.link(source, [*_FLAGS, *_LINK_FLAGS], [objects[source], *library])
        for source in preloads:
            tools.link(source, _LIBRARY_FLAGS, [source])
        if not sysroot:
            _hmm_tests(root, tree)
        for program in out.iterdir():
            if program.name not in {_HMM, f"{_HMM}.of", *(source.stem for source in programs + preloads)}:
                program.unlink()
    return out


@dataclass(frozen=True)
class _Tools:
    """The compiler of an architecture, and where it works."""

    root: Path
    compiler: list[str]
    architecture: str
    binds: list[Bind]

    def objects(self, place: Path, sources: list[Path]) -> dict[Path, Path]:
        """Compile those sources of a directory that are out of date; return the object of each."""
        out = _OUT[self.architecture]
        directory = out.with_name(f"{out.name}-objects") / place.name
        partial = directory.with_name(f"{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for made in (directory, partial):
            made.mkdir(parents=True, exist_ok=True)
        found = {source: directory / f"{source.stem}.o" for source in sources}
        # All of them may be included by all sources. This file has the flags.
        shared = [Path(__file__), *SOURCES.glob("*.h"), *place.glob("*.h")]
        stale = [source for source in sources if not _is_newer(found[source], [source, *shared])]
        # As many at a time as there are CPUs, of about the same size.
        stale.sort(key=lambda source: source.stat().st_size)
        jobs = len(os.sched_getaffinity(0))
        shares = [share for n in range(jobs) if (share := stale[n::jobs])]

        def compile_share(number: int) -> None:
            command = [*self.compiler, *_FLAGS, "-c", *map(str, shares[number])]
            run_logged(sandbox.command(self.root, command, cwd=partial, binds=self.binds),
                       LOGS / f"program-{place.name}-{number}.log",
                       f"compile {shown(place)} for {self.architecture}, part {number + 1} of {len(shares)}")

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(compile_share, range(len(shares))))
        for source in stale:
            (partial / found[source].name).rename(found[source])
        return found

    def link(self, source: Path, flags: list[str], parts: list[Path]) -> None:
        """Make the program that is named after a source, unless it is newer than its parts."""
        program = _OUT[self.architecture] / source.stem
        if _is_newer(program, parts):
            return
        partial = program.with_suffix(".partial")
        command = [*self.compiler, *flags, "-o", str(partial), *map(str, parts)]
        run_logged(sandbox.command(self.root, command, cwd=CHECKOUT, binds=self.binds),
                   LOGS / f"program-{source.stem}.log", f"link {source.stem} for {self.architecture}", quiet=True)
        partial.rename(program)


def _is_newer(made: Path, parts: Iterable[Path]) -> bool:
    return made.exists() and made.stat().st_mtime > max(part.stat().st_mtime for part in parts)


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
