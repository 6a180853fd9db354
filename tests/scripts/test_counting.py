# SPDX-License-Identifier: GPL-2.0
"""What a TCG plugin writes is read, and its addresses are found among the guest's symbols."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import counting

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000100 t xas_store
ffffffff81000180 d no_code
ffffffff81000200 T xas_load
ffffffffc0000000 t _RNvNtCs5wkX_10rust_fsdax5fsdax3zap	[rust_fsdax]
"""
COUNTS = """\
marks 2
ffffffff81000100 10
ffffffff810001ff 5
ffffffffc0000004 7
401000 3

marks 1

"""


class Parse(unittest.TestCase):
    def setUp(self) -> None:
        self.reports = counting.parse(COUNTS, counting.symbols(KALLSYMS.splitlines()))

    def test_one_report_for_each_run(self) -> None:
        self.assertEqual([report.operations for report in self.reports], [2, 1])

    def test_blocks_are_added_up_by_function(self) -> None:
        self.assertEqual(self.reports[0].functions,
                         {"xas_store": 15, "rust_fsdax::fsdax::zap": 7, "?": 3})

    def test_sum(self) -> None:
        self.assertEqual([report.insns for report in self.reports], [25, 0])


if __name__ == "__main__":
    unittest.main()
