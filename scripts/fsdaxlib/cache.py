# SPDX-License-Identifier: GPL-2.0
"""The cache outside the checkout: keyed entries that are either complete or absent."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .progress import Fail, step

_KEPT = ("ccache", "locks")


def directory() -> Path:
    """Where everything costly is kept, shared by all checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "rust_fsdax"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(*parts: str | bytes) -> str:
    """A short name for everything that went into an entry."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def lock(path: Path, who: str) -> Iterator[None]:
    """Hold a lock file; say whom we wait for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            step(f"waiting for {who} to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_path(name: str) -> Path:
    """The lock file of an entry."""
    return directory() / "locks" / name


def entry(name: str, make: Callable[[Path], None]) -> Path:
    """The finished entry NAME. If there is none, make(partial) builds it in a directory beside it.

    A directory left by an interrupted run is handed to make again, which resumes there.
    """
    finished = directory() / name
    if finished.exists():
        os.utime(finished)
        return finished
    partial = finished.with_name(finished.name + ".partial")
    with lock(lock_path(name), f"another run that builds {name}"):
        if not finished.exists():
            partial.mkdir(exist_ok=True)
            make(partial)
            partial.rename(finished)
    return finished


def prune(days: int) -> list[str]:
    """Remove what no run has used for so many days."""
    oldest = time.time() - days * 86400
    removed = []
    for path in sorted(directory().iterdir()):
        if path.is_dir() and path.name not in _KEPT and path.stat().st_mtime < oldest:
            with lock(lock_path(path.name.removesuffix(".partial")), f"a run that uses {path.name}"):
                shutil.rmtree(path)
            removed.append(path.name)
    return removed


def copy_tree(tree: Path, to: Path, link: bool = False) -> None:
    """Copy a tree, or LINK its files. Raises Fail, with one sentence, for what cannot be copied."""
    try:
        shutil.copytree(tree, to, symlinks=True, copy_function=os.link if link else shutil.copy2)
    except OSError as error:
        # shutil.Error holds all that went wrong, as texts.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise Fail(f"{tree} cannot be copied to {to}: {reason}: make room there, or mend that, and run this "
                   "again.") from None


def need_space(mib: int, what: str) -> None:
    """Refuse to start what would fill the disk."""
    free = shutil.disk_usage(directory()).free >> 20
    if free < mib:
        raise Fail(f"{what} needs {mib / 1024:.1f} GiB of disk below {directory()} and "
                   f"{free / 1024:.1f} GiB are free: make room or set XDG_CACHE_HOME.")
