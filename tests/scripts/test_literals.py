# SPDX-License-Identifier: GPL-2.0
"""What the documents name and is not there is found, and what is there is not complained about."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import literals

FILES = {
    "Makefile": "KERNEL ?= plain\n.PHONY: demo\ndemo bench: python\n\t@scripts/$@\n",
    "src/fsdax.rs": "pub(crate) fn insert() {}\n/// Follows `dax_gone()`.\nfn zap() {}\nenum Left { Idle }\n"
                    "impl Left { fn look(self) {} }\n",
    "src/mapping/locked.rs": "pub(crate) struct LockedEntry;\nimpl LockedEntry { fn grab() {} }\n",
    "csrc/events.h": "DEFINE_ENTRY_EVENT(rust_fsdax_zap);\nDEFINE_ENTRY_EVENT(rust_fsdax_wait_begin);\n",
    "scripts/vm": "#!/usr/bin/env python3\nparser.add_argument(\"--share\")\n",
    "tests/vm/races.c": "{ \"R7 a fault ends\", fault_ends },\n",
    "bench/baseline.json": "{\"metric\": \"break_1024_0\"}\n",
    "patches/linux-9.1/0001-a.patch": "+int dax_bind_provider(struct super_block *sb)\n",
}


class Literals(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.top, self.source = Path(place.name) / "top", Path(place.name) / "linux"
        for name, text in FILES.items():
            self.put(self.top / name, text)
        self.put(self.source / "fs/dax.c", "void dax_break_layout(void)\n")

    def put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def complaints(self, text: str, name: str = "Documentation/a.rst") -> list[str]:
        self.put(self.top / name, text)
        found = literals.check(literals.Tree(self.top), literals.Kernel(self.source), [self.top / name])
        return [problem.text for problem in found]

    def right(self, *texts: str) -> None:
        for text in texts:
            with self.subTest(text):
                self.assertEqual(self.complaints(text), [])

    def wrong(self, *texts: str) -> None:
        for text in texts:
            with self.subTest(text):
                self.assertNotEqual(self.complaints(text), [])

    def test_functions(self) -> None:
        self.right("``insert()``", "``fsdax::insert()``", "``fsdax::zap``", "``dax_bind_provider()``",
                   "``LockedEntry::grab()``", "``locked::LockedEntry``", "``mapping::LockedEntry``",
                   "``Left::Idle``", "``zap(entry)``", "``dax_bind_*()``", "``kernel::sync::Arc``")
        self.wrong("``gone()``", "``fsdax::gone()``", "``fsdax::grab``", "``LockedEntry::gone()``", "``Gone::zap()``",
                   "``gone_*()``")

    def test_comment_in_rust_defines_nothing(self) -> None:
        self.wrong("``dax_gone()``")

    def test_functions_of_the_kernel(self) -> None:
        self.right("``dax_break_layout()``", "``fs/dax.c``", "``fs/*.c``")
        self.wrong("``dax_break_layouts()``", "``fs/gone.c``", "``fs/*.gone``")

    def test_files(self) -> None:
        self.right("``src/fsdax.rs``", "``scripts/vm``", "src/fsdax.rs without marks", "``patches/linux-X.Y``",
                   "``tests/vm/*.c``", "``/sys/kernel/debug``", "``build/results/a.json``")
        self.wrong("``src/gone.rs``", "see src/gone.rs", "``scripts/gone``", "``tests/vm/gone_*.c``")

    def test_subject_of_a_commit_is_no_file(self) -> None:
        self.right('"fs/dax: count pages"')

    def test_commands(self) -> None:
        self.right("``make demo``", "``make bench ARGS=--long``", "``scripts/vm run --share DIR``",
                   "``scripts/vm --help``", "Text\n\n    make demo\n", "we make it so")
        self.wrong("``make gone``", "``scripts/vm --gone``", "Text\n\n    make gone\n")

    def test_names(self) -> None:
        self.right("``rust_fsdax_wait_begin``", "``rust_fsdax_wait_*``", "``break_1024_0``", "``break_ENTRIES_BUSY``",
                   "``38607c62b34b``", "``struct super_block``", "``-o a``")
        self.wrong("``rust_fsdax_gone``", "rust_fsdax_gone without marks", "``gone_word``", "``gone``",
                   "``gone_ENTRIES``", "``a gone_word``")

    def test_literal_over_two_lines(self) -> None:
        self.right("``struct\nsuper_block``")
        self.wrong("``struct\ngone_block``")

    def test_names_of_cases(self) -> None:
        self.right('"R7 a fault ends"', '"any other words"')
        self.wrong('"R7 a fault never ends"')

    def test_sections_without_numbers(self) -> None:
        self.wrong("see section 5")

    def test_markdown(self) -> None:
        self.assertEqual(self.complaints("`make demo`, `gone()`", "README.md"), ["there is no function gone()"])

    def test_line_is_that_of_the_literal(self) -> None:
        self.put(self.top / "README.md", "one\n\n`gone()`\n")
        found = literals.check(literals.Tree(self.top), literals.Kernel(self.source))
        self.assertEqual([str(problem) for problem in found], ["README.md:3: there is no function gone()"])


if __name__ == "__main__":
    unittest.main()
