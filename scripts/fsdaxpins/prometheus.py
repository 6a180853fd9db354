# SPDX-License-Identifier: GPL-2.0
"""Metrics for the textfile collector of the Prometheus node exporter."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .machine import NOT_PERMITTED, Fail
from .mounts import Mounts
from .render import printable
from .state import State, size

_Sample = tuple[dict[str, str], float]


def _size(order: int) -> str:
    """As 4K."""
    return re.sub("^([0-9]+) (.)iB$", r"\1\2", size(order))


def _label(value: str) -> str:
    return printable(value).replace("\\", "\\\\").replace('"', '\\"')


def _metric(name: str, text: str, samples: Iterable[_Sample], kind: str = "gauge") -> list[str]:
    lines = [f"# HELP rust_fsdax_{name} {text}", f"# TYPE rust_fsdax_{name} {kind}"]
    for labels, value in samples:
        words = ",".join(f'{key}="{_label(word)}"' for key, word in labels.items())
        lines.append(f"rust_fsdax_{name}{{{words}}} {value:.15g}" if words
                     else f"rust_fsdax_{name} {value:.15g}")
    return lines


def render(state: State | None, mounts: Mounts | None) -> str:
    """The metrics; without a state only those that say so."""
    lines = _metric("readable", "1 if what the module says could be read or it is not loaded.",
                    [({}, int(mounts is not None))])
    if mounts:
        lines += _metric("loaded", "1 if the module is loaded.", [({}, int(mounts.loaded))])
        lines += _metric("mount_info", "A mount with DAX files, and who serves it.",
                         [({"device": mount.name, "dev": mount.dev, "fstype": mount.fs, "dax": mount.dax,
                            "served_by": mount.served_by,
                            "mountpoint": mount.paths[0] if mount.paths else ""}, 1)
                          for mount in mounts.mounts])
        lines += _metric("stock_dax_mounts",
                         "DAX mounts that stock fs/dax.c serves although the module is loaded.",
                         [({}, len(mounts.warnings))])
    if state:
        lines += _of_state(state)
    return "\n".join(lines) + "\n"


def _of_state(state: State) -> list[str]:
    entries: list[_Sample] = []
    for mount in state.mounts:
        for order, counts in mount.orders.items():
            labels = {"device": mount.s_id, "size": _size(order)}
            entries += [({**labels, "state": name}, getattr(counts, name))
                        for name in ("tracked", "zapped", "busy", "shared")]
    devices = {mount.dev: mount.s_id for mount in state.mounts}
    oldest = dict.fromkeys(devices, 0)
    for busy in state.busy:
        oldest[busy.dev] = max(oldest.get(busy.dev, 0), busy.age_ms)
    waiters: dict[tuple[str, str], list[int]] = {}
    for waiter in state.waiters:
        device = devices.get(waiter.dev or "", waiter.dev or "")
        waiters.setdefault((device, waiter.what), []).append(waiter.waited_ms)
    return [
        *_of_faults(state),
        *_metric("entries", "Entries of files by size and state; busy ones are zapped, too, and "
                 "shared ones tracked.", entries),
        *_metric("busy_oldest_seconds", "Since when the file does not use the busy page that has been "
                 "busy for longest.", [({"device": devices.get(dev, dev)}, age / 1000)
                                       for dev, age in oldest.items()]),
        *_metric("waiters", "Threads that wait until a page is not in use any more.",
                 [({"device": device, "what": what}, len(times))
                  for (device, what), times in sorted(waiters.items())]),
        *_metric("waiter_longest_seconds", "How long the one that waits for longest has waited.",
                 [({"device": device, "what": what}, max(times) / 1000)
                  for (device, what), times in sorted(waiters.items())]),
    ]


def _of_faults(state: State) -> list[str]:
    served: list[_Sample] = []
    fallbacks: list[_Sample] = []
    rest: list[_Sample] = []
    for faults in state.faults:
        device = {"device": faults.s_id}
        for samples, label, orders in ((served, "how", faults.served), (fallbacks, "why", faults.fallbacks)):
            samples += [({**device, "size": _size(order), label: name}, count)
                        for order, counts in orders.items() for name, count in counts.items()]
        rest += [({**device, "how": name}, getattr(faults, name)) for name in ("copy", "retried", "failed")]
    return [
        *_metric("faults_total", "Faults that were served by a size, since the mount.", served, "counter"),
        *_metric("fault_fallbacks_total", "Faults that fell back to a smaller size, since the mount.",
                 fallbacks, "counter"),
        *_metric("other_faults_total", "Private copies, faults that are taken again, and that failed, since "
                 "the mount.", rest, "counter"),
        *_metric("pages_around_total", "Pages that read faults mapped besides their own, since the mount.",
                 [({"device": faults.s_id}, faults.around) for faults in state.faults], "counter"),
    ]


def write(path: str, text: str) -> None:
    """Replace the file at once, so that no reader sees half of it; - is the output."""
    if path == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    target = Path(path)
    temporary = ""
    try:
        # The collector reads *.prom alone.
        number, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(number, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        if isinstance(error, FileNotFoundError):
            raise Fail(f"There is no directory {target.parent}: make it, or name the one of "
                       "--collector.textfile.directory of the node exporter.") from None
        raise Fail(f"Cannot write {target}: {error.strerror}.",
                   NOT_PERMITTED if isinstance(error, PermissionError) else 1) from None
