# SPDX-License-Identifier: GPL-2.0
"""Entries of the cache are complete or absent, and nobody waits or loses work for nothing."""

import contextlib
import fcntl
import io
import os
import shutil
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import cache
from fsdaxlib.progress import Fail


class InCache(unittest.TestCase):
    """Has a cache of its own."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.said = io.StringIO()
        for patch in (mock.patch.dict(os.environ, {"XDG_CACHE_HOME": directory.name}),
                      mock.patch.object(sys, "stderr", self.said)):
            patch.start()
            self.addCleanup(patch.stop)
        self.place = Path(directory.name) / "rust_fsdax"


class Keys(unittest.TestCase):
    def test_parts_do_not_run_into_each_other(self) -> None:
        self.assertNotEqual(cache.key("ab", "c"), cache.key("a", "bc"))
        self.assertNotEqual(cache.key("ab"), cache.key("ab", ""))

    def test_text_is_its_bytes(self) -> None:
        self.assertEqual(cache.key("é"), cache.key("é".encode()))


class Entries(InCache):
    def test_what_is_made_is_kept(self) -> None:
        made = []

        def make(partial: Path) -> None:
            made.append(partial.name)
            (partial / "data").write_text("1")

        for _ in range(2):
            entry = cache.entry("thing", make)
            self.assertEqual((entry / "data").read_text(), "1")
        self.assertEqual(made, ["thing.partial"])
        self.assertEqual(entry, self.place / "thing")

    def test_failure_leaves_no_entry_and_the_next_run_goes_on(self) -> None:
        def fail(partial: Path) -> None:
            (partial / "first").touch()
            raise Fail("No.")

        with self.assertRaises(Fail):
            cache.entry("thing", fail)
        self.assertFalse((self.place / "thing").exists())
        entry = cache.entry("thing", lambda partial: (partial / "second").touch())
        self.assertEqual(sorted(path.name for path in entry.iterdir()), ["first", "second"])

    def test_two_runs_make_it_once(self) -> None:
        made = []
        begun = threading.Event()

        def make(partial: Path) -> None:
            begun.set()
            made.append(partial)
            time.sleep(0.1)

        threads = [threading.Thread(target=cache.entry, args=("thing", make)) for _ in range(3)]
        threads[0].start()
        begun.wait()
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(made), 1)
        self.assertIn("waiting for another run that builds thing to finish", self.said.getvalue())

    def test_use_is_noted(self) -> None:
        entry = cache.entry("thing", lambda _: None)
        os.utime(entry, (0, 0))
        cache.entry("thing", lambda _: None)
        self.assertGreater(entry.stat().st_mtime, time.time() - 60)


class Locks(InCache):
    def test_lock_is_held_and_given_back(self) -> None:
        path = cache.lock_path("thing")
        with cache.lock(path, "somebody"), path.open() as other, self.assertRaises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_failure_gives_it_back(self) -> None:
        path = cache.lock_path("thing")
        with contextlib.suppress(Fail), cache.lock(path, "somebody"):
            raise Fail("No.")
        with path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Prune(InCache):
    def test_what_was_not_used_goes(self) -> None:
        for name in ("old", "old.partial", "new", "ccache", "locks"):
            (cache.directory() / name).mkdir(exist_ok=True)
        for name in ("old", "old.partial", "ccache", "locks"):
            os.utime(self.place / name, (0, 0))
        (self.place / "kvm-1").write_text("no")
        os.utime(self.place / "kvm-1", (0, 0))
        self.assertEqual(cache.prune(14), ["old", "old.partial"])
        self.assertEqual(sorted(path.name for path in self.place.iterdir()),
                         ["ccache", "kvm-1", "locks", "new"])


class Space(InCache):
    def test_refused_before_the_disk_is_full(self) -> None:
        with mock.patch.object(shutil, "disk_usage", return_value=mock.Mock(free=1 << 30)):
            cache.need_space(1024, "A thing")
            with self.assertRaisesRegex(Fail, r"^A thing needs 1\.5 GiB .* and 1\.0 GiB are free: make room"):
                cache.need_space(1536, "A thing")


if __name__ == "__main__":
    unittest.main()
