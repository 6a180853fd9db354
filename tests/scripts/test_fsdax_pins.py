# SPDX-License-Identifier: GPL-2.0
"""scripts/fsdax-pins: what it makes of the kernel's files and of /proc, and the program as a whole.

The output of the program on a directory that stands for a machine is compared with the files in
fsdax_pins/; with UPDATE_GOLDEN=1 these are written anew.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import fsdax_pins_tree
from fsdax_pins_tree import ADDRESS, BUSY, EMPTY, FAULTS, GOLDEN, MOUNTINFO, MOUNTS, ROOT, SCRIPT, WAITERS, Tree
from fsdaxpins import cli, kernel_memory, layouts, machine, mounts, paths, processes, prometheus, render, state, who


class Parse(unittest.TestCase):
    def setUp(self) -> None:
        self.state = state.parse(MOUNTS, BUSY, WAITERS, FAULTS)

    def test_mounts_have_counts_by_order(self) -> None:
        first, second = self.state.mounts
        self.assertEqual((first.dev, first.s_id, first.fs), ("121:1", "pmem1", "ext4"))
        self.assertEqual(first.orders, {0: state.Counts(10, 4, 3, 0), 9: state.Counts(2, 1, 1, 0),
                                        18: state.Counts(0, 0, 0, 0)})
        self.assertEqual((second.s_id, second.orders[0].shared, second.orders[18].tracked), ("a b", 5, 1))

    def test_busy(self) -> None:
        self.assertEqual(self.state.busy[0], state.Busy("121:1", 13, 4, 0x140204, 0, 1, 0, 0, 1500, 812))
        self.assertIsNone(self.state.busy[1].waiter_pid)
        self.assertFalse(self.state.more_busy)

    def test_waiters(self) -> None:
        self.assertEqual(self.state.waiters[0],
                         state.Waiter(812, "my trunc\n", "break", "121:1", 13, 4, 0x140204, 1400))

    def test_faults_by_order_and_reason(self) -> None:
        faults = self.state.faults[0]
        self.assertEqual(faults.served, {0: {"read": 1200000, "write": 34, "hole": 2, "sync": 1},
                                         9: {"read": 16, "write": 20, "hole": 3, "sync": 4},
                                         18: {"read": 0, "write": 0, "hole": 0, "sync": 0}})
        self.assertEqual(list(faults.fallbacks), [9, 18])
        self.assertEqual((faults.fallbacks[9]["fit"], faults.fallbacks[9]["filesystem"]), (5, 7))
        self.assertEqual(self.state.faults[1].fallbacks[18]["extent"], 2)
        self.assertEqual((faults.copy, faults.retried, faults.failed, faults.around), (8, 9, 10, 11))
        self.assertEqual(self.state.faults[1].s_id, "a b")

    def test_waiter_of_no_file(self) -> None:
        removal = self.state.waiters[1]
        self.assertEqual((removal.dev, removal.ino, removal.index), (None, None, None))

    def test_nothing(self) -> None:
        self.assertEqual(state.parse(*EMPTY), state.State())

    def test_more(self) -> None:
        self.assertTrue(state.parse(MOUNTS, BUSY + "more\n", WAITERS, FAULTS).more_busy)

    def test_unknown_columns_are_ignored(self) -> None:
        waiters = "".join(f"{line} x\n" for line in WAITERS.splitlines())
        self.assertEqual(state.parse(MOUNTS, BUSY, waiters, FAULTS), self.state)

    def test_name_that_is_no_utf8(self) -> None:
        self.assertEqual(machine.unescape("a\\303\\274\\377\\134"), "a\u00fc\ufffd\\")

    def check_fails(self, word: str, mounts: str, busy: str, waiters: str, faults: str = FAULTS) -> None:
        with self.assertRaisesRegex(machine.Fail, word):
            state.parse(mounts, busy, waiters, faults)

    def test_missing_column(self) -> None:
        self.check_fails("no column 'age_ms'", MOUNTS, BUSY.replace("age_ms", "age"), WAITERS)

    def test_short_line(self) -> None:
        self.check_fails("does not fit", MOUNTS, BUSY + "121:1 13 4\n", WAITERS)

    def test_strange_number(self) -> None:
        self.check_fails("strange value", MOUNTS, BUSY, WAITERS.replace("812", "x"))
        self.check_fails("strange value", MOUNTS, BUSY.replace("121:1", "pmem1"), WAITERS)
        self.check_fails("no column 'copy'", MOUNTS, BUSY, WAITERS, FAULTS.replace(" copy", " x"))

    def test_empty_file(self) -> None:
        self.check_fails("is empty", MOUNTS, "", WAITERS)


class Render(unittest.TestCase):
    def test_nothing(self) -> None:
        text = render.render(state.State(), who.Who())
        self.assertIn("No page is busy", text)
        self.assertIn("No mount is served", text)

    def test_nobody(self) -> None:
        text = render.render(state.parse(MOUNTS, BUSY, WAITERS, FAULTS), who.Who(unseen=["what\n"]))
        self.assertIn("\nNo process maps these pages", text)
        self.assertIn("\nNot looked at: what?.\n", text)

    def test_wide_letters_are_aligned(self) -> None:
        lines = render.table([["\u4e2d\u6587", "x"], ["abcde", "y"], ["e\u0301", "z"]], set())
        self.assertEqual(lines, ["\u4e2d\u6587   x", "abcde  y", "e\u0301      z"])
        self.assertEqual(render.cut("\u4e2d\u6587abc", 5), "\u4e2d\u6587>")
        self.assertEqual(render.cut("abcde", 5), "abcde")

    def test_many_holders_are_cut(self) -> None:
        holders = [processes.Holder(pid, "x", "open", "121:1", 13, None, None, 3, "ro")
                   for pid in range(45)]
        self.assertIn("There are 5 more of these", render.render(state.parse(MOUNTS, BUSY, WAITERS, FAULTS),
                                                                 who.Who(holders)))


class OnTree(unittest.TestCase):
    """What is run on a directory that stands for a machine."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.tree = Tree(Path(directory.name))
        self.machine = machine.Machine(directory.name)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(SCRIPT), f"--sysroot={self.tree.top}", *arguments]

    def program(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60,
                              check=False, env={**os.environ, "COLUMNS": "100"})

    def replaced(self, text: str) -> str:
        """Without what is different each time."""
        return text.replace(str(self.tree.top), "@TOP@").replace(f'"{self.tree.dev}"', '"121:1"') \
            .replace(f": {self.tree.ino},", ": 13,")

    def check_golden(self, name: str, *arguments: str, status: int = 0) -> str:
        done = self.program(*arguments)
        text = self.replaced(done.stdout) + "".join(f"stderr: {line}\n" for line in
                                                    self.replaced(done.stderr).splitlines())
        golden = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(text)
        self.assertEqual(text, golden.read_text())
        self.assertEqual(done.returncode, status)
        return done.stdout


class Golden(OnTree):
    def setUp(self) -> None:
        super().setUp()
        self.tree.populate()

    def test_table(self) -> None:
        self.check_golden("table.txt", "--no-drgn")

    def test_table_without_paths_and_processes(self) -> None:
        self.tree.says(MOUNTS, BUSY.replace("121:1 13", "121:2 5"), WAITERS.replace("121:1 13", "121:2 5"))
        self.check_golden("bare.txt", "--no-paths", "--no-who")

    def test_nothing_busy(self) -> None:
        self.tree.says(MOUNTS, *EMPTY[1:])
        self.check_golden("idle.txt")

    def test_json(self) -> None:
        parsed = json.loads(self.check_golden("pins.json", "--json", "--no-drgn"))
        self.assertEqual(parsed["version"], 1)

    def test_mounts(self) -> None:
        self.check_golden("mounts.txt", "--mounts", status=machine.STOCK)
        self.check_golden("mounts.json", "--mounts", "--json", status=machine.STOCK)

    def test_mounts_all_bound(self) -> None:
        self.tree.mountinfo("".join(line for line in MOUNTINFO.splitlines(keepends=True)
                                    if "/mnt/old" not in line and "/mnt/e2" not in line))
        self.check_golden("mounts-bound.txt", "--mounts")

    def test_mounts_without_the_module(self) -> None:
        shutil.rmtree(self.tree.top / "sys/module")
        self.check_golden("mounts-not-loaded.txt", "--mounts", status=machine.NOT_LOADED)

    def test_mounts_not_to_be_bound(self) -> None:
        self.tree.write("sys/module/rust_fsdax/parameters/bind", "N\n")
        self.check_golden("mounts-bind-n.txt", "--mounts", status=machine.STOCK)

    def test_faults(self) -> None:
        self.check_golden("faults.txt", "--faults")
        parsed = json.loads(self.check_golden("faults.json", "--faults", "--json"))
        self.assertEqual(parsed["version"], 1)

    def test_faults_of_nothing(self) -> None:
        self.tree.says(*EMPTY)
        self.check_golden("faults-none.txt", "--faults")

    def test_faults_of_an_order_and_a_reason_that_are_new(self) -> None:
        self.tree.says(MOUNTS, BUSY, WAITERS, "dev s_id fs read.20 fallback.weather.20 copy retried failed around\n"
                                              "121:1 pmem1 ext4 5 3 0 0 0 0\n")
        self.check_golden("faults-new.txt", "--faults")

    def test_prometheus(self) -> None:
        self.check_golden("metrics.prom", "--prometheus", "-")

    def test_prometheus_without_the_module(self) -> None:
        shutil.rmtree(self.tree.top / "sys/module")
        self.check_golden("metrics-not-loaded.prom", "--prometheus", "-")

    def test_help(self) -> None:
        done = self.program("--help")
        self.assertEqual(done.returncode, 0)
        manual = (ROOT / "man/fsdax-pins.8").read_text()
        for option in re.findall(r"--[a-z-]+", done.stdout):
            self.assertIn(f"Fl -{option[2:]}", manual.replace("h , -help", "h , Fl -help")
                          .replace("w , -watch", "w , Fl -watch").replace("m , -mounts", "m , Fl -mounts"))
        for status in range(8):
            self.assertRegex(done.stdout, rf"\n  {status}    ")
            self.assertIn(f"\n.It {status}\n", manual)


class Failures(OnTree):
    def check(self, status: int, word: str, *arguments: str) -> None:
        done = self.program(*arguments)
        self.assertRegex(done.stderr, f"^fsdax-pins: .*{word}")
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertEqual(done.returncode, status)

    def test_module_not_loaded(self) -> None:
        shutil.rmtree(self.tree.top / "sys/module")
        for arguments in ((), ("--wait",), ("--json",)):
            self.check(machine.NOT_LOADED, "insmod", *arguments)

    def test_debugfs_not_mounted(self) -> None:
        self.tree.mountinfo(MOUNTINFO.replace("debugfs", "bugfs"))
        self.check(machine.NO_DEBUGFS, "mount -t debugfs")

    def test_debugfs_elsewhere(self) -> None:
        self.tree.mountinfo(MOUNTINFO.replace("/sys/kernel", "/x"))
        self.check(machine.NO_DEBUGFS, "There is no .*/x/debug/rust_fsdax/mounts")

    def test_no_proc(self) -> None:
        shutil.rmtree(self.tree.top / "proc")
        self.check(machine.UNREADABLE, "Is /proc mounted")

    def test_broken_file(self) -> None:
        self.tree.says(MOUNTS, BUSY.replace("age_ms", "age"), WAITERS)
        self.check(machine.UNREADABLE, "no column 'age_ms'")

    def test_not_root(self) -> None:
        with mock.patch.object(Path, "read_text", side_effect=PermissionError()), \
                self.assertRaisesRegex(machine.Fail, "Only root.*sudo") as caught:
            state.read(self.tree.debugfs)
        self.assertEqual(caught.exception.status, machine.NOT_PERMITTED)

    def check_usage(self, word: str, *arguments: str) -> None:
        done = self.program(*arguments)
        self.assertEqual(done.returncode, machine.USAGE)
        self.assertIn(word, done.stderr)

    def test_usage(self) -> None:
        self.check_usage("not allowed with", "--mounts", "--watch")
        self.check_usage("--timeout is for --wait", "--timeout", "3")
        self.check_usage("0 is not a time of 0.05 to 86400 seconds", "--watch", "0")
        self.check_usage("format of its own", "--json", "--prometheus", "x")
        self.check_usage("unrecognized", "--mount")

    def test_reader_that_has_seen_enough(self) -> None:
        self.tree.populate()
        with subprocess.Popen(self.command("--json", "--watch", "0.05", "--no-drgn"), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdout
            assert program.stderr
            program.stdout.readline()
            program.stdout.close()
            self.assertEqual(program.stderr.read(), "")
        self.assertEqual(program.returncode, 0)


class Processes(OnTree):
    """What /proc says beyond the golden table."""

    def find(self, **times: float) -> tuple[list[processes.Holder], list[int]]:
        busy = state.read(self.tree.debugfs).busy
        return processes.find(self.machine, busy, **times)

    def test_who_does_not_answer_is_left_out(self) -> None:
        self.tree.process(100, "a", "16 0 rw-s")
        (self.tree.process(200, "b", "16 0 rw-s") / "maps").unlink()
        os.mkfifo(self.tree.top / "proc/200/maps")
        self.tree.process(300, "c", "16 0 rw-s")
        holders, stuck = self.find(patience_s=5)
        self.assertEqual([holder.pid for holder in holders], [100, 300])
        self.assertEqual(stuck, [200])

    def test_all_in_all_it_does_not_take_long(self) -> None:
        for pid in range(100, 104):
            (self.tree.process(pid, "b") / "maps").unlink()
            os.mkfifo(self.tree.top / f"proc/{pid}/maps")
        self.assertEqual(self.find(patience_s=0.2, all_s=0.3), ([], [100, 101, 102, 103]))

    def test_process_that_went_away(self) -> None:
        (self.tree.top / "proc/100").mkdir()
        self.assertEqual(self.find(), ([], []))

    def test_mapping_of_other_pages_is_none(self) -> None:
        self.tree.process(100, "a", "4 0 rw-s\n1 4 r--p\n400 100 rw-s")
        self.assertEqual([(holder.how, holder.first, holder.last, holder.detail) for holder in self.find()[0]],
                         [("mapping", 4, 4, "private ro")])

    def test_file_of_a_mount_that_is_not_seen(self) -> None:
        place = self.tree.process(100, "a", fds={3: self.tree.fdinfo(0, mnt_id=99)})
        (place / "fd").mkdir()
        (place / "fd/3").symlink_to(self.tree.file)
        self.assertEqual([holder.how for holder in self.find()[0]], ["open"])

    def test_asynchronous_io_needs_a_pin(self) -> None:
        self.tree.says(MOUNTS, BUSY.replace(" 3 1 1 ", " 3 1 0 "), WAITERS)
        self.tree.populate()
        self.assertNotIn("async_io", [holder.how for holder in self.find()[0]])

    def test_direct_io_elsewhere(self) -> None:
        for flags, address, found in ((os.O_DIRECT, ADDRESS + 0x4000, True), (0, ADDRESS + 0x4000, False),
                                      (os.O_DIRECT, ADDRESS + 0x5000, False)):
            shutil.rmtree(self.tree.top / "proc/100", ignore_errors=True)
            self.tree.process(100, "a", "16 0 rw-s", {3: self.tree.fdinfo(flags, ino=5)})
            self.tree.write("proc/100/task/100/syscall",
                            f"{fsdax_pins_tree.PREAD} 0x3 {address:#x} 0x1000 0x0 0x0 0x0 0x7f 0x7f\n")
            self.assertEqual("direct_io" in [holder.how for holder in self.find()[0]], found)


class Drgn(OnTree):
    def test_pages(self) -> None:
        pages = kernel_memory.Pages(["0x140204:0", "0x140400:9"])
        self.assertEqual([pages.first(pfn) for pfn in (0x140204, 0x140205, 0x1405ff, 0x140600)],
                         [0x140204, None, 0x140400, None])

    def test_what_it_found(self) -> None:
        now = state.parse(MOUNTS, BUSY + "121:1 13 5 0x140205 0 1 0 0 1500 0\n", WAITERS, FAULTS)
        found, line = who.Who(), {"pid": 5, "comm": "x", "how": "pipe", "fd": 3, "detail": "pipe:[7]"}
        who.add_found(now, [{**line, "pfn": pfn} for pfn in (0x140204, 0x140205, 0x140400, 0x999)], found)
        self.assertEqual([(holder.first, holder.last, holder.dev, holder.ino) for holder in found.holders],
                         [(4, 5, "121:1", 13), (512, 1023, "121:1", 13)])

    def stub(self, program: str, drgn: bool = True) -> who.Who:
        """With another kernel_memory.py."""
        with mock.patch.object(importlib.util, "find_spec", return_value=drgn or None), \
                mock.patch.object(who, "_PROGRAM", self.tree.write("stub.py", program)):
            return who.find(self.machine, state.read(self.tree.debugfs), drgn=True)

    def test_it_gets_the_module_and_the_pages(self) -> None:
        self.tree.module()
        found = self.stub("""\
import json, sys
file, build_id, *pages = sys.argv[1:]
assert (open(file).read(), build_id, pages) == ("elf", "0123ff", ["0x140204:0", "0x140400:9"]), sys.argv
json.dump([{"pid": 5, "comm": "x", "how": "pipe", "fd": 3, "detail": "", "pfn": 0x140204}], sys.stdout)
""")
        self.assertEqual(([holder.pid for holder in found.holders], found.unseen), ([5], []))

    def test_why_not(self) -> None:
        self.tree.module(".xz")
        self.assertEqual(self.stub("Oops").unseen,
                         ["pipes and sockets: drgn: NameError: name 'Oops' is not defined"])
        self.assertEqual(self.stub("import sys; sys.exit(1)").unseen, ["pipes and sockets: drgn: it said nothing"])
        self.assertEqual(self.stub("import sys; sys.exit(f'{sys.argv[1]} is empty')").unseen,
                         [f"pipes and sockets: drgn: {self.tree.top}/lib/modules/7.3.4/updates/rust_fsdax.ko.xz "
                          "is empty"])
        self.assertEqual(self.stub("", drgn=False).unseen,
                         ["pipes and sockets: drgn is not installed: install it (python3-drgn on Debian)"])

    def kernel_memory(self, drgn: str) -> str:
        """What it says with another drgn."""
        self.tree.write("python/drgn.py", drgn)
        done = subprocess.run([sys.executable, kernel_memory.__file__, "x.ko", "0123", "0x1:0"], text=True,
                              capture_output=True, check=False, env={"PYTHONPATH": str(self.tree.top / "python"),
                                   "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        return done.stderr

    def test_what_it_lacks(self) -> None:
        program = """\
import enum
__version__ = "0.0.1"
class ModuleFileStatus(enum.Enum):
    WANT, HAVE = 0, 1
class FaultError(Exception):
    pass
class Extra:
    def try_file(self, file):
        assert (file, self.build_id) == ("x.ko", bytes((1, 0x23)))
        self.loaded_file_status = ModuleFileStatus.STATUS
class Program:
    def set_kernel(self):
        pass
    def extra_module(self, name, create):
        return Extra()
    def type(self, name):
        raise LookupError(name)
"""
        stripped, other = program.replace("STATUS", "HAVE"), program.replace("STATUS", "WANT")
        self.assertEqual(self.kernel_memory("import nothing_like_it"),
                         "it cannot be loaded: No module named 'nothing_like_it'\n")
        self.assertEqual(self.kernel_memory(other.replace("pass\n    def", "raise OSError('no')\n    def")),
                         "/proc/kcore cannot be read: no: it needs CONFIG_PROC_KCORE, and no "
                         "lockdown=confidentiality\n")
        self.assertEqual(self.kernel_memory(other.replace("extra_module", "old")),
                         "it is 0.0.1, and must be 0.0.31 or newer\n")
        self.assertEqual(self.kernel_memory(other),
                         "x.ko is not the module that is loaded: name its file by --module\n")
        self.assertEqual(self.kernel_memory(stripped),
                         "x.ko has no debugging information: name one that is not stripped by --module\n")
        self.assertEqual(self.kernel_memory(other.replace("raise LookupError(name)", "raise FaultError('x')")),
                         "the kernel changed while it was read: x: try again\n")

    def test_address(self) -> None:
        place = self.tree.write("kallsyms", "ffffffff81000000 T init\nffffffff82000010 D init_pid_ns\n"
                                "ffffffffc0000000 d init_pid_ns\t[x]\n0000000000000000 D hidden\n")
        with mock.patch.object(kernel_memory, "_KALLSYMS", place):
            self.assertEqual(kernel_memory.address_of("init_pid_ns"), 0xffffffff82000010)
            for name in ("hidden", "init_pid"):
                with self.assertRaisesRegex(kernel_memory.Missing, "kernel.kptr_restrict below 2"):
                    kernel_memory.address_of(name)


class Layouts(OnTree):
    def said(self, module: str | None = None) -> str:
        with self.assertRaises(layouts.Missing) as missing:
            layouts.build_id(self.machine)
            with layouts.unpacked(Path(module) if module else layouts.installed(self.machine)):
                pass
        return str(missing.exception).replace(str(self.tree.top), "")

    def test_file_is_unpacked(self) -> None:
        for suffix in ("", ".xz", ".gz"):
            shutil.rmtree(self.tree.top / "lib", ignore_errors=True)
            self.tree.module(suffix)
            with layouts.unpacked(layouts.installed(self.machine)) as file:
                self.assertEqual((file.read_text(), file.suffix), ("elf", ".ko"))

    def test_build_id(self) -> None:
        self.tree.module()
        self.assertEqual(layouts.build_id(self.machine), "0123ff")

    def test_what_is_missing(self) -> None:
        self.assertEqual(self.said(), "/sys/module/rust_fsdax/notes/.note.gnu.build-id does not tell which file "
                         "the module is of")
        self.tree.module()
        (self.tree.top / "lib/modules/7.3.4/modules.dep").write_text("kernel/fs/rust_fsdax/x.ko: y.ko\n")
        self.assertEqual(self.said(), "/lib/modules/7.3.4 has no rust_fsdax.ko: name it by --module")
        (self.tree.top / "lib/modules/7.3.4/modules.dep").unlink()
        self.assertEqual(self.said(), "/lib/modules/7.3.4/modules.dep cannot be read, which tells where "
                         "rust_fsdax.ko is: name it by --module")
        self.assertIn("No such file", self.said("/nowhere/x.ko.gz"))
        self.assertIn("cannot be read", self.said(str(self.tree.write("x.ko.xz", "elf"))))
        with mock.patch("importlib.import_module", side_effect=ImportError):
            self.assertIn("do it by zstd -d, and name it by --module", self.said("x.ko.zst"))


class Mounts(OnTree):
    def test_mountinfo(self) -> None:
        points = machine.parse_mountinfo(MOUNTINFO)
        self.assertEqual([(point.id, point.dev, point.root, point.path, point.fs) for point in points[2:4]],
                         [(40, "121:1", "/", "/mnt/a b", "ext4"), (41, "121:1", "/sub", "/mnt/c", "ext4")])

    def test_options(self) -> None:
        self.assertEqual([mounts.dax_option(words) for words in
                          ("rw,dax", "dax=inode,rw", "rw,dax=never", "rw,daxy=1", "")],
                         ["always", "inode", "never", None, None])

    def test_partition(self) -> None:
        self.tree.write("sys/block/pmem5/queue/dax", "1\n")
        self.tree.write("sys/block/pmem5/pmem5p1/dev", "121:7\n")
        (self.tree.top / "sys/dev/block/121:7").symlink_to("../../block/pmem5/pmem5p1")
        self.assertTrue(self.machine.dax_device("121:7"))
        self.assertFalse(self.machine.dax_device("9:99"))


class FindPaths(OnTree):
    def setUp(self) -> None:
        super().setUp()
        (self.tree.top / "mnt/a b/link").symlink_to("dir/the file")
        (self.tree.top / "mnt/a b/up").symlink_to("..")

    def test_file_is_found(self) -> None:
        self.assertEqual(paths.find_inodes(self.machine, self.tree.dev, {self.tree.ino, 1 << 40}),
                         {self.tree.ino: "/mnt/a b/dir/the file"})

    def test_other_device_is_not_searched(self) -> None:
        self.assertEqual(paths.find_inodes(self.machine, "121:3", {self.tree.ino}), {})

    def test_mount_that_is_gone(self) -> None:
        self.tree.mountinfo(MOUNTINFO.replace("/sub /mnt/c", "/ /c"))
        self.assertEqual(list(paths.find_inodes(self.machine, self.tree.dev, {self.tree.ino})),
                         [self.tree.ino])

    def test_name_that_is_no_utf8(self) -> None:
        (self.tree.top / "mnt/a b").rename(self.tree.top / os.fsdecode(b"mnt/a\xff"))
        self.tree.mountinfo(MOUNTINFO.replace("a\\040b", "a\\377"))
        found = paths.find_inodes(self.machine, self.tree.dev, {self.tree.ino})
        self.assertEqual(render.printable(found[self.tree.ino]), "/mnt/a?/dir/the file")
        self.tree.populate()
        done = self.program("--no-drgn")
        self.assertIn("/mnt/a?/dir/the file", done.stdout)

    def test_renamed_file_is_found_again(self) -> None:
        known, now = paths.Paths(self.machine), state.read(self.tree.debugfs)
        known.resolve(now)
        self.assertEqual(now.busy[0].path, "/mnt/a b/dir/the file")
        self.tree.file.rename(self.tree.top / "mnt/a b/other")
        known.resolve(now)
        self.assertEqual(now.busy[0].path, "/mnt/a b/other")


class Watch(OnTree):
    def test_goes_on_until_interrupted(self) -> None:
        with mock.patch.object(time, "sleep", side_effect=[None, KeyboardInterrupt]) as sleep, \
                mock.patch.object(sys, "argv", self.command("--json", "--watch", "0.5")[1:]), \
                contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as out:
            status = cli.main()
            out.flush()
            text = out.buffer.getvalue().decode()
        self.assertEqual(status, machine.OK)
        self.assertEqual(len(text.strip().splitlines()), 2)
        sleep.assert_called_with(0.5)

    @unittest.skipUnless(shutil.which("tmux"), "no tmux")
    def test_terminal(self) -> None:
        # 80 columns and 9 lines of a real one, then other contents, then ^C.
        self.tree.populate()
        socket = self.tree.top / "tmux"

        def tmux(*words: str) -> str:
            return subprocess.run(["tmux", "-S", str(socket), "-f", "/dev/null", *words], text=True,
                                  capture_output=True, timeout=30, check=True).stdout

        def screen(word: str) -> str:
            for _ in range(200):
                if word in (text := tmux("capture-pane", "-p")):
                    return text
                time.sleep(0.05)
            raise AssertionError(f"no {word} on\n{text}")

        line = " ".join(f"'{word}'" for word in self.command("--watch", "0.1"))
        tmux("new-session", "-d", "-x", "80", "-y", "9", f"{line}; echo status=$?; exec sleep 60")
        try:
            busy = screen("more lines")
            idle = ""
            self.tree.says(MOUNTS, *EMPTY[1:])
            idle = screen("No page is busy")
            tmux("send-keys", "C-c")
            screen("status=0")
        finally:
            tmux("kill-server")
        for name, text in (("screen-busy.txt", busy), ("screen-idle.txt", idle)):
            text = "\n".join(line.rstrip() for line in self.replaced(text).splitlines()) + "\n"
            if os.environ.get("UPDATE_GOLDEN"):
                (GOLDEN / name).write_text(text)
            self.assertEqual(text, (GOLDEN / name).read_text())


class Wait(OnTree):
    """--wait, while the kernel's files change."""

    def wait(self, *arguments: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(self.command("--wait", *arguments), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        return program

    def line(self, program: subprocess.Popen[str]) -> str:
        assert program.stdout
        return re.sub(r"^[\d.]+ m?s", "TIME", program.stdout.readline().rstrip("\n"))

    def test_break_that_ends(self) -> None:
        (self.tree.top / "proc/812").mkdir()
        program = self.wait()
        self.assertEqual(self.line(program), "TIME: my trunc?[812] break waits for page 4 of "
                         "/mnt/a b/dir/the file; 513 busy pages")
        self.tree.says(MOUNTS, BUSY.splitlines(keepends=True)[0] + BUSY.splitlines(keepends=True)[2],
                       WAITERS.replace("13 4 0x140204", "13 512 0x140400"))
        self.assertEqual(self.line(program), "TIME: my trunc?[812] break waits for page 512 of "
                         "/mnt/a b/dir/the file; 512 busy pages")
        self.tree.says(MOUNTS, *EMPTY[1:])
        self.assertEqual(self.line(program), "TIME: my trunc?[812] break does not wait any more")
        self.assertEqual(program.wait(10), machine.OK)

    def test_break_that_is_interrupted(self) -> None:
        program = self.wait("812")
        self.line(program)
        self.tree.says(MOUNTS, BUSY, EMPTY[2])
        self.assertEqual(self.line(program), "TIME: my trunc?[812] break does not wait any more; 513 busy "
                         "pages of it left, so that it was interrupted or did not wait for all")
        self.assertEqual(program.wait(10), machine.OK)

    def test_thread_that_works_between_two_pages(self) -> None:
        self.tree.write("proc/812/syscall", "76 0x3 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
        program = self.wait("--json")
        assert program.stdout
        self.assertEqual(json.loads(program.stdout.readline())["event"], "waits")
        self.tree.write("proc/812/syscall", "running\n")
        self.tree.says(MOUNTS, BUSY, EMPTY[2])
        time.sleep(0.5)
        self.assertIsNone(program.poll())
        self.tree.says(MOUNTS, BUSY, WAITERS.replace("13 4 0x140204", "13 5 0x140205"))
        self.assertEqual(json.loads(program.stdout.readline())["waiter"]["index"], 5)
        self.tree.write("proc/812/syscall", "61 0xffffffff 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n")
        self.tree.says(MOUNTS, *EMPTY[1:])
        event = json.loads(program.stdout.readline())
        self.assertEqual((event["version"], event["event"], event["busy_pages"]), (1, "ended", 0))

    def test_file_is_named(self) -> None:
        program = self.wait("/mnt/a b/dir/the file")
        self.assertIn("my trunc", self.line(program))

    def test_nobody_waits(self) -> None:
        done = self.program("--wait", "4711")
        self.assertEqual((done.stdout, done.returncode),
                         ("Nobody waits as 4711 names it; 513 busy pages.\n", machine.OK))

    def test_timeout(self) -> None:
        done = self.program("--wait", "900", "--timeout", "0.3")
        self.assertRegex(done.stdout, r"(?s)waits for pfn 0x140999; 513 busy.*ndctl\[900\] removal still waits")
        self.assertEqual(done.returncode, machine.TIMEOUT)

    def test_interrupted(self) -> None:
        # What a shell runs in the background ignores it, and so do the children.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        program = self.wait("900")
        self.line(program)
        program.send_signal(signal.SIGINT)
        self.assertEqual(program.wait(), machine.INTERRUPTED)

    def test_no_such_file(self) -> None:
        done = self.program("--wait", "/nowhere")
        self.assertEqual(done.returncode, machine.USAGE)
        self.assertIn("the id of a thread", done.stderr)


class Prometheus(OnTree):
    def setUp(self) -> None:
        super().setUp()
        self.out = self.tree.top / "out"
        self.out.mkdir()
        self.file = self.out / "x.prom"

    def test_file_is_replaced(self) -> None:
        self.file.write_text("old")
        with self.file.open() as old:
            self.assertEqual(self.program("--prometheus", str(self.file)).returncode, 0)
            self.assertEqual(old.read(), "old")
        self.assertIn("rust_fsdax_loaded 1\n", self.file.read_text())
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o644)
        self.assertEqual([path.name for path in self.out.iterdir()], ["x.prom"])

    def test_what_cannot_be_read_is_told(self) -> None:
        self.tree.says("", BUSY, WAITERS)
        done = self.program("--prometheus", str(self.file))
        self.assertEqual(done.returncode, machine.UNREADABLE)
        self.assertIn("mounts is empty", done.stderr)
        self.assertIn("\nrust_fsdax_readable 0\n", self.file.read_text())
        self.assertNotIn("rust_fsdax_loaded", self.file.read_text())

    def test_no_directory(self) -> None:
        done = self.program("--prometheus", str(self.out / "no/x.prom"))
        self.assertEqual(done.returncode, machine.UNREADABLE)
        self.assertIn("--collector.textfile.directory", done.stderr)

    def test_failed_write_leaves_nothing(self) -> None:
        self.file.mkdir()
        self.assertEqual(self.program("--prometheus", str(self.file)).returncode, machine.UNREADABLE)
        self.assertEqual([path.name for path in self.out.iterdir()], ["x.prom"])

    def test_labels_are_quoted(self) -> None:
        self.assertEqual(prometheus._label('a"b\\c\n'), 'a\\"b\\\\c?')


class Installed(unittest.TestCase):
    """make install, the man page, the completion and the units."""

    @unittest.skipUnless(shutil.which("make"), "no make")
    def test_install(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            def make(target: str) -> None:
                subprocess.run(["make", "-s", "-C", ROOT, target, f"DESTDIR={top}", "PREFIX=/opt/x y"],
                               check=True, capture_output=True)

            make("install")
            prefix = Path(top, "opt/x y")
            unit = (prefix / "lib/systemd/system/fsdax-pins.service").read_text()
            self.assertIn('ExecStart="/opt/x y/sbin/fsdax-pins" --prometheus', unit)
            done = subprocess.run([prefix / "sbin/fsdax-pins", "--help"], capture_output=True, text=True,
                                  check=True)
            self.assertIn("exit status:", done.stdout)
            modules = {path.name for path in (prefix / "share/rust_fsdax/fsdaxpins").iterdir()}
            self.assertEqual(modules, {path.name for path in (ROOT / "scripts/fsdaxpins").glob("*.py")})
            self.assertTrue((prefix / "share/bash-completion/completions/fsdax-pins").is_file())
            make("uninstall")
            self.assertEqual([path for path in Path(top).rglob("*") if not path.is_dir()], [])

    def test_without_its_modules(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            shutil.copy(SCRIPT, top)
            done = subprocess.run([f"{top}/fsdax-pins"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("make install", done.stderr)

    @unittest.skipUnless(shutil.which("mandoc"), "no mandoc")
    def test_man_page(self) -> None:
        done = subprocess.run(["mandoc", "-Tlint", ROOT / "man/fsdax-pins.8"], capture_output=True,
                              text=True, check=False)
        # What it says of its own index of pages is not about this one.
        said = [line for line in done.stdout.splitlines() if "mandoc.db" not in line]
        self.assertEqual(said, [])

    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze")
    def test_units(self) -> None:
        with tempfile.TemporaryDirectory() as top:
            for name in ("fsdax-pins.service", "fsdax-pins.timer"):
                text = (ROOT / "scripts/systemd" / name).read_text()
                # That it looks for the man page depends on the machine.
                Path(top, name).write_text(text.replace("@SBINDIR@/fsdax-pins", str(SCRIPT))
                                           .replace("Documentation=man:fsdax-pins(8)\n", ""))
            done = subprocess.run(["systemd-analyze", "verify", f"{top}/fsdax-pins.service",
                                   f"{top}/fsdax-pins.timer"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def complete(self, *words: str) -> list[str]:
        script = (f"source {ROOT}/scripts/fsdax-pins.bash-completion\n"
                  "compopt() { :; }\n"  # may be called while completing alone
                  f"COMP_WORDS=(fsdax-pins {' '.join(words)}); COMP_CWORD={len(words)}\n"
                  "_fsdax_pins; printf '%s\\n' \"${COMPREPLY[@]}\"")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_completion(self) -> None:
        self.assertEqual(self.complete("--wa"), ["--watch", "--wait"])
        self.assertEqual(self.complete("--json", "--pro"), ["--prometheus"])
        self.assertEqual(self.complete("--prometheus", "Makef"), ["Makefile"])
        self.assertEqual(self.complete("--wait", "READ"), ["README.md"])
        self.assertEqual(self.complete("--wait", "--ti"), ["--timeout"])
        self.assertEqual(self.complete("--timeout", "''"), [])
        helped = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(sorted(self.complete("--")),
                         sorted(set(re.findall(r"--[a-z][a-z-]+", helped.partition("columns:")[0]))))


if __name__ == "__main__":
    unittest.main()
