# SPDX-License-Identifier: GPL-2.0
"""Whether a test sees small mistakes in the module: each is built, and run until one does.

What is built is a copy of the checkout below build/mutants, one for each that runs at a time.
"""

import fnmatch
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from . import cache, coverage, guest, kernel, ktap, module, mutating, programs, suites
from .mutating import Mutant
from .progress import BUILD, CHECKOUT, Fail, shown, step
from .reach import Counted, Reach, dumps, kunit_suites, taken

RESULTS = BUILD / "results/mutants.json"
EXPLANATIONS = CHECKOUT / "tests/mutants/survivors"
_OUT = BUILD / "mutants"
# What the module is made of, for the key of the results.
_SOURCES = ("src", "csrc", "rust", "include", "Kbuild")
_COPIED = (*_SOURCES, "dkms.conf", "tests/kunit", "tests/compile-fail")
# What tests are made of, for the keys of what they get to.
_KUNIT, _SCENARIOS = ("tests/kunit",), ("tests/vm", "tests/fsdev")

KILLED, SURVIVED, REFUSED, SAME = "killed", "survived", "refused", "same"
# What may be no mutant at all, or is none: not part of any rate.
NONE = (REFUSED, SAME)
KUNIT = "kunit-module"

# A hang is seen when a test takes so many times as long as without a mistake, and this besides.
_SLOWER, _SLACK_S = 4, 60
_BASELINE_TIMEOUT_S = 1200
_WATCH_S = 0.2
# Suites say something for each case, and those take a second at most: this is for a busy host.
_QUIET_S = 90
# What tests/kunit/thread.rs says, again and again, when it cannot go on.
_STUCK = "a thread does not end"
_NOT_OK = re.compile(r"^(?:\[\s*\d+\.\d+\] )?\s*not ok \d+ (?:- )?(.*)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A guest scenario, and its arguments: groups by -g, cases that have these words in their names by -p."""

    suite: str
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join([self.suite, *self.arguments])

    @property
    def script(self) -> Path:
        return programs.SOURCES / f"{self.suite}.sh"


def _run(suite: str, *, groups: str = "", words: str = "") -> Run:
    return Run(suite, ("-b", *(("-g", groups) if groups else ()), *(("-p", words) if words else ())))


_LAYOUT, _BREAKS = _run("test_ext4_layout"), _run("test_ext4_layout", words="R6")
_DATA = _run("test_ext4", groups="data,calls")
_DIRTY = _run("test_ext4", words="R9")
_HUGE = _run("test_ext4_huge", groups="huge*")
_REMOVAL = _run("test_ext4_huge", groups="removal")
_EVICT = _run("test_ext4_layout", groups="evict", words="R12")
_RANDOM = _run("test_ext4_stress")
_REFLINK = _run("test_xfs_reflink")
_POISON = _run("test_ext4", words="R13")
_HOLES = _run("test_ext4", groups="holes,unwritten,space")
_AROUND = _run("test_ext4", groups="around")
_GIB = Run("test_xfs_gib")
_MODULE, _OBSERVE, _FSDEV = Run("test_module"), Run("test_observe"), Run("test_fsdev")
_LEAKS = Run("test_leaks")

# Which scenarios should see a mistake in a file, besides the KUnit suites; the first pattern that fits.
SCENARIOS: tuple[tuple[str, tuple[Run, ...]], ...] = (
    ("src/ffi/sleep.rs", (_LAYOUT, _REMOVAL, _RANDOM)),
    ("src/ffi/*", (_DATA, _LAYOUT)),
    ("src/folio/association.rs", (_BREAKS, _REFLINK)),
    ("src/folio/sharers.rs", (_REFLINK,)),
    ("src/folio/claim.rs", (_LAYOUT, _REFLINK)),
    ("src/folio/free.rs", (_LAYOUT, _HUGE, _REMOVAL)),
    ("src/folio/re*.rs", (_DATA, _HUGE, _FSDEV, _GIB)),
    ("src/folio/shape.rs", (_HUGE, _DATA, _GIB)),
    ("src/folio/*", (_LAYOUT, _HUGE)),
    ("src/fsdax/around.rs", (_AROUND,)),
    ("src/fsdax/holes.rs", (_HOLES,)),
    ("src/fsdax/layout_break.rs", (_LAYOUT, _HUGE, _REFLINK, _RANDOM)),
    ("src/fsdax/memory_failure.rs", (_POISON, _REFLINK)),
    ("src/fsdax/pud.rs", (_GIB,)),
    ("src/fsdax/removal.rs", (_REMOVAL, _OBSERVE)),
    ("src/fsdax/give_up.rs", (_REFLINK,)),
    ("src/fsdax/make_way.rs", (_REFLINK,)),
    ("src/fsdax/replace.rs", (_REFLINK,)),
    ("src/fsdax/writeback.rs", (_DIRTY, _HUGE)),
    ("src/fsdax/zap.rs", (_BREAKS, _DIRTY)),
    ("src/fsdax/*", (_DATA, _HOLES, _DIRTY, _HUGE, _REFLINK)),
    ("src/mapping/around.rs", (_AROUND,)),
    ("src/mapping/flush.rs", (_DIRTY, _HUGE)),
    ("src/mapping/iomap.rs", (_DATA, _HOLES, _HUGE, _REFLINK)),
    ("src/mapping/scan.rs", (_REMOVAL, _OBSERVE)),
    ("src/mapping/superblock.rs", (_LEAKS, _REMOVAL, _MODULE, _OBSERVE)),
    ("src/mapping/vmf.rs", (_DATA, _HOLES, _HUGE, _AROUND)),
    ("src/mapping/waiters.rs", (_EVICT, _REMOVAL, _OBSERVE)),
    ("src/mapping/*", (_BREAKS, _LAYOUT, _DIRTY, _POISON, _HUGE, _RANDOM)),
    ("src/pgmap/*", (_DATA, _HUGE, _FSDEV)),
    ("src/provider/*", (_DATA, _DIRTY, _POISON, _MODULE, _FSDEV)),
    ("src/*", (_MODULE, _DATA)),
)


def scenarios(file: str) -> tuple[Run, ...]:
    """Those that should see a mistake in FILE."""
    return next(runs for pattern, runs in SCENARIOS if fnmatch.fnmatch(file, pattern))


@dataclass
class Outcome:
    """What became of a mutant."""

    file: str
    line: int
    function: str
    operator: str
    change: str
    result: str
    by: str = ""  # the test that saw it, and how
    tests: list[str] = field(default_factory=list)  # what ran, or does not get there
    seconds: int = 0


@dataclass
class Results:
    """The outcomes of all runs that had the same sources."""

    path: Path
    source: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def read(self) -> None:
        """Take those of before; what was of other sources is kept beside them."""
        if not self.path.exists():
            return
        text = json.loads(self.path.read_text())
        if text["source"] != self.source:
            self.path.rename(self.path.with_name(f"mutants-{text['source']}.json"))
            return
        self.outcomes = {name: Outcome(**outcome) for name, outcome in text["mutants"].items()}

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(
            {"source": self.source, "rate": rate(self.outcomes.values()),
             "mutants": {name: asdict(outcome) for name, outcome in self.outcomes.items()}}, indent=1) + "\n")
        partial.replace(self.path)


def key(mutant: Mutant) -> str:
    """What a mutant is called in the results."""
    return f"{mutant.file}:{mutant.start}-{mutant.end} {mutant.change}"


def source_key(checkout: Path = CHECKOUT) -> str:
    """Changes with the sources of the module, but not with the tests."""
    return _key(checkout, _SOURCES)


def _key(checkout: Path, names: Sequence[str]) -> str:
    paths = [path for name in names for path in
             (sorted((checkout / name).rglob("*")) if (checkout / name).is_dir() else [checkout / name])]
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(str(path.relative_to(checkout)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def rate(outcomes: Iterable[Outcome]) -> float | None:
    """Percent of the mutants that tests have seen."""
    count = Counter(outcome.result for outcome in outcomes)
    seen, all_ = count[KILLED], count[KILLED] + count[SURVIVED]
    return round(100 * seen / all_, 1) if all_ else None


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """A line for each operator, and one for all."""
    all_ = list(outcomes)
    lines = [f"{'operator':<11} {'made':>5} {'no code':>8} {'same':>5} {'killed':>7} {'survived':>9} {'%':>6}"]
    for name in [*mutating.OPERATORS, "all"]:
        mine = [outcome for outcome in all_ if name in ("all", outcome.operator)]
        if mine:
            count = Counter(outcome.result for outcome in mine)
            percent = rate(mine)
            lines.append(f"{name:<11} {len(mine):>5} {count[REFUSED]:>8} {count[SAME]:>5} {count[KILLED]:>7} "
                         f"{count[SURVIVED]:>9} {'-' if percent is None else percent:>6}")
    return lines


def judge(outcomes: Iterable[Outcome], mutants: Iterable[Mutant], text: str) -> list[str]:
    """Who survived without an explanation, and what TEXT explains for nothing."""
    entries, problems = coverage.parse_explanations(text)
    explained: Counter[tuple[str, str, str]] = Counter()
    always = set()
    for entry in entries:
        for line in entry.lines:
            explained[entry.file, entry.function, line] += 1
            if not entry.sometimes:
                always.add((entry.file, entry.function, line))
    there = Counter((mutant.file, mutant.function, mutant.change) for mutant in mutants)
    problems += [f"{file}: {function}: explained, and there is no such mutant: {change}"
                 for file, function, change in (explained - there).elements()]
    left = explained.copy()
    killed: Counter[tuple[str, str, str]] = Counter()
    for outcome in outcomes:
        name = (outcome.file, outcome.function, outcome.change)
        if outcome.result == SURVIVED:
            if left[name]:
                left[name] -= 1
            else:
                problems.append(f"{outcome.file}:{outcome.line}: {outcome.function}: survived, and not explained: "
                                f"{outcome.change}")
        elif outcome.result == KILLED:
            killed[name] += 1
    problems += [f"{name[0]}: {name[1]}: explained, but killed: {name[2]}"
                 for name in sorted(always) if killed[name] > max(0, there[name] - explained[name])]
    return problems


class _Watch(threading.Thread):
    """Stops a guest as soon as a test of it has failed: what comes then may take long.

    And if it says nothing for so many seconds.
    """

    def __init__(self, vm: guest.Guest, paths: Sequence[Path], quiet: float | None = None) -> None:
        super().__init__(daemon=True)
        vm.stop = self._enough = threading.Event()
        self._paths, self._quiet, self._over = paths, quiet, threading.Event()
        self.seen = ""

    def run(self) -> None:
        said, since = 0, time.monotonic()
        while not self._over.wait(_WATCH_S):
            self.look()
            size = sum(path.stat().st_size for path in self._paths if path.exists())
            if size != said:
                said, since = size, time.monotonic()
            elif self._quiet and time.monotonic() - since > self._quiet:
                self.seen = "the guest hangs"
            if self.seen:
                self._enough.set()
                return

    def look(self) -> None:
        for path in self._paths:
            text = path.read_text(errors="replace") if path.exists() else ""
            if match := _NOT_OK.search(text):
                self.seen = f"not ok: {match[1].strip()}"
                return
            if f"# {_STUCK}" in text:
                self.seen = _STUCK
                return
            if splat := guest.find_splat(text):
                self.seen = re.sub(r"^\[\s*[\d.]+\]\s*(?:\[[^\]]*\]\s*)?", "", splat[0]).strip()
                return

    def stop(self) -> None:
        """Stop the guest at once."""
        self._enough.set()

    def end(self) -> None:
        self._over.set()
        self.join()


class Shared:
    """What all workers have in common."""

    def __init__(self, built: kernel.Built, jobs: int) -> None:
        self.built = built
        self.guests = threading.Semaphore(jobs)
        self.measuring = threading.Lock()
        self.suites = kunit_suites()
        self.kunit = Reach(_OUT / "reach-kunit.json", _key(CHECKOUT, (*_SOURCES, *_KUNIT)))
        self.scenarios = Reach(_OUT / "reach-scenarios.json", _key(CHECKOUT, (*_SOURCES, *_SCENARIOS)))

    @cached_property
    def counted(self) -> Counted:
        """The module that counts what runs."""
        return Counted(self.built, _OUT / "counted")


class Worker:
    """Has a copy of the checkout, and tries one mutant at a time."""

    def __init__(self, number: int, shared: Shared) -> None:
        self._shared = shared
        self._dir = _OUT / str(number)
        self._tree = self._dir / "tree"
        self._watch: _Watch | None = None
        self._stopped = False
        self._object = ""
        self._copy()

    def _copy(self) -> None:
        """Have in the tree what is in the checkout. What is the same stays, so that make need not build it again."""
        wanted = [path.relative_to(CHECKOUT) for name in _COPIED for path in sorted((CHECKOUT / name).rglob("*"))
                  if path.is_file()] + [Path(name) for name in _COPIED if (CHECKOUT / name).is_file()]
        for path in [path for path in self._tree.rglob("*") if path.is_file()]:
            if path.relative_to(self._tree) not in wanted:
                path.unlink()
        for name in wanted:
            there, text = self._tree / name, (CHECKOUT / name).read_bytes()
            if not there.exists() or there.read_bytes() != text:
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(text)

    def build(self, *, kunit: bool) -> Path | None:
        kind = "kunit" if kunit else "plain"
        return module.build_changed(self._shared.built, self._tree, self._dir / kind, kunit=kunit,
                                    log=self._dir / f"build-{kind}.log")

    def baseline(self) -> None:
        """Build the module without a mistake, unless it is known what becomes of it."""
        kept, key = self._dir / "baseline", f"{self._shared.kunit.key} {self._shared.built.entry.name}"
        if kept.exists() and (known := kept.read_text().rpartition(" "))[0] == key:
            self._object = known[2]
            return
        ko = self.build(kunit=True)
        if not ko:
            raise Fail(f"The module does not compile as it is: read {shown(self._dir)}/build-kunit.log.")
        self._object = _object(ko)
        kept.write_text(f"{key} {self._object}")

    def attempt(self, mutant: Mutant, *, kunit_only: bool, known: Outcome | None) -> Outcome:
        """Make the mistake, and see what becomes of it; KNOWN is what ran before."""
        begun = time.monotonic()
        if not known or known.result != SURVIVED:
            known = Outcome(mutant.file, mutant.line, mutant.function, mutant.operator, mutant.change, SURVIVED)
        outcome = replace(known, tests=[*known.tests])
        path = self._tree / mutant.file
        text = path.read_text()
        path.write_text(mutant.applied(text))
        try:
            if KUNIT not in outcome.tests:
                self._try_kunit(mutant, outcome)
            if outcome.result == SURVIVED and not kunit_only:
                self._try_scenarios(mutant, outcome)
        finally:
            path.write_text(text)
        outcome.seconds += int(time.monotonic() - begun)
        return outcome

    def _try_kunit(self, mutant: Mutant, outcome: Outcome) -> None:
        ko = self.build(kunit=True)
        if not ko:
            outcome.result = REFUSED
        elif _object(ko) == self._object:
            outcome.result = SAME
        else:
            self.measure_kunit()
            outcome.tests.append(KUNIT)
            reach = self._shared.kunit
            names = reach.quickest(self._shared.suites, mutant.file, mutant.lines)
            if seen := self._kunit(ko, names, _timeout(reach, names)):
                outcome.result, outcome.by = KILLED, f"{KUNIT}: {seen}"

    def _try_scenarios(self, mutant: Mutant, outcome: Outcome) -> None:
        reach, built = self._shared.scenarios, False
        plain: Path | None = None
        # Those that were measured for another one have no cost but their own.
        for run in sorted(scenarios(mutant.file), key=lambda run: reach.seconds.get(run.name, _BASELINE_TIMEOUT_S)):
            if run.name in outcome.tests:
                continue
            self.measure(run)
            outcome.tests.append(run.name)
            if not reach.gets_to(run.name, mutant.file, mutant.lines):
                continue
            if not built:
                plain, built = self.build(kunit=False), True
            # What only the tests use does not compile without them.
            if plain and (seen := self._scenario(run, plain, _timeout(reach, [run.name]))):
                outcome.result, outcome.by = KILLED, f"{run.name}: {seen}"
                return

    def measure_kunit(self) -> None:
        """Run the KUnit suites without a mistake, for what they get to and take, unless that is known."""
        with self._shared.measuring:
            reach, names = self._shared.kunit, self._shared.suites
            if all(name in reach.tests for name in names):
                return
            counted = self._shared.counted
            step("see what the KUnit suites get to")
            _must_pass(KUNIT, self._kunit(counted.ko, names, _BASELINE_TIMEOUT_S, counted.wrapper))
            seconds = taken((self._dir / "logs/kunit.output").read_text(errors="replace"))
            for name, dump in zip(names, dumps(self._dir / "results" / KUNIT), strict=True):
                reach.learn(name, counted.files([dump]), seconds[name])
            reach.save()

    def measure(self, run: Run) -> None:
        """The same for a scenario."""
        with self._shared.measuring:
            reach = self._shared.scenarios
            if run.name in reach.tests:
                return
            counted = self._shared.counted
            step(f"see what {run.name} gets to")
            begun = time.monotonic()
            _must_pass(run.name, self._scenario(run, counted.ko, _BASELINE_TIMEOUT_S, counted.wrapper))
            reach.learn(run.name, counted.files(dumps(self._dir / "results" / run.suite)), time.monotonic() - begun)
            reach.save()

    def stop(self) -> None:
        """End what runs in another thread; there is no outcome then."""
        self._stopped = True
        if watch := self._watch:
            watch.stop()

    @contextmanager
    def _watched(self, vm: guest.Guest, *paths: Path, quiet: float | None = None) -> Iterator[_Watch]:
        for path in paths:
            path.unlink(missing_ok=True)
        self._watch = watch = _Watch(vm, paths, quiet)
        watch.start()
        try:
            if self._stopped:
                raise Fail("Stopped before the end.")
            yield watch
        finally:
            self._watch = None
            watch.end()
        if self._stopped:
            raise Fail("Stopped before the end.")
        watch.look()

    def _kunit(self, ko: Path, names: Sequence[str], timeout: float, wrapper: Sequence[str] = ()) -> str:
        """What is wrong according to these suites, or nothing."""
        console, output = self._dir / "logs/kunit.console", self._dir / "logs/kunit.output"
        argv = [*wrapper, str(suites.KUNIT_MODULE), *names]
        vm = self._guest(suites.KUNIT_MODULE, KUNIT, ko, timeout)
        with self._shared.guests, self._watched(vm, console, quiet=_QUIET_S) as watch, output.open("wb") as out:
            status = vm.run(argv, console, allow_splat=True, output=out)
        return watch.seen or _wrong_suites(console.read_text(errors="replace"), names, status)

    def _scenario(self, run: Run, ko: Path, timeout: float, wrapper: Sequence[str] = ()) -> str:
        console, tap = self._dir / f"logs/{run.suite}.console", self._dir / f"logs/{run.suite}.tap"
        argv = [*wrapper, str(run.script), *run.arguments]
        vm = self._guest(run.script, run.suite, ko, timeout)
        with self._shared.guests, self._watched(vm, console, tap) as watch, tap.open("wb") as out:
            status = vm.run(argv, console, allow_splat=True, output=out)
        return watch.seen or _wrong(ktap.parse(tap.read_text(errors="replace").splitlines()), status)

    def _guest(self, script: Path, name: str, ko: Path, timeout: float) -> guest.Guest:
        setup = suites.Setup("plain", ko, (), self._dir / "results", self._dir / "logs")
        setup.logs.mkdir(parents=True, exist_ok=True)
        vm = suites.guest_of(setup, script, name)
        vm.timeout = int(timeout)
        for old in dumps(vm.results):
            old.unlink()
        return vm


def _timeout(reach: Reach, names: Iterable[str]) -> float:
    return sum(reach.seconds[name] for name in names) * _SLOWER + _SLACK_S


def _must_pass(name: str, seen: str) -> None:
    if seen:
        raise Fail(f"{name} fails without any mistake ({seen}): a test that fails sees everything.")


def _wrong_suites(console: str, names: Iterable[str], status: int) -> str:
    """What is wrong with a run of suites that each have a report of their own."""
    reports = suites.reports(console.splitlines())
    for name in names:
        mine = [report for report in reports if any(line.strip() == f"# Subtest: {name}" for line in report)]
        if seen := _wrong(ktap.parse(mine[0]) if mine else ktap.Report(problems=[f"{name} did not run"]), status):
            return seen
    return ""


def _wrong(report: ktap.Report, status: int) -> str:
    failed = [case.name for case in report.cases if case.result == "failed"]
    if failed:
        return f"not ok: {failed[0]}"
    if status:
        return {guest.STATUS_TIMEOUT: "the guest did not end",
                guest.STATUS_DIED: "the guest died"}.get(status, f"status {status}")
    return report.problems[0] if report.problems else ""


def _object(ko: Path) -> str:
    """Tells the code that rustc made of the module from that of another one."""
    return hashlib.sha256((ko.parent / "src/rust_fsdax_main.o").read_bytes()).hexdigest()


def is_done(mutant: Mutant, known: Outcome | None, *, kunit_only: bool, again: bool) -> bool:
    """Whether there is nothing to run for it any more."""
    if not known or (again and known.result == SURVIVED):
        return False
    wanted = [KUNIT, *([] if kunit_only else [run.name for run in scenarios(mutant.file)])]
    return known.result != SURVIVED or set(wanted) <= set(known.tests)


def run(chosen: Sequence[Mutant], results: Results, *, kunit_only: bool = False, again: bool = False,
        jobs: int = 1) -> list[Outcome]:
    """Try those that were not tried yet, or survived if AGAIN; return the outcomes of all that are chosen."""
    with cache.lock(BUILD / "mutants.lock", "another run of scripts/mutants"):
        results.read()
        left = [mutant for mutant in chosen
                if not is_done(mutant, results.outcomes.get(key(mutant)), kunit_only=kunit_only, again=again)]
        if left:
            _run_all(left, results, kunit_only, again, jobs, len(chosen))
    return [results.outcomes[key(mutant)] for mutant in chosen]


def _run_all(left: Sequence[Mutant], results: Results, kunit_only: bool, again: bool, jobs: int, all_: int) -> None:
    shared = Shared(kernel.ensure("plain"), jobs)
    for reach in (shared.kunit, shared.scenarios):
        reach.read()
    step(f"{len(left)} of {all_} mutants are to be tried")
    # One builds while others wait for their guests.
    workers = [Worker(number, shared) for number in range(min(jobs + 1, len(left)))]
    for worker in workers:
        worker.baseline()
    # Scenarios take longest, and most mutants do not need them.
    first = [mutant for mutant in left if again or KUNIT not in _tests(results, mutant)]
    _try_each(workers, first, results, kunit_only=True, again=again)
    if not kunit_only:
        survivors = [mutant for mutant in left if results.outcomes[key(mutant)].result == SURVIVED]
        explained = _explained(EXPLANATIONS.read_text())
        survivors.sort(key=lambda mutant: (mutant.file, mutant.function, mutant.change) in explained)
        _try_each(workers, survivors, results, kunit_only=False, again=False)


def _tests(results: Results, mutant: Mutant) -> list[str]:
    known = results.outcomes.get(key(mutant))
    return known.tests if known else []


def _explained(text: str) -> set[tuple[str, str, str]]:
    entries, _ = coverage.parse_explanations(text)
    return {(entry.file, entry.function, line) for entry in entries for line in entry.lines}


def _try_each(workers: Sequence[Worker], left: Sequence[Mutant], results: Results, *, kunit_only: bool,
              again: bool) -> None:
    lock, idle, tried = threading.Lock(), list(workers), 0

    def one(mutant: Mutant) -> None:
        nonlocal tried
        with lock:
            worker = idle.pop()
        try:
            known = None if again else results.outcomes.get(key(mutant))
            outcome = worker.attempt(mutant, kunit_only=kunit_only, known=known)
        finally:
            with lock:
                idle.append(worker)
        with lock:
            tried += 1
            results.outcomes[key(mutant)] = outcome
            results.save()
            result = "survived KUnit" if kunit_only and outcome.result == SURVIVED else outcome.result
            step(f"{tried}/{len(left)} {result}: {mutant.title}{f' ({outcome.by})' if outcome.by else ''}")

    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(one, mutant) for mutant in left]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            for worker in workers:
                worker.stop()
            raise
