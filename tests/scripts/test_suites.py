# SPDX-License-Identifier: GPL-2.0
"""Every test is in a suite, suites run what they say, and what goes wrong is a failed case."""

import dataclasses
import fnmatch
import io
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import guest, ktap, machine, programs, suites, usage
from fsdaxlib.progress import Fail

GROUP = re.compile(r"^GROUP(?:_\w+)?\((\w+), ", re.MULTILINE)
WANTED = re.compile(r"-g (?:'([^']+)'|(\S+))")
SCENARIOS = sorted(programs.SOURCES.glob("test_*.sh"))


def names(found: list[suites.Suite]) -> list[str]:
    return [suite.name for suite in found]


class Groups(unittest.TestCase):
    """Of the guest tests: a file registers its group, a scenario names it."""

    def test_file_has_one_group_of_its_name(self) -> None:
        for path in sorted(programs.SOURCES.glob("*.c")):
            self.assertIn(GROUP.findall(path.read_text()), ([], [path.stem]), path.name)

    def test_each_is_run_by_some_suite(self) -> None:
        patterns = [pattern for path in SCENARIOS for words in WANTED.findall(path.read_text())
                    for pattern in "".join(words).split(",")]
        groups = [group for path in programs.SOURCES.glob("*.c") for group in GROUP.findall(path.read_text())]
        self.assertGreater(len(groups), 30)
        self.assertEqual([group for group in groups
                          if not any(fnmatch.fnmatch(group, pattern) for pattern in patterns)], [])
        self.assertEqual([pattern for pattern in patterns if not fnmatch.filter(groups, pattern)], [])


class Names(unittest.TestCase):
    def test_are_unique_and_quick_ones_come_first(self) -> None:
        found = names(suites.all_suites(long=True))
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(found[:2], ["scripts", "audit"])

    def test_each_scenario_is_one(self) -> None:
        self.assertEqual({path.stem for path in SCENARIOS} - set(names(suites.all_suites(long=True))), set())

    def test_long_ones_are_left_out(self) -> None:
        long, short = names(suites.all_suites(long=True)), names(suites.all_suites(long=False))
        self.assertEqual({"test_gcc", "test_no_series"} & set(short), set())
        self.assertEqual({"test_gcc", "test_no_series"} - set(long), set())
        self.assertEqual(set(short) - set(long), set())

    def test_what_needs_the_debug_kernel_runs_on_no_other(self) -> None:
        self.assertIn("test_inject", names(suites.module_suites(suites.Setup())))
        self.assertNotIn("test_inject", names(suites.module_suites(suites.Setup(kernel="plain"))))

    def test_what_asks_for_another_machine_is_not_for_arm64(self) -> None:
        found = set(names(suites.module_suites(suites.Setup(kernel="arm64"), long=True)))
        self.assertLessEqual({"kunit-module", "test_ext4", "test_xfs_reflink", "test_nvdimm", "test_fsdev"}, found)
        self.assertEqual({"test_inject", "test_tools", "test_gcc", "test_options", "test_cxl", "test_xfs_gib",
                          "test_xfs_powerfail"} & found, set())

    def test_what_builds_kernels_runs_alone(self) -> None:
        for suite in suites.all_suites(long=True):
            if suite.name in ("audit", "series"):
                self.assertFalse(suite.beside, suite.name)
            if suite.name.startswith(("test_", "scripts")):
                self.assertTrue(suite.beside, suite.name)


class Scenarios(unittest.TestCase):
    """A script of tests/vm: which machine it asks for, and what it gets in the short form."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.vm = mock.Mock(results=self.place)
        self.vm.run.side_effect = self.run_it
        self.status, self.tap = 0, "1..1\nok 1 - R1\n"
        self.options: list[str] = []
        for patch in (mock.patch.object(machine, "prepare", self.prepare),
                      mock.patch.object(sys, "stderr", io.StringIO())):
            patch.start()
            self.addCleanup(patch.stop)
        self.setup = suites.Setup(logs=self.place)

    def prepare(self, args: Any, ko: Path | None) -> mock.Mock:
        self.args, self.ko = args, ko
        return self.vm

    def run_it(self, argv: list[str], _console: Path, output: Any) -> int:
        self.argv = argv
        output.write(self.tap.encode())
        return self.status

    def report(self, text: str, long: bool = False, **changes: Any) -> ktap.Report:
        script = self.place / "test_it.sh"
        script.write_text(f"#!/bin/sh\n{text}\n")
        return suites.Scenario(dataclasses.replace(self.setup, **changes), script, long).run()

    def test_usual_machine_has_the_debug_kernel(self) -> None:
        self.assertEqual(self.report("").cases, [ktap.Case("R1", "passed")])
        self.assertEqual((self.args.kernel, self.args.timeout), ("debug", guest.DEFAULT_TIMEOUT_S))

    def test_another_architecture_has_more_time(self) -> None:
        for text, limit in (("", guest.DEFAULT_TIMEOUT_S), ("# vm: --timeout 7", 7)):
            self.report(text, kernel="arm64")
            self.assertEqual((self.args.kernel, self.args.timeout), ("arm64", 3 * limit))

    def test_asks_for_a_machine(self) -> None:
        self.report("# vm: --kernel plain --smp 4 --append 'a b'")
        self.assertEqual((self.args.kernel, self.args.smp, self.args.append), ("plain", 4, "a b"))

    def test_what_is_no_machine_is_told(self) -> None:
        with self.assertRaisesRegex(Fail, "^test_it asks for what scripts/vm does not know: .*--smq"):
            self.report("# vm: --smq 4")

    def test_short_form_has_more_arguments(self) -> None:
        self.report("# short: -b -g 'huge*'")
        self.assertEqual(self.argv[1:], ["-b", "-g", "huge*"])
        self.report("# short: -b -g 'huge*'", long=True)
        self.assertEqual(self.argv[1:], [])

    def test_wrapper_runs_the_script(self) -> None:
        self.report("", wrapper=("run", "it"), module=Path("ko"))
        self.assertEqual(self.argv, ["run", "it", str(self.place / "test_it.sh")])
        self.assertEqual(self.ko, Path("ko"))

    def test_failed_case_is_no_second_failure(self) -> None:
        self.status, self.tap = 1, "1..1\nnot ok 1 - R1\n"
        self.assertEqual(self.report(""), ktap.Report([ktap.Case("R1", "failed")]))

    def test_status_without_a_failed_case_is_a_problem(self) -> None:
        self.status = 1
        self.assertRegex(self.report("").problems[0], "^the script ended with status 1: see ")

    def test_complaint_of_the_kernel_is_one_whatever_failed(self) -> None:
        self.status, self.tap = guest.STATUS_SPLAT, "1..1\nnot ok 1 - R1\n"
        self.assertRegex(self.report("").problems[0], "^the kernel complained: see ")

    def test_those_of_the_tree_ask_for_what_there_is(self) -> None:
        parser = usage.Parser()
        machine.add_options(parser)
        machine.add_run_options(parser)
        for path in SCENARIOS:
            text = path.read_text()
            options = suites._VM_OPTIONS.search(text)
            args = parser.parse_args(shlex.split(options[1]) if options else [])
            guest.check(smp=args.smp, mem=args.mem, pmem=args.pmem, icount=args.icount, nvdimm=args.nvdimm,
                        cxl=args.cxl, medium=args.medium, numa=args.numa)


class Runs(unittest.TestCase):
    def cases(self, run: Any) -> list[ktap.Case]:
        with mock.patch.object(sys, "stderr", io.StringIO()):
            return suites.run(suites.Suite("it", run))

    def test_failure_to_run_is_a_failed_case(self) -> None:
        def fail() -> ktap.Report:
            raise Fail("It cannot be.")
        self.assertEqual(self.cases(fail), [ktap.Case("It cannot be.", "failed")])

    def test_problem_is_a_failed_case(self) -> None:
        report = ktap.Report([ktap.Case("a", "passed")], ["the kernel complained"])
        self.assertEqual(self.cases(partial(ktap.Report, report.cases, report.problems)),
                         [ktap.Case("a", "passed"), ktap.Case("the kernel complained", "failed")])


class Programs(unittest.TestCase):
    """Test programs that print a line for each case."""

    def report(self, text: str, status: int = 0) -> ktap.Report:
        return suites._counted(subprocess.CompletedProcess([], status, text, ""), suites._RUST_RESULT,
                               suites._RUST_COUNT, Path("log"))

    def test_all_that_were_planned(self) -> None:
        self.assertEqual(self.report("running 2 tests\ntest a ... ok\ntest b ... ignored\n"),
                         ktap.Report([ktap.Case("a", "passed"), ktap.Case("b", "skipped")]))

    def test_fewer_than_planned(self) -> None:
        self.assertEqual(self.report("running 2 tests\ntest a ... ok\n").problems,
                         ["2 cases were planned and 1 ran: see log"])

    def test_none(self) -> None:
        self.assertEqual(len(self.report("").problems), 1)

    def test_status_counts(self) -> None:
        self.assertEqual(self.report("running 1 test\ntest a ... ok\n", 1).problems,
                         ["the program ended with status 1: see log"])
        self.assertEqual(self.report("running 1 test\ntest a ... FAILED\n", 1),
                         ktap.Report([ktap.Case("a", "failed")]))


if __name__ == "__main__":
    unittest.main()
