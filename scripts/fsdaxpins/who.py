# SPDX-License-Identifier: GPL-2.0
"""Which processes hold busy pages: what /proc says, and what drgn finds where it is."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import layouts, processes
from .machine import Machine
from .processes import HOWS, Holder
from .state import State

_DRGN_TIMEOUT_S = 120
_PROGRAM = Path(__file__).with_name("kernel_memory.py")


@dataclass
class Who:
    """Processes, and what was not seen."""

    holders: list[Holder] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


def find(machine: Machine, state: State, drgn: bool, module: Path | None = None) -> Who:
    """Who holds the busy pages. Says nothing if there are none.

    MODULE is the file of the module, if it is not where modprobe looks.
    """
    who = Who()
    if not state.busy:
        return who
    who.holders, stuck = processes.find(machine, state.busy)
    if stuck:
        some = ", ".join(map(str, stuck[:10])) + (", ..." if len(stuck) > 10 else "")
        who.unseen.append(f"{len(stuck)} processes whose /proc files do not answer: {some}")
    if drgn:
        _add_drgn(machine, state, who, module)
    paths = {(busy.dev, busy.ino): busy.path for busy in state.busy}
    for holder in who.holders:
        holder.path = paths.get((holder.dev, holder.ino))
    who.holders.sort(key=lambda holder: (holder.dev, holder.ino, HOWS.index(holder.how),
                                         holder.pid, holder.first or 0, holder.fd or 0))
    return who


def _add_drgn(machine: Machine, state: State, who: Who, module: Path | None) -> None:
    """Pages in pipes and sockets."""
    pages = [f"{busy.pfn:#x}:{busy.order}" for busy in state.busy[:1024]]
    try:
        if importlib.util.find_spec("drgn") is None:
            raise layouts.Missing("drgn is not installed: install it (python3-drgn on Debian)")
        build_id = layouts.build_id(machine)
        packed = module or layouts.installed(machine)
        with layouts.unpacked(packed) as file:
            done = subprocess.run([sys.executable, str(_PROGRAM), str(file), build_id, *pages],
                                  capture_output=True, text=True, timeout=_DRGN_TIMEOUT_S, check=False)
    except layouts.Missing as missing:
        who.unseen.append(f"pipes and sockets: {missing}")
    except subprocess.TimeoutExpired:
        who.unseen.append(f"pipes and sockets: drgn did not end within {_DRGN_TIMEOUT_S} s")
    else:
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            who.unseen.append(f"pipes and sockets: drgn: {said.replace(str(file), str(packed))}")
        else:
            add_found(state, json.loads(done.stdout), who)


def add_found(state: State, found: list[dict[str, object]], who: Who) -> None:
    """What kernel_memory.py printed; a process has as many pages in a pipe as are in a row there."""
    busy_by_pfn = {busy.pfn: busy for busy in state.busy}
    last: Holder | None = None
    for line in found:
        if (busy := busy_by_pfn.get(line["pfn"])) is None:  # type: ignore[call-overload]
            continue
        holder = Holder(line["pid"], line["comm"], line["how"], busy.dev, busy.ino,  # type: ignore[arg-type]
                        busy.index, busy.last, line["fd"], line["detail"])  # type: ignore[arg-type]
        if last and last.last is not None and holder.first in (last.last + 1, last.first) and \
                (last.pid, last.how, last.fd, last.detail, last.dev, last.ino) == \
                (holder.pid, holder.how, holder.fd, holder.detail, holder.dev, holder.ino):
            last.last = holder.last
            continue
        who.holders.append(holder)
        last = holder
