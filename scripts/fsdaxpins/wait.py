# SPDX-License-Identifier: GPL-2.0
"""Watches one thread that waits for busy pages until it does not wait any more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import state as kernel
from .machine import USAGE, Fail, Machine, device_of
from .paths import Paths
from .state import State, Waiter

POLL_S = 0.2
# A break waits for one page after the other, and may work for a while in between.
_BETWEEN_S = 1.0


@dataclass
class Event:
    """Something new of the thread that is watched."""

    event: str  # none, waits, ended, timeout
    waiter: Waiter | None
    busy: int  # pages of its file, as long as somebody waits; else those that are left
    seconds: float  # how long it has waited, at least: what was before is known for one page


@dataclass
class Target:
    """Which thread to watch; of several, the one that waits for longest."""

    pid: int | None = None
    dev: str | None = None
    ino: int | None = None

    def of(self, state: State) -> Waiter | None:
        mine = [waiter for waiter in state.waiters
                if self.pid in (None, waiter.pid) and self.ino in (None, waiter.ino)
                and self.dev in (None, waiter.dev)]
        return max(mine, key=lambda waiter: waiter.waited_ms, default=None)


def target(machine: Machine, word: str) -> Target:
    """What the user named: nothing, a thread or a file."""
    if not word:
        return Target()
    if word.isdecimal():
        return Target(pid=int(word))
    try:
        found = Path(machine.place(os.path.abspath(word))).stat()  # noqa: PTH100, links are the kernel's
    except OSError as error:
        raise Fail(f"--wait wants the id of a thread that waits, or a file: {word}: {error.strerror}.",
                   USAGE) from None
    return Target(dev=device_of(found.st_dev), ino=found.st_ino)


def watch(machine: Machine, where: Path, which: Target, paths: Paths | None,
          timeout_s: float | None) -> Iterator[Event]:
    """The events of a thread; the last one says how it came out."""
    begun = time.monotonic()
    waiter = which.of(state := kernel.read(where))
    if not waiter:
        yield Event("none", None, _busy(state, which.dev, which.ino), 0)
        return
    mine, call = Target(waiter.pid, waiter.dev, waiter.ino), _call(machine, waiter.pid)
    before = waiter.waited_ms / 1000
    seen, said = begun, None
    while True:
        now = time.monotonic()
        if waiter is not None:
            seen = now
            busy = _busy(state, waiter.dev, waiter.ino)
            if said != (waiter.pfn, busy):
                said = (waiter.pfn, busy)
                if paths:
                    paths.resolve(State(waiters=[waiter]))
                yield Event("waits", waiter, busy, before + now - begun)
            last = waiter
        elif _gone(machine, mine, call) or now - seen >= _BETWEEN_S:
            yield Event("ended", last, _busy(state, mine.dev, mine.ino), before + seen - begun)
            return
        if timeout_s is not None and now - begun >= timeout_s:
            yield Event("timeout", last, _busy(state, mine.dev, mine.ino), before + now - begun)
            return
        time.sleep(POLL_S)
        waiter = mine.of(state := kernel.read(where))


def _busy(state: State, dev: str | None, ino: int | None) -> int:
    return sum(1 << busy.order for busy in state.busy
               if dev in (None, busy.dev) and ino in (None, busy.ino))


def _call(machine: Machine, tid: int) -> str | None:
    """The system call in which a thread sleeps, or None if that cannot be told."""
    try:
        words = (machine.proc / str(tid) / "syscall").read_text().split()
    except OSError:
        return None
    return None if not words or words[0] in ("running", "-1") else " ".join(words[:4])


def _gone(machine: Machine, mine: Target, call: str | None) -> bool:
    """Whether the thread has ended, or sleeps in another system call than it did."""
    if not (machine.proc / str(mine.pid)).exists():
        return True
    return call is not None and (now := _call(machine, mine.pid or 0)) is not None and now != call
