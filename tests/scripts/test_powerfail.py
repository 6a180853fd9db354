# SPDX-License-Identifier: GPL-2.0
"""What scripts/powerfail reads from the output of a guest."""

import importlib.machinery
import importlib.util
import sys
import unittest
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

_loader = importlib.machinery.SourceFileLoader("powerfail", str(_SCRIPTS / "powerfail"))
_spec = importlib.util.spec_from_loader("powerfail", _loader)
assert _spec
powerfail = importlib.util.module_from_spec(_spec)
sys.dont_write_bytecode, _kept = True, sys.dont_write_bytecode
_loader.exec_module(powerfail)
sys.dont_write_bytecode = _kept

_TAP = """\
TAP version 13
1..3
# f: 2 times synced, 1 power failures; 0 lines unflushed, 0 pages lost
# clone: 1 times synced, 1 power failures; 0 lines unflushed, 0 pages lost
ok 1 - power failure: a case (rust)
# fs/dax.c loses data: D1
# f: 2 times synced, 1 power failures; 1984 lines unflushed, 31 pages lost
ok 2 - power failure: a case (C)
# pf_file.c:1: f: 1 pages are lost after a power failure, page 3 first
not ok 3 - power failure: another case (rust)
"""


class Rows(unittest.TestCase):
    def setUp(self) -> None:
        self.rows = powerfail.rows("xfs", _TAP)

    def test_each_case_of_each_provider(self) -> None:
        self.assertEqual([(row["case"], row["provider"]) for row in self.rows],
                         [("a case", "rust"), ("a case", "c"), ("another case", "rust")])

    def test_figures_of_two_files_are_added(self) -> None:
        self.assertEqual((self.rows[0]["synced"], self.rows[0]["failures"]), (3, 2))

    def test_figures_belong_to_one_case(self) -> None:
        self.assertEqual([row["pages_lost"] for row in self.rows], [0, 31, 0])

    def test_verdicts(self) -> None:
        self.assertEqual([powerfail.verdict(row) for row in self.rows],
                         ["kept", "31 pages lost (D1)", "FAILED"])

    def test_case_that_did_not_run(self) -> None:
        self.assertEqual(powerfail.verdict(None), "-")


if __name__ == "__main__":
    unittest.main()
