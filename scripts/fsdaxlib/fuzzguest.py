# SPDX-License-Identifier: GPL-2.0
"""Runs programs of the fuzzer in a guest, which is booted when it is needed and stays as long as it can."""

import os
import selectors
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from . import cache, guest, kernel, machine, module, usage
from .fuzzing import Program, text_of
from .progress import BUILD, CHECKOUT, LOGS, Fail, shown

# For one program, with a new file system before it, on a host that is busy.
_PROGRAM_S = 120
_ANSWER_S = 600
_GUEST_S = 24 * 3600
_STOPPING_S = 120
_KINDS = {guest.STATUS_SPLAT: "splat", guest.STATUS_TIMEOUT: "hang"}


@dataclass(frozen=True)
class Outcome:
    """How a program ended: kind is empty if all was as it should be."""

    kind: str = ""
    text: str = ""
    operations: int = 0
    refused: int = 0
    counters: int = 0  # that nothing reached before

    @property
    def failure(self) -> str:
        return f"{self.kind}: {self.text}"


class Executor:
    """A guest with a mount, to which programs are given one after the other."""

    def __init__(self, fs: str, kind: str, *, counting: bool = False, tracing: int = 0) -> None:
        """With COUNTING for --guided; a trace with so many KiB for each CPU is kept in self.trace."""
        self._fs, self._counting = fs, counting
        name = f"{fs}-{'counting' if counting else 'tracing' if tracing else kind}"
        self._place = BUILD / "fuzz/guests" / name
        self.console = LOGS / f"fuzz-{name}.console"
        parser = usage.Parser(prog="scripts/fuzz")
        machine.add_options(parser)
        machine.add_run_options(parser)
        args = parser.parse_args([f"--kernel={kind}", f"--timeout={_GUEST_S}"])
        self._wrapper: list[str] = []
        ko = None
        if counting:
            ko, saver = module.build_coverage(kernel.ensure(kind))
            self._wrapper = [str(CHECKOUT / "tests/coverage/run.sh"), str(saver)]
        self._vm = machine.prepare(args, ko)
        self._vm.results, self.trace = self._place, self._place / "trace"
        if tracing:
            self._wrapper += [str(self._vm.programs / "tracer"), "-b", str(tracing), str(self.trace)]
        self._thread: threading.Thread | None = None
        self._status = 0
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(cache.lock(self._place.with_suffix(".lock"), "another run of the fuzzer"))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        with self._held:
            self.close(at_once=kind is not None)

    def ready(self) -> bool:
        """Have a guest; whether it is a new one."""
        if self._thread:
            return False
        self._boot()
        return True

    def run(self, program: Program, *, fresh: bool = False) -> Outcome:
        """Run a program, on a new file system if it is to be FRESH."""
        self.ready()
        self._number += 1
        path = self._place / "queue" / str(self._number)
        partial = path.with_suffix(".partial")
        partial.write_text(text_of(program, ["fresh"] if fresh else []))
        partial.rename(path)
        outcome = self._answer(f"END {self._number} ")
        path.unlink()
        return outcome

    def close(self, *, at_once: bool = False) -> str:
        """End the guest; what was wrong with its end, if something was."""
        if not self._thread:
            return ""
        if at_once:
            self._stop.set()
        (self._place / "queue/stop").touch()
        outcome = self._answer("", _STOPPING_S)
        self._join()
        return f"the guest ended with status {self._status}: {outcome.text}" if self._status and not at_once else ""

    def _boot(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        (self._place / "queue").mkdir(parents=True)
        ready, self._vm.stop = os.pipe(), threading.Event()
        self._stop, self._number, self._buffer = self._vm.stop, 0, b""
        self._reader = ready[0]
        argv = [*self._wrapper, str(self._vm.programs / "fuzz"), "-f", self._fs, "-k", str(self._vm.module), "-q",
                str(self._place / "queue"), "-t", str(_PROGRAM_S), *(["-c"] if self._counting else [])]

        def boot() -> None:
            with os.fdopen(ready[1], "wb", buffering=0) as out:
                self._status = self._vm.run(argv, self.console, output=out)

        self._thread = threading.Thread(target=boot, daemon=True)
        self._thread.start()
        outcome = self._answer("READY")
        if outcome.kind:
            raise Fail(f"The guest of the fuzzer did not begin, {outcome.text}: see {shown(self.console)}.")

    def _join(self) -> None:
        if self._thread:
            self._thread.join()
            os.close(self._reader)
        self._thread = None

    def _answer(self, wanted: str, limit: int = _ANSWER_S) -> Outcome:
        """Read until the line that begins so, or the end of the guest."""
        kind, said = "", []
        for line in self._lines(limit):
            if line.startswith("FAILED ") and not kind:
                kind, _, text = line.removeprefix("FAILED ").partition(": ")
                said = [text]
            elif wanted and line.startswith(wanted):
                numbers = [int(word) for word in line.split()[2:]]
                return Outcome(kind, "".join(said), *numbers)
            elif line.startswith("#") or not kind:
                said = [*said[-3:], *([line] if not line.startswith("BEGIN") and not kind else [])]
        self._stop.set()
        self._join()
        return Outcome(kind or _KINDS.get(self._status, "died"), " ".join(said))

    def _lines(self, limit: int) -> Iterator[str]:
        end = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            while time.monotonic() < end:
                while b"\n" in self._buffer:
                    line, _, self._buffer = self._buffer.partition(b"\n")
                    yield line.decode(errors="replace").rstrip()
                if not selector.select(5):
                    continue
                data = os.read(self._reader, 65536)
                if not data:
                    return
                self._buffer += data
