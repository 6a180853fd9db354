# SPDX-License-Identifier: GPL-2.0
"""Which lines tests get to: what is kept of it, and what it says of tests."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import reach
from fsdaxlib.coverage import File
from fsdaxlib.progress import CHECKOUT
from fsdaxlib.reach import Reach


class Known(unittest.TestCase):

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.reach = Reach(Path(directory.name) / "reach.json", "one")
        self.reach.learn("slow", [File("src/a.rs", [], {1: 1, 2: 0, 3: 7})], 9.0)
        self.reach.learn("quick", [File("src/a.rs", [], {1: 1, 2: 0, 3: 0})], 2.0)

    def test_comes_back(self) -> None:
        self.reach.save()
        again = Reach(self.reach.path, "one")
        again.read()
        self.assertEqual(again, self.reach)

    def test_of_other_tests_is_not_taken(self) -> None:
        self.reach.save()
        other = Reach(self.reach.path, "two")
        other.read()
        self.assertEqual(other.tests, {})

    def test_a_test_gets_to_its_lines(self) -> None:
        self.assertTrue(self.reach.gets_to("slow", "src/a.rs", [3]))
        self.assertFalse(self.reach.gets_to("quick", "src/a.rs", [2, 3]))

    def test_what_is_not_counted_may_be_reached(self) -> None:
        self.assertTrue(self.reach.gets_to("quick", "src/a.rs", [4]))
        self.assertTrue(self.reach.gets_to("quick", "src/b.rs", [1]))

    def test_quickest_is_first(self) -> None:
        self.assertEqual(self.reach.quickest(["slow", "quick"], "src/a.rs", [1]), ["quick", "slow"])
        self.assertEqual(self.reach.quickest(["slow", "quick"], "src/a.rs", [3]), ["slow"])

    def test_all_if_none_gets_there(self) -> None:
        self.assertEqual(self.reach.quickest(["slow", "quick"], "src/a.rs", [2]), ["quick", "slow"])


class Text(unittest.TestCase):

    def test_suites(self) -> None:
        names = reach.kunit_suites()
        self.assertIn("rust_fsdax_request", names)
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(names), sum(path.read_text().count("#[kunit_tests(")
                                         for path in (CHECKOUT / "tests/kunit").rglob("*.rs")))

    def test_seconds(self) -> None:
        self.assertEqual(reach.taken("# a_b: 1.50 to 4.00\n# c: 4.0 to 5.0\r\nsomething: 1 to 2\n"),
                         {"a_b": 2.5, "c": 1.0})

    def test_dumps_are_in_the_order_of_the_numbers(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            for number in (0, 10, 2):
                (Path(directory) / f"counters.{number}").touch()
            self.assertEqual([path.suffix for path in reach.dumps(Path(directory))], [".0", ".2", ".10"])


if __name__ == "__main__":
    unittest.main()
