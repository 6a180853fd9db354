# SPDX-License-Identifier: GPL-2.0
"""scripts/fsdax-pins: what it makes of the kernel's files, and of the trees below mounts."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from unittest import mock

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/fsdax-pins"


def load() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("fsdax_pins", str(SCRIPT))
    spec = importlib.util.spec_from_loader("fsdax_pins", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules["fsdax_pins"] = module  # for its dataclasses
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = dont_write
    return module


pins = load()

MOUNTS = """\
dev s_id fs provider tracked.0 zapped.0 busy.0 shared.0 tracked.9 zapped.9 busy.9 shared.9
259:1 pmem1 ext4 rust_fsdax 10 4 3 0 2 1 1 0
259:2 a\\040b xfs rust_fsdax 7 0 0 5 0 0 0 0
"""
BUSY = """\
dev ino index pfn order refcount mapcount pins age_ms waiter_pid
259:1 13 4 0x140204 0 1 0 0 1500 812
259:1 13 512 0x140400 9 3 2 1 150000 0
"""
WAITERS = """\
pid comm what dev ino index pfn waited_ms
812 my\\040trunc\\012 break 259:1 13 4 0x140204 1400
900 ndctl removal 0:0 0 0 0x140999 99
"""
EMPTY = tuple(text.splitlines(keepends=True)[0] for text in (MOUNTS, BUSY, WAITERS))


class Parse(unittest.TestCase):
    def setUp(self) -> None:
        self.state = pins.parse(MOUNTS, BUSY, WAITERS)

    def test_mounts_have_counts_by_order(self) -> None:
        first, second = self.state.mounts
        self.assertEqual((first.dev, first.s_id, first.fs), ("259:1", "pmem1", "ext4"))
        self.assertEqual(first.orders, {0: pins.Counts(10, 4, 3, 0), 9: pins.Counts(2, 1, 1, 0)})
        self.assertEqual((second.s_id, second.orders[0].shared), ("a b", 5))

    def test_busy(self) -> None:
        self.assertEqual(self.state.busy[0],
                         pins.Busy("259:1", 13, 4, 0x140204, 0, 1, 0, 0, 1500, 812))
        self.assertIsNone(self.state.busy[1].waiter_pid)
        self.assertFalse(self.state.more_busy)

    def test_waiters(self) -> None:
        self.assertEqual(self.state.waiters[0],
                         pins.Waiter(812, "my trunc\n", "break", "259:1", 13, 4, 0x140204, 1400))

    def test_waiter_of_no_file(self) -> None:
        removal = self.state.waiters[1]
        self.assertEqual((removal.dev, removal.ino, removal.index), (None, None, None))

    def test_nothing(self) -> None:
        self.assertEqual(pins.parse(*EMPTY), pins.State())

    def test_more(self) -> None:
        self.assertTrue(pins.parse(MOUNTS, BUSY + "more\n", WAITERS).more_busy)

    def test_unknown_columns_are_ignored(self) -> None:
        waiters = "".join(f"{line} x\n" for line in WAITERS.splitlines())
        self.assertEqual(pins.parse(MOUNTS, BUSY, waiters), self.state)

    def test_name_that_is_no_utf8(self) -> None:
        self.assertEqual(pins.unescape("a\\303\\274\\377\\134"), "a\u00fc\ufffd\\")

    def check_fails(self, word: str, *texts: str) -> None:
        with self.assertRaisesRegex(pins.Fail, word):
            pins.parse(*texts)

    def test_missing_column(self) -> None:
        self.check_fails("no column 'age_ms'", MOUNTS, BUSY.replace("age_ms", "age"), WAITERS)

    def test_short_line(self) -> None:
        self.check_fails("does not fit", MOUNTS, BUSY + "259:1 13 4\n", WAITERS)

    def test_strange_number(self) -> None:
        self.check_fails("strange value", MOUNTS, BUSY, WAITERS.replace("812", "x"))
        self.check_fails("strange value", MOUNTS, BUSY.replace("259:1", "pmem1"), WAITERS)

    def test_empty_file(self) -> None:
        self.check_fails("is empty", MOUNTS, "", WAITERS)


class Render(unittest.TestCase):
    def test_file_and_waiter_are_named(self) -> None:
        state = pins.parse(MOUNTS, BUSY, WAITERS)
        state.busy[0].path = "/mnt/a file"
        lines = pins.render(state).splitlines()
        self.assertRegex(lines[0], r"^DEVICE +FILE +PAGE +SIZE +PFN +REFS +MAPPED +GUP +AGE +WAITING$")
        self.assertRegex(lines[1], r"^pmem1 +/mnt/a file +4 +4 KiB +0x140204 +1 +0 +0 +1\.5 s +"
                                   r"my trunc\?\[812\] break, 1\.4 s$")
        self.assertRegex(lines[2], r"^pmem1 +inode 13 +512 +2048 KiB +0x140400 +3 +2 +1 +2 min +-$")

    def test_waiter_without_a_busy_page_is_not_lost(self) -> None:
        self.assertIn("ndctl[900] removal, 99 ms: waits for pfn 0x140999, no file's page",
                      pins.render(pins.parse(MOUNTS, BUSY, WAITERS)))

    def test_mounts_are_counted_in_pages(self) -> None:
        self.assertIn("pmem1 (ext4, rust_fsdax): 1034 pages in use by files, 0 of them shared, 4 busy",
                      pins.render(pins.parse(MOUNTS, BUSY, WAITERS)))

    def test_nothing(self) -> None:
        text = pins.render(pins.State())
        self.assertIn("No page is busy", text)
        self.assertIn("No mount is served", text)


MOUNTINFO = r"""22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
29 28 0:7 / /sys/kernel/debug rw shared:11 - debugfs debugfs rw
40 28 259:1 / /mnt/a\040b rw,relatime shared:20 - ext4 /dev/pmem1 rw,dax=always
41 28 259:1 /sub /mnt/c rw - ext4 /dev/pmem1 rw
"""


class Mounts(unittest.TestCase):
    def test_mountinfo(self) -> None:
        points = pins.parse_mountinfo(MOUNTINFO)
        self.assertEqual([(point.dev, point.root, point.path, point.fs) for point in points[2:]],
                         [("259:1", "/", "/mnt/a b", "ext4"), ("259:1", "/sub", "/mnt/c", "ext4")])

    def test_module_not_loaded(self) -> None:
        with mock.patch.object(pins.Path, "is_dir", return_value=False), \
                self.assertRaisesRegex(pins.Fail, "insmod") as caught:
            pins.directory()
        self.assertEqual(caught.exception.status, pins.NOT_LOADED)

    def test_debugfs_not_mounted(self) -> None:
        with mock.patch.object(pins.Path, "is_dir", return_value=True), \
                mock.patch.object(pins, "mountpoints", return_value=[]), \
                self.assertRaisesRegex(pins.Fail, "mount -t debugfs") as caught:
            pins.directory()
        self.assertEqual(caught.exception.status, pins.NO_DEBUGFS)

    def test_debugfs_elsewhere(self) -> None:
        with mock.patch.object(pins.Path, "is_dir", return_value=True), \
                mock.patch.object(pins, "mountpoints",
                                  return_value=pins.parse_mountinfo(MOUNTINFO.replace("/sys", "/x"))):
            self.assertEqual(pins.directory(), Path("/x/kernel/debug/rust_fsdax"))

    def test_not_root(self) -> None:
        with mock.patch.object(pins.Path, "read_text", side_effect=PermissionError()), \
                self.assertRaisesRegex(pins.Fail, "Only root") as caught:
            pins.read(Path("/sys/kernel/debug/rust_fsdax"))
        self.assertEqual(caught.exception.status, pins.NOT_PERMITTED)

    def test_no_files(self) -> None:
        with self.assertRaisesRegex(pins.Fail, "There is no /nowhere/mounts") as caught:
            pins.read(Path("/nowhere"))
        self.assertEqual(caught.exception.status, pins.NO_DEBUGFS)


class Tree(unittest.TestCase):
    """Paths and the whole program, on directories that stand for a mount and for debugfs."""

    def setUp(self) -> None:
        tree = tempfile.TemporaryDirectory()
        self.addCleanup(tree.cleanup)
        self.top = Path(tree.name)
        (self.top / "mnt/dir/deep").mkdir(parents=True)
        self.file = self.top / "mnt/dir/deep/file"
        self.file.write_text("x")
        (self.top / "mnt/link").symlink_to("dir/deep/file")
        (self.top / "mnt/up").symlink_to("..")
        self.ino = self.file.stat().st_ino
        number = self.file.stat().st_dev
        self.dev = f"{os.major(number)}:{os.minor(number)}"
        self.points = [pins.Mountpoint(self.dev, "/", str(self.top / "mnt"), "ext4")]

    def find(self, dev: str, inodes: set[int]) -> dict[int, str]:
        found: dict[int, str] = pins.find_inodes(self.points, dev, inodes)
        return found

    def test_file_is_found(self) -> None:
        self.assertEqual(self.find(self.dev, {self.ino, 1 << 40}), {self.ino: str(self.file)})

    def test_other_device_is_not_searched(self) -> None:
        self.assertEqual(self.find("9999:9", {self.ino}), {})
        self.points = [pins.Mountpoint("9999:9", "/", str(self.top / "mnt"), "ext4")]
        self.assertEqual(self.find("9999:9", {self.ino}), {})

    def test_mount_that_is_gone(self) -> None:
        self.points.insert(0, pins.Mountpoint(self.dev, "/", "/nowhere", "ext4"))
        self.assertEqual(self.find(self.dev, {self.ino}), {self.ino: str(self.file)})

    def test_renamed_file_is_found_again(self) -> None:
        paths, state = pins.Paths(), pins.State(busy=[
            pins.Busy(self.dev, self.ino, 0, 1, 0, 1, 0, 0, 0, None)])
        with mock.patch.object(pins, "mountpoints", return_value=self.points):
            paths.resolve(state)
            self.assertEqual(state.busy[0].path, str(self.file))
            self.file.rename(self.top / "mnt/other")
            paths.resolve(state)
        self.assertEqual(state.busy[0].path, str(self.top / "mnt/other"))

    def run_main(self, *arguments: str) -> tuple[int, str]:
        debug = self.top / "debug"
        debug.mkdir(exist_ok=True)
        for name, text in (("mounts", MOUNTS), ("busy", BUSY), ("waiters", WAITERS)):
            (debug / name).write_text(text.replace("259:1", self.dev).replace(" 13 ", f" {self.ino} "))
        with mock.patch.object(pins, "directory", return_value=debug), \
                mock.patch.object(pins, "mountpoints", return_value=self.points), \
                mock.patch.object(sys, "argv", ["fsdax-pins", *arguments]), \
                contextlib.redirect_stdout(io.StringIO()) as out:
            status = pins.main()
        return status, out.getvalue()

    def test_table(self) -> None:
        status, out = self.run_main()
        self.assertEqual(status, pins.OK)
        self.assertIn(str(self.file), out)

    def test_json(self) -> None:
        status, out = self.run_main("--json")
        state = json.loads(out)
        self.assertEqual((status, sorted(state)), (pins.OK, ["busy", "more_busy", "mounts", "waiters"]))
        self.assertEqual(state["busy"][0]["path"], str(self.file))
        self.assertEqual(state["mounts"][0]["orders"]["9"]["busy"], 1)

    def test_no_paths(self) -> None:
        _, out = self.run_main("--json", "--no-paths")
        self.assertIsNone(json.loads(out)["busy"][0]["path"])

    def test_watch_goes_on_until_interrupted(self) -> None:
        with mock.patch.object(pins.time, "sleep", side_effect=[None, KeyboardInterrupt]) as sleep:
            status, out = self.run_main("--json", "--watch", "0.5")
        self.assertEqual(status, pins.OK)
        self.assertEqual(len(out.strip().splitlines()), 2)
        sleep.assert_called_with(0.5)

    def test_failure_has_its_status(self) -> None:
        with mock.patch.object(pins, "read", side_effect=pins.Fail("why", pins.NOT_PERMITTED)), \
                contextlib.redirect_stderr(io.StringIO()) as err:
            status, _ = self.run_main()
        self.assertEqual((status, err.getvalue()), (pins.NOT_PERMITTED, "rust_fsdax: why\n"))


if __name__ == "__main__":
    unittest.main()
