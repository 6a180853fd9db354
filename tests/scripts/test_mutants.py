# SPDX-License-Identifier: GPL-2.0
"""Mutants: which tests should see them, what becomes of them, and what is said of those that survive."""

import fnmatch
import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import guest, kernel, ktap, mutants, mutating
from fsdaxlib.mutating import Mutant
from fsdaxlib.progress import CHECKOUT, Fail

WAKE = Mutant("src/folio/free.rs", 2, "drain", "wake", 10, 25, "waiters.wake();", "", ("    ", ""))
NAME = ("src/folio/free.rs", "drain", "wake: waiters.wake(); -> nothing")
EXPLAINED = "[{} {}]\nNobody waits.\n\t{}\n"


def outcome(result: str, mutant: Mutant = WAKE, tests: tuple[str, ...] = ()) -> mutants.Outcome:
    return mutants.Outcome(mutant.file, mutant.line, mutant.function, mutant.operator, mutant.change, result,
                           tests=list(tests))


class Map(unittest.TestCase):

    def test_each_file_has_scenarios_that_are_there(self) -> None:
        for path in mutating.files(CHECKOUT):
            runs = mutants.scenarios(path)
            self.assertTrue(runs, path)
            for run in runs:
                self.assertTrue(run.script.exists(), run.name)

    def test_each_pattern_fits_a_file_that_no_other_has_taken(self) -> None:
        left = mutating.files(CHECKOUT)
        for pattern, _ in mutants.SCENARIOS:
            fits = fnmatch.filter(left, pattern)
            self.assertTrue(fits, pattern)
            left = [path for path in left if path not in fits]
        self.assertEqual(left, [])

    def test_words_are_in_the_names_of_cases(self) -> None:
        cases = "".join(path.read_text() for path in sorted((CHECKOUT / "tests/vm").glob("*.c")))
        for _, runs in mutants.SCENARIOS:
            for run in runs:
                if "-p" in run.arguments:
                    self.assertIn(f'{{ "{run.arguments[run.arguments.index("-p") + 1]} ', cases)


class Report(unittest.TestCase):

    def test_rate_is_of_those_that_are_mutants(self) -> None:
        found = [outcome(result) for result in ("killed", "killed", "killed", "survived", "refused", "same")]
        self.assertEqual(mutants.rate(found), 75.0)
        self.assertIsNone(mutants.rate([outcome("same")]))

    def test_table(self) -> None:
        found = [outcome(result) for result in ("killed", "survived", "refused", "same")]
        self.assertEqual([line.split() for line in mutants.table(found)], [
            ["operator", "made", "no", "code", "same", "killed", "survived", "%"],
            ["wake", "4", "1", "1", "1", "1", "50.0"], ["all", "4", "1", "1", "1", "1", "50.0"]])
        self.assertEqual(mutants.table([outcome("same")])[1].split()[-1], "-")

    def test_survivor_needs_an_explanation(self) -> None:
        self.assertEqual(mutants.judge([outcome("survived")], [WAKE], ""), [
            "src/folio/free.rs:2: drain: survived, and not explained: wake: waiters.wake(); -> nothing"])
        self.assertEqual(mutants.judge([outcome("survived")], [WAKE], EXPLAINED.format(*NAME)), [])
        self.assertEqual(mutants.judge([outcome("survived")] * 2, [WAKE] * 2, EXPLAINED.format(*NAME)), [
            "src/folio/free.rs:2: drain: survived, and not explained: wake: waiters.wake(); -> nothing"])

    def test_explanation_needs_a_survivor(self) -> None:
        text = EXPLAINED.format(*NAME)
        self.assertEqual(mutants.judge([outcome("killed")], [WAKE], text), [
            "src/folio/free.rs: drain: explained, but killed: wake: waiters.wake(); -> nothing"])
        self.assertEqual(mutants.judge([outcome("killed")], [WAKE], text.replace("drain]", "drain sometimes]")), [])
        self.assertEqual(mutants.judge([], [WAKE], text), [])
        self.assertEqual(mutants.judge([], [], text), [
            "src/folio/free.rs: drain: explained, and there is no such mutant: wake: waiters.wake(); -> nothing"])

    def test_one_of_two_that_look_the_same_may_be_killed(self) -> None:
        found = [outcome("killed"), outcome("survived")]
        self.assertEqual(mutants.judge(found, [WAKE] * 2, EXPLAINED.format(*NAME)), [])

    def test_explanations_of_the_module_are_of_mutants(self) -> None:
        self.assertEqual(mutants.judge([], mutating.of_module(CHECKOUT), mutants.EXPLANATIONS.read_text()), [])


class Kept(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "mutants.json"

    def test_come_back(self) -> None:
        results = mutants.Results(self.path, "one", {"a": outcome("killed")})
        results.save()
        again = mutants.Results(self.path, "one")
        again.read()
        self.assertEqual(again, results)
        self.assertEqual(json.loads(self.path.read_text())["rate"], 100.0)

    def test_of_other_sources_are_put_aside(self) -> None:
        mutants.Results(self.path, "one", {"a": outcome("killed")}).save()
        other = mutants.Results(self.path, "two")
        other.read()
        self.assertEqual(other.outcomes, {})
        self.assertTrue(self.path.with_name("mutants-one.json").exists())

    def test_what_is_done(self) -> None:
        def done(known: mutants.Outcome | None, *, kunit_only: bool = False, again: bool = False) -> bool:
            return mutants.is_done(WAKE, known, kunit_only=kunit_only, again=again)

        kunit = outcome("survived", tests=("kunit-module",))
        all_ = outcome("survived", tests=("kunit-module", *(run.name for run in mutants.scenarios(WAKE.file))))
        self.assertEqual([done(None), done(kunit), done(kunit, kunit_only=True), done(all_)],
                         [False, False, True, True])
        self.assertEqual([done(outcome(result), again=True) for result in ("killed", "same", "refused")], [True] * 3)
        self.assertFalse(done(all_, again=True))

    def test_key_is_of_the_sources(self) -> None:
        checkout = self.path.parent
        for name in ("src", "csrc", "rust", "include", "tests"):
            (checkout / name).mkdir()
            (checkout / name / "a").write_text("a")
        (checkout / "Kbuild").write_text("")
        before = mutants.source_key(checkout)
        (checkout / "tests/a").write_text("b")
        self.assertEqual(mutants.source_key(checkout), before)
        (checkout / "src/a").write_text("b")
        self.assertNotEqual(mutants.source_key(checkout), before)


class Attempt(unittest.TestCase):
    """Of one mutant, with a compiler and guests that are not there."""

    TEXT = "fn f() {\n    waiters.wake();\n}\n"

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = Path(directory.name)
        with mock.patch.multiple(mutants, _OUT=self.dir, _COPIED=()):
            self.shared = mutants.Shared(mock.Mock(), 1)
            self.worker = mutants.Worker(0, self.shared)
        self.shared.suites = ["quick", "slow", "elsewhere"]
        ran = {name: {2} for name in ("quick", "slow", *(run.name for run in mutants.scenarios("src/x.rs")))}
        for reach, names in ((self.shared.kunit, self.shared.suites),
                             (self.shared.scenarios, [run.name for run in mutants.scenarios("src/x.rs")])):
            reach.code = {"src/x.rs": {2, 4}}
            reach.tests = {name: {"src/x.rs": ran.get(name, {4})} for name in names}
            reach.seconds = {name: 20 if name == "slow" else 10 for name in names}
        self.worker._object = "as before"
        (self.dir / "0/tree/src").mkdir(parents=True)
        self.source = self.dir / "0/tree/src/x.rs"
        self.source.write_text(self.TEXT)
        [self.mutant] = mutating.mutants("src/x.rs", self.TEXT)

    def attempt(self, *, ko: Path | None = Path("x.ko"), code: str = "other", kunit: str = "", scenario: str = "",
                kunit_only: bool = False, known: mutants.Outcome | None = None) -> tuple[str, str, list[str]]:
        built = []

        def build(*, kunit: bool) -> Path | None:
            built.append((kunit, self.source.read_text()))
            return ko

        self.suites = mock.Mock(return_value=kunit)
        with mock.patch.multiple(self.worker, build=build, _kunit=self.suites,
                                 _scenario=mock.Mock(return_value=scenario)), \
                mock.patch.object(mutants, "_object", return_value=code):
            found = self.worker.attempt(self.mutant, kunit_only=kunit_only, known=known)
        self.assertEqual(self.source.read_text(), self.TEXT)
        self.assertLessEqual({text for _, text in built}, {"fn f() {\n    \n}\n"})
        return found.result, found.by, found.tests

    def test_no_mutant(self) -> None:
        self.assertEqual(self.attempt(ko=None), ("refused", "", []))
        self.assertEqual(self.attempt(code="as before"), ("same", "", []))

    def test_kunit_is_first(self) -> None:
        self.assertEqual(self.attempt(kunit="not ok: a", scenario="not ok: b"),
                         ("killed", "kunit-module: not ok: a", ["kunit-module"]))

    def test_a_scenario_kills(self) -> None:
        first = mutants.scenarios("src/x.rs")[0].name
        self.assertEqual(self.attempt(scenario="the guest died"),
                         ("killed", f"{first}: the guest died", ["kunit-module", first]))

    def test_survives(self) -> None:
        runs = [run.name for run in mutants.scenarios("src/x.rs")]
        self.assertEqual(self.attempt(), ("survived", "", ["kunit-module", *runs]))
        self.assertEqual(self.attempt(kunit_only=True), ("survived", "", ["kunit-module"]))

    def test_without_a_mistake_it_is_built_once(self) -> None:
        build = mock.Mock(return_value=Path("x.ko"))
        with mock.patch.object(self.worker, "build", build), mock.patch.object(mutants, "_object", return_value="1234"):
            for key in ("one", "one", "two"):
                self.shared.kunit.key = key
                self.worker._object = ""
                self.worker.baseline()
                self.assertEqual(self.worker._object, "1234")
        self.assertEqual(build.call_count, 2)

    def test_suites_that_get_there_run_quickest_first(self) -> None:
        self.attempt(kunit="not ok: a")
        self.suites.assert_called_once_with(Path("x.ko"), ["quick", "slow"], 30 * 4 + 60)

    def test_scenarios_that_do_not_get_there_are_left_out(self) -> None:
        first, *others = mutants.scenarios("src/x.rs")
        self.shared.scenarios.tests[first.name] = {"src/x.rs": {4}}
        self.assertEqual(self.attempt(scenario="the guest died")[1], f"{others[0].name}: the guest died")
        for run in others:
            self.shared.scenarios.tests[run.name] = {}
        self.assertEqual(self.attempt(scenario="the guest died")[0], "survived")

    def test_what_only_tests_use_has_no_scenario(self) -> None:
        known = outcome("survived", tests=("kunit-module",))
        self.assertEqual(self.attempt(ko=None, scenario="not ok: b", known=known)[0], "survived")

    def test_goes_on_where_it_ended(self) -> None:
        known = outcome("survived", tests=("kunit-module",))
        self.assertEqual(self.attempt(kunit="not ok: a", scenario="not ok: b", known=known)[1],
                         f"{mutants.scenarios('src/x.rs')[0].name}: not ok: b")

    def test_interrupted_leaves_the_text(self) -> None:
        with mock.patch.object(self.worker, "build", side_effect=KeyboardInterrupt), \
                self.assertRaises(KeyboardInterrupt):
            self.worker.attempt(self.mutant, kunit_only=True, known=None)
        self.assertEqual(self.source.read_text(), self.TEXT)

    def test_stopped_guest_says_nothing(self) -> None:
        vm = mock.Mock()
        with self.assertRaises(Fail), self.worker._watched(vm, self.dir / "console"):
            self.worker.stop()
            self.assertTrue(vm.stop.is_set())

    def test_tests_must_pass_without_a_mistake(self) -> None:
        with self.assertRaisesRegex(Fail, r"kunit-module fails without any mistake \(not ok: a\)"):
            mutants._must_pass(mutants.KUNIT, "not ok: a")
        mutants._must_pass(mutants.KUNIT, "")

    def test_survivors_of_kunit_meet_scenarios_afterwards(self) -> None:
        # Those that are explained last.
        found = mutating.mutants("src/x.rs", "fn f() {\n    a.wake();\n}\nfn g() {\n    a.wake();\n}\n"
                                 "fn h() {\n    a.wake();\n}\n")
        tried = []

        def attempt(mutant: Mutant, *, kunit_only: bool, known: mutants.Outcome | None) -> mutants.Outcome:
            tried.append((mutant.function, kunit_only))
            self.assertEqual(known is None, kunit_only)
            return outcome("killed" if mutant.function == "h" or not kunit_only else "survived", mutant,
                           (mutants.KUNIT,))

        explained = self.dir / "survivors"
        explained.write_text(EXPLAINED.format("src/x.rs", "f", found[0].change))
        results = mutants.Results(self.dir / "mutants.json", "one")
        worker = mock.Mock(attempt=attempt)
        with mock.patch.multiple(mutants, Shared=mock.Mock(), Worker=mock.Mock(return_value=worker), step=mock.Mock(),
                                 EXPLANATIONS=explained), mock.patch.object(kernel, "ensure"):
            mutants._run_all(found[:1] + found[2:] + found[1:2], results, False, False, 1, 3)
        # Two at a time.
        self.assertEqual(sorted(tried[:3]), [("f", True), ("g", True), ("h", True)])
        self.assertEqual(sorted(tried[3:]), [("f", False), ("g", False)])


class Copy(unittest.TestCase):

    def test_is_what_is_there_and_leaves_what_is_the_same(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            out, tree, checkout = (Path(directory) / name for name in ("out", "out/0/tree", "checkout"))
            for name, text in (("src/a", "same"), ("src/b/c", "new"), ("Kbuild", "k")):
                (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                (checkout / name).write_text(text)
            for name, text in (("src/a", "same"), ("src/b/c", "changed"), ("src/gone", "old")):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_text(text)
            before = (tree / "src/a").stat().st_mtime_ns
            with mock.patch.multiple(mutants, _OUT=out, _COPIED=("src", "Kbuild"), CHECKOUT=checkout):
                mutants.Worker(0, mock.Mock())
            found = {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}
            self.assertEqual(found, {"src/a": "same", "src/b/c": "new", "Kbuild": "k"})
            self.assertEqual((tree / "src/a").stat().st_mtime_ns, before)


class Seen(unittest.TestCase):
    """What is wrong with a run."""

    def test_report(self) -> None:
        def wrong(result: str, status: int) -> str:
            return mutants._wrong(ktap.Report([ktap.Case("a", result)]), status)

        self.assertEqual(wrong("passed", 0), "")
        self.assertEqual(wrong("failed", guest.STATUS_TIMEOUT), "not ok: a")
        self.assertEqual(wrong("passed", guest.STATUS_TIMEOUT), "the guest did not end")
        self.assertEqual(wrong("passed", 7), "status 7")
        self.assertEqual(mutants._wrong(ktap.parse([]), 0), ktap.parse([]).problems[0])

    def test_each_suite_has_a_report(self) -> None:
        one = ("KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: {0}\n    1..1\n    {1} 1 case\n"
               "{1} 1 {0}\n")
        self.assertEqual(mutants._wrong_suites(one.format("a", "ok") + one.format("b", "ok"), ["a", "b"], 0), "")
        self.assertEqual(mutants._wrong_suites(one.format("a", "ok") + one.format("b", "not ok"), ["a", "b"], 0),
                         "not ok: b.case")
        self.assertEqual(mutants._wrong_suites(one.format("a", "ok"), ["a", "b"], 0), "b did not run")

    def test_watch(self) -> None:
        for text, seen in (("ok 1 a\n", ""), ("    not ok 2 - b\n", "not ok: b"),
                           ("rust_fsdax: # a thread does not end\n", "a thread does not end"),
                           ("[    1.2]     not ok 3 c\n", "not ok: c"),
                           ("[    1.2] BUG: unable to handle\n", "BUG: unable to handle")):
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "console"
                path.write_text(text)
                watch = mutants._Watch(mock.Mock(), [path, Path(directory) / "none"])
                watch.look()
                self.assertEqual(watch.seen, seen)

    def test_suites_say_that_they_are_stuck(self) -> None:
        self.assertIn(f'fail_test("{mutants._STUCK}")', (CHECKOUT / "tests/kunit/thread.rs").read_text())

    def test_watch_stops_the_guest(self) -> None:
        vm = mock.Mock()
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(mutants, "_WATCH_S", 0.01):
            path = Path(directory) / "console"
            path.write_text("not ok 1 a\n")
            watch = mutants._Watch(vm, [path])
            watch.start()
            watch.join(30)
            self.assertTrue(vm.stop.is_set())

    def test_watch_stops_a_guest_that_is_quiet(self) -> None:
        vm = mock.Mock()
        with mock.patch.object(mutants, "_WATCH_S", 0.01):
            watch = mutants._Watch(vm, [], quiet=0.02)
            watch.start()
            watch.join(30)
            self.assertTrue(vm.stop.is_set())
            self.assertEqual(watch.seen, "the guest hangs")


if __name__ == "__main__":
    unittest.main()
