# SPDX-License-Identifier: GPL-2.0
"""The cache lines that change hands: whose they are, who moves them, how often."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import unittest
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

from fsdaxlib import transfers

_loader = importlib.machinery.SourceFileLoader("transfers_script", str(_SCRIPTS / "transfers"))
_spec = importlib.util.spec_from_loader("transfers_script", _loader)
assert _spec
script = importlib.util.module_from_spec(_spec)
sys.dont_write_bytecode, _kept = True, sys.dont_write_bytecode
_loader.exec_module(script)
sys.dont_write_bytecode = _kept

KALLSYMS = """\
0000000000000000 A fixed_percpu_data
ffffffff81000100 t xas_store
ffffffff81000200 T _raw_spin_lock_irqsave
ffffffff81000300 T file_update_time
ffffffff82000000 D jiffies
ffffffff82000020 D other
ffffffffc0000000 t _RNvNtCs5wkX_10rust_fsdax5fsdax3zap	[rust_fsdax]
ffffffffc0000100 t rust_fsdax_folio_lock	[rust_fsdax]
ffffffffc0010010 b sleepers	[rust_fsdax]
ffffffffc0020000 b of_another	[ext4]
"""
COUNTS = """\
marks 4
ffffffff81000104 ffffffff81000304 ffff888000000040 w 8
ffffffff81000108 ffffffff81000304 ffff888000000078 r 4
ffffffff81000204 ffffffffc0000104 ffff888000000048 w 2
ffffffff81000204 ffffffff81000304 ffffffff82000004 w 4
ffffffffc0000004 ffffffff81000304 ffffffffc0010098 r 1
ffffffffc0000004 ffffffff81000304 ffffea0000001000 r 1

marks 1

"""


class Parse(unittest.TestCase):
    def setUp(self) -> None:
        self.reports = transfers.parse(COUNTS, transfers.Symbols(KALLSYMS.splitlines()))

    def test_one_report_for_each_run(self) -> None:
        self.assertEqual([report.operations for report in self.reports], [4, 1])

    def test_sums_are_those_of_an_operation(self) -> None:
        self.assertEqual([report.all for report in self.reports], [5, 0])

    def test_own_are_the_lines_of_variables_of_the_module(self) -> None:
        self.assertEqual([report.own for report in self.reports], [0.25, 0])

    def test_a_lock_is_told_with_who_takes_it(self) -> None:
        self.assertEqual(self.reports[0].by_function(), {
            "xas_store": 3, "_raw_spin_lock_irqsave of rust_fsdax_folio_lock": 0.5,
            "_raw_spin_lock_irqsave of file_update_time": 1, "rust_fsdax::fsdax::zap": 0.5})

    def test_code_of_dax_is_that_of_who_takes_a_lock_too(self) -> None:
        self.assertEqual({access.function for access in self.reports[0].accesses if access.dax},
                         {"xas_store", "_raw_spin_lock_irqsave of rust_fsdax_folio_lock", "rust_fsdax::fsdax::zap"})
        self.assertEqual([report.dax for report in self.reports], [4, 0])

    def test_accesses_are_added_up_by_line(self) -> None:
        self.assertEqual(self.reports[0].by_line(), {
            "memory: xas_store, _raw_spin_lock_irqsave of rust_fsdax_folio_lock": 3.5,
            "jiffies+0x0: _raw_spin_lock_irqsave of file_update_time": 1,
            "sleepers+0x70: rust_fsdax::fsdax::zap": 0.25,
            "struct page: rust_fsdax::fsdax::zap": 0.25})


class Table(unittest.TestCase):
    def test_ratio_and_own_data(self) -> None:
        reports = transfers.parse(COUNTS, transfers.Symbols(KALLSYMS.splitlines()))
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            script.print_table({("fault_own", "xfs"): [reports[0], reports[0]], ("fault_2m", "xfs"): reports[::-1]})
        self.assertEqual([line.split() for line in out.getvalue().splitlines()[3:]],
                         [["fault_own", "xfs", "5.00", "5.00", "1.000", "4.00", "4.00", "1.000", "0.25"],
                          ["fault_2m", "xfs", "0.00", "5.00", "-", "0.00", "4.00", "-", "0.25"]])

    def test_faults_of_different_files_share_no_variable(self) -> None:
        reports = transfers.parse(COUNTS, transfers.Symbols(KALLSYMS.splitlines()))
        self.assertEqual(script.shared({("fault_small_break", "xfs"): [reports[1], reports[0]],
                                        ("fault_own", "xfs"): [reports[0], reports[1]],
                                        ("fault_one", "xfs"): [reports[1], reports[0]]}),
                         ["fault_small_break on xfs shares data of the module: sleepers+0x70."])

    def test_nothing_is_as_good_as_nothing(self) -> None:
        self.assertEqual(script.ratio(0, 0), "1.000")

    def test_parts_that_move_little_are_one_line(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            script.print_parts("title", [{"a": 2, "b": 0.05}, {"a": 1, "c": 0.02}], 0.1)
        self.assertEqual([line.split() for line in out.getvalue().splitlines()[3:]],
                         [["2.00", "1.00", "-1.00", "a"], ["0.05", "0.02", "-0.03", "all", "others"]])


if __name__ == "__main__":
    unittest.main()
