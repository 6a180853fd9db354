# SPDX-License-Identifier: GPL-2.0
"""Debian packages: the configuration of their kernel, what is in them, and the commands that the README gives."""

import ast
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import deb, debtest, preflight
from fsdaxlib.progress import CHECKOUT, Fail, Misuse

BASE = """\
#
# Some menu
#
CONFIG_A=y
CONFIG_AB=m
# CONFIG_C is not set
CONFIG_TEXT="debian/key"
"""


class Configuration(unittest.TestCase):
    def test_the_fragment_has_the_last_word(self) -> None:
        merged = deb.merge(BASE, '# Why.\n# CONFIG_A is not set\nCONFIG_C=y\nCONFIG_TEXT=""\n')
        self.assertEqual(merged.splitlines()[3:],
                         ["CONFIG_AB=m", "# CONFIG_A is not set", "CONFIG_C=y", 'CONFIG_TEXT=""'])

    def test_what_kconfig_dropped(self) -> None:
        fragment = 'CONFIG_A=y\nCONFIG_NEW=y\n# CONFIG_C is not set\n# CONFIG_GONE is not set\nCONFIG_NOTEXT=""\n'
        self.assertEqual(deb.lost(fragment, BASE), ["CONFIG_NEW=y"])
        self.assertEqual(deb.lost("CONFIG_A=m\n# CONFIG_AB is not set\n", BASE),
                         ["CONFIG_A=m", "# CONFIG_AB is not set"])

    def test_of_options_that_are_said_twice_the_last_counts(self) -> None:
        self.assertEqual(deb.lost("CONFIG_A=m\nCONFIG_A=y\n", BASE), [])

    def test_what_is_loaded_later_is_no_part_of_the_kernel(self) -> None:
        fragment = (CHECKOUT / "scripts/kconfig/deb.config").read_text()
        options = {"nd_pmem": "BLK_DEV_PMEM", "device_dax": "DEV_DAX", "virtiofs": "VIRTIO_FS"}
        self.assertEqual(set(options), set(deb.BEFORE))
        for option in options.values():
            self.assertIn(f"\nCONFIG_{option}=m\n", fragment)

    def test_modules_that_stay(self) -> None:
        names = deb.modules_of((CHECKOUT / "scripts/kconfig/deb-small.modules").read_text())
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({*deb.BEFORE, "ext4", "xfs", "erofs"}, set(names))

    def test_lsmod(self) -> None:
        text = "Module                  Size  Used by\nxfs  2, 0\nnd_pmem 24576 0\n\n"
        self.assertEqual(deb.modules_of_lsmod(text), ["xfs", "nd_pmem"])
        self.assertEqual(deb.lsmod(["xfs", "dm-mod", "xfs"]), "Module Size Used by\ndm_mod 0 0\nxfs 0 0\n")
        with self.assertRaisesRegex(Misuse, "wants the output of lsmod"):
            deb.modules_of_lsmod("xfs 2 0\n")

    def test_what_is_wanted(self) -> None:
        deb.check(deb.Wanted(small=True))
        with self.assertRaisesRegex(Misuse, "give both"):
            deb.check(deb.Wanted(lsmod=Path("lsmod")))
        for word in ("fsdax", "-", "-Fsdax", "-a_b", "-a b", ""):
            with self.subTest(word), self.assertRaisesRegex(Misuse, "cannot be a part of a package's name"):
                deb.check(deb.Wanted(localversion=word))

    def test_own_configuration(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "config"
            file.write_text("all: nothing\n")
            with self.assertRaisesRegex(Misuse, r"config is no configuration of a kernel: name a \.config"):
                deb.check(deb.Wanted(config=file))
            file.write_text(BASE)
            deb.check(deb.Wanted(config=file))
            self.assertEqual(deb._base(deb.Wanted(config=file), mock.Mock()), BASE)


class Packages(unittest.TestCase):
    def test_control(self) -> None:
        self.assertEqual(deb.control("p", "1-2", "what it is", "More.\nAnd more.", {"Depends": "q"}), f"""\
Package: p
Version: 1-2
Architecture: amd64
Maintainer: {deb._MAINTAINER}
Section: kernel
Priority: optional
Depends: q
Description: what it is
 More.
 And more.
""")

    def test_softdeps(self) -> None:
        self.assertEqual(deb.softdeps(["a", "b"]).splitlines()[1:],
                         ["softdep a pre: rust_fsdax", "softdep b pre: rust_fsdax"])

    def test_maintainer_scripts(self) -> None:
        for name, text in deb.maintainer_scripts("7.3.4-fsdax").items():
            with self.subTest(name):
                # One that is called for something else does nothing, and neither does one without such a kernel.
                for action in ("abort-upgrade", "configure" if name == "postinst" else "remove"):
                    done = subprocess.run(["/bin/sh", "-c", text, name, action], env={"PATH": "/nowhere"}, check=False,
                                          capture_output=True, text=True)
                    self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""), action)

    def test_what_rust_needs_must_be_there(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            build, headers = Path(place) / "build", Path(place) / "headers"
            for name in (".config", *(f"rust/{name}" for name in preflight.RUST), "rust/kernel/generated_a.rs",
                         "rust/core.o"):
                (build / name).parent.mkdir(parents=True, exist_ok=True)
                (build / name).touch()
            headers.mkdir()
            deb._add_rust(build, headers)
            self.assertTrue((headers / "rust/kernel/generated_a.rs").exists())
            self.assertFalse((headers / "rust/core.o").exists())
            (build / "rust" / preflight.RUST[0]).unlink()
            (headers / "rust" / preflight.RUST[0]).unlink()
            with self.assertRaisesRegex(Fail, f"The build has no rust/{preflight.RUST[0]}"):
                deb._add_rust(build, headers)


class Certificate(unittest.TestCase):
    def test_the_kernel_has_that_of_its_modules(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            certificate, image = Path(directory) / "x509", Path(directory) / "vmlinux"
            certificate.write_bytes(b"\0mine\xff")
            image.write_bytes(b"ELF \0mine\xff end")
            deb.check_certificate(certificate, image)
            image.write_bytes(b"ELF \0other\xff end")
            with self.assertRaisesRegex(Fail, "another certificate"):
                deb.check_certificate(certificate, image)


class Readme(unittest.TestCase):
    def test_commands(self) -> None:
        text = ("# T\n\n    other\n\n## On your own machine\n\nText.\n\n    make deb    # say\n    sudo b 'c  d'\n\n"
                "More.\n\n    e\n")
        self.assertEqual(debtest.commands(text), ["make deb", "sudo b 'c  d'"])
        with self.assertRaisesRegex(Fail, "has no commands below"):
            debtest.commands("# T\n\n    other\n")
        with self.assertRaisesRegex(Fail, "more than 5 commands"):
            debtest.commands("## On your own machine\n\n" + 6 * "    a\n")

    def test_arguments(self) -> None:
        self.assertEqual(debtest.make_arguments('make deb ARGS="--small --gcc"'), ["--small", "--gcc"])
        self.assertEqual(debtest.make_arguments("make deb"), [])
        with self.assertRaisesRegex(Fail, "does not begin with make deb"):
            debtest.make_arguments("make demo")

    def test_the_readme_has_what_the_boots_run(self) -> None:
        found = debtest.commands((CHECKOUT / "README.md").read_text())
        self.assertEqual(debtest.make_arguments(found[0]), ["--small"])
        stages = (CHECKOUT / "tests/deb/stages.py").read_text()
        for word in ("dpkg", "fstab", "reboot", "fsdax-pins"):
            self.assertEqual(sum(word in command for command in found), 1, word)
            self.assertIn(f'if "{word}" in command', stages)
        self.assertEqual(len(found), 5)

    def test_the_line_of_modprobe(self) -> None:
        self.assertEqual(debtest.require("Text::\n\n    install nd_pmem a && b\n\nMore.\n"), "install nd_pmem a && b\n")
        self.assertIn("rust_fsdax", debtest.require((CHECKOUT / "Documentation/installing.rst").read_text()))
        with self.assertRaisesRegex(Fail, "has no line for modprobe.d"):
            debtest.require("Nothing.\n")

    def test_boots(self) -> None:
        tree = ast.parse((CHECKOUT / "tests/deb/stages.py").read_text())
        stages = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign)
                      and isinstance(node.target, ast.Name) and node.target.id == "STAGES")
        assert isinstance(stages, ast.Dict)
        self.assertEqual([ast.literal_eval(key) for key in stages.keys if key], list(debtest._BOOTS))


if __name__ == "__main__":
    unittest.main()
