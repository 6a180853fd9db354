# SPDX-License-Identifier: GPL-2.0
"""What scripts/demo makes of the figures of a guest in which the power fails."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

from fsdaxlib import clients

_loader = importlib.machinery.SourceFileLoader("demo_script", str(_SCRIPTS / "demo"))
_spec = importlib.util.spec_from_loader("demo_script", _loader)
assert _spec
demo = importlib.util.module_from_spec(_spec)
sys.dont_write_bytecode, _kept = True, sys.dont_write_bytecode
# A dataclass looks for its module.
sys.modules["demo_script"] = demo
_loader.exec_module(demo)
sys.dont_write_bytecode = _kept

_TIMES = demo.POWER_FAILURES


def outcome(provider: str, errors: int, failures: int = _TIMES) -> str:
    return clients.line_of(clients.Outcome("ext4", "lmdb, map grows", provider, 960, errors, 0, "", failures))


class Databases(unittest.TestCase):
    def row(self, *lines: str) -> Any:
        """The row that is made of these lines of a guest, and how it was started."""
        child = mock.MagicMock(returncode=0)
        child.__enter__.return_value = child
        child.stdout = iter([f"{line}\n" for line in lines])
        with tempfile.TemporaryDirectory() as place, mock.patch.object(demo, "LOGS", Path(place)), \
                mock.patch.object(demo, "_CONSOLE", Path(place, "console")), \
                mock.patch.object(demo.subprocess, "Popen", return_value=child) as started, \
                contextlib.redirect_stderr(io.StringIO()) as self.said:
            found = demo.database_row("ext4")
        self.command = list(map(str, started.call_args.args[0]))
        return found

    def test_what_each_kept(self) -> None:
        row = self.row("lmdb, map grows on stock ...", outcome("stock", _TIMES), outcome("rust", 0))
        self.assertEqual((row.stock, row.rust, row.ok), (f"0 of {_TIMES}", f"{_TIMES} of {_TIMES}", True))
        self.assertNotIn("CLIENT", self.said.getvalue())

    def test_one_that_was_lost(self) -> None:
        row = self.row(outcome("stock", _TIMES), outcome("rust", 1))
        self.assertEqual((row.rust, row.ok), (f"{_TIMES - 1} of {_TIMES}", False))

    def test_a_guest_that_ends_too_soon(self) -> None:
        self.assertFalse(self.row(outcome("stock", 1, 1), outcome("rust", 0, 1)).ok)
        row = self.row(outcome("rust", 0))
        self.assertEqual((row.stock, row.ok), (None, False))

    def test_a_client_that_there_is(self) -> None:
        self.row()
        self.assertIn(self.command[-1], clients.FAILING)
        self.assertIn("--medium", self.command)


if __name__ == "__main__":
    unittest.main()
