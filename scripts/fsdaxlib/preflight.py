# SPDX-License-Identifier: GPL-2.0
"""Whether the module can be built for a kernel of one's own, and if not, all that is missing."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from . import source
from .progress import Fail

# What modules in Rust are compiled against.
RUST = ("libcore.rmeta", "libkernel.rmeta", "libbindings.rmeta", "libffi.rmeta", "libbuild_error.rmeta",
         "libpin_init.rmeta", "libmacros.so", "libpin_init_internal.so")
_OPTIONS = ("MODULES", "RUST", "FS_DAX", "TRANSPARENT_HUGEPAGE", "SPARSEMEM_VMEMMAP")
# Some of what the series exports to the module, the newest of it included.
_SYMBOLS = ("dax_register_provider", "fsdax_register_folio_ops", "next_dev_pagemap")
_SERIES = "build the kernel with the patches of patches/linux-X.Y"
_HEADERS = ("copy the directory rust/ of the kernel's build, or use the directory that it was built in: "
            "most header packages leave it out")


def _first_line(argv: list[str]) -> str:
    """The first line that a program prints, or nothing if it is not there."""
    if not shutil.which(argv[0]):
        return ""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()


def problems(tree: Path, run: Callable[[list[str]], str] = _first_line) -> Iterator[str]:
    """One sentence for each thing that is missing in the build directory TREE of a kernel.

    RUN gives the first line that a program prints.
    """
    # make bindeb-pkg leaves the first one out of its headers.
    config = _read(tree / ".config") or _read(tree / "include/config/auto.conf")
    release = _read(tree / "include/config/kernel.release").strip()
    if not config or not (tree / "Makefile").exists():
        raise Fail(f"{tree} is no configured kernel: name the directory that it was built in, "
                   "or /lib/modules/RELEASE/build.")
    if not release:
        yield "the kernel is configured, but not built: make it first"
    elif not any(release.startswith((f"{series}.", f"{series}-")) for series in source.supported()):
        yield f"this is Linux {release}; the module is for {' and '.join(source.supported())}"
    for option in _OPTIONS:
        if f"CONFIG_{option}=y\n" not in config:
            yield f"CONFIG_{option} is off: build the kernel with it"
    if (pages := re.search(r"^CONFIG_PAGE_SHIFT=(\d+)$", config, re.MULTILINE)) and pages[1] != "12":
        yield f"the kernel has pages of {1 << int(pages[1]) - 10} KiB: build one with pages of 4 KiB"
    yield from _missing_files(tree)
    yield from _other_compilers(config, run)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _missing_files(tree: Path) -> Iterator[str]:
    symbols = _read(tree / "Module.symvers")
    if not symbols:
        yield "Module.symvers is missing: make the modules of the kernel first"
    else:
        missing = [name for name in _SYMBOLS if not re.search(rf"\t{name}\t", symbols)]
        if missing:
            yield f"the kernel has no {', '.join(missing)}: {_SERIES}"
    if missing := [name for name in RUST if not (tree / "rust" / name).exists()]:
        yield f"rust/ has no {', '.join(missing)}: {_HEADERS}"


def _other_compilers(config: str, run: Callable[[list[str]], str]) -> Iterator[str]:
    clang = "CONFIG_CC_IS_CLANG=y\n" in config
    for program, option, why in (
            ("rustc", "RUSTC_VERSION_TEXT", "what another one compiled cannot be used"),
            ("clang" if clang else "gcc", "CC_VERSION_TEXT", "modules are built by the compiler of the kernel")):
        match = re.search(rf'^CONFIG_{option}="(.*)"$', config, re.MULTILINE)
        wanted = _version(match[1]) if match else ""
        found = run([program, "--version"])
        if not found:
            yield f"{program} is missing: install {wanted or 'it'}, by which the kernel was built"
        elif wanted and _version(found) != wanted:
            yield f"{program} is {_version(found)}, and the kernel was built by {wanted}: {why}"
    for program in ("bindgen", *(("ld.lld",) if clang else ())):
        if not run([program, "--version"]):
            yield f"{program} is missing: install it"


def _version(text: str) -> str:
    """The number in what a compiler says of itself."""
    match = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return match[0] if match else text
