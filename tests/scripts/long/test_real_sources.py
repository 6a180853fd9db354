# SPDX-License-Identifier: GPL-2.0
"""Sources that a user gives, as they are: a whole kernel as a tarball, a tree and a git tree."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))

from fsdaxlib import cache, kernel, source, toolchain
from fsdaxlib.progress import Fail


class RealSources(unittest.TestCase):
    """Has a cache of its own, with the toolchain of the usual one."""

    origin: source.Source
    place: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.origin = source.chosen()
        root = toolchain.ensure()
        # What is copied by links has to be of one file system.
        cls.place = Path(cls.enterClassContext(tempfile.TemporaryDirectory(dir=cache.directory())))
        own = cls.place / "cache/rust_fsdax"
        own.mkdir(parents=True)
        (own / root.parent.name).symlink_to(root.parent)
        cls.enterClassContext(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(cls.place / "cache")}))

    def setUp(self) -> None:
        for old in cache.directory().glob("source-*"):
            shutil.rmtree(old)
        self.addCleanup(source.chosen.cache_clear)
        self.addCleanup(os.environ.update, {source.SOURCE: os.environ.get(source.SOURCE, "")})

    def take(self, what: str) -> source.Source:
        """The source that is chosen when this one is given, with the series applied to a copy."""
        source.chosen.cache_clear()
        os.environ[source.SOURCE] = what
        found = source.chosen()
        patched = kernel.patched(found)
        self.assertEqual(found.release, self.origin.release)
        self.assertIn("fsdax_provider", (patched / "fs/Makefile").read_text() + (patched / "fs/dax.c").read_text())
        shutil.rmtree(patched.parent)
        return found

    def same(self, found: source.Source) -> None:
        done = subprocess.run(["diff", "-rq", "--no-dereference", self.origin.tree, found.tree],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout, "")

    def pack(self, name: str) -> Path:
        """A tarball of the source whose names begin as NAME says."""
        file = self.place / "linux.tar.gz"
        subprocess.run(["tar", "-c", f"--transform=s,^\\.,{name},S", "--use-compress-program=gzip -1", "-f", file, "-C",
                        self.origin.tree, "."], check=True)
        return file

    def test_tarball(self) -> None:
        file = self.pack("linux-7")
        self.same(self.take(str(file)))
        os.truncate(file, file.stat().st_size // 2)
        with self.assertRaisesRegex(Fail, r"linux\.tar\.gz is damaged or cut off: get it again\.$"):
            self.take(str(file))
        self.assertEqual(len(list(cache.directory().glob("source-*"))), 1)

    def test_tarball_whose_names_begin_with_a_dot(self) -> None:
        self.same(self.take(str(self.pack("./linux-7"))))

    def test_hard_links_in_a_tarball(self) -> None:
        made = self.place / "made/linux-7"
        made.mkdir(parents=True)
        (made / "Makefile").write_text("all:\n")
        (made / "same").hardlink_to(made / "Makefile")
        for name, top in (("plain", "linux-7"), ("dot", "./linux-7")):
            with self.subTest(name):
                file = self.place / f"{name}.tar"
                subprocess.run(["tar", "-c", "-f", file, "-C", made.parent, top], check=True)
                source._unpack(file, self.place / name)
                self.assertTrue((self.place / name / "same").samefile(self.place / name / "Makefile"))

    def test_tree(self) -> None:
        self.same(self.take(str(self.origin.tree)))

    def test_tree_that_has_changes_where_the_series_has(self) -> None:
        tree = self.place / "changed"
        subprocess.run(["cp", "-al", self.origin.tree, tree], check=True)
        changed = tree / "fs/dax.c"
        text = changed.read_text()
        changed.unlink()
        changed.write_text(text.replace("(", "( "))
        with self.assertRaisesRegex(Fail, rf"does not apply to fs/dax\.c of Linux {self.origin.release}: [^\n]+$"):
            self.take(str(tree))
        self.assertEqual([path.name for path in cache.directory().glob("*")
                          if path.name.startswith(("source-", "linux-"))], [])

    def test_git_tree(self) -> None:
        tree = self.place / "git"
        subprocess.run(["cp", "-al", self.origin.tree, tree], check=True)
        def git(*words: str) -> None:
            subprocess.run(["git", "-C", tree, "-c", "user.name=t", "-c", "user.email=t@t", "-c",
                            "core.autocrlf=false", *words], check=True, capture_output=True)
        git("init", "-q")
        git("add", "-Af", ".")
        git("commit", "-qm", "all")
        git("tag", "v7")
        self.same(self.take(f"{tree}@v7"))
        with (tree / "new").open("w") as new:
            new.write("x")
        git("add", "-f", "new")
        with self.assertRaisesRegex(Fail, "has local changes"):
            self.take(str(tree))


if __name__ == "__main__":
    unittest.main()
