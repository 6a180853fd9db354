# SPDX-License-Identifier: GPL-2.0
"""Code in a document that is not in its file is found, and what is there is not complained about."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import snippets

FILES = {
    "tests/fsdev/one.c": "static int first(void)\n{\n\tint a;\n\n\tif (a)\n\t\treturn 1;\n\tsecond(a);\n\treturn 0;\n"
                         "}\n",
    "patches/linux-9.1/0001-a.patch": " static void end(void)\n {\n-\told();\n+\tnew();\n \tlast();\n }\n",
}


class Snippets(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.top = Path(place.name)
        for name, text in FILES.items():
            (self.top / name).parent.mkdir(parents=True, exist_ok=True)
            (self.top / name).write_text(text)
        (self.top / "Documentation").mkdir()

    def complaints(self, *lines: str, file: str | None = "tests/fsdev/one.c") -> list[str]:
        caption = f"   :caption: {file}\n" if file else ""
        code = "".join(f"   {line}\n" if line else "\n" for line in lines)
        (self.top / "Documentation/a.rst").write_text(f"A\n=\n\n.. code-block:: c\n{caption}\n{code}\nText.\n")
        return snippets.check(self.top)

    def test_what_is_there(self) -> None:
        self.assertEqual(self.complaints("static int first(void)", "{", "        int a;", "", "        if (a)"), [])

    def test_a_part_is_indented_less(self) -> None:
        self.assertEqual(self.complaints("if (a)", "        return 1;"), [])

    def test_something_is_left_out(self) -> None:
        self.assertEqual(self.complaints("static int first(void)", "...", "        return 0;", "}"), [])

    def test_another_word(self) -> None:
        self.assertEqual(self.complaints("if (b)", "        return 1;"), [
            "Documentation/a.rst:4: tests/fsdev/one.c has no lines from 'if (b)' on as they are here."])

    def test_a_line_is_missing(self) -> None:
        self.assertEqual(len(self.complaints("int a;", "if (a)")), 1)

    def test_another_order(self) -> None:
        self.assertEqual(len(self.complaints("return 0;", "...", "second(a);")), 1)

    def test_other_indentation_within(self) -> None:
        self.assertEqual(len(self.complaints("if (a)", "    return 1;")), 1)

    def test_what_a_patch_leaves(self) -> None:
        self.assertEqual(self.complaints("new();", "last();", file="patches/linux-9.1/*-a.patch"), [])
        self.assertEqual(len(self.complaints("old();", file="patches/linux-9.1/*-a.patch")), 1)

    def test_no_file(self) -> None:
        self.assertEqual(self.complaints("x", file="tests/no.c"), [
            "Documentation/a.rst:4: there are 0 files tests/no.c."])

    def test_no_caption(self) -> None:
        self.assertEqual(self.complaints("x", file=None), [
            "Documentation/a.rst:4: the code has no caption that names its file."])


if __name__ == "__main__":
    unittest.main()
