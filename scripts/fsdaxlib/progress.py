# SPDX-License-Identifier: GPL-2.0
"""Progress with elapsed times, logged commands and errors of one sentence."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / "build"
LOGS = BUILD / "logs"

STATUS_MISUSE = 2
STATUS_INTERRUPTED = 128 + signal.SIGINT

_HEARTBEAT_S = 30
_TAIL_LINES = 20
_FULL = os.strerror(errno.ENOSPC)
# One clock for a program and those that it calls.
_start = float(os.environ.setdefault("RUST_FSDAX_STARTED", str(time.monotonic())))


class Fail(Exception):
    """Ends the program; its text is one sentence that says what to do."""


class DiskFull(Fail):
    """There was no room for what was to be written."""


class Misuse(Fail):
    """The command line is wrong: ends any program with STATUS_MISUSE."""


def step(text: str) -> None:
    """Print one line of progress, on stderr so that the output of a guest script stays pure."""
    elapsed = int(time.monotonic() - _start)
    print(f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {text}", file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """A path as the user would type it."""
    try:
        return str(path.relative_to(CHECKOUT))
    except ValueError:
        return str(path)


def run_logged(argv: Sequence[str], log: Path, what: str, *, append: bool = False,
               explain: Callable[[str], str | None] = lambda _: None,
               cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a command with its output in a log; say in one sentence why it failed.

    explain() may turn the log into the sentence that the user needs; if it cannot, the log's end is shown.
    QUIET is for what takes no time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if not quiet:
        step(f"{what} ...")
    begun = time.monotonic()
    with log.open("ab" if append else "wb") as out, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                          stderr=subprocess.STDOUT, cwd=cwd) as child:
        status = None
        while status is None:
            try:
                status = child.wait(_HEARTBEAT_S)
            except subprocess.TimeoutExpired:
                step(f"{what}: {_count_lines(log)} lines in {shown(log)}")
    if status:
        text = log.read_text(errors="replace")
        if _FULL in text:
            raise DiskFull(f"Could not {what}, since the disk is full: make room and run this again.")
        if reason := explain(text):
            raise Fail(reason)
        for line in text.splitlines()[-_TAIL_LINES:]:
            print(f"    {line}", file=sys.stderr)
        raise Fail(f"Could not {what} (status {status}): read {shown(log)}.")
    taken = int(time.monotonic() - begun)
    if not quiet:
        step(f"{what}: done in {taken // 60}:{taken % 60:02d}")


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def main_wrapper(main: Callable[[], int], failure_status: int = 1) -> None:
    """Run main; turn Fail and Ctrl-C into one line and a status."""
    try:
        status = main()
    except Fail as fail:
        print(f"rust_fsdax: {fail}", file=sys.stderr)
        status = STATUS_MISUSE if isinstance(fail, Misuse) else failure_status
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader has seen enough; keep the interpreter from flushing once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 128 + signal.SIGPIPE
        elif error.errno == errno.ENOSPC:
            print(f"rust_fsdax: the disk is full at {error.filename or 'what was written last'}: make room and "
                  "run this again.", file=sys.stderr)
            status = failure_status
        else:
            raise
    except KeyboardInterrupt:
        print("rust_fsdax: interrupted: the next run goes on where this one ended.", file=sys.stderr)
        status = STATUS_INTERRUPTED
    sys.exit(status)
