# SPDX-License-Identifier: GPL-2.0
"""Builds rust_fsdax.ko out of tree."""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from . import cache, kcsan, sandbox
from .kernel import KERNEL_INSIDE, Built
from .kernel import SOURCE_INSIDE as SOURCE_OF_KERNEL_INSIDE
from .progress import BUILD, CHECKOUT, LOGS, run_logged
from .sandbox import Bind

SOURCE_INSIDE = Path("/src/rust_fsdax")
_OUT_INSIDE = Path("/out")
_HTML_INSIDE = Path("/html")
# Drivers of drivers/dax that our kernels are configured without.
_DAX_DRIVERS = {"dax_pmem.ko": "CONFIG_DEV_DAX_PMEM", "dax_cxl.ko": "CONFIG_DEV_DAX_CXL",
                "kmem.ko": "CONFIG_DEV_DAX_KMEM"}
_ONEFILE = CHECKOUT / "tests/fsdev/onefile.c"


@functools.cache
def build(kernel: Built) -> Path:
    """Build the module for a kernel, as users have it; return the .ko.

    The source is looked at once in a process.
    """
    if kernel.kind == "gcc":
        return _build_own(kernel)
    out = _out(kernel)
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the module"):
        run(kernel, out, ["modules"], kunit=False, what=f"build the module for the {kernel.kind} kernel",
            log=LOGS / f"module-{kernel.name}.log")
        _build_beside(kernel, out)
    if kernel.kind == "kcsan":
        instrumented(kernel, out)
    return out / "rust_fsdax.ko"


def instrumented(kernel: Built, out: Path) -> int:
    """The number of accesses of the module in OUT that KCSAN sees in Rust. Fail if it does not see all sorts."""
    return kcsan.check_instrumented(kernel.root, out / "src/rust_fsdax_main.o", "the module", kcsan.MODULE)


def build_racy(kernel: Built) -> Path:
    """Build the module that has data races on purpose; return the .ko."""
    out = BUILD / f"modules-{kernel.name}-racy"
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the module with data races"):
        _prepare(out, kernel)
        run_logged(kernel.make(
            [f"M={SOURCE_INSIDE}/tests/kcsan", f"MO={_OUT_INSIDE}", "modules"], env={},
            binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True)]),
            LOGS / f"module-{kernel.name}-racy.log", "build the module with data races")
    return out / "racy.ko"


def _build_beside(kernel: Built, out: Path) -> None:
    """Build into OUT what guests find beside rust_fsdax.ko."""
    _build_dax_drivers(kernel, out)
    _build_onefile(kernel, out)


def _build_dax_drivers(kernel: Built, out: Path) -> None:
    """Build into OUT what makes DAX devices of namespaces and of CXL memory, and memory of DAX devices."""
    if all((out / name).exists() for name in _DAX_DRIVERS):
        return
    own = out / "dax"
    own.mkdir(exist_ok=True)
    run_logged(kernel.make(
        [f"M={SOURCE_OF_KERNEL_INSIDE}/drivers/dax", f"MO={_OUT_INSIDE}",
         *(f"{option}=m" for option in _DAX_DRIVERS.values()), "modules"],
        binds=[Bind(own, _OUT_INSIDE, writable=True)], env={}),
        LOGS / f"module-{kernel.name}-dax.log", f"build the drivers of DAX devices for the {kernel.kind} kernel")
    for name in _DAX_DRIVERS:
        (own / name).rename(out / name)


def _build_onefile(kernel: Built, out: Path) -> None:
    """Build the file system of tests/fsdev into OUT."""
    module = out / f"{_ONEFILE.stem}.ko"
    if module.exists() and module.stat().st_mtime > _ONEFILE.stat().st_mtime:
        return
    own = out / _ONEFILE.stem
    own.mkdir(exist_ok=True)
    run_logged(kernel.make(
        [f"M={SOURCE_INSIDE / _ONEFILE.parent.relative_to(CHECKOUT)}", f"MO={_OUT_INSIDE}", "W=1",
         "KCFLAGS=-Werror", "modules"],
        binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(own, _OUT_INSIDE, writable=True)], env={}),
        LOGS / f"module-{kernel.name}-{_ONEFILE.stem}.log", f"build {module.name} for the {kernel.kind} kernel")
    (own / module.name).replace(module)


def _build_own(kernel: Built) -> Path:
    """Build the module as users do for a kernel of their own, with make modules KDIR=DIR."""
    out = BUILD / "modules-own"
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the module"):
        _prepare(out, kernel)
        run_logged(sandbox.command(
            kernel.root, ["make", "-C", str(SOURCE_INSIDE), "modules", f"KDIR={KERNEL_INSIDE}/build"],
            binds=[Bind(kernel.tree, SOURCE_OF_KERNEL_INSIDE), Bind(kernel.entry, KERNEL_INSIDE),
                   Bind(CHECKOUT, SOURCE_INSIDE),
                   Bind(out, SOURCE_INSIDE / out.relative_to(CHECKOUT), writable=True)]),
            LOGS / "module-own.log", f"build the module by make modules KDIR= for the {kernel.kind} kernel")
    return out / "rust_fsdax.ko"


def document(kernel: Built, html: Path) -> Path:
    """Render the documents of the module's items, private ones too, into HTML; any warning is an error.

    Returns the first page. rustdoc is given what rustc was.
    """
    out = build(kernel).parent
    shutil.rmtree(html, ignore_errors=True)
    html.mkdir(parents=True)
    saved = (out / "src/.rust_fsdax_main.o.cmd").read_text()
    run_logged(sandbox.command(
        kernel.root, ["sh", "-c", rustdoc_line(saved, _HTML_INSIDE)], cwd=_OUT_INSIDE,
        env={"RUSTC_BOOTSTRAP": "1", "RUST_FSDAX_OBJ": str(_OUT_INSIDE)},
        binds=[Bind(kernel.tree, SOURCE_OF_KERNEL_INSIDE), Bind(kernel.entry, KERNEL_INSIDE),
               Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE),
               Bind(html, _HTML_INSIDE, writable=True)]), LOGS / "rustdoc.log", "render the documents in src/")
    return html / "rust_fsdax/index.html"


def rustdoc_line(saved: str, html: Path) -> str:
    """The command of rustdoc that is like the one of rustc which Kbuild SAVED with an object."""
    line = saved.partition(" := ")[2].partition("\n")[0]
    for rustc_only in (r"--emit=\S+", r"--out-dir \S+", r"--remap-path-\S+"):
        line = re.sub(rf" {rustc_only}", "", line)
    return re.sub(r"\brustc ", f"rustdoc --crate-name=rust_fsdax --document-private-items --out-dir={html} "
                  "-Dwarnings -Arustdoc::private_intra_doc_links ", line, count=1)


@functools.cache
def build_kunit(kernel: Built) -> Path:
    """Build the module with its KUnit suites; return the .ko.

    The source is looked at once in a process.
    """
    out = BUILD / f"modules-{kernel.name}-kunit"
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the module"):
        run(kernel, out, ["modules"], kunit=True, what=f"build the module and its tests for the {kernel.kind} kernel",
            log=LOGS / f"module-{kernel.name}-kunit.log")
    return out / "rust_fsdax.ko"


def build_coverage(kernel: Built) -> tuple[Path, Path]:
    """Build the module with its KUnit suites and with counters of what ran, and what saves these.

    Return both .ko.
    """
    found = []
    for name, source, env in (("rust_fsdax", "", {"RUST_FSDAX_KUNIT": "y", "RUST_FSDAX_COVERAGE": "y"}),
                              ("counters", "/tests/coverage", {})):
        out = BUILD / f"modules-coverage/{name}"
        out.parent.mkdir(parents=True, exist_ok=True)
        with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the module"):
            _prepare(out, kernel)
            run_logged(kernel.make(
                [f"M={SOURCE_INSIDE}{source}", f"MO={_OUT_INSIDE}", "modules"], env=env,
                binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True)]),
                LOGS / f"module-coverage-{name}.log", f"build {name}.ko for coverage")
            if not source:
                _build_beside(kernel, out)
        found.append(out / f"{name}.ko")
    return found[0], found[1]


def compile_wrong(kernel: Built) -> str:
    """Compile the programs of tests/compile-fail as a part of the module; return what the compiler says."""
    out, log = BUILD / "modules-compile-fail", LOGS / "compile-fail.log"
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of wrong programs"):
        _prepare(out, kernel)
        done = subprocess.run(kernel.make(
            [f"M={SOURCE_INSIDE}", f"MO={_OUT_INSIDE}", "src/rust_fsdax_main.o"],
            binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True)],
            env={"RUST_FSDAX_COMPILE_FAIL": "y"}), capture_output=True, text=True, check=False)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout + done.stderr)
    return done.stdout + done.stderr


def build_changed(kernel: Built, tree: Path, out: Path, *, kunit: bool, log: Path) -> Path | None:
    """Build the module of another TREE into OUT; return the .ko, or None if it does not compile."""
    _prepare(out, kernel)
    done = subprocess.run(kernel.make(
        [f"M={SOURCE_INSIDE}", f"MO={_OUT_INSIDE}", "modules"], env={"RUST_FSDAX_KUNIT": "y"} if kunit else {},
        binds=[Bind(tree, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True)]),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        return None
    _build_beside(kernel, out)
    return out / "rust_fsdax.ko"


def build_bench(kernel: Built) -> Path:
    """Build the module that measures folios, which needs the symbols of ours; return the .ko."""
    symbols = build(kernel).with_name("Module.symvers")
    out = BUILD / "modules-bench"
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the bench module"):
        _prepare(out, kernel)
        run_logged(kernel.make(
            [f"M={SOURCE_INSIDE}/bench/module", f"MO={_OUT_INSIDE}",
             f"KBUILD_EXTRA_SYMBOLS=/symbols/{symbols.name}", "modules"],
            binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True),
                   Bind(symbols.parent, Path("/symbols"))], env={}),
            LOGS / "module-bench.log", "build the bench module")
    return out / "folio_bench.ko"


def install(kernel: Built, destination: Path) -> None:
    """Install the module below destination/lib/modules, with what a kernel of ours has there."""
    build(kernel)
    destination.mkdir(parents=True, exist_ok=True)
    run(kernel, _out(kernel), ["INSTALL_MOD_PATH=/install", "modules_install"], kunit=False,
        what="install the module", log=LOGS / "module-install.log",
        binds=[Bind(destination.resolve(), Path("/install"), writable=True)])


def run(kernel: Built, out: Path, targets: Iterable[str], *, kunit: bool, what: str, log: Path,
        binds: Iterable[Bind] = ()) -> None:
    """Run make for the module with its output in OUT: the checkout stays clean."""
    _prepare(out, kernel)
    run_logged(kernel.make(
        [f"M={SOURCE_INSIDE}", f"MO={_OUT_INSIDE}", *targets],
        binds=[Bind(CHECKOUT, SOURCE_INSIDE), Bind(out, _OUT_INSIDE, writable=True), *binds],
        env={"RUST_FSDAX_KUNIT": "y"} if kunit else {}), log, what)


def _prepare(out: Path, kernel: Built) -> None:
    """Have OUT, without what was built for another kernel.

    That is not seen by make: all kernels have the same path, and a header that is not the same may
    be older.
    """
    built_for = out / "built-for"
    if out.exists() and (not built_for.exists() or built_for.read_text() != kernel.entry.name):
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    built_for.write_text(kernel.entry.name)


def _out(kernel: Built) -> Path:
    return BUILD / f"modules-{kernel.name}"
