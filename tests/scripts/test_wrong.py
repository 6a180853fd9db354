# SPDX-License-Identifier: GPL-2.0
"""The check of programs that must not compile sees which do."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import wrong

TEXT = "fn f() {\n    a(); //~ E0382\n    b();\n    c(); //~ E0599\n}\n"


def error(line: int, code: str, path: str = "/src/../tests/compile-fail/mod.rs") -> str:
    return f"error[{code}]: text\n   --> {path}:{line}:5\n    |\n"


class Wrong(unittest.TestCase):
    def test_marks_are_read(self) -> None:
        self.assertEqual(wrong.expected(TEXT), {(2, "E0382"), (4, "E0599")})
        self.assertGreater(len(wrong.expected(wrong.FILE.read_text())), 2)

    def test_all_errors_are_wanted(self) -> None:
        said = error(2, "E0382") + error(4, "E0599")
        self.assertEqual(wrong.problems(TEXT, said), [])
        self.assertEqual(wrong.problems(TEXT, error(2, "E0382")),
                         ["line 4: this compiles, and must not: E0599."])
        self.assertEqual(wrong.problems(TEXT, said + error(3, "E0308")), ["line 3: this has the error E0308."])
        self.assertEqual(wrong.problems(TEXT, said + error(7, "E0308", "/src/folio.rs")), ["/src/folio.rs:7: text"])

    def test_no_program_is_no_check(self) -> None:
        self.assertEqual(wrong.problems("", ""), ["There is no program that must not compile."])


if __name__ == "__main__":
    unittest.main()
