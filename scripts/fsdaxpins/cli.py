# SPDX-License-Identifier: GPL-2.0
"""Show which pages of DAX files are pinned although their file gave them up, and who waits.

Such a page sits in a pipe, in a direct I/O, in a device: truncate, punch, unlink and the
removal of the device wait until it does not any more. What pins of other pages there are the
kernel does not know before somebody waits for them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from . import faults, mounts, prometheus, state, wait, who
from .machine import (
    INTERRUPTED,
    MODULE,
    NO_DEBUGFS,
    NOT_LOADED,
    NOT_PERMITTED,
    OK,
    STOCK,
    TIMEOUT,
    UNREADABLE,
    USAGE,
    Fail,
    Machine,
)
from .paths import Paths
from .render import cut, duration, file_name, render, waiting

VERSION = "0.2"
# Changes when something is renamed, goes away or means something else, not when something is added.
JSON_VERSION = 1
_EPILOG = f"""\
columns:
  FILE     its path below a mount; the inode number if it has none (deleted) or --no-paths is given
  PAGE     offset in the file, in pages of 4 KiB
  REFS     references to the page, whoever holds them
  MAPPED   those of page tables, which go by themselves
  GUP      those of pin_user_pages(), as direct I/O takes them; pipes take plain references
  AGE      since when the file does not use the page any more
  WAITING  threads that wait for this page, and since when
  PROCESS  who has to do with the pages: by a pipe or a socket (if drgn is installed), by direct I/O,
           or as one that maps the page or has the file open

exit status:
  {OK}    shown, whether or not there was anything to show; --wait: nobody waits any more
  {UNREADABLE}    what the kernel says cannot be read or understood, or a file cannot be written
  {USAGE}    wrong usage
  {NOT_LOADED}    the module is not loaded (--prometheus: that is no error)
  {NO_DEBUGFS}    debugfs is not mounted, or has no files of the module
  {NOT_PERMITTED}    you are not root
  {STOCK}    --mounts: stock fs/dax.c serves a DAX mount although the module is loaded
  {TIMEOUT}    --wait: it still waits after --timeout
  {INTERRUPTED}  --wait: interrupted

examples:
  fsdax-pins                                what holds up a truncate, and who
  fsdax-pins --mounts                       is everything served by {MODULE}?
  fsdax-pins --faults                       are faults served by 2 MiB, and why not?
  fsdax-pins --wait /mnt/file --timeout 60  return when nobody waits for pages of the file
  fsdax-pins --json | jq '.holders[].pid'   see fsdax-pins(8) for the fields"""


def _seconds(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0
    if not 0.05 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{word} is not a time of 0.05 to 86400 seconds")
    return value


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the other scripts of rust_fsdax."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"rust_fsdax: {self.prog}: {message}; {self.prog} --help says what there is.\n")


def arguments() -> argparse.Namespace:
    parser = _Parser(prog="fsdax-pins", description=__doc__, epilog=_EPILOG, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"{MODULE} {VERSION}")
    modes = parser.add_argument_group("what to do (without any of these: show it once)") \
        .add_mutually_exclusive_group()
    modes.add_argument("-w", "--watch", nargs="?", type=_seconds, const=1.0, metavar="SECONDS",
                       help="show it again and again (every second, or every SECONDS)")
    modes.add_argument("-m", "--mounts", action="store_true",
                       help="show who serves each mount that has DAX files, and warn of those that "
                            "stock fs/dax.c serves although the module is loaded")
    modes.add_argument("--faults", action="store_true",
                       help="show how faults on each mount were served, by size, and why they fell back "
                            "to 4 KiB")
    modes.add_argument("--wait", nargs="?", const="", metavar="PID|FILE",
                       help="watch the thread PID, one that waits for FILE, or the one that waits for "
                            "longest, until it does not wait any more")
    modes.add_argument("--prometheus", metavar="FILE",
                       help="write metrics for the textfile collector of the Prometheus node exporter, "
                            "at once (-: to the output)")
    parser.add_argument("--json", action="store_true",
                        help="print JSON; with --watch and --wait an object per line")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="how long to --wait")
    parser.add_argument("--no-paths", action="store_true",
                        help="do not search the mounts for the names of files")
    parser.add_argument("--no-who", action="store_true", help="do not look for processes")
    parser.add_argument("--no-drgn", action="store_true",
                        help="do not look into pipes and sockets, which takes seconds (--watch never does)")
    parser.add_argument("--module", type=Path, metavar="FILE",
                        help="the file of the module, for drgn, if it is not the one that modprobe loads")
    parser.add_argument("--sysroot", default="/", metavar="DIR",
                        help="take DIR/proc, DIR/sys and so on for those of the machine")
    args = parser.parse_args()
    if args.timeout and args.wait is None:
        parser.error("--timeout is for --wait")
    if args.json and args.prometheus:
        parser.error("--prometheus has a format of its own, which is not JSON")
    return args


def _print_json(what: Mapping[str, object], one_line: bool) -> None:
    print(json.dumps({"version": JSON_VERSION, **what}, indent=None if one_line else 1), flush=True)


class Show:
    """The table, once or again and again."""

    def __init__(self, args: argparse.Namespace, machine: Machine) -> None:
        self._args, self._machine, self._where = args, machine, machine.directory()
        self._paths = Paths(machine)
        self._cleared = False

    def __call__(self) -> None:
        args = self._args
        now = state.read(self._where)
        if not args.no_paths:
            self._paths.resolve(now)
        processes = None if args.no_who else who.find(
            self._machine, now, drgn=not (args.no_drgn or args.watch), module=args.module)
        if args.json:
            _print_json({**asdict(now), "holders": processes and [asdict(one) for one in processes.holders],
                         "unseen": processes.unseen if processes else []}, bool(args.watch))
        elif args.watch and sys.stdout.isatty():
            self._screen(render(now, processes))
        else:
            print(render(now, processes), flush=True)

    def _screen(self, text: str) -> None:
        """Write over what is there, and no more than fits."""
        columns, height = shutil.get_terminal_size()
        lines = text.splitlines()
        if len(lines) > height - 1:
            lines = [*lines[:height - 2], f"... and {len(lines) - height + 2} more lines"]
        clear = "\033[H" if self._cleared else "\033[2J\033[H"
        self._cleared = True
        print(clear + "".join(f"{cut(line, columns)}\033[K\n" for line in lines) + "\033[J",
              end="", flush=True)


def _mounts(args: argparse.Namespace, machine: Machine) -> int:
    bound = state.read_mounts(machine.directory()) if machine.loaded() else []
    found = mounts.find(machine, bound)
    if args.json:
        _print_json(asdict(found), one_line=False)
    else:
        print(mounts.render(found), flush=True)
    if not found.loaded:
        raise Fail(f"The module {MODULE} is not loaded: stock fs/dax.c serves all DAX mounts.", NOT_LOADED)
    for warning in found.warnings:
        print(f"fsdax-pins: warning: {warning}", file=sys.stderr)
    return STOCK if found.warnings else OK


def _faults(args: argparse.Namespace, machine: Machine) -> int:
    found = state.read_faults(machine.directory())
    if args.json:
        _print_json({"faults": [asdict(one) for one in found]}, one_line=False)
    else:
        print(faults.render(found), flush=True)
    return OK


def _wait(args: argparse.Namespace, machine: Machine) -> int:
    which = wait.target(machine, args.wait)
    paths = None if args.no_paths else Paths(machine)
    status = OK
    for event in wait.watch(machine, machine.directory(), which, paths, args.timeout):
        status = TIMEOUT if event.event == "timeout" else OK
        if args.json:
            _print_json({"event": event.event, "waiter": event.waiter and asdict(event.waiter),
                         "busy_pages": event.busy, "seconds": round(event.seconds, 1)}, one_line=True)
        else:
            print(_said(event, args.wait), flush=True)
    return status


def _said(event: wait.Event, target: str) -> str:
    pages = f"{event.busy} busy page{'' if event.busy == 1 else 's'}"
    if not event.waiter:
        return "Nobody waits" + (f" as {target} names it" if target else "") + f"; {pages}."
    seconds = duration(int(event.seconds * 1000))
    name = f"{waiting(event.waiter).rpartition(',')[0]}"
    if event.event == "waits":
        page = f"page {event.waiter.index} of {file_name(event.waiter)}" if event.waiter.ino else \
            f"pfn {event.waiter.pfn:#x}"
        return f"{seconds}: {name} waits for {page}; {pages}"
    if event.event == "timeout":
        return f"{seconds}: {name} still waits; {pages}"
    left = f"; {pages} of it left, so that it was interrupted or did not wait for all" if event.busy else ""
    return f"{seconds}: {name} does not wait any more{left}"


def _prometheus(args: argparse.Namespace, machine: Machine) -> int:
    try:
        now = state.read(machine.directory()) if machine.loaded() else None
        text = prometheus.render(now, mounts.find(machine, now.mounts if now else []))
    except Fail:
        prometheus.write(args.prometheus, prometheus.render(None, None))
        raise
    prometheus.write(args.prometheus, text)
    return OK


def main() -> int:
    args = arguments()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    machine = Machine(args.sysroot)
    try:
        if args.mounts:
            return _mounts(args, machine)
        if args.faults:
            return _faults(args, machine)
        if args.wait is not None:
            return _wait(args, machine)
        if args.prometheus:
            return _prometheus(args, machine)
        show = Show(args, machine)
        show()
        while args.watch:
            time.sleep(args.watch)
            show()
    except Fail as fail:
        sys.stdout.flush()
        print(f"fsdax-pins: {fail}", file=sys.stderr)
        return fail.status
    except KeyboardInterrupt:
        print()
        return OK if args.wait is None else INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; keep the interpreter from flushing once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK
