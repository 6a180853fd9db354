# SPDX-License-Identifier: GPL-2.0
"""The fixes that go to the kernel without us have nothing of ours, and apply without it."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import fixes, source

GOOD = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH 2/3] mm: a title that is
 long

Why.

Fixes: 0123456789ab ("mm: what was wrong")
---
Reproducer: do it.

Needs patch 1.
---
 mm/memory.c | 2 +-

diff --git a/mm/memory.c b/mm/memory.c
index 1234..5678 100644
--- a/mm/memory.c
+++ b/mm/memory.c
@@ -1,1 +1,1 @@
-	old();
+	new();
"""


class Text(unittest.TestCase):
    def test_a_good_patch_has_no_problem(self) -> None:
        self.assertEqual(fixes.problems(GOOD, 2, 3), [])
        self.assertEqual(fixes.subject(GOOD), "mm: a title that is long")
        self.assertEqual(fixes.needs(GOOD), [1])

    def test_what_is_missing_is_found(self) -> None:
        for old, new, words in (
                ("PATCH 2/3", "PATCH 1/3", "number 2 of 3"),
                ("new();", "dax_sb_provider(sb);", "dax_sb_provider, which is ours"),
                ("-\told();", " \tops = dax_provider_ops(x);", "dax_provider_ops, which is ours"),
                ("Fixes: 0", "Fixes: is it 0", "what it fixes"),
                ("Reproducer", "How", "how to reproduce"),
                ("Needs patch 1.", "", "applies alone"),
                ("Needs patch 1.", "Needs patch 1. Applies alone.", "applies alone"),
                ("Needs patch 1.", "Needs patch 3.", "comes later")):
            with self.subTest(new):
                found = fixes.problems(GOOD.replace(old, new), 2, 3)
                self.assertEqual(len(found), 1, found)
                self.assertIn(words, found[0])

    def test_our_name_may_be_said_in_a_note(self) -> None:
        self.assertEqual(fixes.problems(GOOD.replace("do it", "rust_fsdax"), 2, 3), [])

    def test_a_chain_has_what_is_needed_first(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            found = []
            for number, note in enumerate(("Applies alone.", "Needs patch 1.", "Needs patch 2."), 1):
                found.append(Path(place) / f"{number:04}-x.patch")
                found[-1].write_text(GOOD.replace("Needs patch 1.", note))
            self.assertEqual([[path.name[3] for path in chain] for _, chain in fixes.chains(found)],
                             [["1", "2", "3"], ["1"], ["1", "2"], ["1", "2", "3"]])


class Patches(unittest.TestCase):
    def test_there_are_some(self) -> None:
        self.assertTrue(fixes.supported())

    def test_they_say_what_they_must_and_have_nothing_of_ours(self) -> None:
        for series in fixes.supported():
            found = fixes.patches(series)
            for number, path in enumerate(found, 1):
                with self.subTest(path.name):
                    self.assertEqual(fixes.problems(path.read_text(), number, len(found)), [])

    def test_the_cover_letter_names_them_all(self) -> None:
        for series in fixes.supported():
            cover = next((source.PATCHES / f"fixes/linux-{series}").glob("0000-*")).read_text()
            named = cover[cover.index("rust_fsdax developers ("):].split("\n\n")[0].splitlines()[1:]
            self.assertEqual([line.strip() for line in named],
                             [fixes.subject(path.read_text()) for path in fixes.patches(series)])

    def test_what_the_series_has_too_is_the_same_there(self) -> None:
        for series in fixes.supported():
            self.assertEqual(fixes.strays(series), [])

    def test_the_series_says_of_each_what_it_fixes(self) -> None:
        for series in source.supported():
            with self.subTest(series):
                self.assertEqual(fixes.untagged(series), [])

    def test_they_apply_to_plain_source(self) -> None:
        if not shutil.which("git"):
            self.skipTest("there is no git")
        for series in fixes.supported():
            origin = source.cached(series)
            if not origin:
                self.skipTest(f"the source of Linux {series} is not in the cache")
            env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(origin.tree.parent)}
            for name, chain in fixes.chains(fixes.patches(series)):
                with self.subTest(name):
                    done = subprocess.run(fixes.command(chain), cwd=origin.tree, env=env, capture_output=True,
                                          text=True, check=False)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
