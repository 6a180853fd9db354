# SPDX-License-Identifier: GPL-2.0
"""Runs a command inside the toolchain root, by bubblewrap, as root or as a user."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .progress import Fail

# The parts of the root that tools need. The rest of / is an empty tmpfs, so that a checkout may
# lie anywhere without a mount point being made in the root.
_PARTS = ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/libexec", "usr/share", "usr/include",
          "usr/src/rustc-*", "etc")
PATH = "/usr/lib/ccache:/usr/sbin:/usr/bin"
_LINKS = ("bin", "sbin", "lib", "lib64")


@dataclass(frozen=True)
class Bind:
    """A host directory seen inside."""

    host: Path
    inside: Path
    writable: bool = False


def ro(path: Path) -> Bind:
    """A directory that is seen read-only at its own path."""
    return Bind(path, path)


def rw(path: Path) -> Bind:
    """A directory that is seen writable at its own path."""
    return Bind(path, path, writable=True)


def command(root: Path, argv: Sequence[str], *, binds: Iterable[Bind] = (), cwd: Path | None = None,
            env: Mapping[str, str] | None = None, devices: Iterable[str] = ()) -> list[str]:
    """The host command that runs argv in root; everything it starts dies with its parent."""
    if not shutil.which("bwrap"):
        raise Fail("bubblewrap is missing: install the package bubblewrap and run this again.")
    line = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv"]
    if os.geteuid() != 0:
        line += ["--unshare-user", "--uid", "0", "--gid", "0"]
    for pattern in _PARTS:
        for part in root.glob(pattern):
            line += ["--ro-bind", str(part), f"/{part.relative_to(root)}"]
    for link in _LINKS:
        line += ["--symlink", f"usr/{link}", f"/{link}"]
    # --dev has no kvm: nothing inside finds a /dev/kvm that may hang.
    line += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for bind in binds:
        line += ["--bind" if bind.writable else "--ro-bind", str(bind.host), str(bind.inside)]
    for device in devices:
        line += ["--dev-bind", device, device]
    variables = {"PATH": PATH, "HOME": "/tmp", "LC_ALL": "C.UTF-8",
                 "TERM": os.environ.get("TERM", "dumb"), **(env or {})}
    for name, value in variables.items():
        line += ["--setenv", name, value]
    if cwd:
        line += ["--chdir", str(cwd)]
    return [*line, "--", *argv]
