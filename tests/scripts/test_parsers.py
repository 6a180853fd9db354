# SPDX-License-Identifier: GPL-2.0
"""What decides whether a test run is green must itself be right."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import guest, ktap

SUITE = """\
    KTAP version 1
    # Subtest: pgmap
    1..2
    ok 1 request
    not ok 2 release
not ok 1 pgmap
"""


def parse(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    report = ktap.parse(text.splitlines())
    return [(case.name, case.result) for case in report.cases], report.problems


class Ktap(unittest.TestCase):
    def test_who_fails_says_why(self) -> None:
        report = ktap.parse((
            "1..3\n# a.c:1: not asked for\nok 1 - passes\n# load: 3 points\n"
            "# failing.c:384: point around never failed\n# lib.c:2: later\n"
            "not ok 2 - fails\nnot ok 3 - says nothing\n").splitlines())
        self.assertEqual([case.told() for case in report.cases],
                         ["passes", "fails: failing.c:384: point around never failed", "says nothing"])

    def test_a_case_of_kunit_says_why(self) -> None:
        said = "    # release: ASSERTION FAILED at tests/kunit/entries.rs:612\n    Expected a\n"
        report = ktap.parse(("1..1\n" + SUITE.replace("    not ok 2", said + "    not ok 2")).splitlines())
        self.assertEqual(report.cases[1].why, "release: ASSERTION FAILED at tests/kunit/entries.rs:612")

    def test_cases_of_a_suite_count_once(self) -> None:
        self.assertEqual(parse("1..1\n" + SUITE),
                         ([("pgmap.request", "passed"), ("pgmap.release", "failed")], []))

    def test_suite_that_fails_by_itself_is_a_failed_case(self) -> None:
        cases, _ = parse("1..1\n" + SUITE.replace("    not ok 2", "    ok 2"))
        self.assertIn(("pgmap", "failed"), cases)

    def test_short_plan_is_a_problem(self) -> None:
        self.assertEqual(parse("1..2\nok 1 - R1\n")[1],
                         ["the run: 2 cases were planned and 1 ran"])

    def test_short_plan_of_a_suite_is_a_problem(self) -> None:
        self.assertEqual(parse("1..1\n" + SUITE.replace("1..2", "1..3"))[1],
                         ["pgmap: 3 cases were planned and 2 ran"])

    def test_plan_is_required(self) -> None:
        self.assertEqual(parse("ok 1 - R1\n")[1], ["the run: there is no plan line"])
        self.assertEqual(parse("1..1\n" + SUITE.replace("    1..2\n", ""))[1],
                         ["pgmap: there is no plan line"])

    def test_no_case_is_a_problem(self) -> None:
        self.assertEqual(parse("kunit: disabled\n")[1], ["the run: there is no plan line",
                                                          "no test case ran"])

    def test_skip_is_no_pass(self) -> None:
        self.assertEqual(parse("1..1\nok 1 - R2 order 9 # SKIP no THP\n"),
                         ([("R2 order 9", "skipped")], []))

    def test_time_stamps_are_ignored(self) -> None:
        self.assertEqual(parse("[    1.250000] 1..1\n[    1.260000] ok 1 R3\n"),
                         ([("R3", "passed")], []))


class Splat(unittest.TestCase):
    def test_complaints_are_found(self) -> None:
        for line in ("WARNING: CPU: 0 PID: 1 at fs/dax.c:390 dax_disassociate_entry+0x1/0x2",
                     "BUG: KASAN: slab-use-after-free in f+0x1/0x2", "Oops: 0000 [#1] SMP",
                     "WARNING: possible circular locking dependency detected",
                     "INFO: task fsx:101 blocked for more than 120 seconds.",
                     "rcu: INFO: rcu_sched self-detected stall on CPU", "kernel BUG at mm/memremap.c:1!",
                     "Kernel panic - not syncing: Attempted to kill init!",
                     "BUG: sleeping function called from invalid context at a.c:1"):
            self.assertEqual(guest.find_splat(f"boot\n{line}\nafter"), [line, "after"])

    def test_data_races_are_ours_if_the_module_is_in_a_stack(self) -> None:
        def console(frame: str) -> str:
            # Longer than what is shown of a splat.
            stack = 60 * [" g+0x1/0x2"]
            return "\n".join(("BUG: KCSAN: data-race in f / g", *stack, "", frame, 66 * "=", "rust_fsdax: x"))
        self.assertEqual(guest.find_splat(console(" f+0x1/0x2")), [])
        self.assertEqual(len(guest.find_splat(console(" f+0x1/0x2 [rust_fsdax]"))), 40)

    def test_ordinary_lines_are_not(self) -> None:
        self.assertEqual(guest.find_splat(
            "Kernel command line: x=WARNING: \nkasan: KernelAddressSanitizer initialized\n"
            "rcu: \tRCU lockdep checking is enabled.\nok 1 warning_is_printed\n"), [])


if __name__ == "__main__":
    unittest.main()
