# SPDX-License-Identifier: GPL-2.0
"""Kernel source with our series, and kernels built from it."""

import functools
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import cache, sandbox, source, toolchain
from .progress import CHECKOUT, LOGS, DiskFull, Fail, run_logged, shown, step
from .sandbox import Bind

KINDS = ("plain", "debug", "kcsan", "stock", "gcc", "kcore", "arm64")
# What everything needs but the hunt for data races, the comparison with no series at all, the
# other compiler, the one that drgn reads and the other architecture.
USUAL_KINDS = KINDS[:2]
# With the module, on the machine that all programs are compiled for.
TESTED_KINDS = ("plain", "debug", "kcsan", "gcc")
_FRAGMENTS = CHECKOUT / "scripts/kconfig"
# Those that take away what others of the same kernel depend on.
_LESS = {"arm64", "nodax"}
# What has rustc instrument for KCSAN: Kbuild gives it to the module, we to the crates of the kernel.
_KCSAN_FLAGS = CHECKOUT / "rust/kcsan.rustflags"
# Said apart, since a kernel with KCSAN_WEAK_MEMORY wants the calls.
_KCSAN_NO_ENTRY = "-Cllvm-args=-tsan-instrument-func-entry-exit=0"
_OPTION = re.compile(r"(?:# )?(CONFIG_\w+)[= ]")

# Where the sandbox shows things. These paths do not depend on the cache or the checkout, so that
# ccache and make find what another checkout has built.
SOURCE_INSIDE = Path("/src/linux")
KERNEL_INSIDE = Path("/kernel")
CCACHE_INSIDE = Path("/ccache")
COMPILER = Path(__file__).with_name("compiler")
_COMPILERS_INSIDE = Path("/compilers")
# Which headers an object depends on the compiler says: to run the preprocessor for that costs as much
# as a third of all compiling. The file compiler keeps away what this does not find.
CCACHE = {"CCACHE_DIR": str(CCACHE_INSIDE), "CCACHE_MAXSIZE": "5G", "CCACHE_DEPEND": "1",
          "PATH": f"{_COMPILERS_INSIDE}:{sandbox.PATH}"}

_KERNEL_MIB = {"plain": 800, "debug": 2200, "kcsan": 1700, "stock": 800, "gcc": 800, "kcore": 800, "arm64": 900}
_MINUTES = {"plain": 13, "debug": 15, "kcsan": 15, "stock": 13, "gcc": 13, "kcore": 13, "arm64": 13}
# The image that a guest boots, as make calls it, and where it is.
_IMAGES = {"arm64": ("Image", "arch/arm64/boot/Image")}
_USUAL_IMAGE = ("bzImage", "arch/x86/boot/bzImage")


@dataclass(frozen=True)
class Built:
    """A finished kernel of the cache."""

    kind: str
    root: Path  # the toolchain
    origin: source.Source
    tree: Path  # the source with the series, if the kernel has it
    entry: Path

    @property
    def name(self) -> str:
        """Tells it from all others that one checkout uses."""
        return f"{self.origin.series}-{self.kind}"

    @property
    def image(self) -> Path:
        return self.entry / "build" / _IMAGES.get(self.kind, _USUAL_IMAGE)[1]

    @property
    def modules(self) -> Path:
        return self.entry / "root/lib/modules"

    def make(self, arguments: Iterable[str], binds: Iterable[Bind], env: dict[str, str]) -> list[str]:
        """The command that runs make for something outside this kernel."""
        return make(self.root, self.tree, arguments, env=env, compiler=compiler(self.kind),
                    binds=[Bind(self.entry, KERNEL_INSIDE), *binds])


def compiler(kind: str) -> list[str]:
    """The arguments of make that choose the compiler of a kernel of this kind, and what it compiles for."""
    # One clang compiles for all architectures.
    return [*([] if kind == "gcc" else ["LLVM=1"]), *(["ARCH=arm64"] if "arm64" in kind.split("+") else [])]


def make(root: Path, tree: Path, arguments: Iterable[str], binds: Iterable[Bind],
         env: dict[str, str] | None = None, compiler: Iterable[str] = ("LLVM=1",)) -> list[str]:
    """The command that runs the kernel's make with our toolchain in build directory /kernel/build."""
    jobs = len(os.sched_getaffinity(0))
    return sandbox.command(
        root, ["make", *compiler, f"O={KERNEL_INSIDE}/build", f"-j{jobs}", *arguments],
        cwd=SOURCE_INSIDE, env={**CCACHE, **(env or {})},
        binds=[Bind(tree, SOURCE_INSIDE), *compilers(), *binds])


def compilers() -> list[Bind]:
    """What CCACHE names inside: the cache of objects, and the compilers that use it."""
    objects = cache.directory() / "ccache"
    objects.mkdir(exist_ok=True)
    return [Bind(objects, CCACHE_INSIDE, writable=True),
            *(Bind(COMPILER, _COMPILERS_INSIDE / name) for name in ("clang", "gcc"))]


def patches(series: str) -> list[Path]:
    """The patches of a series, in order."""
    return sorted(path for path in (source.PATCHES / f"linux-{series}").glob("*.patch")
                  if not path.name.startswith("0000-"))


def _diff(patch: Path) -> str:
    """What a patch changes; its mail header does not make another kernel."""
    text = patch.read_text()
    return text[text.index("diff --git "):]


def patched(origin: source.Source) -> Path:
    """A source with its series applied."""
    return cache.entry(_patched_name(origin), functools.partial(_make_patched, origin)) / "linux"


def cached_patched(origin: source.Source) -> Path | None:
    """A source with its series applied, if it is in the cache."""
    tree = cache.directory() / _patched_name(origin) / "linux"
    return tree if tree.exists() else None


def _patched_name(origin: source.Source) -> str:
    name = cache.key(origin.entry.name, *(_diff(patch) for patch in patches(origin.series)))
    return f"linux-{origin.release}-{name}"


def source_tree() -> Path:
    """The patched source that this run builds from."""
    return patched(source.chosen())


def ensure(kind: str) -> Built:
    """A kernel of this kind, built if it is not there yet."""
    # What the user got wrong is said before anything is fetched.
    origin, root = source.chosen(), toolchain.ensure()
    tree = origin.tree if kind == "stock" else patched(origin)
    wanted = config(kind)
    name = cache.key(tree.parent.name, wanted, kind, toolchain.compilers(root), *rustflags(kind))
    entry = cache.entry(f"kernel-{origin.series}-{kind}-{name}",
                        functools.partial(_make_kernel, kind, root, tree, origin.release, wanted))
    return Built(kind, root, origin, tree, entry)


def _make_patched(origin: source.Source, partial: Path) -> None:
    root = toolchain.ensure()
    tree = partial / "linux"
    shutil.rmtree(tree, ignore_errors=True)
    try:
        # Hard links are safe: git replaces the files that it patches.
        cache.copy_tree(origin.tree, tree, link=True)
        step(f"apply {shown(source.PATCHES)}/linux-{origin.series} to Linux {origin.release}")
        for patch in patches(origin.series):
            apply(root, tree, patch, origin.release)
    except Fail as fail:
        shutil.rmtree(partial)
        if not isinstance(fail, DiskFull):
            source.forget(origin)
        raise


def apply(root: Path, tree: Path, patch: Path, release: str) -> None:
    """Apply a patch to a tree, which need have no more than the files that it changes."""
    def refused(log: str) -> str:
        files = dict.fromkeys(re.findall(r"^error: (?:patch failed: )?([\w./-]+?):", log, re.MULTILINE))
        return (f"{shown(patch)} does not apply to {', '.join(files) or 'the source'} of Linux {release}: "
                "it needs an update, or the source has changes of its own.")

    binds = [Bind(tree, SOURCE_INSIDE, writable=True), sandbox.ro(patch.parent)]
    run_logged(sandbox.command(root, ["git", "apply", str(patch)], cwd=SOURCE_INSIDE, binds=binds),
               LOGS / f"patch-{patch.stem}.log", f"apply {patch.name}", explain=refused, quiet=True)


def config(kind: str) -> str:
    """The options that a kernel of this kind asks for. What KIND joins by + has those of all."""
    own = [name for name in kind.split("+") if (_FRAGMENTS / f"{name}.config").exists()]
    return "".join((_FRAGMENTS / f"{name}.config").read_text() for name in ("common", *own))


def rustflags(kind: str) -> list[str]:
    """What the crates of a kernel of this kind are compiled with beside what the kernel says."""
    return [*_KCSAN_FLAGS.read_text().split(), _KCSAN_NO_ENTRY] if "kcsan" in kind.split("+") else []


def configure(root: Path, tree: Path, wanted: str, entry: Path, kind: str) -> None:
    """Configure a kernel in entry/build with what is wanted; Fail if Kconfig drops some of it."""
    build = entry / "build"
    build.mkdir(exist_ok=True)
    (build / "requested.config").write_text(wanted)
    run_logged(make(root, tree, [f"KCONFIG_ALLCONFIG={KERNEL_INSIDE}/build/requested.config", "allnoconfig"],
                    [Bind(entry, KERNEL_INSIDE, writable=True)], compiler=compiler(kind)),
               LOGS / f"kernel-{kind}-config.log", f"configure the {kind} kernel")
    _check_config(wanted, build / ".config", kind)


def _make_kernel(kind: str, root: Path, tree: Path, release: str, wanted: str,
                 partial: Path) -> None:
    cache.need_space(_KERNEL_MIB[kind], f"The {kind} kernel")
    configure(root, tree, wanted, partial, kind)

    own = [f"KRUSTFLAGS={' '.join(flags)}"] if (flags := rustflags(kind)) else []

    def run(arguments: list[str], log: str, what: str) -> None:
        run_logged(make(root, tree, [*own, *arguments], [Bind(partial, KERNEL_INSIDE, writable=True)],
                        compiler=compiler(kind)), LOGS / f"kernel-{kind}{log}.log", what)

    run([_IMAGES.get(kind, _USUAL_IMAGE)[0], "modules"], "",
        f"build the {kind} kernel {release} (about {_MINUTES[kind]} min on 2 cores)")
    run([f"INSTALL_MOD_PATH={KERNEL_INSIDE}/root", "modules_install"], "-install",
        f"install the {kind} kernel's modules")


def _check_config(requested: str, config: Path, kind: str) -> None:
    """Kconfig drops what it cannot satisfy without a word; we do not."""
    taken = set(config.read_text().splitlines())
    # A kind may ask for something else than what all have: the last word counts.
    wanted = {match[1]: line for line in requested.splitlines() if (match := _OPTION.match(line))}
    # Of what another architecture does not have, or what depends on something else that is not set, nothing is said.
    known = {match[1] for line in taken if (match := _OPTION.match(line))} if _LESS & {*kind.split("+")} else wanted
    lost = [line for option, line in wanted.items()
            if line not in taken and (option in known or not line.startswith("#"))]
    if lost:
        raise Fail(f"Kconfig did not take {', '.join(lost)} for the {kind} kernel: mend the "
                   f"dependencies in {shown(_FRAGMENTS)}.")
