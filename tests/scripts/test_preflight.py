# SPDX-License-Identifier: GPL-2.0
"""What is missing for a kernel of one's own is told before anything is built, each thing in one line."""

import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import kernel, preflight, source
from fsdaxlib.progress import CHECKOUT, Fail

CONFIG = """\
CONFIG_CC_VERSION_TEXT="Debian clang version 19.1.7 (3+b1)"
CONFIG_CC_IS_CLANG=y
CONFIG_RUSTC_VERSION_TEXT="rustc 1.96.1 (31fca3adb 2026-06-26)"
CONFIG_MODULES=y
CONFIG_RUST=y
CONFIG_FS_DAX=y
CONFIG_TRANSPARENT_HUGEPAGE=y
CONFIG_SPARSEMEM_VMEMMAP=y
"""
FOR_OTHERS = {"__dax_bind_provider",
              "dax_bind_device", "dax_bind_provider", "dax_break_layout_range", "dax_iomap_pud_fault",
              "dax_provider_key", "dax_unbind_device", "dax_unbind_provider", "dev_dax_set_fops", "pgmap_alloc_folios",
              "pgmap_offset", "pgmap_request_folio"}
PROGRAMS = {"rustc": "rustc 1.96.1 (31fca3adb 2026-06-26)", "clang": "Debian clang version 19.1.7",
            "bindgen": "bindgen 0.71.1", "ld.lld": "Debian LLD 19.1.7"}


class Preflight(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.tree = Path(directory.name)
        self.programs = dict(PROGRAMS)
        for name, text in ((".config", CONFIG), ("Makefile", ""), ("include/config/kernel.release", "7.3.4-fsdax\n"),
                           ("Module.symvers", "".join(f"0x0\t{name}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n"
                                                      for name in preflight._SYMBOLS)),
                           *((f"rust/{name}", "") for name in preflight.RUST)):
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def found(self) -> list[str]:
        return list(preflight.problems(self.tree, lambda argv: self.programs.get(argv[0], "")))

    def only(self, pattern: str) -> None:
        found = self.found()
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0], pattern)

    def test_nothing_is_missing(self) -> None:
        self.assertEqual(self.found(), [])

    def test_no_kernel(self) -> None:
        (self.tree / ".config").unlink()
        with self.assertRaisesRegex(Fail, "is no configured kernel: name the directory"):
            self.found()

    def test_headers_of_make_bindeb_pkg_have_no_config_of_that_name(self) -> None:
        (self.tree / ".config").rename(self.tree / "include/config/auto.conf")
        self.assertEqual(self.found(), [])

    def test_not_built(self) -> None:
        (self.tree / "include/config/kernel.release").unlink()
        self.only("configured, but not built")

    def test_larger_pages(self) -> None:
        self.write(".config", CONFIG + "CONFIG_PAGE_SHIFT=12\n")
        self.assertEqual(self.found(), [])
        self.write(".config", CONFIG + "CONFIG_PAGE_SHIFT=16\n")
        self.only("^the kernel has pages of 64 KiB: build one with pages of 4 KiB$")

    def test_another_series(self) -> None:
        self.write("include/config/kernel.release", "6.12.48+deb13-amd64\n")
        self.only(r"^this is Linux 6.12.48\+deb13-amd64; the module is for 7.3 and 7.2$")
        self.write("include/config/kernel.release", "7.20.1\n")
        self.only("^this is Linux 7.20.1;")

    def test_options(self) -> None:
        self.write(".config", CONFIG.replace("CONFIG_RUST=y", "# CONFIG_RUST is not set"))
        self.only("^CONFIG_RUST is off")

    def test_no_series(self) -> None:
        self.write("Module.symvers", "0x0\tnext_dev_pagemaps\tvmlinux\tEXPORT_SYMBOL_GPL\t\n")
        self.only("^the kernel has no dax_register_provider, .*, next_dev_pagemap: build the kernel with the patches")
        (self.tree / "Module.symvers").unlink()
        self.only("^Module.symvers is missing")

    def test_headers_without_rust(self) -> None:
        (self.tree / "rust/libkernel.rmeta").unlink()
        self.only("^rust/ has no libkernel.rmeta: copy the directory rust/")

    def test_compilers(self) -> None:
        self.programs["rustc"] = "rustc 1.85.0 (4d91de4e4 2025-02-17)"
        self.only("^rustc is 1.85.0, and the kernel was built by 1.96.1:")
        self.programs = {**PROGRAMS, "clang": ""}
        self.only("^clang is missing: install 19.1.7, by which the kernel was built$")
        self.programs = {**PROGRAMS, "bindgen": ""}
        self.only("^bindgen is missing")

    def test_a_kernel_of_gcc_needs_no_llvm(self) -> None:
        self.write(".config", CONFIG.replace("CONFIG_CC_IS_CLANG=y", "CONFIG_CC_IS_GCC=y").replace(
            "Debian clang version 19.1.7 (3+b1)", "gcc (Debian 14.2.0-19) 14.2.0"))
        self.programs = {"rustc": PROGRAMS["rustc"], "bindgen": PROGRAMS["bindgen"], "gcc": "gcc (Debian) 14.2.0"}
        self.assertEqual(self.found(), [])


class Series(unittest.TestCase):
    def test_every_weak_symbol_is_asked_for(self) -> None:
        text = (CHECKOUT / "csrc/series.c").read_text()
        weak = re.findall(r"^#pragma weak (\w+)$", text, re.MULTILINE)
        asked = re.search(r"\bneeded\[\] = \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL)
        assert asked
        self.assertEqual([word for word in re.findall(r"\w+", asked[1]) if word in weak], weak)
        self.assertEqual(weak, sorted(set(weak)))
        for other in (*CHECKOUT.glob("csrc/*.c"), *CHECKOUT.glob("rust/*.c")):
            if other.name != "series.c":
                self.assertNotIn("weak", other.read_text(), other.name)


    def test_code_takes_the_address_of_none(self) -> None:
        # arm64 does that by a relocation that it does not know in modules.
        text = (CHECKOUT / "csrc/series.c").read_text()
        weak = re.findall(r"^#pragma weak (\w+)$", text, re.MULTILINE)
        text = re.sub(r"^#pragma[^\n]*$|\bneeded\[\] = \{.*?^\};", "", text, flags=re.MULTILINE | re.DOTALL)
        self.assertEqual(re.findall(rf"(?<!struct )\b(?:{'|'.join(weak)})\b(?!\()", text), [])

    def test_what_the_series_exports_is_weak(self) -> None:
        weak = set(re.findall(r"^#pragma weak (\w+)$", (CHECKOUT / "csrc/series.c").read_text(), re.MULTILINE))
        for series in source.supported():
            exported = {name for patch in kernel.patches(series)
                        for name in re.findall(r"^\+EXPORT_SYMBOL\w*\((\w+)", patch.read_text(), re.MULTILINE)}
            # The rest is for file systems and drivers.
            self.assertEqual(exported - weak, FOR_OTHERS, series)
            self.assertEqual(weak - exported, set(), series)


if __name__ == "__main__":
    unittest.main()
