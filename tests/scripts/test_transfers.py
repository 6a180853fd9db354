# SPDX-License-Identifier: GPL-2.0
"""The cache lines that change hands: whose they are, who moves them, how often."""

import contextlib
import importlib.machinery
import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

from fsdaxlib import transfers
from fsdaxlib.progress import CHECKOUT

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


CODE = 0xffffffff81000000
OTHER = CODE + 0x100
LINE = 0xffff888000000000
USER = 0x401000


@unittest.skipUnless(shutil.which("gcc"), "there is no gcc")
class Plugin(unittest.TestCase):
    """The plugin itself, with tests/plugin/transfers.c in the place of QEMU."""

    program: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.program = Path(directory.name) / "transfers"
        subprocess.run(["gcc", "-std=gnu17", "-o", cls.program, CHECKOUT / "tests/plugin/transfers.c",
                        CHECKOUT / "bench/plugin/transfers.c"], check=True)

    def found(self, *steps: tuple[int, int, str] | tuple[int, int, str, int]) -> list[str]:
        """What is an access that moves a line: address in the line and way, with how often."""
        text = "".join(f"{cpu} {code:x} {what} {''.join(f'{address:x}' for address in more)}\n"
                       for cpu, code, what, *more in steps)
        said = subprocess.run([self.program], input=text, text=True, check=True, capture_output=True).stdout
        return [f"{int(address, 16) - LINE:#x} {way} {times}"
                for _, _, address, way, times in map(str.split, said.splitlines())]

    def test_what_one_cpu_accesses_stays(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (0, CODE, "r", LINE), (0, CODE, "w", LINE)), [])

    def test_who_reads_what_another_one_wrote_gets_it_once(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "r", LINE + 8), (1, CODE, "r", LINE + 8),
                                    (2, CODE, "r", LINE + 8)), ["0x8 r 2"])

    def test_what_nobody_writes_is_shared(self) -> None:
        self.assertEqual(self.found(*((cpu, CODE, "r", LINE) for cpu in range(8))), [])

    def test_who_writes_takes_all_copies(self) -> None:
        self.assertEqual(self.found((0, CODE, "r", LINE), (1, CODE, "r", LINE), (1, CODE, "w", LINE),
                                    (0, CODE, "r", LINE)), ["0x0 r 1", "0x0 w 1"])

    def test_who_reads_and_writes_at_once_moves_it_once(self) -> None:
        self.assertEqual(self.found(*((cpu, CODE, "rw", LINE) for cpu in range(8))), ["0x0 w 7"])

    def test_who_reads_then_writes_moves_it_twice(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "r", LINE), (1, OTHER, "w", LINE)),
                         ["0x0 r 1", "0x0 w 1"])

    def test_lines_are_64_bytes(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "w", LINE + 64)), [])
        self.assertEqual(self.found((0, CODE, "w", LINE + 64), (1, CODE, "w", LINE + 60)), ["0x43 w 1"])

    def test_user_space_is_left_out(self) -> None:
        self.assertEqual(self.found((0, USER, "w", LINE), (1, CODE, "w", LINE)), [])
        self.assertEqual(self.found((0, CODE, "w", USER), (1, CODE, "w", USER)), [])

    def test_interrupts_of_the_kernel_are_left_out(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "interrupt"), (1, OTHER, "w", LINE),
                                    (1, CODE, "nop"), (1, OTHER, "w", LINE)), [])
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "interrupt"), (1, OTHER, "iretq"),
                                    (1, CODE, "w", LINE)), ["0x0 w 1"])

    def test_an_interrupt_within_one_does_not_end_it(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "interrupt"), (1, OTHER, "interrupt"),
                                    (1, CODE + 64, "iretq"), (1, OTHER, "w", LINE)), [])

    def test_user_space_ends_an_interrupt(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, CODE, "interrupt"), (1, USER, "nop"),
                                    (1, CODE, "w", LINE)), ["0x0 w 1"])

    def test_a_fault_of_user_space_is_looked_at(self) -> None:
        self.assertEqual(self.found((0, CODE, "w", LINE), (1, USER, "interrupt"), (1, CODE, "w", LINE)), ["0x0 w 1"])

    def test_the_last_call_is_told(self) -> None:
        text = f"0 {CODE:x} w {LINE:x}\n1 {OTHER:x} call\n1 {CODE:x} w {LINE:x}\n"
        said = subprocess.run([self.program], input=text, text=True, check=True, capture_output=True).stdout
        self.assertEqual(said, f"{CODE:x} {OTHER:x} {LINE:x} w 1\n")


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

    def test_chart_of_several_numbers_of_cpus(self) -> None:
        reports = transfers.parse(COUNTS, transfers.Symbols(KALLSYMS.splitlines()))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "transfers.svg"
            script.draw(path, {2: {("fault_own", "xfs"): reports}, 8: {("fault_own", "xfs"): [reports[0]] * 2}})
            drawn = path.read_text()
        self.assertIn("fault_own, xfs", drawn)
        # All of both, and DAX of both where it is not 0: one has nothing for 2 CPUs.
        self.assertEqual((drawn.count("<polyline"), drawn.count("stroke-dasharray")), (4, 2))

    def test_parts_that_move_little_are_one_line(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            script.print_parts("title", [{"a": 2, "b": 0.05}, {"a": 1, "c": 0.02}], 0.1)
        self.assertEqual([line.split() for line in out.getvalue().splitlines()[3:]],
                         [["2.00", "1.00", "-1.00", "a"], ["0.05", "0.02", "-0.03", "all", "others"]])


if __name__ == "__main__":
    unittest.main()
