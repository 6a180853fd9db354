# SPDX-License-Identifier: GPL-2.0
"""Have the power fail in the middle of transactions, and look at what is left of them.

Runs in a guest with --medium, see run.sh. A client goes on all the time; what is left is mounted from the device of the
medium, which recovers file system and store as after a boot, and is compared with what the client was promised.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fsdaxlib import clients
from fsdaxlib.guest import count_splats
from guestwork import Log, Work, Wrong, call, checked, counts, mounted, program, read_counts, served_as_wanted

_COPY = Path("/dev/pmem2")
_AFTER = Path("/mnt/after")
_BEFORE = 300  # steps, before the first snapshot
_OPTIONS = {"ext4": "dax=never", "xfs": "dax=never,nouuid"}
_NUMBER = {"stock": 0, "rust": 1}


@dataclass(frozen=True)
class Failing:
    """A program, and what is special about it."""

    name: str
    store: str  # of the directory
    how: tuple[str, ...] = ()
    stops: bool = False  # after each promise
    data: str = ""  # what a snapshot is made of, each time


WORK = {
    "lmdb, map grows": Failing("records", ".", ("nosync",), stops=True),
    "libpmemobj": Failing("objects", "pool"),
    "libpmemobj, snapshot": Failing("objects", "pool", data="pool"),
    "lmdb": Failing("records", ".", ("write",)),
    "lmdb, map written": Failing("records", ".", ("writemap",)),
    "lmdb, snapshot": Failing("records", ".", ("writemap",), data="data.mdb"),
}


def sync(path: Path) -> None:
    """Sync a file or a directory."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class Client:
    """A client that goes on until it is killed."""

    def __init__(self, what: Failing, work: Work, path: Path) -> None:
        self._what, self._work, self._counts = what, work, path
        self._chance = random.Random(work.seed)
        self._snapshot = b""
        self._child = subprocess.Popen([clients.PROGRAMS / what.name, "run", work.place / what.store, path,
                                        str(work.seed), "0", *what.how], stdout=subprocess.PIPE, text=True)

    def fail(self, fs: str, provider: str) -> None:
        """Let it go on for a while, take the power away and look."""
        what, work = self._what, self._work
        self._go_on()
        promised, begun = map(int, call(clients.PROGRAMS / "power", str(_NUMBER[provider]), self._counts).split())
        self._child.send_signal(signal.SIGSTOP)
        work.operations = promised
        work.failures += 1
        work.inside += begun > promised
        try:
            with mounted(fs, _OPTIONS[fs], _COPY, _AFTER) as after:
                place = after / work.place.name
                checked(what.name, place / what.store, work.seed, promised, begun)
                if self._snapshot and (place / "snapshot").read_bytes() != self._snapshot:
                    raise Wrong("the snapshot has changed")
        except (Wrong, OSError) as wrong:
            work.wrong(f"failure {work.failures}: {wrong}")
        if what.data:
            self._take_snapshot()

    def end(self) -> None:
        self._child.kill()
        self._child.communicate()
        begun, promised = read_counts(self._counts)
        self._work.operations = promised
        checked(self._what.name, self._work.place / self._what.store, self._work.seed, promised, begun)

    def _go_on(self) -> None:
        before = read_counts(self._counts)[1]
        self._child.send_signal(signal.SIGCONT)
        if self._what.stops:
            _, status = os.waitpid(self._child.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                raise Wrong(f"{self._what.name} ended: {self._said()}")
            return
        wanted = before + self._chance.randrange(1, 30)
        while read_counts(self._counts)[1] < wanted:
            if self._child.poll() is not None:
                raise Wrong(f"{self._what.name} ended: {self._said()}")
            time.sleep(0.001)
        time.sleep(self._chance.random() / 100)

    def _said(self) -> str:
        assert self._child.stdout
        return " ".join(self._child.stdout.read().split())

    def _take_snapshot(self) -> None:
        """Share all blocks anew, while the client has them mapped."""
        snapshot = self._work.place / "snapshot"
        snapshot.unlink(missing_ok=True)
        call("cp", "--reflink=always", self._work.place / self._what.data, snapshot)
        sync(snapshot)
        sync(self._work.place)
        self._snapshot = snapshot.read_bytes()


def attempt(client: str, provider: str, args: argparse.Namespace, log: Log) -> None:
    """Let the power fail under one client on one mount; say how it stands after each time: the kernel may die."""
    splats = 0

    def tell() -> None:
        nonlocal splats
        splats += count_splats(log.new())
        print(clients.line_of(clients.Outcome(args.fs, client, provider, work.operations, work.errors, splats,
                                              " ".join(work.said)[:2000], work.failures, work.inside)), flush=True)

    place = Path("/mnt") / provider / "client"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    call("sync", "-f", place)
    work, what = Work(place, args.seed), WORK[client]
    with counts(provider) as path:
        try:
            program(what.name, "run", place / what.store, path, args.seed, _BEFORE, *what.how)
            running = Client(what, work, path)
            try:
                for _ in range(args.failures):
                    running.fail(args.fs, provider)
                    tell()
            finally:
                running.end()
        except (Wrong, OSError, ValueError) as error:
            work.wrong(f"{type(error).__name__}: {error}")
    shutil.rmtree(place, ignore_errors=True)
    tell()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fs", choices=clients.FILE_SYSTEMS)
    parser.add_argument("seed", type=int)
    parser.add_argument("failures", type=int)
    parser.add_argument("clients", nargs="+", choices=clients.FAILING)
    parser.add_argument("--provider", choices=clients.PROVIDERS, help="not on the other mount")
    args = parser.parse_args()
    log = Log()
    if not served_as_wanted(log):
        return 1
    # What is left is looked at by fs/dax.c, without DAX.
    Path("/sys/module/rust_fsdax/parameters/bind").write_text("N")
    for client in args.clients:
        for provider in [args.provider] if args.provider else clients.PROVIDERS:
            print(f"{client} on {provider} ...", flush=True)
            attempt(client, provider, args, log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
