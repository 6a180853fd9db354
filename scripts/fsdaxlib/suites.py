# SPDX-License-Identifier: GPL-2.0
"""The test suites: each runs something and gives back a report of its cases."""

import functools
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from . import (
    arm64,
    compiling,
    debtest,
    drivers,
    fixes,
    guest,
    kernel,
    ktap,
    kunit,
    machine,
    model,
    module,
    programs,
    replays,
    sandbox,
    source,
    toolchain,
    unsafe,
    usage,
)
from .progress import BUILD, CHECKOUT, LOGS, Fail, Misuse, run_logged, shown, step

_TESTS = CHECKOUT / "tests"
# Loads the module, whose suites run then.
KUNIT_MODULE = _TESTS / "kunit/insmod.sh"
# A line such as "# vm: --smp 4 --timeout 900" in a guest scenario.
_VM_OPTIONS = re.compile(r"^# vm: (.+)$", re.MULTILINE)
# A line such as "# short: -b": what the script gets in the short form.
_SHORT_OPTIONS = re.compile(r"^# short: (.+)$", re.MULTILINE)
# A scenario with this line is part of the long form alone.
_LONG_ONLY = re.compile(r"^# long$", re.MULTILINE)
# What needs fault injection, kmemleak or the like says so.
_DEBUG_ONLY = re.compile(r"^# vm:.*--kernel debug", re.MULTILINE)
# What arm64 has not: another kernel, or a machine that it cannot be.
_NOT_ARM64 = re.compile(r"^# vm:.*--(kernel|icount|medium|numa|cxl|pmem)\b", re.MULTILINE)
_RUST_RESULT = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (\w+)", re.MULTILINE)
_RUST_COUNT = re.compile(r"^running (\d+) tests?$", re.MULTILINE)
_UNITTEST_RESULT = re.compile(r"^(test_\w+) \(.*\.\.\. (\w+)", re.MULTILINE)
_UNITTEST_COUNT = re.compile(r"^Ran (\d+) tests?", re.MULTILINE)
_MEANINGS = {guest.STATUS_SPLAT: "the kernel complained", guest.STATUS_TIMEOUT: "the guest did not end",
             guest.STATUS_DIED: "the guest died"}
# What they reached when the last suite was added, rounded down.
_KUNIT_COVERAGE = 73
# On each file system: a minute for both together, boots not counted.
_FUZZ_PROGRAMS = 24
_WORDS = {"ok": "passed", "ignored": "skipped", "skipped": "skipped"}


@dataclass(frozen=True)
class Setup:
    """What the guests of the suites are made of."""

    kernel: str = "debug"  # unless the scenario asks for another
    module: Path | None = None  # rather than the usual one
    wrapper: tuple[str, ...] = ()  # a command that runs the script
    results: Path | None = None  # has a directory for each suite, rather than one for all
    logs: Path = LOGS  # one run writes there at a time


@dataclass(frozen=True)
class Scenario:
    """A script of tests/vm, which runs in a guest and prints TAP."""

    setup: Setup
    script: Path
    long: bool

    @property
    def name(self) -> str:
        return self.script.stem

    @property
    def argv(self) -> list[str]:
        short = None if self.long else _SHORT_OPTIONS.search(self.script.read_text())
        return [*self.setup.wrapper, str(self.script), *(shlex.split(short[1]) if short else [])]

    @property
    def console(self) -> Path:
        return self.setup.logs / f"{self.name}.console"

    def vm(self) -> guest.Guest:
        return guest_of(self.setup, self.script)

    def run(self) -> ktap.Report:
        """One boot."""
        vm = self.vm()
        tap = self.tap(vm)
        with tap.open("wb") as out:
            status = vm.run(self.argv, self.console, output=out)
        return self.judge(tap, status)

    def tap(self, vm: guest.Guest) -> Path:
        """Where the output is kept."""
        return vm.results / f"{self.name}.tap"

    def judge(self, tap: Path, status: int) -> ktap.Report:
        """What the output says, and the status of the script or one of guest.STATUS_*."""
        report = ktap.parse(tap.read_text(errors="replace").splitlines())
        failed = any(case.result == "failed" for case in report.cases)
        # A script that reports a failed case ends with a status of its own: that is no second failure.
        if status and (status in _MEANINGS or not failed):
            report.problems.append(meaning(status, self.console))
        return report


@dataclass(frozen=True)
class Suite:
    """A named group of cases that one command runs."""

    name: str
    run: Callable[[], ktap.Report]
    beside: bool = False  # has time: may run beside others
    guest: bool = True  # needs what is built for guests
    scenario: Scenario | None = None  # what it runs, if that may share a guest


def all_suites(long: bool = False) -> list[Suite]:
    """Every suite, quick ones first; LONG runs all that each has."""
    host = [Suite(f"host-{path.stem}", partial(_host, path))
            for path in sorted((_TESTS / "host").glob("*.rs"))]
    return [Suite("scripts", partial(_scripts, long), beside=True, guest=False), Suite("audit", _audit), *host,
            Suite("series", _series), Suite("kunit", _kunit_built_in, beside=True),
            Suite("model", _model, beside=True, guest=False), Suite("coverage", _coverage, beside=True),
            Suite("fuzz", _fuzz, beside=True), Suite("replay", partial(_replay, long), beside=True),
            *module_suites(Setup(), long),
            *([Suite("deb", debtest.run), Suite("deb_gcc", partial(debtest.run, gcc=True))] if long else [])]


def module_suites(setup: Setup, long: bool = False) -> list[Suite]:
    """The suites that load the module into a guest."""
    def wanted(script: Path) -> bool:
        text = script.read_text()
        return (script.suffix in (".sh", ".py") and (long or not _LONG_ONLY.search(text))
                and (setup.kernel == "debug" or not _DEBUG_ONLY.search(text))
                and (setup.kernel != arm64.KIND or not _NOT_ARM64.search(text)))

    scenarios = [Scenario(setup, path, long) for path in sorted(programs.SOURCES.glob("test_*")) if wanted(path)]
    return [Suite("kunit-module", partial(_kunit_module, setup), beside=True),
            *(Suite(scenario.name, scenario.run, beside=True, scenario=scenario) for scenario in scenarios)]


def run(suite: Suite) -> list[ktap.Case]:
    """Run a suite; what went wrong besides its cases is a failed case of its own."""
    step(f"{suite.name} ...")
    begun = time.monotonic()
    try:
        report = suite.run()
    except Fail as fail:
        report = ktap.Report(problems=[str(fail)])
    return ended(suite, report, time.monotonic() - begun)


def ended(suite: Suite, report: ktap.Report, seconds: float) -> list[ktap.Case]:
    """Tell how a suite ended, and give back what there is to count."""
    cases = report.cases + [ktap.Case(problem, "failed") for problem in report.problems]
    for case in cases:
        if case.result == "failed":
            step(f"{suite.name}: FAILED: {case.told()}")
    step(f"{suite.name}: {ktap.count(cases, 'passed')} passed, {ktap.count(cases, 'failed')} failed, "
         f"{ktap.count(cases, 'skipped')} skipped in {int(seconds)} s")
    return cases


def _scripts(long: bool) -> ktap.Report:
    """The tests of these scripts; the long ones handle whole kernel sources."""
    whole = ktap.Report()
    for name in ("scripts", *(["scripts/long"] if long else [])):
        log = LOGS / f"{name.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, "-m", "unittest", "discover", "-v", "-s", _TESTS / name],
                              capture_output=True, text=True, check=False)
        log.write_text(done.stdout + done.stderr)
        report = _counted(done, _UNITTEST_RESULT, _UNITTEST_COUNT, log)
        whole.cases += report.cases
        whole.problems += report.problems
    return whole


def _audit() -> ktap.Report:
    """Whether all unsafe code says what it rests on: a case for each file."""
    files = unsafe.audit()
    for problem in unsafe.problems(files):
        step(problem)
    return ktap.Report([ktap.Case(file.path, "failed" if file.problems else "passed") for file in files],
                       [] if files else ["there is no Rust file"])


def _series() -> ktap.Report:
    """Whether the series that this run does not build apply and compile, where their source can be had.

    And whether the fixes apply without them, and the patches of drivers behind them.
    """
    cases = _apply()
    for series in source.supported():
        if series == source.chosen().series:
            continue
        try:
            origin = source.obtain(series)
        except Fail as fail:
            step(str(fail))
            cases.append(ktap.Case(f"{series}: its source can be had", "skipped"))
            continue
        checks: dict[str, Callable[[source.Source], object]] = {
            "applies": kernel.patched, "what it touches compiles": lambda origin: _checked(origin).patches(),
            "the module compiles": lambda origin: _checked(origin).module()}
        for what, check in checks.items():
            try:
                check(origin)
                cases.append(ktap.Case(f"{origin.release}: {what}", "passed"))
            except Fail as fail:
                step(str(fail))
                cases.append(ktap.Case(f"{origin.release}: {what}", "failed"))
    return ktap.Report(cases)


def _apply() -> list[ktap.Case]:
    """Whether the fixes apply to plain source, and the patches of drivers to one with the series."""
    def fix(origin: source.Source) -> None:
        for what, chain in fixes.chains(fixes.patches(origin.series)):
            fixes.apply(origin, what, chain)

    return [*(_applies(series, "the fixes apply to plain source, all and each", fix) for series in fixes.supported()),
            *(_applies(series, "the patches of drivers apply to the series", drivers.apply)
              for series in source.supported())]


def _applies(series: str, what: str, check: Callable[[source.Source], None]) -> ktap.Case:
    name = f"{series}: {what}"
    try:
        origin = source.obtain(series)
    except Fail as fail:
        step(str(fail))
        return ktap.Case(name, "skipped")
    try:
        check(origin)
    except Fail as fail:
        step(str(fail))
        return ktap.Case(name, "failed")
    return ktap.Case(name, "passed")


@functools.cache
def _checked(origin: source.Source) -> compiling.Checked:
    return compiling.Checked(origin)


def _host(file: Path) -> ktap.Report:
    """Build pure code with the standard library and run its tests."""
    root = toolchain.ensure()
    out, log = BUILD / "host", LOGS / f"host-{file.stem}.log"
    out.mkdir(parents=True, exist_ok=True)
    binds = [sandbox.ro(CHECKOUT), sandbox.rw(out)]
    program = out / file.stem
    run_logged(sandbox.command(root, ["rustc", "--test", "--edition=2021", "-O", "-o", str(program),
                                      str(file)], binds=binds, cwd=CHECKOUT),
               log, f"compile {shown(file)}")
    done = subprocess.run(sandbox.command(root, [str(program)], binds=binds, cwd=CHECKOUT),
                          capture_output=True, text=True, check=False)
    log.write_text(done.stdout + done.stderr)
    return _counted(done, _RUST_RESULT, _RUST_COUNT, log)


def _model() -> ktap.Report:
    """The short form of scripts/model: every world, every mutation, every litmus test."""
    return ktap.Report([outcome.case for outcome in model.run(jobs=1)])


def _coverage() -> ktap.Report:
    """How much of the module the KUnit suites alone reach; scripts/coverage is the whole of it."""
    log = LOGS / "coverage.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        done = subprocess.run([CHECKOUT / "scripts/coverage", "--jobs=1", f"--least={_KUNIT_COVERAGE}",
                               "kunit-module"], stdout=out, stderr=subprocess.STDOUT, check=False)
    name = f"the KUnit suites reach {_KUNIT_COVERAGE}% of the lines"
    if done.returncode:
        step(f"coverage: see {shown(log)}")
    return ktap.Report([ktap.Case(name, "failed" if done.returncode else "passed")])


def _fuzz() -> ktap.Report:
    """The first programs of scripts/fuzz."""
    cases = []
    for fs in ("ext4", "xfs"):
        log = LOGS / f"fuzz-{fs}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            done = subprocess.run([CHECKOUT / "scripts/fuzz", f"--fs={fs}", "--seed=1", f"--programs={_FUZZ_PROGRAMS}"],
                                  stdout=out, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            step(f"fuzz: see {shown(log)}")
        cases.append(ktap.Case(f"{_FUZZ_PROGRAMS} programs on {fs} agree with the model",
                               "failed" if done.returncode else "passed"))
    return ktap.Report(cases)


def _replay(long: bool) -> ktap.Report:
    """Whether each event of randomized runs and of the fuzzer is a step of the protocol, and each step is seen."""
    outcomes = replays.run(replays.Options(), long=long)
    (LOGS / "replay.log").write_text(replays.table(outcomes) + "\n")
    cases = [case for outcome in outcomes for case in outcome.cases]
    return ktap.Report(cases + replays.together(outcomes, long=long))


def _counted(done: subprocess.CompletedProcess[str], result: re.Pattern[str], count: re.Pattern[str],
             log: Path) -> ktap.Report:
    """The report of a test program that prints a line per case and how many there are."""
    text = done.stdout + done.stderr
    report = ktap.Report([ktap.Case(match[1], _WORDS.get(match[2], "failed"))
                          for match in result.finditer(text)])
    promised = sum(int(number) for number in count.findall(text))
    if not report.cases or promised != len(report.cases):
        report.problems.append(f"{promised} cases were planned and {len(report.cases)} ran: "
                               f"see {shown(log)}")
    if done.returncode and not any(case.result == "failed" for case in report.cases):
        report.problems.append(f"the program ended with status {done.returncode}: see {shown(log)}")
    return report


def _kunit_built_in() -> ktap.Report:
    log = LOGS / "kunit.log"
    lines = kunit.run(log)
    console = LOGS / "kunit.console"
    console.write_text("\n".join(lines) + "\n")
    return _with_splat(ktap.parse(lines), console)


def _kunit_module(setup: Setup) -> ktap.Report:
    """The same suites, run when the module is loaded."""
    setup = replace(setup, module=setup.module or module.build_kunit(kernel.ensure(setup.kernel)))
    vm = guest_of(setup, KUNIT_MODULE, "kunit-module")
    console = setup.logs / "kunit-module.console"
    status = vm.run([*setup.wrapper, str(KUNIT_MODULE)], console)
    lines = console.read_text(errors="replace").splitlines()
    lines = last_report(lines)
    report = ktap.parse(lines)
    if status:
        report.problems.append(meaning(status, console))
    output = setup.logs / "kunit-module.ktap"
    output.write_text("\n".join(lines) + "\n")
    try:
        kunit.parse(kernel.ensure(setup.kernel), output, setup.logs / "kunit-module-parse.log")
    except Fail as fail:
        report.problems.append(str(fail))
    return report


def last_report(console: list[str]) -> list[str]:
    """What the suites of the module have printed: the kernel's own, of which there are none, have reported before."""
    found = reports(console)
    return found[-1] if found else []


def reports(console: list[str]) -> list[list[str]]:
    """All that was printed by KUnit, one report for each load of a module."""
    starts = [number for number, line in enumerate(console) if ktap.HEADER.match(line)]
    return [console[start:end] for start, end in pairwise([*starts, len(console)])]


def guest_of(setup: Setup, script: Path, name: str = "") -> guest.Guest:
    """What a script of a suite runs in, by the options of its line "# vm:"; NAME is that of the suite."""
    name = name or script.stem
    found = _VM_OPTIONS.search(script.read_text())
    options = shlex.split(found[1]) if found else []
    parser = usage.Parser(prog="# vm:")
    machine.add_options(parser)
    machine.add_run_options(parser)
    try:
        args = parser.parse_args([f"--kernel={setup.kernel}", *options])
    except Misuse as misuse:
        raise Fail(f"{name} asks for what scripts/vm does not know: {misuse}") from None
    if args.kernel == arm64.KIND:
        args.timeout *= arm64.SLOWER
    vm = machine.prepare(args, setup.module)
    if setup.results:
        vm.results = setup.results / name
        vm.results.mkdir(parents=True, exist_ok=True)
    return vm


def _with_splat(report: ktap.Report, console: Path) -> ktap.Report:
    if splat := guest.find_splat(console.read_text(errors="replace")):
        step(f"the kernel complained, see {shown(console)}: {splat[0]}")
        report.problems.append(meaning(guest.STATUS_SPLAT, console))
    return report


def meaning(status: int, console: Path) -> str:
    """What is wrong with a run that ended with STATUS."""
    return f"{_MEANINGS.get(status, f'the script ended with status {status}')}: see {shown(console)}"
