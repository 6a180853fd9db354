# SPDX-License-Identifier: GPL-2.0
"""What run.py and power.py share: commands, mounts, promises, and what the kernel says."""

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fsdaxlib import clients

_LIBRARY = ctypes.CDLL(None, use_errno=True)


class Wrong(Exception):
    """A client did not do what it should."""


@dataclass
class Work:
    """Where a client works, and what it did."""

    place: Path
    seed: int
    operations: int = 0
    errors: int = 0
    said: list[str] = field(default_factory=list)
    failures: int = 0
    inside: int = 0

    def wrong(self, text: str) -> None:
        """Count an error."""
        self.errors += 1
        self.said.append(text)

    def expect(self, right: bool, text: str) -> None:
        """Count an error unless RIGHT."""
        if not right:
            self.wrong(text)


def call(*command: str | Path, env: dict[str, str] | None = None, good: tuple[int, ...] = (0,)) -> str:
    """What a command prints; Wrong if it fails."""
    words = [str(word) for word in command]
    # Who waits for ever is for the limit of the guest: its own clock may jump on a busy host.
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          check=False, env={**os.environ, **(env or {})})
    if done.returncode not in good:
        end = " ".join((done.stdout + done.stderr).split())[-300:]
        raise Wrong(f"{' '.join(words)[:120]}: status {done.returncode}: {end}")
    return done.stdout


def program(name: str, *arguments: str | Path | int) -> tuple[int, int, list[str]]:
    """Run one of this directory: operations, errors, and what it says of these."""
    out = call(clients.PROGRAMS / name, *(str(word) for word in arguments), good=(0, 1))
    if not (found := re.search(r"^operations (\d+) errors (\d+)$", out, re.MULTILINE)):
        raise Wrong(f"{name}: {' '.join(out.split())[-300:]}")
    return int(found[1]), int(found[2]), re.findall(r"^# (.*)$", out, re.MULTILINE)


def checked(name: str, store: Path, seed: int, promised: int, begun: int) -> None:
    """Whether a store has what was promised; Wrong if not."""
    _, errors, said = program(name, "check", store, seed, promised, begun)
    if errors:
        raise Wrong(f"{name}: {' '.join(said)}")
    if name == "objects":
        call("pmempool", "check", store)


@contextmanager
def mounted(kind: str, options: str, what: str | Path, at: Path) -> Iterator[Path]:
    """A mount, for as long as it is used."""
    at.mkdir(exist_ok=True)
    # Programs for these would take longer than what they do.
    _system("mount", str(what), str(at), kind, 0, options)
    try:
        yield at
    finally:
        _system("umount2", str(at), 0)


def _system(name: str, *arguments: str | int) -> None:
    """A call of the C library, which returns 0; OSError if it fails."""
    words = [word.encode() if isinstance(word, str) else ctypes.c_ulong(word) for word in arguments]
    if getattr(_LIBRARY, name)(*words):
        error = ctypes.get_errno()
        raise OSError(error, f"{name} {' '.join(map(str, arguments))}: {os.strerror(error)}")


@contextmanager
def counts(provider: str) -> Iterator[Path]:
    """A file for what a client promises, which is on no mount that is tried."""
    path = Path("/dev/shm") / f"counts-{provider}"
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def read_counts(path: Path) -> tuple[int, int]:
    """What was begun and what was promised."""
    data = path.read_bytes() if path.exists() else b""
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")


class Log:
    """The messages of the kernel, read once."""

    def __init__(self) -> None:
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)

    def new(self) -> str:
        """What was said since the last time."""
        said = []
        while True:
            try:
                said.append(os.read(self._file, 8192).decode(errors="replace").rstrip())
            except BlockingIOError:
                return "\n".join(said)
            except BrokenPipeError:
                said.append("BUG: messages of the kernel were lost")


def served_as_wanted(log: Log) -> bool:
    """Whether the module serves the one mount and not the other."""
    served = re.findall(r"(pmem\d): fsdax pages are served by rust_fsdax", log.new())
    if served != ["pmem1"]:
        print(f"The module serves {served or 'nothing'} and not pmem1 alone.")
    return served == ["pmem1"]
