# SPDX-License-Identifier: GPL-2.0
"""Builds rust_fsdax.ko out of tree."""

from collections.abc import Iterable
from pathlib import Path

from . import cache
from .kernel import Built
from .progress import BUILD, CHECKOUT, LOGS, run_logged
from .sandbox import Bind

SOURCE_INSIDE = Path("/src/rust_fsdax")
_OUT_INSIDE = Path("/out")


def build(kernel: Built, *, kunit: bool) -> Path:
    """Build the module for a kernel, with its KUnit suites or without; return the .ko."""
    out = _out(kernel)
    with cache.lock(out.with_suffix(".lock"), "another build of the module"):
        run(kernel, out, ["modules"], kunit=kunit, what=f"build the module for the {kernel.kind} kernel",
            log=LOGS / f"module-{kernel.kind}.log")
    return out / "rust_fsdax.ko"


def install(kernel: Built, destination: Path) -> None:
    """Install the module below destination/lib/modules, with what a kernel of ours has there."""
    build(kernel, kunit=False)
    destination.mkdir(parents=True, exist_ok=True)
    run(kernel, _out(kernel), ["INSTALL_MOD_PATH=/install", "modules_install"], kunit=False,
        what="install the module", log=LOGS / "module-install.log",
        binds=[Bind(destination.resolve(), Path("/install"), writable=True)])


def run(kernel: Built, out: Path, targets: Iterable[str], *, kunit: bool, what: str, log: Path,
        binds: Iterable[Bind] = ()) -> None:
    """Run make for the module with its output in OUT: the checkout stays clean."""
    out.mkdir(parents=True, exist_ok=True)
    run_logged(kernel.make(
        [f"M={SOURCE_INSIDE}", f"MO={_OUT_INSIDE}", *targets],
        binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True), *binds],
        env={"RUST_FSDAX_KUNIT": "y"} if kunit else {}), log, what)


def _out(kernel: Built) -> Path:
    return BUILD / f"modules-{kernel.kind}"
