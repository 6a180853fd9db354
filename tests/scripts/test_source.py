# SPDX-License-Identifier: GPL-2.0
"""Tests of which kernel source is taken: the choice, a small archive, tarballs and trees."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path
from typing import Literal
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import cache, kernel, source
from fsdaxlib.archive import Archive, Unreachable
from fsdaxlib.progress import Fail

SUPPORTED = source.supported


def makefile(release: str) -> str:
    """The beginning of a kernel's top Makefile."""
    return "# SPDX-License-Identifier: GPL-2.0\n" + "".join(
        f"{name} = {number}\n" for name, number in zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"),
                                                        release.split("."), strict=True))


def tarball(path: Path, release: str, mode: Literal["w:xz", "w:gz", "w"] = "w:xz", padding: int = 0) -> Path:
    """A tarball with the Makefile of a kernel and a file of random bytes."""
    with tarfile.open(path, mode) as out:
        for name, data in (("Makefile", makefile(release).encode()), ("data", os.urandom(padding))):
            info = tarfile.TarInfo(f"linux-{release}/{name}")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def unpack(file: Path, tree: Path) -> None:
    """What the toolchain root does otherwise."""
    tree.mkdir(parents=True)
    done = subprocess.run(["tar", "-xf", str(file), "-C", str(tree), "--strip-components=1"],
                          capture_output=True, check=False)
    if done.returncode:
        raise Fail(f"{file.name} is damaged or cut off: get it again.")


class InCache(unittest.TestCase):
    """Has a cache and a place of its own, and no toolchain."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        environment = {name: value for name, value in os.environ.items()
                       if name not in (source.SERIES, source.SOURCE)}
        environment["XDG_CACHE_HOME"] = str(self.place / "cache")
        for patch in (mock.patch.dict(os.environ, environment, clear=True),
                      # Progress between the lines of a test run would hide them.
                      mock.patch.object(sys, "stderr", io.StringIO()),
                      mock.patch.object(source, "_unpack", unpack),
                      mock.patch.object(source, "supported", return_value=["7.3", "7.2"]),
                      mock.patch.object(cache, "need_space")):
            patch.start()
            self.addCleanup(patch.stop)

    def left(self) -> list[str]:
        """The entries of the cache."""
        return sorted(path.name for path in (self.place / "cache/rust_fsdax").glob("*")
                      if path.name not in ("locks", "apt"))

    def refused(self, words: str) -> "_Refused":
        """One sentence that has these words, and nothing in the cache."""
        return _Refused(self, words)


class _Refused:
    def __init__(self, case: InCache, words: str) -> None:
        self._case, self._words = case, words

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        self._case.assertIsInstance(error, Fail)
        self._case.assertIn(self._words, str(error))
        self._case.assertNotIn("\n", str(error))
        self._case.assertEqual(self._case.left(), [])
        return True


class Choice(InCache):
    """Which series is taken when several could be."""

    def select(self, here: set[str], there: set[str] | None) -> str | None:
        """The series taken if HERE is in the cache and THERE, if it can be asked, in the archive."""
        def fetch(series: str) -> source.Source | None:
            if there is None:
                raise Unreachable("no network")
            return source.Source(f"{series}.1", Path("fetched")) if series in there else None

        def look(series: str) -> source.Source | None:
            return source.Source(f"{series}.0", Path("cached")) if series in here else None

        return source.select(["7.3", "7.2"], look, fetch).release

    def test_newest_of_both(self) -> None:
        self.assertEqual(self.select(set(), {"7.2", "7.3"}), "7.3.1")

    def test_cache_before_archive(self) -> None:
        self.assertEqual(self.select({"7.3"}, None), "7.3.0")

    def test_newest_in_archive_before_older_in_cache(self) -> None:
        self.assertEqual(self.select({"7.2"}, {"7.3"}), "7.3.1")

    def test_older_when_archive_dropped_the_newest(self) -> None:
        self.assertEqual(self.select(set(), {"7.2"}), "7.2.1")

    def test_older_in_cache_without_network(self) -> None:
        self.assertEqual(self.select({"7.2"}, None), "7.2.0")

    def test_nothing_anywhere(self) -> None:
        with self.assertRaisesRegex(Fail, r"Neither the cache nor the Debian archive .*--source"):
            self.select(set(), set())

    def test_nothing_without_network(self) -> None:
        with self.assertRaisesRegex(Fail, r"cannot be reached.*--source"):
            self.select(set(), None)

    def test_series_of_this_checkout(self) -> None:
        found = SUPPORTED()
        self.assertEqual(found[0], max(found, key=lambda name: [int(number) for number in name.split(".")]))
        for series in found:
            self.assertTrue(kernel.patches(series))

    def test_unknown_series(self) -> None:
        source.chosen.cache_clear()
        with mock.patch.dict(os.environ, {source.SERIES: "6.1"}), \
                self.assertRaisesRegex(Fail, "no series for Linux 6.1"):
            source.chosen()


class Tarballs(InCache):
    """--source TARBALL."""

    def test_tarballs_of_kernel_org(self) -> None:
        for mode in ("w:xz", "w:gz", "w"):
            file = tarball(self.place / f"linux-{mode[2:]}.tar", "7.3.9", mode)
            found = source.from_tarball(file, None)
            self.assertEqual((found.release, found.series), ("7.3.9", "7.3"))
            self.assertIn("SUBLEVEL = 9", (found.tree / "Makefile").read_text())

    def test_another_sublevel_of_an_old_series(self) -> None:
        self.assertEqual(source.from_tarball(tarball(self.place / "a.tar.xz", "7.2.13"), "7.2").release,
                         "7.2.13")

    def test_is_found_again_without_network(self) -> None:
        found = source.from_tarball(tarball(self.place / "a.tar.xz", "7.3.9"), None)
        self.assertEqual(source.cached("7.3"), found)
        self.assertIsNone(source.cached("7.2"))

    def test_newest_in_cache(self) -> None:
        for release in ("7.3.9", "7.3.10", "7.3.8"):
            source.from_tarball(tarball(self.place / "a.tar.xz", release), None)
        self.assertEqual(source.cached("7.3").release, "7.3.10")  # type: ignore[union-attr]

    def test_other_version(self) -> None:
        with self.refused("is Linux 7.1.3, and 7.3 or 7.2 is wanted"):
            source.from_tarball(tarball(self.place / "a.tar.xz", "7.1.3"), None)

    def test_other_series_than_asked_for(self) -> None:
        with self.refused("is Linux 7.2.3, and 7.3 is wanted"):
            source.from_tarball(tarball(self.place / "a.tar.xz", "7.2.3"), "7.3")

    def test_cut_off_behind_the_makefile(self) -> None:
        file = tarball(self.place / "a.tar.xz", "7.3.9", padding=1 << 20)
        os.truncate(file, file.stat().st_size // 2)
        with self.refused("a.tar.xz is damaged or cut off"):
            source.from_tarball(file, None)

    def test_no_room(self) -> None:
        file = tarball(self.place / "a.tar.xz", "7.3.9")
        with mock.patch.object(cache, "need_space", side_effect=Fail("The kernel source needs room.")), \
                self.refused("needs room"):
            source.from_tarball(file, None)

    def test_cut_off_in_front_of_it(self) -> None:
        file = tarball(self.place / "a.tar.xz", "7.3.9")
        os.truncate(file, 40)
        with self.refused("a.tar.xz"):
            source.from_tarball(file, None)

    def test_no_tarball(self) -> None:
        (self.place / "a.txt").write_text("hello\n")
        with self.refused("a.txt is no tarball"):
            source.from_tarball(self.place / "a.txt", None)

    def test_no_kernel(self) -> None:
        with tarfile.open(self.place / "a.tar", "w") as out:
            out.add(__file__, "other/Makefile")
        with self.refused("holds no kernel source"):
            source.from_tarball(self.place / "a.tar", None)


class Trees(InCache):
    """--source DIR, an unpacked tree or a git tree."""

    def setUp(self) -> None:
        super().setUp()
        self.tree = self.place / "linux"
        self.tree.mkdir()
        (self.tree / "Makefile").write_text(makefile("7.3.2"))

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.tree), "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
                       check=True, capture_output=True)

    def commit(self) -> None:
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "7.3.2")
        self.git("tag", "v7.3.2")

    def chosen(self, text: str) -> source.Source:
        source.chosen.cache_clear()
        os.environ[source.SOURCE] = text
        try:
            return source.chosen()
        finally:
            source.chosen.cache_clear()

    def test_unpacked(self) -> None:
        self.assertEqual(self.chosen(str(self.tree)).release, "7.3.2")

    def test_named_once_it_is_no_default(self) -> None:
        mine = self.chosen(str(self.tree))
        self.assertEqual(source.cached("7.3"), mine)
        for release in ("7.3.1", "7.3.2"):
            published = source.from_tarball(tarball(self.place / "a.tar.xz", release), None)
            self.assertEqual(source.cached("7.3"), published)
        self.commit()
        self.chosen(f"{self.tree}@v7.3.2")
        self.assertEqual(source.cached("7.3"), published)

    def test_unpacked_and_changed_since(self) -> None:
        first = self.chosen(str(self.tree))
        (self.tree / "new").write_text("x")
        self.assertNotEqual(self.chosen(str(self.tree)).entry, first.entry)

    def test_built_in(self) -> None:
        (self.tree / ".config").touch()
        with self.refused("make mrproper"):
            self.chosen(str(self.tree))

    def test_git_head(self) -> None:
        self.commit()
        found = self.chosen(str(self.tree))
        self.assertEqual(found.release, "7.3.2")
        self.assertFalse((found.tree / ".git").exists())

    def test_git_with_local_changes(self) -> None:
        self.commit()
        (self.tree / "Makefile").write_text(makefile("7.3.2") + "# mine\n")
        with self.refused("has local changes (Makefile"):
            self.chosen(str(self.tree))

    def test_git_tag_whatever_is_checked_out(self) -> None:
        self.commit()
        (self.tree / "Makefile").write_text(makefile("7.9.9"))
        self.assertEqual(self.chosen(f"{self.tree}@v7.3.2").release, "7.3.2")

    def test_git_without_that_tag(self) -> None:
        self.commit()
        with self.refused("has no v7.3.3"):
            self.chosen(f"{self.tree}@v7.3.3")

    def test_nothing_there(self) -> None:
        with self.refused("There is no"):
            self.chosen(str(self.place / "absent"))

    def test_no_kernel(self) -> None:
        (self.tree / "Makefile").write_text("all:\n")
        with self.refused("holds no kernel source"):
            self.chosen(str(self.tree))


@unittest.skipUnless(shutil.which("apt-get") and shutil.which("dpkg-deb"), "no apt here")
class FakeArchive(InCache):
    """What the archive offers, by real packages in a small one."""

    def publish(self, suite: str, *releases: str) -> str:
        """Make a suite with packages of these releases; return its line of sources.list."""
        top = self.place / "archive"
        index = top / f"dists/{suite}/main/binary-amd64"
        index.mkdir(parents=True)
        entries = []
        for release in releases:
            series = source.series_of(release)
            root = self.place / f"package-{suite}-{release}"
            (root / "DEBIAN").mkdir(parents=True)
            (root / "usr/src").mkdir(parents=True)
            control = (f"Package: linux-source-{series}\nVersion: {release}-1\nArchitecture: all\n"
                       "Maintainer: t <t@t>\nDescription: t\n")
            (root / "DEBIAN/control").write_text(control)
            tarball(root / f"usr/src/linux-source-{series}.tar.xz", release)
            package = top / f"{suite}-{release}.deb"
            subprocess.run(["dpkg-deb", "--build", "-Znone", str(root), str(package)], check=True,
                           capture_output=True)
            digest = hashlib.sha256(package.read_bytes()).hexdigest()
            entries.append(f"{control}Filename: {package.name}\nSize: {package.stat().st_size}\n"
                           f"SHA256: {digest}\n")
        (index / "Packages.gz").write_bytes(gzip.compress("\n".join(entries).encode()))
        return f"deb [trusted=yes] file:{top} {suite} main"

    def archive(self, **suites: str) -> Archive:
        return Archive(suites, self.place / "apt")

    def setUp(self) -> None:
        super().setUp()
        def package(file: Path, tree: Path) -> None:
            inner = self.place / "inner"
            subprocess.run(["dpkg-deb", "-x", str(file), str(inner)], check=True)
            unpack(next(inner.glob("usr/src/*")), tree)
        patch = mock.patch.object(source, "_unpack", package)
        patch.start()
        self.addCleanup(patch.stop)

    def test_newest_of_a_suite(self) -> None:
        where = self.archive(backports=self.publish("backports", "7.3.4", "7.3.10", "7.2.1"))
        self.assertEqual(source.from_archive(where, "7.3").release, "7.3.10")  # type: ignore[union-attr]

    def test_a_later_suite_has_what_the_first_dropped(self) -> None:
        where = self.archive(backports=self.publish("backports", "7.3.4"), sid=self.publish("sid", "7.2.13"))
        self.assertEqual(source.from_archive(where, "7.2").release, "7.2.13")  # type: ignore[union-attr]

    def test_a_suite_that_fails_keeps_none_from_the_next(self) -> None:
        where = self.archive(backports=f"deb [trusted=yes] file:{self.place}/absent backports main",
                             sid=self.publish("sid", "7.3.9"))
        self.assertEqual(source.from_archive(where, "7.3").release, "7.3.9")  # type: ignore[union-attr]

    def test_a_package_that_does_not_come_is_taken_from_the_next(self) -> None:
        where = self.archive(backports=self.publish("backports", "7.3.10"), sid=self.publish("sid", "7.3.9"))
        (self.place / "archive/backports-7.3.10.deb").unlink()
        self.assertEqual(source.from_archive(where, "7.3").release, "7.3.9")  # type: ignore[union-attr]

    def test_a_failure_is_no_answer(self) -> None:
        where = self.archive(backports=f"deb [trusted=yes] file:{self.place}/absent backports main",
                             sid=self.publish("sid", "7.2.9"))
        with self.assertRaises(Unreachable):
            source.from_archive(where, "7.3")
        self.assertEqual(self.left(), [])

    def test_no_suite_has_it(self) -> None:
        where = self.archive(backports=self.publish("backports", "7.4.1"))
        self.assertIsNone(source.from_archive(where, "7.3"))
        self.assertEqual(self.left(), [])

    def test_unreachable(self) -> None:
        where = self.archive(backports=f"deb [trusted=yes] file:{self.place}/absent backports main")
        with self.assertRaises(Unreachable):
            source.from_archive(where, "7.3")
        self.assertEqual(self.left(), [])


if __name__ == "__main__":
    unittest.main()
