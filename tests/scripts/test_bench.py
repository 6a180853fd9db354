# SPDX-License-Identifier: GPL-2.0
"""The benchmark's verdicts, its comparison with the last run, its charts."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path
from typing import Any
from unittest import mock

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

from fsdaxlib import plot
from fsdaxlib.progress import CHECKOUT

_loader = importlib.machinery.SourceFileLoader("bench", str(_SCRIPTS / "bench"))
_spec = importlib.util.spec_from_loader("bench", _loader)
assert _spec
bench = importlib.util.module_from_spec(_spec)
sys.modules["bench"] = bench
sys.dont_write_bytecode, _kept = True, sys.dont_write_bytecode
_loader.exec_module(bench)
sys.dont_write_bytecode = _kept


def row(metric: Any, c: float | None, rust: float | None) -> Any:
    figures = {(metric.name, "ext4", provider): [{"value": value}]
               for provider, value in (("c", c), ("rust", rust)) if value is not None}
    return bench.row(metric, "ext4", figures)


class Rows(unittest.TestCase):
    def test_goal_is_a_ratio(self) -> None:
        metric = bench.Metric("m", "", 0.7)
        self.assertTrue(row(metric, 100, 70).ok)
        self.assertFalse(row(metric, 100, 71).ok)

    def test_what_was_not_measured_meets_no_goal(self) -> None:
        self.assertIs(row(bench.Metric("m", "", 0.7), 100, None).ok, False)
        self.assertIs(row(bench.Metric("m", "", 0.7), None, 1).ok, False)

    def test_without_a_goal_there_is_no_verdict(self) -> None:
        self.assertIsNone(row(bench.Metric("m", ""), 100, 100).ok)

    def test_absolute_goal_does_not_ask_for_a_ratio(self) -> None:
        metric = bench.Metric("m", "", 0, absolute=True)
        self.assertTrue(row(metric, 0, 0.04).ok)
        self.assertFalse(row(metric, 0, 0.3).ok)

    def test_no_fault_is_as_good_as_no_fault(self) -> None:
        metric = bench.Metric("m", "", 1.1)
        self.assertTrue(row(metric, 0, 0).ok)
        self.assertFalse(row(metric, 0, 1).ok)

    def test_median_of_rounds(self) -> None:
        metric = bench.Metric("m", "")
        figures = {("m", "ext4", provider): [{"value": value} for value in (9, 1, 5)]
                   for provider in bench.PROVIDERS}
        self.assertEqual(bench.row(metric, "ext4", figures).c, 5)


class Compare(unittest.TestCase):
    def said(self, before: tuple[float, float], after: tuple[float, float],
             name: str = "fault_write_4k") -> str:
        rows = [bench.Row(name, "ext4", "instructions", c, rust, rust / c, None, None)
                for c, rust in (before, after)]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            bench.compare(rows[1:], rows[:1])
        return out.getvalue()

    def test_worse(self) -> None:
        self.assertIn("fault_write_4k on ext4: 1,000 -> 1,030 (+3.0%)",
                      self.said((900, 1000), (900, 1030)))

    def test_within_what_runs_differ_by(self) -> None:
        self.assertIn("0 got worse", self.said((900, 1000), (900, 1019)))

    def test_better(self) -> None:
        self.assertIn("0 got worse by more than 2%, 1 better", self.said((900, 1000), (900, 900)))

    def test_another_kernel(self) -> None:
        self.assertIn("stock C", self.said((900, 1000), (950, 1000)))

    def test_time_on_the_host_is_not_compared(self) -> None:
        self.assertIn("0 got worse", self.said((900, 1000), (900, 9000), "threads_own_file"))


class Allow(unittest.TestCase):
    """What is worse than in the committed run fails the run, unless it is allowed."""

    def refused(self, rust: float, *allowed: str, name: str = "fault_write_4k") -> int:
        before, after = (bench.Row(name, "ext4", "instructions", 900, value, value / 900, None, None)
                         for value in (1000.0, rust))
        with contextlib.redirect_stdout(io.StringIO()):
            refused = bench.compare([after], [before], allowed)
        assert isinstance(refused, int)
        return refused

    def status(self, rust: float, *options: str) -> int:
        """The exit status of a run that measures one figure without a goal."""
        metric = bench.Metric("fault_write_4k", "", None, fs=("ext4",))
        figures = {("fault_write_4k", "ext4", "c"): [{"value": 900}],
                   ("fault_write_4k", "ext4", "rust"): [{"value": rust}]}
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
            baseline = Path(directory) / "baseline.json"
            bench.save(baseline, [bench.Row("fault_write_4k", "ext4", "instructions", 900, 1000, 1.1, None, None)])
            for name, value in (("BASELINE", baseline), ("METRICS", (metric,)),
                                ("measure", lambda *_: figures)):
                stack.enter_context(mock.patch.object(bench, name, value))
            stack.enter_context(mock.patch.object(bench.source, "chosen"))
            argv = ["bench", "--fs", "ext4", "--json", f"{directory}/bench.json", *options]
            stack.enter_context(mock.patch.object(sys, "argv", argv))
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            status = bench.main()
        assert isinstance(status, int)
        return status

    def test_worse_is_counted(self) -> None:
        self.assertEqual(self.refused(1030), 1)

    def test_what_two_runs_differ_by_is_not(self) -> None:
        self.assertEqual(self.refused(1019), 0)

    def test_better_is_not(self) -> None:
        self.assertEqual(self.refused(900), 0)

    def test_by_name_and_by_pattern(self) -> None:
        self.assertEqual(self.refused(1030, "fault_write_4k"), 0)
        self.assertEqual(self.refused(1030, "fsync_*", "fault_*"), 0)

    def test_another_one_does_not_help(self) -> None:
        self.assertEqual(self.refused(1030, "fault_write_2m", "fault_write"), 1)

    def test_time_on_the_host_fails_nothing(self) -> None:
        self.assertEqual(self.refused(9000, name="threads_own_file"), 0)

    def test_exit_status(self) -> None:
        self.assertEqual(self.status(1000), 0)
        self.assertEqual(self.status(1030), 1)
        self.assertEqual(self.status(1030, "--allow", "fault_*"), 0)


class Baseline(unittest.TestCase):
    def test_committed_one_can_be_read_and_has_every_metric(self) -> None:
        have = {(each.metric, each.fs) for each in bench.load(bench.BASELINE)}
        self.assertEqual(have, {(metric.name, fs) for metric in bench.METRICS for fs in metric.fs})


class Charts(unittest.TestCase):
    def test_charts_are_xml(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "chart.svg"
            lines = [plot.Line("c", [(0, 1), (256, 1e9)])]
            plot.panels(path, "a < b", [plot.Panel("p", "x", "y", lines, zero=True)])
            xml.dom.minidom.parse(str(path))
            plot.ranges(path, "ranges", "instructions", [plot.Range("r", "rust", range(1, 102))])
            xml.dom.minidom.parse(str(path))

    def test_picture_of_the_readme_is_that_of_the_baseline(self) -> None:
        name = "break-cost.svg"
        with tempfile.TemporaryDirectory() as directory:
            bench.plots(bench.load(bench.BASELINE), {}, Path(directory))
            drawn = (Path(directory) / name).read_text()
        self.assertEqual(drawn, (CHECKOUT / "Documentation/pictures" / name).read_text())

    def test_numbers_on_axes(self) -> None:
        self.assertEqual([plot.short(value) for value in (1, 1000, 4096, 2_000_000, 1e10)],
                         ["1", "1k", "4,096", "2M", "10G"])


if __name__ == "__main__":
    unittest.main()
