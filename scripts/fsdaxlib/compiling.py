# SPDX-License-Identifier: GPL-2.0
"""Whether a series applies, and what it touches and the module compile: without a whole kernel."""

import re
from pathlib import Path

from . import cache, kernel, sandbox, source, toolchain
from .module import SOURCE_INSIDE
from .progress import BUILD, CHECKOUT, LOGS, Fail, run_logged, shown
from .sandbox import Bind

_OUT_INSIDE = Path("/out")
_MIB = 700
STOCK = "stock"
# Without CONFIG_FS_DAX, and what is not built then.
NO_DAX = "nodax"
_ONLY_WITH_DAX = ("drivers/dax/fsdev.o", "fs/dax.o", "fs/fuse/dax.o")
_TOUCHED = re.compile(r"^\+\+\+ b/(\S+\.c)$", re.MULTILINE)
# As clang and gcc say it, and as rustc does.
_COMPLAINT = re.compile(r"^(?:\S+\d: )?(?:warning|error)(?:\[\w+\])?: .*$", re.MULTILINE)


def checkpatch(series: str) -> None:
    """Let the kernel's checkpatch read the patches of a series; Fail if it has something to say."""
    tree = kernel.patched(source.obtain(series))
    tool = [str(kernel.SOURCE_INSIDE / "scripts/checkpatch.pl"), f"--root={kernel.SOURCE_INSIDE}", *CHECKPATCH,
            "--no-signoff"]
    for name, arguments in patch_groups(kernel.patches(series)).items():
        run_logged(sandbox.command(toolchain.ensure(), [*tool, *arguments], cwd=Path("/tmp"),
                                   binds=[Bind(tree, kernel.SOURCE_INSIDE), sandbox.ro(CHECKOUT)]),
                   LOGS / f"checkpatch-{series}-{name}.log", f"checkpatch of patches/linux-{series} ({name})")


def patch_groups(found: list[Path]) -> dict[str, list[str]]:
    """What checkpatch is given for patches: those of lib/test_xarray.c check by XA_BUG_ON() alone."""
    tests = [path for path in found if "+++ b/lib/test_xarray.c" in path.read_text()]
    rest = [path for path in found if path not in tests]
    groups = {"patches": [str(path) for path in rest],
              "tests": ["--ignore=AVOID_BUG", *(str(path) for path in tests)] if tests else []}
    return {name: arguments for name, arguments in groups.items() if arguments}


# What checkpatch is asked everywhere. Signed-off-by is the submitter's to add, and Fixes: cannot be
# found out, or looked up, in a source without history.
CHECKPATCH = ("--strict", "--quiet", "--terse", "--show-types",
              "--ignore=CAMELCASE,FILE_PATH_CHANGES,MISSING_FIXES_TAG,UNKNOWN_COMMIT_ID")


def touched(patches: list[Path]) -> list[str]:
    """The object files of the C files that patches change."""
    found = {name for patch in patches for name in _TOUCHED.findall(patch.read_text())}
    return sorted(name.removesuffix(".c") + ".o" for name in found)


def complaints(log: str) -> list[str]:
    """The warnings and errors that compilers left in a log, a line each."""
    return _COMPLAINT.findall(log)


class Checked:
    """A source, configured as KIND and ready to compile single files: with its series, or as it is for STOCK."""

    def __init__(self, origin: source.Source, kind: str = "check") -> None:
        self._origin, self._kind = origin, kind
        stock = kind.partition("+")[0] == STOCK
        self._tree = origin.tree if stock else kernel.patched(origin)
        self._config = kernel.config(kind)
        name = cache.key(self._tree.parent.name, self._config, toolchain.compilers(toolchain.ensure()))
        self._entry = cache.entry(f"{kind}-{origin.series}-{name}", self._prepare)

    def patches(self) -> None:
        """Compile what the series touches, as far as this kind has it. W=1 may find nothing in it."""
        left_out = _ONLY_WITH_DAX if NO_DAX in self._kind.split("+") else ()
        self.objects([name for name in touched(kernel.patches(self._origin.series)) if name not in left_out],
                     LOGS / f"compile-{self._origin.series}-{self._kind}.log",
                     f"compile what patches/linux-{self._origin.series} touches")

    def objects(self, names: list[str], log: Path, what: str, changed: list[Bind] | None = None) -> None:
        """Compile object files. W=1 may find nothing in them. CHANGED hides files of the source."""
        self._make(self._entry, ["W=1", *names], log, what, changed)
        self._quiet(log)

    def module(self) -> None:
        """Compile the module; there are no symbols to link it with."""
        out = BUILD / f"modules-{self._origin.series}-{self._kind}"
        out.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"module-{self._origin.series}-{self._kind}.log"
        self._make(self._entry, ["W=1", f"M={SOURCE_INSIDE}", f"MO={_OUT_INSIDE}", "KBUILD_MODPOST_WARN=1",
                                 "modules"], log, f"compile the module for Linux {self._origin.release}",
                   [Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True)])
        self._quiet(log)

    def _quiet(self, log: Path) -> None:
        if found := complaints(log.read_text()):
            raise Fail(f"The compiler has {len(found)} complaints, such as '{found[0]}': read {shown(log)}.")

    def _prepare(self, partial: Path) -> None:
        cache.need_space(_MIB, "A configured kernel source")
        kernel.configure(toolchain.ensure(), self._tree, self._config, partial, self._kind)
        # With other flags all would be made again.
        self._make(partial, ["W=1", "modules_prepare"], LOGS / f"{self._kind}-{self._origin.series}-prepare.log",
                   f"prepare Linux {self._origin.release} (up to 2 min)")

    def _make(self, entry: Path, arguments: list[str], log: Path, what: str,
              binds: list[Bind] | None = None) -> None:
        with cache.lock(cache.lock_path(f"{entry.name}.use"), "another check of this series"):
            run_logged(kernel.make(toolchain.ensure(), self._tree, arguments,
                                   [Bind(entry, kernel.KERNEL_INSIDE, writable=True), *(binds or [])],
                                   compiler=kernel.compiler(self._kind)),
                       log, what)
