# SPDX-License-Identifier: GPL-2.0
"""The KUnit suites built into a kernel, by the kernel's own kunit.py."""

import os
import shutil
from pathlib import Path

from . import cache, guest, kernel, sandbox, toolchain
from .module import SOURCE_INSIDE
from .progress import CHECKOUT, Fail, run_logged, shown
from .sandbox import Bind

TOOL = kernel.SOURCE_INSIDE / "tools/testing/kunit/kunit.py"
_BUILD_INSIDE = Path("/kernel")
_LINK = "fs/rust_fsdax"
_HOOKS = {
    "fs/Kconfig": f'\nsource "{_LINK}/tests/kunit/overlay/Kconfig"\n',
    "fs/Makefile": "\nobj-$(CONFIG_RUST_FSDAX) += rust_fsdax/\n",
}
_BUILD_MIB = 1500
_TIMEOUT_S = 600


def run(log: Path) -> list[str]:
    """Build and boot the kernel; return the lines of its console."""
    root = toolchain.ensure()
    patched = kernel.source_tree()
    name = cache.key(repr(_HOOKS), toolchain.compilers(root))
    tree = cache.entry(f"kunit-{patched.parent.name}-{name}",
                       lambda partial: _link_into_tree(patched, partial)) / "linux"
    name = f"kunit-build-{tree.parent.name}"
    workspace = cache.directory() / name
    console = workspace / "test.log"
    with cache.lock(cache.lock_path(name), "another run of the KUnit suites"):
        if not workspace.exists():
            cache.need_space(_BUILD_MIB, "The KUnit kernel")
        workspace.mkdir(exist_ok=True)
        console.unlink(missing_ok=True)
        command = [str(TOOL), "run", "--arch=x86_64", "--make_options=LLVM=1",
                   f"--kunitconfig={SOURCE_INSIDE}/tests/kunit", f"--build_dir={_BUILD_INSIDE}",
                   f"--jobs={len(os.sched_getaffinity(0))}", f"--timeout={_TIMEOUT_S}",
                   # The default CPU has no pages of 1 GiB.
                   "--qemu_args=-smp 2 -cpu max,la57=off", f"--kernel_args={guest.KUNIT_RANGE}",
                   *(f"--kernel_args=rust_fsdax.{argument}" for argument in guest.KUNIT_ARGS)]
        binds = [Bind(tree, kernel.SOURCE_INSIDE), Bind(CHECKOUT, SOURCE_INSIDE),
                 Bind(workspace, _BUILD_INSIDE, writable=True), *kernel.compilers()]
        try:
            run_logged(sandbox.command(root, command, cwd=kernel.SOURCE_INSIDE, binds=binds,
                                       env=kernel.CCACHE),
                       log, "build and run the KUnit suites in a kernel (about 10 min the first time)")
        except Fail:
            # kunit.py also fails for a failed test: then its console says which.
            if not console.exists():
                raise
        return console.read_text(errors="replace").splitlines()


def parse(built: kernel.Built, console: Path, log: Path) -> None:
    """Let kunit.py judge a console; Fail if it is not content."""
    run_logged(sandbox.command(built.root, [str(TOOL), "parse", f"/console/{console.name}"],
                               binds=[Bind(built.tree, kernel.SOURCE_INSIDE),
                                      Bind(console.parent, Path("/console"))]),
               log, f"kunit.py parse {shown(console)}")


def _link_into_tree(source: Path, partial: Path) -> None:
    """A copy of the source, by hard links, in which the checkout is a directory of fs/."""
    tree = partial / "linux"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree, symlinks=True, copy_function=os.link)
    for name, addition in _HOOKS.items():
        text = (tree / name).read_text()
        (tree / name).unlink()
        (tree / name).write_text(text + addition)
    (tree / _LINK).symlink_to(SOURCE_INSIDE)
