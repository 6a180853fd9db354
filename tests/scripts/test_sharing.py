# SPDX-License-Identifier: GPL-2.0
"""Scenarios in one guest: which share one, and what becomes of the others if one ends it."""

import io
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import guest, ktap, machine, sharing, suites
from fsdaxlib.progress import Fail

PASSED = [ktap.Case("R1", "passed")]
TAP = "1..1\nok 1 - R1\n"
SPLAT = "WARNING: CPU: 0 PID: 1 at fs/dax.c:1\n"


class Order(unittest.TestCase):
    def setUp(self) -> None:
        self.together = [suite for suite in suites.all_suites() if suite.beside]
        self.groups = sharing.in_turn(self.together)

    def test_nothing_is_lost(self) -> None:
        self.assertEqual(sorted(suite.name for group in self.groups for suite in group),
                         sorted(suite.name for suite in self.together))

    def test_all_that_are_named_are_there(self) -> None:
        self.assertEqual(tuple(tuple(suite.name for suite in group) for group in self.groups[:len(sharing.GROUPS)]),
                         sharing.GROUPS)

    def test_those_that_were_not_chosen_are_left_out(self) -> None:
        chosen = [suite for suite in self.together if suite.name in ("test_xfs_reflink", "test_ext4_huge", "fuzz")]
        self.assertEqual([[suite.name for suite in group] for group in sharing.in_turn(chosen)],
                         [["test_xfs_reflink"], ["test_ext4_huge"], ["fuzz"]])

    def test_who_shares_a_guest_asks_for_the_same(self) -> None:
        for group in self.groups:
            if len(group) == 1:
                continue
            asked = set()
            for suite in group:
                assert suite.scenario
                options = suites._VM_OPTIONS.search(suite.scenario.script.read_text())
                asked.add(options[1] if options else "")
            self.assertEqual(len(asked), 1, [suite.name for suite in group])


class Guests(unittest.TestCase):
    """Guests of three scenarios, by a stand-in that prints and logs."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.stderr = io.StringIO()
        self.boots: list[Callable[[Any, Path], int]] = []
        self.commands: list[str] = []
        self.limit = 10.0
        for patch in (mock.patch.object(machine, "prepare", self.prepare),
                      mock.patch.object(sys, "stderr", self.stderr)):
            patch.start()
            self.addCleanup(patch.stop)
        self.group = [self.suite(name) for name in ("a", "b", "c")]

    def suite(self, name: str, text: str = "# short: -b") -> suites.Suite:
        script = self.place / f"{name}.sh"
        script.write_text(f"#!/bin/sh\n{text}\n")
        scenario = suites.Scenario(suites.Setup(logs=self.place), script, False)
        return suites.Suite(name, scenario.run, beside=True, scenario=scenario)

    def prepare(self, _args: Any, _ko: Path | None) -> mock.Mock:
        vm = mock.Mock(results=self.place, timeout=self.limit)

        def run(argv: list[str], console: Path, output: Any) -> int:
            self.assertEqual(argv[:2], ["sh", "-c"])
            self.commands.append(argv[2])
            self.vm = vm
            console.write_bytes(b"")
            return self.boots.pop(0)(output, console)
        vm.run = run
        return vm

    def run_group(self, *boots: Callable[[Any, Path], int]) -> dict[str, list[ktap.Case]]:
        self.boots = list(boots)
        cases = sharing.run(self.group)
        self.assertEqual(self.boots, [])
        self.assertEqual(list(cases), ["a", "b", "c"])
        return cases

    @staticmethod
    def await_file(path: Path) -> None:
        end = time.monotonic() + 10
        while not path.exists():
            if time.monotonic() > end:
                raise Fail(f"There is no {path}.")
            time.sleep(0.001)

    @staticmethod
    def ran(output: Any, name: str, tap: str = TAP, status: int = 0) -> None:
        output.write(f"\n% {name} begins\n{tap}\n% {name} ends with {status}\n".encode())

    def all_pass(self, names: str) -> Callable[[Any, Path], int]:
        def boot(output: Any, _console: Path) -> int:
            for name in names:
                self.ran(output, name)
            return 0
        return boot

    def test_all_pass_in_one(self) -> None:
        self.assertEqual(self.run_group(self.all_pass("abc")), {"a": PASSED, "b": PASSED, "c": PASSED})
        self.assertEqual(self.vm.timeout, 30.0)
        self.assertEqual((self.place / "b.tap").read_text(), TAP + "\n")

    def test_shell_runs_each_and_tells(self) -> None:
        self.run_group(self.all_pass("abc"))
        self.assertEqual(self.commands[0].splitlines()[1],
                         f"printf '\\n%% b begins\\n'; {self.place}/b.sh -b; printf '\\n%% b ends with %d\\n' $?")

    def test_whoever_fails_leaves_nothing_to_the_next(self) -> None:
        def failed_case(output: Any, _console: Path) -> int:
            self.ran(output, "a", "1..1\nnot ok 1 - R1\n", 1)
            self.assertTrue(self.vm.stop.wait(10))
            return guest.STATUS_TIMEOUT

        def wrong_status(output: Any, _console: Path) -> int:
            self.ran(output, "b", TAP, 2)
            self.assertTrue(self.vm.stop.wait(10))
            return guest.STATUS_TIMEOUT
        cases = self.run_group(failed_case, wrong_status, self.all_pass("c"))
        self.assertEqual((cases["a"], cases["c"]), ([ktap.Case("R1", "failed")], PASSED))
        self.assertRegex(cases["b"][1].name, "^the script ended with status 2: see .*/b.console")

    def test_each_has_its_part_of_the_console(self) -> None:
        def boot(output: Any, console: Path) -> int:
            for name in "abc":
                with console.open("a") as log:
                    log.write(f"{name} says é\n")
                self.ran(output, name)
                # Read before the next one is logged.
                self.await_file(self.place / f"{name}.console")
            return 0
        self.run_group(boot)
        self.assertEqual([(self.place / f"{name}.console").read_text() for name in "abc"],
                         ["a says é\n", "b says é\n", "c says é\n"])

    def test_death_is_of_who_ran_and_the_rest_has_another_guest(self) -> None:
        def boot(output: Any, _console: Path) -> int:
            self.ran(output, "a")
            output.write(b"\n% b begins\n1..2\nok 1 - R1\n")
            return guest.STATUS_DIED
        cases = self.run_group(boot, self.all_pass("c"))
        self.assertEqual((cases["a"], cases["c"]), (PASSED, PASSED))
        self.assertEqual(cases["b"][0], PASSED[0])
        self.assertRegex(" ".join(case.name for case in cases["b"][1:]),
                         "2 cases were planned and 1 ran the guest died")
        self.assertNotIn("b begins", self.commands[1])

    def test_who_does_not_end_has_not_passed(self) -> None:
        def boot(output: Any, _console: Path) -> int:
            output.write(f"\n% a begins\n{TAP}".encode())
            return 0
        self.assertRegex(self.run_group(boot, self.all_pass("bc"))["a"][1].name, "^the guest died")

    def test_guest_that_ends_without_a_word(self) -> None:
        def silent(output: Any, _console: Path) -> int:
            del output
            return guest.STATUS_TIMEOUT
        cases = self.run_group(silent, self.all_pass("bc"))
        self.assertRegex(cases["a"][-1].name, "^the guest did not end: see ")

    def test_complaint_ends_the_guest(self) -> None:
        def boot(output: Any, console: Path) -> int:
            self.ran(output, "a")
            self.await_file(self.place / "a.console")
            console.write_text(SPLAT)
            self.ran(output, "b")
            self.assertTrue(self.vm.stop.wait(10))
            output.write(b"\n% c begins\n")
            return guest.STATUS_TIMEOUT
        cases = self.run_group(boot, self.all_pass("c"))
        self.assertEqual((cases["a"], cases["c"]), (PASSED, PASSED))
        self.assertRegex(cases["b"][1].name, "^the kernel complained: see .*/b.console")

    def test_who_hangs_has_no_time_of_the_others(self) -> None:
        def boot(output: Any, _console: Path) -> int:
            self.ran(output, "a")
            output.write(b"\n% b begins\n")
            self.assertTrue(self.vm.stop.wait(10))
            return guest.STATUS_TIMEOUT
        self.limit = 0.1
        cases = self.run_group(boot, self.all_pass("c"))
        self.assertEqual((cases["a"], cases["c"]), (PASSED, PASSED))
        self.assertRegex(cases["b"][-1].name, "^the guest did not end: see .*/b.console")

    def test_complaint_at_the_end_is_of_the_last(self) -> None:
        def boot(output: Any, console: Path) -> int:
            self.all_pass("abc")(output, console)
            return guest.STATUS_SPLAT
        cases = self.run_group(boot)
        self.assertEqual(cases["b"], PASSED)
        self.assertRegex(cases["c"][1].name, "^the kernel complained")

    def test_machine_that_cannot_be(self) -> None:
        self.group[0] = self.suite("a", "# vm: --smq 4")
        cases = self.run_group(self.all_pass("bc"))
        self.assertRegex(cases["a"][0].name, "^a asks for what scripts/vm does not know")

    def test_guest_that_fails_has_failed_for_who_ran(self) -> None:
        def boot(output: Any, _console: Path) -> int:
            self.ran(output, "a")
            output.write(b"\n% b begins\n")
            raise Fail("It cannot go on.")
        cases = self.run_group(boot, self.all_pass("c"))
        self.assertEqual((cases["a"], cases["b"]), (PASSED, [ktap.Case("It cannot go on.", "failed")]))

    def test_failure_to_begin_one(self) -> None:
        with mock.patch.object(suites.Scenario, "vm", side_effect=Fail("It cannot be.")):
            self.assertEqual(self.run_group()["c"], [ktap.Case("It cannot be.", "failed")])

    def test_one_alone_runs_as_ever(self) -> None:
        suite = suites.Suite("it", lambda: ktap.Report(PASSED))
        self.assertEqual(sharing.run([suite]), {"it": PASSED})


if __name__ == "__main__":
    unittest.main()
