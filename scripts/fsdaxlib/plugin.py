# SPDX-License-Identifier: GPL-2.0
"""Compiles plugins of TCG, which watch the instructions of a guest."""

from pathlib import Path

from . import sandbox
from .cache import lock
from .progress import BUILD, CHECKOUT, LOGS, run_logged

MEDIUM = CHECKOUT / "tests/plugin/medium.c"
_OUT = BUILD / "plugin"
_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]


def build(root: Path, source: Path, *others: Path) -> Path:
    """Compile SOURCE and what it is linked with, which takes a second; return the plugin."""
    _OUT.mkdir(parents=True, exist_ok=True)
    plugin = _OUT / f"{source.stem}.so"
    partial = plugin.with_suffix(".partial")
    with lock(BUILD / "plugin.lock", "another build of the plugins"):
        run_logged(sandbox.command(root, ["gcc", *_FLAGS, "-o", str(partial), str(source), *map(str, others)],
                                   binds=[sandbox.ro(CHECKOUT), sandbox.rw(_OUT)], cwd=CHECKOUT),
                   LOGS / f"plugin-{source.stem}.log", f"compile the plugin {source.stem}")
        # A guest that runs keeps the file that it has.
        partial.rename(plugin)
    return plugin
