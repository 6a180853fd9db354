# SPDX-License-Identifier: GPL-2.0
"""Runs of guests whose traces are replayed, and what they have seen of the protocol together."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from . import fuzzing, ktap, machine, tracing, usage
from .fuzzguest import Executor
from .progress import BUILD, LOGS, Fail, shown, step
from .protocol import TRANSITIONS
from .replaying import Replay

_OUT = BUILD / "replay"
_RESULTS = BUILD / "results"
BUFFER_KIB = 16_384
# Pages that files share, stores that replace them, and removal are not in the randomized runs.
_GROUPS = {"ext4": "random_*", "xfs": "random_*,reflink_breaks,reflink_replace,removal"}
_ALL_GROUPS = ("data,direct,dirty,evict,holes,huge,huge_breaks,interrupt,layout,moves,races,random_*,reflink*,removal,"
               "space,unwritten,around")
_FILE_SYSTEMS = ("ext4", "xfs")
_SHOWN = 3


@dataclass(frozen=True)
class Options:
    """How much is run, and on what."""

    kernel: str = "plain"
    seed: int = 1
    operations: int = 400
    programs: int = 8
    buffer: int = BUFFER_KIB


@dataclass
class Outcome:
    """What a replay of one run has shown."""

    name: str
    events: int = 0
    unexplained: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def cases(self) -> list[ktap.Case]:
        ran = f"{self.name}: the run passes"
        return [ktap.Case(f"{ran}: {self.problem}" if self.problem else ran, "failed" if self.problem else "passed"),
                ktap.Case(f"{self.name}: each event is a step of the protocol",
                          "failed" if self.unexplained or not self.events else "passed")]


def replay(name: str, trace: Path) -> Outcome:
    """Replay what tracer.c left in a directory."""
    outcome = Outcome(name)
    for load in tracing.loads(trace):
        state = Replay()
        state.run(load.events(), unloaded=load.unloaded)
        outcome.events += state.events
        outcome.unexplained += state.unexplained
        outcome.seen += state.seen
        outcome.violations += [f"{shown(load.place)}: {violation}" for violation in state.violations]
    return outcome


@dataclass(frozen=True)
class Run:
    """A guest to be traced."""

    name: str
    go: Callable[[Options, Path], str]  # what was wrong with it
    long: bool = False


@dataclass(frozen=True)
class _Scenarios:
    """Groups of scenarios, or those of their cases that have WORDS, in a machine with VM_OPTIONS and MODULES."""

    fs: str
    groups: str
    words: str = ""
    modules: tuple[str, ...] = ()
    vm_options: tuple[str, ...] = ()


def _scenarios(which: _Scenarios, options: Options, trace: Path) -> str:
    parser = usage.Parser(prog="scripts/replay")
    machine.add_options(parser)
    machine.add_run_options(parser)
    vm = machine.prepare(parser.parse_args([f"--kernel={options.kernel}", "--timeout=3600", *which.vm_options]))
    vm.results = trace.parent
    modules = vm.module.parent if vm.module else Path()
    argv = [str(vm.programs / "tracer"), "-b", str(options.buffer), str(trace), str(vm.programs / "scenarios"), "-k",
            str(vm.module), "-b", "-f", which.fs, "-g", which.groups, "-s", str(options.seed),
            "-n", str(options.operations), *(["-p", which.words] if which.words else [])]
    if which.modules:
        inserts = "".join(f"insmod {modules / name} && " for name in which.modules)
        argv = ["sh", "-c", f'{inserts}exec "$@"', "sh", *argv]
    console, tap = LOGS / f"replay-{trace.name}.console", trace.with_suffix(".tap")
    with tap.open("wb") as out:
        status = vm.run(argv, console, output=out)
    return f"status {status}, see {shown(tap)} and {shown(console)}" if status else ""


def _fuzz(fs: str, options: Options, trace: Path) -> str:
    problem = ""
    with Executor(fs, options.kernel, tracing=options.buffer) as executor:
        for seed in range(options.seed, options.seed + options.programs):
            outcome = executor.run(fuzzing.generate(seed, fs))
            if outcome.kind:
                problem = f"seed {seed}: {outcome.failure}"
                break
        problem = problem or executor.close()
        if executor.trace.is_dir():
            executor.trace.rename(trace)
    return problem


RUNS = (
    *(Run(fs, partial(_scenarios, _Scenarios(fs, _GROUPS[fs]))) for fs in _FILE_SYSTEMS),
    Run("shared", partial(_scenarios, _Scenarios("xfs", "reflink_use", words="R24 clones"))),
    *(Run(f"fuzz-{fs}", partial(_fuzz, fs)) for fs in _FILE_SYSTEMS),
    *(Run(f"all-{fs}", partial(_scenarios, _Scenarios(fs, _ALL_GROUPS)), long=True) for fs in _FILE_SYSTEMS),
    Run("devdax", partial(_scenarios, _Scenarios("ext4", "devdax", modules=("dax_pmem.ko", "kmem.ko"))), long=True),
    Run("gib", partial(_scenarios, _Scenarios("xfs", "gib", vm_options=("--pmem=3072",))), long=True),
)


def tell(outcome: Outcome) -> None:
    for violation in outcome.violations[:_SHOWN]:
        print(violation)
    if outcome.problem:
        step(f"{outcome.name}: FAILED: {outcome.problem}")
    step(f"{outcome.name}: {outcome.events} events, {outcome.unexplained} unexplained")


def run(options: Options, patterns: Iterable[str] = (), *, long: bool = False) -> list[Outcome]:
    """Trace and replay the runs, or those with these names."""
    outcomes = []
    for each in RUNS:
        if each.name not in patterns if patterns else each.long and not long:
            continue
        trace = _OUT / each.name
        shutil.rmtree(trace, ignore_errors=True)
        _OUT.mkdir(parents=True, exist_ok=True)
        problem = each.go(options, trace)
        try:
            # What was traced up to a failure may tell what went wrong.
            outcome = replay(each.name, trace)
            outcome.problem = problem
        except Fail as fail:
            if not problem:
                raise
            # A guest that died has not saved all of it.
            outcome = Outcome(each.name, problem=f"{problem}; {fail}")
        tell(outcome)
        outcomes.append(outcome)
    save(outcomes)
    return outcomes


def save(outcomes: list[Outcome]) -> None:
    _RESULTS.mkdir(parents=True, exist_ok=True)
    (_RESULTS / "replay.json").write_text(json.dumps([
        {"run": outcome.name, "events": outcome.events, "unexplained": outcome.unexplained, "problem": outcome.problem,
         "violations": outcome.violations, "seen": outcome.seen} for outcome in outcomes], indent=1) + "\n")


def together(outcomes: list[Outcome], *, long: bool = False) -> list[ktap.Case]:
    """Whether each step was seen that can be, and no other; a case for each that is not as it should be."""
    seen = sum((outcome.seen for outcome in outcomes), Counter[str]())
    cases = []
    for name, transition in TRANSITIONS.items():
        if seen[name] and transition.never:
            cases.append(ktap.Case(f"{name} is never seen, since {transition.never}: {seen[name]} times", "failed"))
        elif not seen[name] and not transition.never and (long or not transition.long):
            cases.append(ktap.Case(f"{name} was not seen", "failed"))
    return cases or [ktap.Case("each step of the protocol was seen", "passed")]


def table(outcomes: list[Outcome]) -> str:
    """How often each step was seen in each run."""
    names = [outcome.name for outcome in outcomes]
    lines = [" ".join([f"{'step':24}", *(f"{name:>10}" for name in names)])]
    for name, transition in TRANSITIONS.items():
        note = f"  {transition.never}" if transition.never else ""
        lines.append(" ".join([f"{name:24}", *(f"{outcome.seen[name] or '-':>10}" for outcome in outcomes)]) + note)
    lines.append(" ".join([f"{'events':24}", *(f"{outcome.events:>10}" for outcome in outcomes)]))
    lines.append(" ".join([f"{'unexplained':24}", *(f"{outcome.unexplained:>10}" for outcome in outcomes)]))
    return "\n".join(lines)
