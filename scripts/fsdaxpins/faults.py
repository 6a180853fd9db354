# SPDX-License-Identifier: GPL-2.0
"""How the faults of a mount ended: the table of --faults."""

from __future__ import annotations

from .machine import MODULE
from .render import printable, table
from .state import Faults, size

_WAYS = ("read", "write", "hole", "sync")
_WHY = {
    "fit": "the mapping or the file ends within, is not aligned, or is to be copied",
    "extent": "the extent is smaller, or its memory is not aligned",
    "entries": "pages of it are in use by the file",
    "shared": "the block is shared by files that are no clones",
    "other_order": "pages of it are in use by other files",
    "no_memory": "there is no memory for a huge zero page",
    "device": "the device does not give its memory",
    "filesystem": "the file system does not say where it is",
}


def render(all_faults: list[Faults]) -> str:
    if not all_faults:
        return (f"No mount is served by the module: mount with -o dax, and /sys/module/{MODULE}/parameters/bind "
                "must have been Y then.")
    lines = [["DEVICE", "SIZE", *(way.upper() for way in _WAYS), "FELL BACK"]]
    for faults in all_faults:
        for order, ways in faults.served.items():
            reasons = faults.fallbacks.get(order)
            lines.append([printable(faults.s_id), size(order), *(str(ways.get(way, 0)) for way in _WAYS),
                          "-" if reasons is None else str(sum(reasons.values()))])
    out = table(lines, {2, 3, 4, 5, 6})
    why = [[printable(faults.s_id), size(order), str(count), _WHY.get(reason, printable(reason))]
           for faults in all_faults for order, reasons in faults.fallbacks.items()
           for reason, count in reasons.items() if count]
    if why:
        out += ["", *table([["DEVICE", "SIZE", "FELL BACK", "WHY"], *why], {2})]
    out.append("")
    out += [f"{printable(faults.s_id)} ({faults.fs}): {faults.copy} private copies, {faults.retried} taken "
            f"again, {faults.failed} failed; {faults.around} pages around those of loads"
            for faults in all_faults]
    return "\n".join(out)
