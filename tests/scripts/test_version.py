# SPDX-License-Identifier: GPL-2.0
"""The version is the same wherever it is said."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import version
from fsdaxlib.progress import CHECKOUT


class Version(unittest.TestCase):
    def test_newest_in_the_changelog(self) -> None:
        found = re.search(r"^## (\S+)", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert found
        self.assertEqual(found[1], version.version())

    def test_every_program_says_it(self) -> None:
        programs = [path for path in sorted((CHECKOUT / "scripts").iterdir())
                    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python3")]
        self.assertTrue(programs)
        for program in programs:
            with self.subTest(program.name):
                said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
                self.assertEqual((said.returncode, said.stdout), (0, f"rust_fsdax {version.version()}\n"))


if __name__ == "__main__":
    unittest.main()
