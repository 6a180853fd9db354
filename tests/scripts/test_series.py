# SPDX-License-Identifier: GPL-2.0
"""A series becomes commits, and the commits the same series again."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import series
from fsdaxlib.progress import Fail

COVER = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: rust_fsdax developers <rust_fsdax@example.org>
Date: Fri, 27 Nov 2026 12:00:00 +0000
Subject: [PATCH 00/1] a series with a subject
 of two lines

What it is for.

And more.

rust_fsdax developers (1):
  change a file

 file | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)
"""


class Series(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        quiet = contextlib.redirect_stderr(io.StringIO())
        self.said = quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)
        self.source, self.tree, self.patches = (Path(place.name) / name for name in ("source", "tree", "patches"))
        self.out = self.patches / "linux-9.1"
        self.source.mkdir()
        self.out.mkdir(parents=True)
        (self.source / "Makefile").write_text("VERSION = 9\nPATCHLEVEL = 1\nSUBLEVEL = 2\n")
        (self.source / "file").write_text("old\n")
        (self.source / ".gitignore").write_text("ignored\n")
        (self.source / "ignored").write_text("published all the same\n")
        self.base = series.make_base(self.source, self.tree, "9.1.2")
        self.git = series.Git(self.tree)
        self.git("checkout", "--quiet", "-b", series.branch_name("9.1"))
        self.commit("old\nnew\n", "change a file\n\nFor a reason.")
        for name, value in (("fsdaxSeries", "9.1"), ("fsdaxBase", self.base),
                            ("description", series.description(COVER))):
            self.git("config", f"branch.{series.branch_name('9.1')}.{name}", value)
        (self.out / series.COVER).write_text(COVER)

    def commit(self, text: str, message: str) -> None:
        (self.tree / "file").write_text(text)
        self.git("commit", "--quiet", "--all", f"--message={message}")

    def written(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.out.glob("*.patch"))}

    def again(self) -> Path:
        """Another tree, of the patches that were written."""
        tree = self.tree.with_name("again")
        series.unpack(tree, self.out, "9.1", series.make_base(self.source, tree, "9.1.2"))
        return tree

    def test_what_was_written_is_unpacked_and_written_again(self) -> None:
        self.assertEqual(series.write(self.tree, self.patches), 1)
        first = self.written()
        self.assertEqual(list(first), [series.COVER, "0001-change-a-file.patch"])
        self.assertEqual(series.write(self.again(), self.patches), 1)
        self.assertEqual(self.written(), first)

    def test_same_source_is_the_same_commit(self) -> None:
        series.write(self.tree, self.patches)
        again = self.again()
        self.assertEqual(series.Git(again)("rev-parse", "base"), self.base)
        self.assertTrue((again / "ignored").exists())
        self.assertNotIn("another base", self.said.getvalue())

    def test_cover_letter_names_the_base_and_keeps_its_text(self) -> None:
        series.write(self.tree, self.patches)
        cover = self.written()[series.COVER]
        self.assertIn("[PATCH 0/1] a series with a subject of two lines", cover.replace("\n of", " of"))
        self.assertIn("\nWhat it is for.\n\nAnd more.\n", cover)
        self.assertIn("\nDate: Fri, 27 Nov 2026 12:00:00 +0000\n", cover)
        self.assertTrue(cover.endswith(f"\n\nbase-commit: {self.base}\n"))

    def test_dropped_patch_goes(self) -> None:
        self.commit("newer\n", "another one")
        self.assertEqual(series.write(self.tree, self.patches), 2)
        self.git("reset", "--quiet", "--hard", "HEAD~")
        self.assertEqual(series.write(self.tree, self.patches), 1)
        self.assertEqual(len(self.written()), 2)

    def test_another_base_is_said(self) -> None:
        series.write(self.tree, self.patches)
        (self.source / "Makefile").write_text("VERSION = 9\nPATCHLEVEL = 1\nSUBLEVEL = 3\n")
        self.again()
        self.assertIn("another base", self.said.getvalue())

    def test_refusals(self) -> None:
        with self.assertRaisesRegex(Fail, "not empty"):
            series.make_base(self.source, self.tree, "9.1.2")
        (self.tree / "file").write_text("changed\n")
        with self.assertRaisesRegex(Fail, "not committed .file"):
            series.write(self.tree, self.patches)
        self.git("checkout", "--quiet", "--force", "base")
        with self.assertRaisesRegex(Fail, "no branch that scripts/series made"):
            series.write(self.tree, self.patches)
        with self.assertRaisesRegex(Fail, "has a branch"):
            series.unpack(self.tree, self.out, "9.1", "base")

    def test_moved_branch_wants_its_base(self) -> None:
        self.git("checkout", "--quiet", "--orphan", "other")
        self.git("commit", "--quiet", "--allow-empty", "--message=other")
        other = self.git("rev-parse", "HEAD")
        self.git("checkout", "--quiet", "-B", series.branch_name("9.1"))
        self.commit("new\n", "on another base")
        with self.assertRaisesRegex(Fail, "--base"):
            series.write(self.tree, self.patches)
        self.assertEqual(series.write(self.tree, self.patches, other), 1)

    def test_patch_that_does_not_apply(self) -> None:
        series.write(self.tree, self.patches)
        (self.source / "file").write_text("something else\n")
        with self.assertRaisesRegex(Fail, "git am --continue"):
            self.again()

    def test_release_of_a_tree(self) -> None:
        self.assertEqual(series.release_at(self.tree, "base"), "9.1.2")
        with self.assertRaises(Fail):
            series.release_at(self.tree, "nothing")


if __name__ == "__main__":
    unittest.main()
