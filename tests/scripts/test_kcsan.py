# SPDX-License-Identifier: GPL-2.0
"""What is read of an object and of a report of KCSAN, and which kernel is built with its flags."""

import re
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import kcsan, kernel, sandbox
from fsdaxlib.progress import CHECKOUT, Fail

RELOCATIONS = """\
RELOCATION RECORDS FOR [.text]:
OFFSET           TYPE                     VALUE
0000000000000017 R_X86_64_PLT32           __tsan_write8-0x4
0000000000000028 R_X86_64_PLT32           rust_fsdax_folio_put-0x4
0000000000000065 R_X86_64_PLT32           __tsan_read8-0x4
0000000000000082 R_X86_64_PLT32           __tsan_unaligned_read4-0x4
0000000000000091 R_X86_64_PLT32           __tsan_volatile_read4-0x4
00000000000000a1 R_X86_64_PLT32           __tsan_read_write1-0x4
00000000000000b1 R_X86_64_PLT32           __tsan_memcpy-0x4
00000000000000c1 R_X86_64_PLT32           __tsan_atomic32_load-0x4
"""

RULE = 66 * "="
FIRST = " kthread+0x10/0x20"


def name(function: str) -> str:
    return f" _RNvCs1aB2_4racy{len(function)}{function}+0x1c/0x30 [racy]"


def report(*sides: tuple[str, list[str]], known: bool = True) -> str:
    """A report as the kernel prints it."""
    lines = [RULE, "BUG: KCSAN: data-race in one / other", ""]
    for access, frames in sides:
        lines += [f"{'' if known else 'race at unknown origin, with '}{access} to 0xffffffffc0012340 of 8 bytes by "
                  "task 70 on cpu 1:", *frames, FIRST, ""]
    lines += ["value changed: 0x0000000000000001 -> 0x0000000000000002", "",
              "Reported by Kernel Concurrency Sanitizer on:",
              "CPU: 0 UID: 0 PID: 68 Comm: insmod Not tainted 7.3.4 #1", RULE]
    return "".join(f"[   12.345678] {line}\n" for line in lines)


def pair(first: str, second: str) -> str:
    return report(("write", [name(first)]), ("read", [name(second)]))


ALL = "".join(pair(*sorted(names)) for names in kcsan.RACES)


class Objects(unittest.TestCase):
    def check(self, text: str, status: int = 0) -> int:
        done = subprocess.CompletedProcess([], status, stdout=text, stderr="no object\n")
        with mock.patch.object(subprocess, "run", return_value=done), \
                mock.patch.object(sandbox, "command", return_value=[]):
            return kcsan.check_instrumented(Path("/root"), Path("/a.o"), "the module", ("read", "volatile_read"))

    def test_accesses_are_counted_by_sort(self) -> None:
        self.assertEqual(kcsan.calls(RELOCATIONS), {"write": 1, "read": 2, "volatile_read": 1, "read_write": 1})
        self.assertEqual(self.check(RELOCATIONS), 5)

    def test_what_is_not_instrumented_fails(self) -> None:
        for gone, lacks in (("_volatile_read4", "__tsan_volatile_read"), ("__tsan_", "__tsan_read")):
            with self.assertRaisesRegex(Fail, rf"Rust of the module, which has no call of {lacks}\*"):
                self.check(RELOCATIONS.replace(gone, "x"))
        with self.assertRaisesRegex(Fail, "cannot read /a.o: no object"):
            self.check("", status=1)


class Reports(unittest.TestCase):
    def test_sides_have_access_and_frames(self) -> None:
        found = list(kcsan.reports(report(
            ("read-write (marked)", [" rust_helper_atomic64_set+0x10/0x20", name("atomic_write")]),
            ("read", [name("plain_read")]))))
        self.assertEqual([(side.access, len(side.frames)) for side in found[0].sides],
                         [("read-write (marked)", 3), ("read", 2)])
        self.assertEqual(found[0].title, "data-race in one / other")
        self.assertEqual(kcsan._function(found[0].sides[0]), "atomic_write")

    def test_what_is_no_report_is_none(self) -> None:
        text = f"{RULE}\nread to 0x1 of 8 bytes by task 1 on cpu 1:\n{FIRST}\n{RULE}\n"
        self.assertEqual(list(kcsan.reports(text)), [])


class Planted(unittest.TestCase):
    def test_all_found_and_nothing_else(self) -> None:
        self.assertEqual(kcsan.problems(ALL + ALL), [])

    def test_races_of_others_do_not_matter(self) -> None:
        self.assertEqual(kcsan.problems(ALL + report(("write", [" xas_store+0x1/0x2"]), ("read", []))), [])

    def test_one_that_is_not_found(self) -> None:
        self.assertEqual(kcsan.problems(ALL.replace("9plain_add", "5other")), [
            "a report of other and plain_write, which do not race", "no report of plain_add and plain_write"])
        self.assertEqual(len(kcsan.problems("")), len(kcsan.RACES))

    def test_one_that_only_some_kernels_report(self) -> None:
        self.assertEqual(kcsan.problems(ALL + pair("plain_write", "volatile_read")), [])

    def test_one_that_is_no_race(self) -> None:
        for first, second in (("volatile_read", "volatile_write"), ("locked_add", "locked_add")):
            told = " and ".join(sorted({first, second}))
            self.assertEqual(kcsan.problems(ALL + pair(first, second)), [f"a report of {told}, which do not race"])

    def test_unknown_origin_tells_of_no_pair(self) -> None:
        self.assertEqual(kcsan.problems(ALL + report(("read", [name("plain_read")]), known=False)), [])
        self.assertNotEqual(kcsan.problems(ALL + report(("read", [name("locked_add")]), known=False)), [])

    def test_functions_are_those_of_the_module(self) -> None:
        text = (CHECKOUT / "tests/kcsan/racy.rs").read_text()
        table = re.search(r"const PAIRS: .*?\n(.*?)// Races that (.*?)// No races\.\n", text, re.DOTALL)
        assert table
        for part, pairs in zip(table.groups(), (kcsan.RACES, kcsan.HIDDEN), strict=True):
            self.assertEqual({frozenset(names) for names in re.findall(r"\((\w+), (\w+)\)", part)}, pairs)


class Flags(unittest.TestCase):
    def test_only_kcsan_has_them(self) -> None:
        for kind in kernel.KINDS:
            self.assertEqual(bool(kernel.rustflags(kind)), kind == "kcsan", kind)

    def test_module_is_compiled_with_the_same(self) -> None:
        kbuild = (CHECKOUT / "Kbuild").read_text()
        *shared, entry = kernel.rustflags("kcsan")
        self.assertEqual(shared, (CHECKOUT / "rust/kcsan.rustflags").read_text().splitlines())
        self.assertIn("@$(src)/rust/kcsan.rustflags", kbuild)
        self.assertIn(entry.rpartition("=")[0], kbuild)


if __name__ == "__main__":
    unittest.main()
