# SPDX-License-Identifier: GPL-2.0
"""Renders Documentation/ by Sphinx, with the kernel-doc of our header and of the kernel with the series."""

import re
import shutil
from pathlib import Path

from . import kernel, module, sandbox, toolchain, tools, version
from .progress import BUILD, CHECKOUT, LOGS, run_logged, shown
from .sandbox import Bind

SOURCES = CHECKOUT / "Documentation"
_PACKAGES = ("python3-sphinx",)
_OUT = BUILD / "htmldocs"
# Where Sphinx sees things.
_SOURCES_INSIDE, _OUT_INSIDE = Path("/docs"), Path("/out")
_TREE = "tree"
_SHOWN = re.compile(rf"^\.\. (?:kernel-doc:: |literalinclude:: /{_TREE}/)(\S+)$", re.MULTILINE)
_MODULES = ("Documentation/sphinx/kerneldoc.py", "tools/lib/python/kdoc")


def shown_files() -> list[str]:
    """The files of the kernel, or of include/, that the documents show parts of."""
    return sorted({name for path in SOURCES.glob("*.rst") for name in _SHOWN.findall(path.read_text())})


def gather() -> Path:
    """The documents, and beside them a directory like a kernel source.

    It has what they show, and the kernel's extension of Sphinx.
    """
    patched, made = kernel.source_tree(), BUILD / "docs"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(SOURCES, made)
    for name in (*shown_files(), *_MODULES):
        source = CHECKOUT / name
        if not source.exists():
            source = patched / name
        target = made / _TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    return made


def rust() -> Path:
    """Render what src/ says of its items, by rustdoc; return the page to begin with. Any warning is an error."""
    return module.document(kernel.ensure("plain"), BUILD / "rustdoc")


def html() -> Path:
    """Render all of it; return the page to begin with. Any warning is an error."""
    root = tools.ensure("sphinx", *_PACKAGES, suite=toolchain.SUITE)
    sources = gather()
    # What was rendered before may be of a file that is gone.
    shutil.rmtree(_OUT, ignore_errors=True)
    _OUT.mkdir(parents=True)
    run_logged(sandbox.command(
        root, ["python3", "-B", "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", "/tmp/doctrees",
               str(_SOURCES_INSIDE), str(_OUT_INSIDE)],
        binds=[Bind(sources, _SOURCES_INSIDE), Bind(_OUT, _OUT_INSIDE, writable=True)],
        # The root has no locales.
        env={"LC_ALL": "C", "PYTHONUTF8": "1", "srctree": str(_SOURCES_INSIDE / _TREE),
             "RUST_FSDAX_VERSION": version.version()}),
        LOGS / "htmldocs.log", f"render {shown(SOURCES)}")
    return _OUT / "index.html"
