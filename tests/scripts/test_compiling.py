# SPDX-License-Identifier: GPL-2.0
"""What the compilers complain of is seen, and each series is tried with a source of its own."""

import importlib.util
import os
import sys
import unittest
from importlib.machinery import SourceFileLoader
from pathlib import Path
from unittest import mock

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

from fsdaxlib import compiling, kernel, source

CLANG = "/src/linux/fs/dax.c:12:3: warning: unused variable 'x' [-Wunused-variable]"
RUSTC = "warning: unused variable: `x`"
RUSTC_ERROR = "error[E0308]: mismatched types"
QUIET = """\
  CC      fs/dax.o
make[1]: warning: -j2 forced in submake: resetting jobserver mode.
  RUSTC [M] src/rust_fsdax_main.o
"""


class Complaints(unittest.TestCase):
    def test_of_each_compiler(self) -> None:
        for line in (CLANG, RUSTC, RUSTC_ERROR):
            self.assertEqual(compiling.complaints(f"{QUIET}{line}\n   --> src/a.rs:1:1\n"), [line])

    def test_none(self) -> None:
        self.assertEqual(compiling.complaints(QUIET), [])


class Patches(unittest.TestCase):
    def compiled(self, kind: str) -> list[str]:
        checked = compiling.Checked.__new__(compiling.Checked)
        checked._origin, checked._kind = mock.Mock(series="7.3"), kind
        names = ["drivers/dax/fsdev.o", "fs/dax.o", "mm/memremap.o"]
        with (mock.patch.object(kernel, "patches"), mock.patch.object(checked, "objects") as objects,
              mock.patch.object(compiling, "touched", return_value=names)):
            checked.patches()
        return list(objects.call_args[0][0])

    def test_what_is_not_built_without_dax_is_left_out(self) -> None:
        self.assertEqual(self.compiled("nodax+check"), ["mm/memremap.o"])
        self.assertEqual(len(self.compiled("check")), 3)


class Matrix(unittest.TestCase):
    def test_a_given_source_is_for_its_own_series(self) -> None:
        loader = SourceFileLoader("matrix", str(_SCRIPTS / "matrix"))
        spec = importlib.util.spec_from_loader("matrix", loader)
        assert spec
        matrix = importlib.util.module_from_spec(spec)
        with mock.patch.object(sys, "dont_write_bytecode", True):
            loader.exec_module(matrix)
        found = source.Source("7.3.9", Path("entry"))
        with mock.patch.dict(os.environ, {source.SOURCE: "x.tar"}), \
                mock.patch.object(source, "chosen", return_value=found):
            self.assertEqual(matrix._environment("7.3")[source.SOURCE], "x.tar")
            self.assertNotIn(source.SOURCE, matrix._environment("7.2"))


if __name__ == "__main__":
    unittest.main()
