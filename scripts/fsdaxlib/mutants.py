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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from . import cache, coverage, guest, kernel, ktap, module, mutating, programs, suites
from .mutating import Mutant
from .progress import BUILD, CHECKOUT, Fail, shown, step

RESULTS = BUILD / "results/mutants.json"
EXPLANATIONS = CHECKOUT / "tests/mutants/survivors"
_OUT = BUILD / "mutants"
# What the module is made of, for the key of the results.
_SOURCES = ("src", "csrc", "rust", "include", "Kbuild")
_COPIED = (*_SOURCES, "dkms.conf", "tests/kunit", "tests/compile-fail")
# What may fail without any mistake after it was changed.
_TESTS = ("tests/kunit", "tests/vm")

KILLED, SURVIVED, REFUSED, SAME = "killed", "survived", "refused", "same"
# What may be no mutant at all, or is none: not part of any rate.
NONE = (REFUSED, SAME)
KUNIT = "kunit-module"

# A hang is seen when a test takes so many times as long as without a mistake, and this besides.
_SLOWER, _SLACK_S = 4, 60
_BASELINE_TIMEOUT_S = 1200
_WATCH_S = 1.0
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
    ("src/mapping/superblock.rs", (_REMOVAL, _MODULE, _OBSERVE)),
    ("src/mapping/vmf.rs", (_DATA, _HOLES, _HUGE, _AROUND)),
    ("src/mapping/waiters.rs", (_EVICT, _REMOVAL, _OBSERVE)),
    ("src/mapping/*", (_LAYOUT, _DIRTY, _POISON, _HUGE, _RANDOM)),
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
    tests: list[str] = field(default_factory=list)  # what ran
    seconds: int = 0


@dataclass
class Results:
    """The outcomes of all runs that had the same sources."""

    path: Path
    source: str
    tests: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)  # what these tests take without a mistake, and pass

    def read(self) -> None:
        """Take those of before; what was of other sources is kept beside them."""
        if not self.path.exists():
            return
        text = json.loads(self.path.read_text())
        if text["source"] != self.source:
            self.path.rename(self.path.with_name(f"mutants-{text['source']}.json"))
            return
        self.outcomes = {name: Outcome(**outcome) for name, outcome in text["mutants"].items()}
        self.seconds = text["seconds"] if text["tests"] == self.tests else {}

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(
            {"source": self.source, "tests": self.tests, "rate": rate(self.outcomes.values()), "seconds": self.seconds,
             "mutants": {name: asdict(outcome) for name, outcome in self.outcomes.items()}}, indent=1) + "\n")
        partial.replace(self.path)


def key(mutant: Mutant) -> str:
    """What a mutant is called in the results."""
    return f"{mutant.file}:{mutant.start}-{mutant.end} {mutant.change}"


def source_key(checkout: Path = CHECKOUT) -> str:
    """Changes with the sources of the module, but not with the tests."""
    return _key(checkout, _SOURCES)


def key_of_tests(checkout: Path = CHECKOUT) -> str:
    """Changes with the tests."""
    return _key(checkout, _TESTS)


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


class Worker:
    """Has a copy of the checkout, and tries one mutant at a time."""

    def __init__(self, number: int, built: kernel.Built, results: Results, lock: threading.Lock) -> None:
        self._built, self._results, self._lock = built, results, lock
        self._dir = _OUT / str(number)
        self._tree = self._dir / "tree"
        self._watch: _Watch | None = None
        self._stopped = False
        self._objects: dict[bool, str] = {}
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
        return module.build_changed(self._built, self._tree, self._dir / kind, kunit=kunit,
                                    log=self._dir / f"build-{kind}.log")

    def baseline(self) -> None:
        """Build the module without a mistake, whose tests must pass."""
        ko = self.build(kunit=True)
        if not ko:
            raise Fail(f"The module does not compile as it is: read {shown(self._dir)}/build-kunit.log.")
        self._objects[True] = _object(ko)
        with self._lock:
            if KUNIT in self._results.seconds:
                return
            self._measure(KUNIT, partial(self._kunit, ko, _BASELINE_TIMEOUT_S))

    def _measure(self, name: str, test: Callable[[], str]) -> None:
        begun = time.monotonic()
        if seen := test():
            raise Fail(f"{name} fails without any mistake ({seen}): a test that fails sees everything.")
        self._results.seconds[name] = int(time.monotonic() - begun)
        self._results.save()

    def attempt(self, mutant: Mutant, *, kunit_only: bool, known: Outcome | None) -> Outcome:
        """Make the mistake, and see what becomes of it; KNOWN is what ran before."""
        begun = time.monotonic()
        outcome = Outcome(mutant.file, mutant.line, mutant.function, mutant.operator, mutant.change, SURVIVED)
        path = self._tree / mutant.file
        text = path.read_text()
        path.write_text(mutant.applied(text))
        try:
            self._try(outcome, kunit_only, known)
        finally:
            path.write_text(text)
        outcome.seconds = int(time.monotonic() - begun)
        return outcome

    def _try(self, outcome: Outcome, kunit_only: bool, known: Outcome | None) -> None:
        done = known.tests if known and known.result == SURVIVED else []
        outcome.tests += done
        if KUNIT not in done:
            ko = self.build(kunit=True)
            if not ko:
                outcome.result = REFUSED
                return
            if _object(ko) == self._objects[True]:
                outcome.result = SAME
                return
            outcome.tests.append(KUNIT)
            if seen := self._kunit(ko, self._timeout(KUNIT)):
                outcome.result, outcome.by = KILLED, f"{KUNIT}: {seen}"
                return
        runs = [] if kunit_only else [run for run in scenarios(outcome.file) if run.name not in done]
        plain = self.build(kunit=False) if runs else None
        if runs and not plain:
            # What only the tests use.
            return
        for run in runs:
            assert plain
            outcome.tests.append(run.name)
            if seen := self._scenario(run, plain, self._timeout(run.name)):
                outcome.result, outcome.by = KILLED, f"{run.name}: {seen}"
                return

    def measure_scenarios(self, files: Iterable[str]) -> None:
        """Run the scenarios of these files without a mistake, for what they take."""
        runs = {run.name: run for file in files for run in scenarios(file)}
        for name, run in runs.items():
            if name not in self._results.seconds:
                ko = self.build(kunit=False)
                assert ko
                self._measure(name, partial(self._scenario, run, ko, _BASELINE_TIMEOUT_S))

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
                watch.stop()
            yield watch
        finally:
            self._watch = None
            watch.end()
        if self._stopped:
            raise Fail("Stopped before the end.")
        watch.look()

    def _timeout(self, name: str) -> int:
        return self._results.seconds[name] * _SLOWER + _SLACK_S

    def _kunit(self, ko: Path, timeout: int) -> str:
        """What is wrong according to the suites, or nothing."""
        setup = suites.Setup("plain", ko, (), self._dir / "results", self._dir / "logs")
        vm = suites.guest_of(setup, suites.KUNIT_MODULE, KUNIT)
        vm.timeout = timeout
        console, output = setup.logs / "kunit.console", setup.logs / "kunit.output"
        setup.logs.mkdir(parents=True, exist_ok=True)
        with self._watched(vm, console, quiet=_QUIET_S) as watch, output.open("wb") as out:
            status = vm.run([str(suites.KUNIT_MODULE)], console, allow_splat=True, output=out)
        report = ktap.parse(suites.last_report(console.read_text(errors="replace").splitlines()))
        return watch.seen or _wrong(report, status)

    def _scenario(self, run: Run, ko: Path, timeout: int) -> str:
        setup = suites.Setup("plain", ko, (), self._dir / "results", self._dir / "logs")
        vm = suites.guest_of(setup, run.script)
        vm.timeout = timeout
        console, tap = setup.logs / f"{run.suite}.console", setup.logs / f"{run.suite}.tap"
        setup.logs.mkdir(parents=True, exist_ok=True)
        with self._watched(vm, console, tap) as watch, tap.open("wb") as out:
            status = vm.run([str(run.script), *run.arguments], console, allow_splat=True, output=out)
        return watch.seen or _wrong(ktap.parse(tap.read_text(errors="replace").splitlines()), status)


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
    lock = threading.Lock()
    built = kernel.ensure("plain")
    step(f"{len(left)} of {all_} mutants are to be tried")
    workers = [Worker(number, built, results, lock) for number in range(min(jobs, len(left)))]
    for worker in workers:
        worker.baseline()
    if not kunit_only:
        workers[0].measure_scenarios({mutant.file for mutant in left})
    idle, tried = list(workers), 0

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
            step(f"{tried}/{len(left)} {outcome.result}: {mutant.title}{f' ({outcome.by})' if outcome.by else ''}")

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
