# SPDX-License-Identifier: GPL-2.0
"""Kernel source with our series, and kernels built from it."""

import functools
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import cache, sandbox, toolchain
from .progress import CHECKOUT, LOGS, Fail, run_logged, shown
from .sandbox import Bind

KINDS = ("plain", "debug", "kcsan", "stock")
# What everything needs but the hunt for data races and the comparison with no series at all.
USUAL_KINDS = KINDS[:2]
PATCHES = CHECKOUT / f"patches/linux-{toolchain.KERNEL_SERIES}"
_FRAGMENTS = CHECKOUT / "scripts/kconfig"
_OPTION = re.compile(r"(?:# )?(CONFIG_\w+)[= ]")

# Where the sandbox shows things. These paths do not depend on the cache or the checkout, so that
# ccache and make find what another checkout has built.
SOURCE_INSIDE = Path("/src/linux")
KERNEL_INSIDE = Path("/kernel")
CCACHE_INSIDE = Path("/ccache")

_SOURCE_MIB = 2500
_KERNEL_MIB = {"plain": 700, "debug": 2000, "kcsan": 1500, "stock": 700}
_MINUTES = {"plain": 12, "debug": 14, "kcsan": 14, "stock": 12}


@dataclass(frozen=True)
class Built:
    """A finished kernel of the cache."""

    kind: str
    root: Path  # the toolchain
    source: Path
    entry: Path

    @property
    def image(self) -> Path:
        return self.entry / "build/arch/x86/boot/bzImage"

    @property
    def modules(self) -> Path:
        return self.entry / "root/lib/modules"

    def make(self, arguments: Iterable[str], binds: Iterable[Bind], env: dict[str, str]) -> list[str]:
        """The command that runs make for something outside this kernel."""
        return make(self.root, self.source, arguments, env=env,
                    binds=[Bind(self.entry, KERNEL_INSIDE), *binds])


def make(root: Path, source: Path, arguments: Iterable[str], binds: Iterable[Bind],
         env: dict[str, str] | None = None) -> list[str]:
    """The command that runs the kernel's make with our toolchain in build directory /kernel/build."""
    ccache = cache.directory() / "ccache"
    ccache.mkdir(exist_ok=True)
    jobs = len(os.sched_getaffinity(0))
    return sandbox.command(
        root, ["make", "LLVM=1", f"O={KERNEL_INSIDE}/build", f"-j{jobs}", *arguments],
        cwd=SOURCE_INSIDE, env={"CCACHE_DIR": str(CCACHE_INSIDE), "CCACHE_MAXSIZE": "3G", **(env or {})},
        binds=[Bind(source, SOURCE_INSIDE), Bind(ccache, CCACHE_INSIDE, writable=True), *binds])


def series() -> list[Path]:
    """The patches, in order."""
    return sorted(path for path in PATCHES.glob("*.patch") if not path.name.startswith("0000-"))


def _diff(patch: Path) -> str:
    """What a patch changes; its mail header does not make another kernel."""
    text = patch.read_text()
    return text[text.index("diff --git "):]


def source(root: Path) -> Path:
    """The patched kernel source."""
    name = cache.key(toolchain.versions(root), *(_diff(patch) for patch in series()))
    return cache.entry(f"linux-{toolchain.KERNEL_SERIES}-{name}",
                       lambda partial: _make_source(root, partial)) / "linux"


def ensure(kind: str) -> Built:
    """A kernel of this kind, built if it is not there yet."""
    root = toolchain.ensure()
    tree = _stock_source(root) if kind == "stock" else source(root)
    config = "".join(fragment.read_text() for fragment in _fragments(kind))
    entry = cache.entry(f"kernel-{kind}-{cache.key(tree.parent.name, config)}",
                        lambda partial: _make_kernel(kind, root, tree, config, partial))
    return Built(kind, root, tree, entry)


def _stock_source(root: Path) -> Path:
    """The kernel source as the archive has it."""
    return cache.entry(f"linux-{toolchain.KERNEL_SERIES}-stock-{cache.key(toolchain.versions(root))}",
                       lambda partial: _unpack(root, partial)) / "linux"


def _make_source(root: Path, partial: Path) -> None:
    stock = _stock_source(root)
    tree = partial / "linux"
    shutil.rmtree(tree, ignore_errors=True)
    # Hard links are safe: git replaces the files that it patches.
    shutil.copytree(stock, tree, symlinks=True, copy_function=os.link)
    for patch in series():
        refusal = (f"{shown(patch)} does not apply to Linux {release(tree)}: the series in "
                   f"{shown(PATCHES)} needs an update for it.")
        binds = [Bind(tree, SOURCE_INSIDE, writable=True), sandbox.ro(PATCHES)]
        run_logged(sandbox.command(root, ["git", "apply", str(patch)], cwd=SOURCE_INSIDE, binds=binds),
                   LOGS / f"patch-{patch.stem}.log", f"apply {patch.name}",
                   explain=functools.partial(_always, refusal))


def _always(sentence: str, _log: str) -> str:
    return sentence


def _unpack(root: Path, partial: Path) -> None:
    cache.need_space(_SOURCE_MIB, "The kernel source")
    unpacked, tree = partial / "unpacked", partial / "linux"
    archive = root / f"usr/src/linux-source-{toolchain.KERNEL_SERIES}.tar.xz"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    run_logged(sandbox.command(root, ["tar", "-xf", f"/archive/{archive.name}", "-C", "/out",
                                      "--strip-components=1", "--no-same-owner"],
                               binds=[Bind(archive.parent, Path("/archive")),
                                      Bind(unpacked, Path("/out"), writable=True)]),
               LOGS / "source.log", f"unpack {archive.name}")
    if not release(unpacked).startswith(f"{toolchain.KERNEL_SERIES}."):
        raise Fail(f"{archive.name} holds Linux {release(unpacked)}, and {shown(PATCHES)} supports "
                   f"{toolchain.KERNEL_SERIES} only: take a newer rust_fsdax.")
    unpacked.rename(tree)


def release(tree: Path) -> str:
    """The version that a source tree says it has, such as 7.2.12."""
    text = (tree / "Makefile").read_text()
    return ".".join(re.findall(rf"^{word} = (\d+)$", text, re.MULTILINE)[0]
                    for word in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def _fragments(kind: str) -> list[Path]:
    own = [] if kind in ("plain", "stock") else [kind]
    return [_FRAGMENTS / f"{name}.config" for name in ("common", *own)]


def _make_kernel(kind: str, root: Path, tree: Path, config: str, partial: Path) -> None:
    cache.need_space(_KERNEL_MIB[kind], f"The {kind} kernel")
    build = partial / "build"
    build.mkdir(exist_ok=True)
    (build / "requested.config").write_text(config)
    binds = [Bind(partial, KERNEL_INSIDE, writable=True)]
    run_logged(make(root, tree, [f"KCONFIG_ALLCONFIG={KERNEL_INSIDE}/build/requested.config",
                                 "allnoconfig"], binds),
               LOGS / f"kernel-{kind}-config.log", f"configure the {kind} kernel")
    _check_config(config, build / ".config", kind)
    run_logged(make(root, tree, ["bzImage", "modules"], binds), LOGS / f"kernel-{kind}.log",
               f"build the {kind} kernel (about {_MINUTES[kind]} min on 2 cores)")
    run_logged(make(root, tree, [f"INSTALL_MOD_PATH={KERNEL_INSIDE}/root", "modules_install"], binds),
               LOGS / f"kernel-{kind}-install.log", f"install the {kind} kernel's modules")


def _check_config(requested: str, config: Path, kind: str) -> None:
    """Kconfig drops what it cannot satisfy without a word; we do not."""
    taken = set(config.read_text().splitlines())
    # A kind may ask for something else than what all have: the last word counts.
    wanted = {match[1]: line for line in requested.splitlines() if (match := _OPTION.match(line))}
    lost = [line for line in wanted.values() if line not in taken]
    if lost:
        raise Fail(f"Kconfig did not take {', '.join(lost)} for the {kind} kernel: mend the "
                   f"dependencies in {shown(_FRAGMENTS)}.")
