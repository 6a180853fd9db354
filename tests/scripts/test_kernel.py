# SPDX-License-Identifier: GPL-2.0
"""Which kernel of the cache is taken, when another one is built, and that the toolchain can be made."""

import errno
import io
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import archive, cache, kernel, sandbox, source, toolchain, tools
from fsdaxlib.progress import Fail

STATUS = """\
Package: clang-19
Status: install ok installed
Version: 1:19.1.7-3

Package: vim
Version: 2

Package: rustc
Version: 1.85.0
"""


class InPlace(unittest.TestCase):
    """Has patches, a toolchain and a source of its own, and builds nothing."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.fragments = self.place / "kconfig"
        self.fragments.mkdir()
        for name, text in (("common", "CONFIG_A=y\n"), ("debug", "CONFIG_B=y\n")):
            (self.fragments / f"{name}.config").write_text(text)
        self.write_status(STATUS)
        self.write_patch("0001-a.patch", "Subject: a\n\n", "+1\n")
        origin = source.Source("7.3.4", self.place / "source")
        for patch in (mock.patch.object(kernel, "_FRAGMENTS", self.fragments),
                      mock.patch.object(source, "PATCHES", self.place / "patches"),
                      mock.patch.object(source, "chosen", return_value=origin),
                      mock.patch.object(toolchain, "ensure", return_value=self.place / "root"),
                      mock.patch.object(cache, "entry", side_effect=lambda name, _: self.place / name)):
            patch.start()
            self.addCleanup(patch.stop)

    def write_status(self, text: str) -> None:
        status = self.place / "root/var/lib/dpkg/status"
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(text)

    def write_patch(self, name: str, head: str, change: str) -> None:
        path = self.place / "patches/linux-7.3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}diff --git a/x b/x\n{change}")


class Choice(InPlace):
    def name(self, kind: str = "plain") -> str:
        return kernel.ensure(kind).entry.name

    def test_name_says_series_and_kind(self) -> None:
        self.assertRegex(self.name("debug"), r"^kernel-7\.3-debug-[0-9a-f]{16}$")
        self.assertEqual(kernel.ensure("debug").name, "7.3-debug")

    def test_kinds_are_kernels_of_their_own(self) -> None:
        self.assertEqual(len({self.name(kind) for kind in kernel.KINDS}), len(kernel.KINDS))

    def test_message_of_a_patch_makes_no_other_kernel(self) -> None:
        before = self.name()
        self.write_patch("0001-a.patch", "Subject: better words\n\n", "+1\n")
        self.write_patch("0000-cover-letter.patch", "Subject: all\n\n", "+2\n")
        self.assertEqual(self.name(), before)

    def test_change_of_a_patch_does(self) -> None:
        before = self.name()
        self.write_patch("0001-a.patch", "Subject: a\n\n", "+2\n")
        self.assertNotEqual(self.name(), before)

    def test_but_not_of_the_kernel_without_the_series(self) -> None:
        before = self.name("stock")
        self.write_patch("0001-a.patch", "Subject: a\n\n", "+2\n")
        self.assertEqual(self.name("stock"), before)
        self.assertEqual(kernel.ensure("stock").tree, kernel.ensure("stock").origin.tree)

    def test_configuration_is_part_of_it(self) -> None:
        plain, debug = self.name("plain"), self.name("debug")
        (self.fragments / "debug.config").write_text("CONFIG_C=y\n")
        self.assertEqual(self.name("plain"), plain)
        self.assertNotEqual(self.name("debug"), debug)

    def test_compilers_are_part_of_it_other_tools_are_not(self) -> None:
        before = self.name()
        self.write_status(STATUS.replace("Version: 2\n", "Version: 3\n") + "\nPackage: spin\nVersion: 6\n")
        self.assertEqual(self.name(), before)
        self.write_status(STATUS.replace("1.85.0", "1.86.0"))
        self.assertNotEqual(self.name(), before)

    def test_flags_of_rustc_are_part_of_it(self) -> None:
        before = [self.name("kcsan"), self.name()]
        flags = self.place / "flags"
        flags.write_text("-Cpasses=other\n")
        with mock.patch.object(kernel, "_KCSAN_FLAGS", flags):
            self.assertNotEqual(self.name("kcsan"), before[0])
            self.assertEqual(self.name(), before[1])

    def test_only_gcc_has_no_llvm(self) -> None:
        for kind in kernel.KINDS:
            line = kernel.ensure(kind).make(["modules"], [], {})
            self.assertEqual("LLVM=1" in line, kind != "gcc", kind)

    def test_only_arm64_is_for_arm64(self) -> None:
        for kind in kernel.KINDS:
            built = kernel.ensure(kind)
            self.assertEqual("ARCH=arm64" in built.make(["modules"], [], {}), kind == "arm64", kind)
            self.assertEqual(built.image, built.entry / "build/arch" / (
                "arm64/boot/Image" if kind == "arm64" else "x86/boot/bzImage"))


class Compilers(InPlace):
    def compile(self, name: str, *arguments: str) -> str:
        """What is called in the end by who calls a compiler by its name."""
        for program in (name, "ccache"):
            (self.place / program).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
            (self.place / program).chmod(0o755)
        (self.place / "ours").mkdir(exist_ok=True)
        ours = self.place / "ours" / name
        bind = next(bind for bind in kernel.compilers() if bind.inside.name == name)
        ours.write_text(bind.host.read_text().replace("/usr/bin", str(self.place)))
        ours.chmod(0o755)
        # As inside: ours is the first one of that name.
        path = f"{ours.parent}:{self.place}:{os.environ['PATH']}"
        return subprocess.run([name, *arguments], check=True, capture_output=True, text=True,
                              env={"PATH": path}).stdout.strip()

    def test_assembler_is_not_taken_from_the_cache(self) -> None:
        # ccache does not see which files .incbin has put into an object.
        for name in ("clang", "gcc"):
            for file in ("a b.S", "/src/linux/kernel/configs.c"):
                self.assertEqual(self.compile(name, "-c", "-o", "a.o", file), f"{name} -c -o a.o {file}")

    def test_c_is(self) -> None:
        self.assertEqual(self.compile("clang", "-c", "a.c"), f"ccache {self.place}/clang -c a.c")

    def test_every_make_uses_them(self) -> None:
        line = kernel.ensure("plain").make(["modules"], [], {"CCACHE_NOSTATS": "1"})
        path = line[line.index("PATH") + 1].split(":")
        self.assertLess(path.index("/compilers"), path.index("/usr/lib/ccache"))
        for name in ("clang", "gcc"):
            self.assertIn(f"/compilers/{name}", line)
            self.assertTrue(os.access(line[line.index(f"/compilers/{name}") - 1], os.X_OK))


class Configuration(InPlace):
    def test_kind_adds_to_what_all_have(self) -> None:
        self.assertEqual(kernel.config("plain"), "CONFIG_A=y\n")
        self.assertEqual(kernel.config("debug"), "CONFIG_A=y\nCONFIG_B=y\n")

    def test_kinds_can_be_joined(self) -> None:
        (self.fragments / "arm64.config").write_text("CONFIG_C=y\n")
        self.assertEqual(kernel.config("arm64+debug"), "CONFIG_A=y\nCONFIG_C=y\nCONFIG_B=y\n")
        self.assertIn("ARCH=arm64", kernel.compiler("arm64+debug"))

    def check(self, wanted: str, taken: str, kind: str = "plain") -> None:
        path = self.place / ".config"
        path.write_text(taken)
        kernel._check_config(wanted, path, kind)

    def test_what_kconfig_dropped_is_named(self) -> None:
        self.check("CONFIG_A=y\n# CONFIG_B is not set\n", "# CONFIG_B is not set\nCONFIG_A=y\nCONFIG_C=y\n")
        with self.assertRaisesRegex(Fail, "did not take CONFIG_B=y for the plain kernel"):
            self.check("CONFIG_A=y\nCONFIG_B=y\n", "CONFIG_A=y\n# CONFIG_B is not set\n")

    def test_what_an_architecture_does_not_know_is_not_set(self) -> None:
        self.check("CONFIG_A=y\n# CONFIG_X86_B is not set\n", "CONFIG_A=y\n", "arm64+check")
        with self.assertRaisesRegex(Fail, "did not take # CONFIG_B is not set for"):
            self.check("CONFIG_A=y\n# CONFIG_B is not set\n", "CONFIG_A=y\nCONFIG_B=y\n", "arm64")
        with self.assertRaisesRegex(Fail, "did not take CONFIG_B=y for"):
            self.check("CONFIG_B=y\n", "CONFIG_A=y\n", "arm64")
        self.check("CONFIG_A=y\n# CONFIG_FUSE_A is not set\n", "CONFIG_A=y\n", "nodax+check")
        # Here it is a name that is wrong.
        with self.assertRaisesRegex(Fail, "did not take # CONFIG_X86_B is not set for the plain"):
            self.check("CONFIG_A=y\n# CONFIG_X86_B is not set\n", "CONFIG_A=y\n")

    def test_last_word_counts(self) -> None:
        self.check("CONFIG_A=y\n# CONFIG_A is not set\n", "# CONFIG_A is not set\n")


class Roots(InPlace):
    """Roots are made of packages that mmdebstrap fetches; here it only leaves an archive."""

    def setUp(self) -> None:
        super().setUp()
        self.partial = self.place / "entry.partial"
        self.partial.mkdir()
        self.ran: list[list[str]] = []
        for patch in (mock.patch.object(toolchain, "run_logged", self.run_it),
                      mock.patch.object(tools, "run_logged", self.run_it),
                      mock.patch.object(cache, "need_space"),
                      mock.patch.object(sys, "stderr", io.StringIO())):
            patch.start()
            self.addCleanup(patch.stop)

    def run_it(self, argv: Sequence[str], *_: Any, **__: Any) -> None:
        self.ran.append(list(argv))
        for word in argv:
            if word.endswith("root.tar"):
                Path(word).touch()

    def test_toolchain_is_made(self) -> None:
        toolchain._make(self.partial)
        self.assertTrue((self.partial / "root").is_dir())
        self.assertEqual([path.name for path in self.partial.iterdir()], ["root"])
        (fetch,) = (line for line in self.ran if "mmdebstrap" in line)
        self.assertIn(f"deb {archive.MIRROR} trixie main", fetch)
        self.assertEqual(fetch[fetch.index("trixie") + 1], str(self.partial / "root.tar"))

    def test_what_was_fetched_is_not_fetched_again(self) -> None:
        (self.partial / "archive-complete").touch()
        (self.partial / "root.tar").touch()
        toolchain._make(self.partial)
        self.assertEqual([line[0] for line in self.ran], ["tar"])

    def test_single_tools_are_made(self) -> None:
        tools._make("herd", ("herdtools7",), "forky", self.partial)
        self.assertEqual([path.name for path in self.partial.iterdir()], ["root"])
        self.assertIn("--include=herdtools7", self.ran[0])
        self.assertFalse([word for word in self.ran[0] if "--architectures" in word])

    def test_a_root_of_another_architecture_runs_nothing_of_it(self) -> None:
        tools._make("guest", ("bash",), "trixie", self.partial, architecture="arm64")
        self.assertIn("--architectures=arm64", self.ran[0])
        self.assertIn("--variant=extract", self.ran[0])

    def test_architecture_is_part_of_the_name(self) -> None:
        names = [tools.ensure("x", "bash").parent.name, tools.ensure("x", "bash", architecture="arm64").parent.name,
                 tools.ensure("x", "bash", architecture="riscv64").parent.name]
        self.assertEqual(len(set(names)), 3)


@unittest.skipUnless(shutil.which("git"), "no git here")
class Patching(InPlace):
    """A source gets its series whole, or there is a sentence and nothing else."""

    def setUp(self) -> None:
        super().setUp()
        self.tree = self.place / "source/linux"
        self.tree.mkdir(parents=True)
        (self.tree / "x").write_text("old\n")
        self.partial = self.place / "entry.partial"
        self.partial.mkdir()
        self.origin = source.Source("7.3.4", self.tree.parent)
        for patch in (mock.patch.object(source, "chosen", return_value=self.origin),
                      mock.patch.object(sandbox, "command", self.here),
                      mock.patch.object(kernel, "LOGS", self.place / "logs"),
                      mock.patch.dict(os.environ, {"GIT_CEILING_DIRECTORIES": str(self.place)}),
                      mock.patch.object(sys, "stderr", io.StringIO())):
            patch.start()
            self.addCleanup(patch.stop)

    def here(self, _: Path, argv: list[str], **__: Any) -> list[str]:
        """The command without the toolchain root."""
        return ["env", "-C", str(self.partial / "linux"), *argv]

    def patch(self, old: str) -> None:
        self.write_patch("0001-a.patch", "Subject: a\n\n",
                         f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-{old}\n+new\n")

    def make(self) -> None:
        kernel._make_patched(self.origin, self.partial)

    def test_applied_to_a_copy(self) -> None:
        self.patch("old")
        self.make()
        self.assertEqual((self.partial / "linux/x").read_text(), "new\n")
        self.assertEqual((self.tree / "x").read_text(), "old\n")

    def test_refused_with_patch_file_and_version(self) -> None:
        self.patch("other")
        with mock.patch.dict(os.environ):
            os.environ.pop(source.SOURCE, None)
            with self.assertRaisesRegex(Fail, r"0001-a\.patch does not apply to x of Linux 7\.3\.4: [^\n]+$"):
                self.make()
        self.assertFalse(self.partial.exists())
        self.assertTrue(self.tree.exists())

    def test_what_was_given_and_refused_is_not_found_again(self) -> None:
        self.patch("other")
        with mock.patch.dict(os.environ, {source.SOURCE: "x.tar"}), self.assertRaises(Fail):
            self.make()
        self.assertFalse(self.tree.exists())

    def test_a_full_disk_is_no_wrong_patch(self) -> None:
        self.patch("old")
        full = ["sh", "-c", f"echo 'error: x: {os.strerror(errno.ENOSPC)}'; exit 1"]
        with mock.patch.object(sandbox, "command", return_value=full), \
                mock.patch.dict(os.environ, {source.SOURCE: "x.tar"}), \
                self.assertRaisesRegex(Fail, "the disk is full"):
            self.make()
        self.assertFalse(self.partial.exists())
        self.assertTrue(self.tree.exists())

    def test_no_room_for_the_copy(self) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.patch("old")
        with mock.patch.object(os, "link", side_effect=error), \
                self.assertRaisesRegex(Fail, "cannot be copied.*No space left on device"):
            self.make()
        self.assertFalse(self.partial.exists())


class SingleTools(InPlace):
    def test_other_packages_are_another_root(self) -> None:
        self.assertEqual(tools.ensure("a", "x").name, "root")
        names = {tools.ensure(*arguments).parent.name for arguments in (("a", "x"), ("a", "y"), ("a", "x", "y"))}
        self.assertEqual(len(names), 3)


if __name__ == "__main__":
    unittest.main()
