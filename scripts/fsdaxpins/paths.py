# SPDX-License-Identifier: GPL-2.0
"""Finds the paths of inodes by walking the mount, which may take its time."""

from __future__ import annotations

import os
import stat

from .machine import Machine, device_of
from .state import Busy, State, Waiter


class Paths:
    """What was found; a path that still leads to its inode is not searched again."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[tuple[str, int], str | None] = {}

    def resolve(self, state: State) -> None:
        """Fill in the paths of what is busy and what is waited for."""
        items: list[Busy | Waiter] = [*state.busy, *state.waiters]
        by_dev: dict[str, set[int]] = {}
        for item in items:
            if item.dev and item.ino and not self._still(item.dev, item.ino):
                by_dev.setdefault(item.dev, set()).add(item.ino)
        for dev, inodes in by_dev.items():
            found = find_inodes(self._machine, dev, inodes)
            for ino in inodes:
                self._known[dev, ino] = found.get(ino)
        for item in items:
            if item.dev and item.ino:
                item.path = self._known.get((item.dev, item.ino))

    def _still(self, dev: str, ino: int) -> bool:
        """Whether what is known needs no other look: a path may be renamed, none may not come."""
        if (dev, ino) not in self._known:
            return False
        path = self._known[dev, ino]
        if path is None:
            return True
        try:
            return os.lstat(self._machine.place(path)).st_ino == ino
        except OSError:
            return False


def find_inodes(machine: Machine, dev: str, inodes: set[int]) -> dict[int, str]:
    """Paths of the inodes, as far as they are below a mount of the device."""
    found: dict[int, str] = {}
    points = [point for point in machine.mountpoints() if point.dev == dev]
    # Those of the whole device first.
    for point in sorted(points, key=lambda point: len(point.root)):
        top = machine.place(point.path)
        try:
            st_dev = os.lstat(top).st_dev
        except OSError:
            continue
        if dev == device_of(st_dev):  # nothing is mounted over it
            _walk(top, st_dev, inodes, found)
        if len(found) == len(inodes):
            break
    return {ino: machine.name(place) for ino, place in found.items()}


def _walk(top: str, st_dev: int, inodes: set[int], found: dict[int, str]) -> None:
    """Add the paths below top, without leaving the device, until all are found."""
    todo = [top]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.stat(follow_symlinks=False).st_dev == st_dev:
                            todo.append(entry.path)
                    elif entry.inode() in inodes and _is_file(entry):
                        found.setdefault(entry.inode(), entry.path)
                        if len(found) == len(inodes):
                            return
        except OSError:
            continue  # It went away.


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False
