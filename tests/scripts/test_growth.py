# SPDX-License-Identifier: GPL-2.0
"""What is made of the costs at several sizes: the formula, and how far off it is."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import unittest
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

_loader = importlib.machinery.SourceFileLoader("growth_script", str(_SCRIPTS / "growth"))
_spec = importlib.util.spec_from_loader("growth_script", _loader)
assert _spec
growth = importlib.util.module_from_spec(_spec)
sys.dont_write_bytecode, _kept = True, sys.dont_write_bytecode
# A dataclass looks for its module.
sys.modules["growth_script"] = growth
_loader.exec_module(growth)
sys.dont_write_bytecode = _kept


def guest(least: float, per_pmd: float, per_inode: float, per_entry: float) -> dict[tuple[int, int, int], list[float]]:
    """What guests measure of an operation that costs that."""
    sizes = [(0, 0), *((inodes, 0) for inodes in growth._INODES), *((0, entries) for entries in growth._ENTRIES)]
    places = [(0, 0, mib) for mib in growth._DEVICES_MIB[1:]] + [(*size, growth._DEVICES_MIB[0]) for size in sizes]
    return {(inodes, entries, mib): [least + per_pmd * mib / 2 + per_inode * inodes + per_entry * entries]
            for inodes, entries, mib in places}


class Formula(unittest.TestCase):
    def test_each_part_is_found(self) -> None:
        found = growth.fit("removal", "rust", guest(1000, 50, 3000, 400))
        self.assertEqual((found.least, found.per_pmd, found.per_inode, found.per_entry, found.deviation),
                         (1000, 50, 3000, 400, 0))
        # The inodes have an entry each.
        self.assertEqual(found.at(growth.Size(10, 2, 5)), 1000 + 500 + 6000 + 3 * 400)

    def test_what_is_no_line_is_told(self) -> None:
        costs = guest(1000, 0, 3000, 0)
        costs[growth._INODES[1], 0, growth._DEVICES_MIB[0]][0] *= 1.5
        self.assertAlmostEqual(growth.fit("umount", "c", costs).deviation, 1 / 3, places=3)

    def test_a_small_change_is_none(self) -> None:
        grows, off = growth.slope([(1, 1000), (2, 1012), (3, 1001)])
        self.assertEqual((grows, round(off, 3)), (0, 0.012))

    def test_the_median_counts(self) -> None:
        costs = guest(1000, 50, 0, 0)
        costs[0, 0, growth._DEVICES_MIB[0]] += [9e9, 0]
        self.assertEqual(growth.fit("mount", "c", costs).per_pmd, 50)

    def test_least_is_without_entries_where_there_must_be_some(self) -> None:
        costs = {place: cost for place, cost in guest(1000, 0, 0, 400).items() if place[1]}
        self.assertEqual(growth.fit("break", "c", costs).least, 1000)

    def test_lines_of_a_guest(self) -> None:
        measured: dict[tuple[str, str], dict[tuple[int, int, int], list[float]]] = {}
        for value in (5, 7):
            growth.parse('disabled 2 namespaces\nrust {"metric": "busy_0_16384", "fs": "xfs", '
                         f'"value": {value}}}\n', 512, measured)
        self.assertEqual(measured, {("busy", "rust"): {(0, 16384, 512): [5, 7]}})

    def test_table(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            growth.print_table("xfs", growth.formulas({("busy", "rust"): guest(1000, 0, 300, 0)}),
                               growth.Size(5 << 20, 10**7, 10**8))
        self.assertIn("at 10 TiB, 10,000,000 inodes, 100,000,000 entries", out.getvalue())
        self.assertEqual(out.getvalue().splitlines()[-1].split(),
                         ["debugfs", "busy", "rust", "1,000", "0.0", "300", "0.00", "0.0%", "3e+09"])


if __name__ == "__main__":
    unittest.main()
