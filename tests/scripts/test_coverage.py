# SPDX-License-Identifier: GPL-2.0
"""Coverage says what is missed without an explanation, and what is explained for nothing."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import counters, coverage
from fsdaxlib.progress import CHECKOUT

TEXT = """\
pub(crate) fn first(x: u32) -> u32 {
    if x == 0 {
        return 1;
    }
    x
}

unsafe extern "C" fn second() {
    third();
    third();
}
"""
# All lines with code but the return of first().
RUNS = {1: 3, 2: 3, 3: 0, 4: 0, 5: 3, 6: 3, 8: 1, 9: 1, 10: 1, 11: 1}
EXPLAINED = "[src/a.rs first]\nNobody asks.\n\treturn 1;\n"


def problems(explanations: str, runs: dict[int, int] | None = None) -> list[str]:
    found, wrong = coverage.parse_explanations(explanations)
    file = coverage.File("src/a.rs", TEXT.splitlines(), RUNS if runs is None else runs)
    return wrong + coverage.judge([file], found)


class Judge(unittest.TestCase):

    def test_explained(self) -> None:
        self.assertEqual(problems(EXPLAINED), [])

    def test_not_explained(self) -> None:
        self.assertEqual(problems(""),
                         ["src/a.rs:3: first: not reached, and not explained: return 1;"])

    def test_of_another_function(self) -> None:
        self.assertEqual(len(problems(EXPLAINED.replace("first", "second"))), 2)

    def test_reached(self) -> None:
        self.assertEqual(problems(EXPLAINED, RUNS | {3: 1}),
                         ["src/a.rs: first: explained, but reached or gone: return 1;"])

    def test_gone(self) -> None:
        self.assertEqual(problems(EXPLAINED + "\treturn 2;\n"),
                         ["src/a.rs: first: explained, but reached or gone: return 2;"])

    def test_no_such_function(self) -> None:
        self.assertEqual(problems(EXPLAINED + "[src/a.rs fourth]\nWhy.\n\t...\n"),
                         ["src/a.rs: fourth: explained, and there is no such function"])

    def test_sometimes(self) -> None:
        text = EXPLAINED.replace("first]", "first sometimes]")
        for runs in (0, 1):
            self.assertEqual(problems(text, RUNS | {3: runs}), [])
        self.assertEqual(problems(text + "\treturn 2;\n"),
                         ["src/a.rs: first: explained, but gone: return 2;"])

    def test_equal_lines(self) -> None:
        runs = RUNS | {9: 0, 10: 0}
        text = EXPLAINED + "[src/a.rs second]\nWhy.\n\tthird();\n"
        self.assertEqual(problems(text, runs),
                         ["src/a.rs:10: second: not reached, and not explained: third();"])
        self.assertEqual(problems(text + "\tthird();\n", runs), [])

    def test_never_called(self) -> None:
        text = EXPLAINED + "[src/a.rs second]\nWhy.\n\t...\n"
        self.assertEqual(problems(text, RUNS | {8: 0, 9: 0, 10: 0, 11: 0}), [])
        self.assertEqual(problems(text),
                         ["src/a.rs: second: explained as never called, and it is"])

    def test_badly_written(self) -> None:
        self.assertEqual(len(problems("reason\n" + EXPLAINED)), 1)
        self.assertEqual(len(problems(EXPLAINED + "[src/a.rs second sometimes]\n\tthird();\n")), 1)


class Explanations(unittest.TestCase):
    def test_what_is_explained_is_there(self) -> None:
        found, wrong = coverage.parse_explanations((CHECKOUT / "tests/coverage/unreached").read_text())
        self.assertEqual(wrong, [])
        for entry in found:
            with self.subTest(f"{entry.file} {entry.function}"):
                text = (CHECKOUT / entry.file).read_text().splitlines()
                functions = coverage.File(entry.file, text, {}).functions()
                here = [line.strip() for line, function in zip(text, functions[1:], strict=True)
                        if function == entry.function]
                self.assertTrue(here)
                self.assertEqual([line for line in entry.lines if line != "..." and line not in here], [])


class Functions(unittest.TestCase):

    def test_c(self) -> None:
        text = ["int first(void)", "{", "\tx = call(1);", "}", "", "static struct page *second(int a,",
                "\t\t\t\t int b)", "{", "}"]
        self.assertEqual(coverage.File("rust/a.c", text, {}).functions()[1:],
                         ["first"] * 5 + ["second"] * 4)


class Lcov(unittest.TestCase):

    def test_files_of_the_module(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            checkout = Path(name)
            (checkout / "src").mkdir()
            (checkout / "src/a.rs").write_text(TEXT)
            files = coverage.parse_lcov(
                "SF:/in/src/../tests/kunit/b.rs\nDA:1,0\nend_of_record\n"
                "SF:/linux/src/c.c\nDA:1,0\nSF:/in/src/a.rs\nDA:1,3\nDA:2,0,x\nend_of_record\n",
                Path("/in"), checkout)
        self.assertEqual([(file.path, file.runs, file.missed) for file in files],
                         [("src/a.rs", {1: 3, 2: 0}, [2])])


class Names(unittest.TestCase):

    def test_plain_and_padded(self) -> None:
        names = dict(counters.names(b"\x03\x00a\x01b" + b"\x01\x00c" + b"\x00\x00"))
        self.assertEqual(set(names.values()) - {""}, {"a", "b", "c"})


if __name__ == "__main__":
    unittest.main()
