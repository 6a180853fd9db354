# SPDX-License-Identifier: GPL-2.0
"""Tables for people."""

from __future__ import annotations

import unicodedata

from .machine import MODULE
from .processes import Holder
from .state import PAGE_KIB, Busy, State, Waiter
from .who import Who

_MAX_HOLDERS = 40
_HOW = {
    "pipe": "has it in a pipe,",
    "socket": "has it in a socket,",
    "direct_io": "does direct I/O with it,",
    "page_table": "has it in its page table",
    "async_io": "maps it and may do direct I/O by",
    "mapping": "maps it,",
    "open": "has the file open,",
}


def duration(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1000:.1f} s"
    minutes = ms // 60_000
    return f"{minutes} min" if minutes < 180 else f"{minutes // 60} h"


def file_name(item: Busy | Waiter | Holder) -> str:
    if item.path:
        return printable(item.path)
    return f"inode {item.ino}" if item.ino else "-"


def printable(text: str) -> str:
    """A name that cannot play tricks on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
               for char in text)


def cut(text: str, columns: int) -> str:
    """What of a line fits into so many columns."""
    if width(text) <= columns:
        return text
    while width(text) >= columns:
        text = text[:-1]
    return text + ">"


def waiting(waiter: Waiter) -> str:
    return f"{printable(waiter.comm)}[{waiter.pid}] {waiter.what}, {duration(waiter.waited_ms)}"


def table(lines: list[list[str]], right: set[int]) -> list[str]:
    """Lines of words, aligned."""
    widths = [max(width(line[i]) for line in lines) for i in range(len(lines[0]))]

    def aligned(word: str, i: int) -> str:
        room = " " * (widths[i] - width(word))
        return room + word if i in right else word + room

    return ["  ".join(aligned(word, i) for i, word in enumerate(line)).rstrip() for line in lines]


def render(state: State, who: Who | None) -> str:
    names = {mount.dev: mount.s_id for mount in state.mounts}
    lines = [["DEVICE", "FILE", "PAGE", "SIZE", "PFN", "REFS", "MAPPED", "GUP", "AGE", "WAITING"]]
    shown = set()
    waiters_of: dict[int, list[Waiter]] = {}
    for waiter in state.waiters:
        waiters_of.setdefault(waiter.pfn, []).append(waiter)
    for busy in state.busy:
        mine = waiters_of.get(busy.pfn, [])
        shown |= {id(waiter) for waiter in mine}
        lines.append([names.get(busy.dev, busy.dev), file_name(busy), str(busy.index),
                      f"{PAGE_KIB << busy.order} KiB", f"{busy.pfn:#x}", str(busy.refcount),
                      str(busy.mapcount), str(busy.pins), duration(busy.age_ms),
                      "; ".join(waiting(waiter) for waiter in mine) or "-"])
    out = table(lines, {2, 3, 4, 5, 6, 7, 8}) if state.busy else ["No page is busy that a file gave up."]
    if state.more_busy:
        out.append("There are more, which the kernel does not list.")
    for waiter in state.waiters:
        if id(waiter) not in shown:
            where = f"page {waiter.index} of {file_name(waiter)}" if waiter.ino else "no file's page"
            out.append(f"{waiting(waiter)}: waits for pfn {waiter.pfn:#x}, {where}")
    if who and state.busy:
        out += ["", *_holders(who)]
    if state.busy:
        out.append("")
    for mount in state.mounts:
        tracked = sum(counts.tracked << order for order, counts in mount.orders.items())
        shared = sum(counts.shared << order for order, counts in mount.orders.items())
        busy_count = sum(counts.busy for counts in mount.orders.values())
        out.append(f"{printable(mount.s_id)} ({mount.fs}, {mount.provider}): {tracked} pages in use by files, "
                   f"{shared} of them shared, {busy_count} busy")
    if not state.mounts:
        out.append("No mount is served by the module: mount with -o dax, and "
                   f"/sys/module/{MODULE}/parameters/bind must have been Y then.")
    return "\n".join(out)


def _holders(who: Who) -> list[str]:
    lines = [["PROCESS", "FILE", "PAGES", "FD", "HOW"]]
    for holder in who.holders[:_MAX_HOLDERS]:
        pages = "-" if holder.first is None else (
            str(holder.first) if holder.first == holder.last else f"{holder.first}-{holder.last}")
        lines.append([f"{printable(holder.comm)}[{holder.pid}]", file_name(holder), pages,
                      "-" if holder.fd is None else str(holder.fd),
                      f"{_HOW[holder.how]} {holder.detail}".rstrip()])
    out = table(lines, {2, 3}) if who.holders else [
        "No process maps these pages, has their files open or does direct I/O with them."]
    if len(who.holders) > _MAX_HOLDERS:
        out.append(f"There are {len(who.holders) - _MAX_HOLDERS} more of these: --json lists all.")
    return out + [f"Not looked at: {printable(what)}." for what in who.unseen]
