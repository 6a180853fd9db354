# SPDX-License-Identifier: GPL-2.0
"""What scripts/clients makes of what its guests print."""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import io
import re
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from typing import BinaryIO
from unittest import mock

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(_SCRIPTS))

from fsdaxlib import clients, guest
from fsdaxlib.clients import Outcome

_loader = importlib.machinery.SourceFileLoader("clients_script", str(_SCRIPTS / "clients"))
_spec = importlib.util.spec_from_loader("clients_script", _loader)
assert _spec
script = importlib.util.module_from_spec(_spec)
sys.dont_write_bytecode, _kept = True, sys.dont_write_bytecode
# A dataclass looks for its module.
sys.modules["clients_script"] = script
_loader.exec_module(script)
sys.dont_write_bytecode = _kept


def guest_script(name: str) -> ModuleType:
    """A script of tests/clients, as a module."""
    spec = importlib.util.spec_from_file_location(f"clients_{name}", clients.SOURCES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # dataclass looks its module up.
    with mock.patch.object(sys, "path", [str(clients.SOURCES), *sys.path]), \
            mock.patch.object(sys, "dont_write_bytecode", True), mock.patch.dict(sys.modules, {spec.name: module}):
        spec.loader.exec_module(module)
    return module


def outcome(client: str, provider: str, operations: int = 5, errors: int = 0, splats: int = 0,
            failures: int = 0, inside: int = 0) -> Outcome:
    return Outcome("xfs", client, provider, operations, errors, splats, failures=failures, inside=inside)


class Lines(unittest.TestCase):
    def test_there_and_back(self) -> None:
        first = Outcome("ext4", "lmdb", "rust", 1000, 2, 0, "two\nlines", 20, 7)
        text = f"lmdb on rust ...\n{clients.line_of(first)}\nsomething else\n"
        self.assertEqual(list(clients.outcomes(text)), [first])

    def test_one_that_was_cut_off(self) -> None:
        text = clients.line_of(outcome("lmdb", "rust"))
        self.assertEqual(list(clients.outcomes(f"{text}\n{text[:40]}")), [outcome("lmdb", "rust")])


    def test_the_last_of_each(self) -> None:
        found = [outcome("lmdb", "stock", failures=1), outcome("lmdb", "rust", failures=1),
                 outcome("lmdb", "stock", failures=2, errors=1), outcome("lmdb, snapshot", "stock", failures=1)]
        self.assertEqual(clients.latest(found), [found[2], found[1], found[3]])


class Boots(unittest.TestCase):
    """Which guests there are."""

    def test_both_in_one(self) -> None:
        for name, wanted in (("run.py", ["lmdb"]), ("power.py", ["lmdb", "libpmemobj"])):
            self.assertEqual(script.boots(name, wanted), [script.Boot(name, wanted)])
        self.assertEqual(script.boots("power.py", []), [])

    def test_those_that_may_hang_end_sooner(self) -> None:
        for provider, limit in ((None, 7200), ("rust", 7200), ("stock", guest.DEFAULT_TIMEOUT_S + 300)):
            args = argparse.Namespace(timeout=7200, power=20)
            self.assertEqual(script.Boot("power.py", ["lmdb"], provider).limit(args), limit)
        self.assertEqual(script.Boot("power.py", ["lmdb"], "stock").limit(argparse.Namespace(timeout=9, power=20)), 9)

    def test_deadly_ones(self) -> None:
        deadly = clients.DEADLY[0]
        boots = script.boots("power.py", ["lmdb", deadly, "libpmemobj"])
        self.assertEqual([(boot.clients, boot.provider, boot.may_die) for boot in boots],
                         [(["lmdb", "libpmemobj"], None, False), ([deadly], "stock", True), ([deadly], "rust", False)])
        self.assertEqual(len({boot.name("xfs") for boot in boots}), 3)
        self.assertEqual(boots[2].name("xfs"), "clients-power-xfs-libpmemobj-snapshot-rust")


class Guest:
    """Stands in for a guest that ends with a status, after it has printed a line and its kernel some more."""

    def __init__(self, said: str, status: int, console: str) -> None:
        self.said, self.status, self.console = said, status, console
        self.allowed: list[bool] = []
        self.tools: Path | None = None

    def run(self, _argv: list[str], console: Path, allow_splat: bool, output: BinaryIO) -> int:
        output.write(f"lmdb on stock ...\n{self.said}\n".encode())
        console.write_text(self.console)
        self.allowed.append(allow_splat)
        return self.status


class Deaths(unittest.TestCase):
    """What is made of a guest that dies."""

    def ends(self, provider: str | None, status: int, console: str = "") -> tuple[list[Outcome], list[str]]:
        vm = Guest(clients.line_of(outcome("lmdb", "stock", failures=7)), status, console)
        args = argparse.Namespace(kernel="plain", timeout=600, seed=1, power=20)
        with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as patched:
            patched.enter_context(contextlib.redirect_stderr(io.StringIO()))
            for what in (mock.patch.object(script, "_RESULTS", Path(place)),
                         mock.patch.object(script, "LOGS", Path(place)),
                         mock.patch.object(script, "shown", str), mock.patch.object(script, "step"),
                         mock.patch.object(script.machine, "prepare", return_value=vm),
                         mock.patch.object(clients, "root"), mock.patch.object(clients, "build")):
                patched.enter_context(what)
            found, wrong = script.run(args, "xfs", script.Boot("power.py", ["lmdb"], provider))
        self.assertEqual(vm.allowed, [provider == "stock"])
        return found, wrong

    def test_of_stock(self) -> None:
        found, wrong = self.ends("stock", guest.STATUS_DIED, "kernel BUG at fs/inode.c:776!\n")
        self.assertEqual([(each.failures, each.splats) for each in found], [(7, 1)])
        self.assertEqual(wrong, [])

    def test_without_a_reason(self) -> None:
        for provider, console in (("stock", ""), ("rust", "kernel BUG at fs/inode.c:776!\n"), (None, "BUG: x\n")):
            found, wrong = self.ends(provider, guest.STATUS_DIED, console)
            self.assertEqual((len(found), len(wrong)), (1, 1), provider)
            self.assertIn(f"ended with status {guest.STATUS_DIED}", wrong[0])

    def test_none(self) -> None:
        for provider in (*clients.PROVIDERS, None):
            self.assertEqual(self.ends(provider, 0)[1], [])


class Problems(unittest.TestCase):
    def said(self, *found: Outcome, client: str = "lmdb") -> list[str]:
        return clients.problems("xfs", [client], found)

    def test_nothing(self) -> None:
        self.assertEqual(self.said(outcome("lmdb", "stock"), outcome("lmdb", "rust")), [])

    def test_errors_of_stock_are_shown_only(self) -> None:
        self.assertEqual(self.said(outcome("lmdb", "stock", errors=3), outcome("lmdb", "rust")), [])

    def test_errors_of_rust(self) -> None:
        said = self.said(outcome("lmdb", "stock", errors=3), outcome("lmdb", "rust", errors=1))
        self.assertEqual([line.split(":")[1] for line in said], [" 1 errors on rust"])

    def test_splats_of_either(self) -> None:
        for splats in ({"stock": 1, "rust": 0}, {"stock": 0, "rust": 1}):
            said = self.said(*(outcome("lmdb", provider, splats=count) for provider, count in splats.items()))
            self.assertEqual(len(said), 1)
            self.assertIn("the kernel complained", said[0])

    def test_splats_that_are_known(self) -> None:
        for provider, splats in (("stock", {"stock": 1, "rust": 0}), ("rust", {"stock": 0, "rust": 1})):
            said = self.said(*(outcome(clients.DEADLY[0], name, splats=count) for name, count in splats.items()),
                             client=clients.DEADLY[0])
            self.assertEqual(len(said), int(provider == "rust"))

    def test_missing(self) -> None:
        self.assertIn("no figure of rust", self.said(outcome("lmdb", "stock"))[0])
        self.assertIn("no figure of stock and rust", self.said()[0])

    def test_nothing_done(self) -> None:
        said = self.said(outcome("lmdb", "stock"), outcome("lmdb", "rust", operations=0))
        self.assertIn("did nothing on rust", said[0])

    def test_defect_that_is_not_seen(self) -> None:
        name = next(iter(clients.KNOWN))
        for errors, blind in ((0, True), (20, False)):
            said = self.said(outcome(name, "stock", errors=errors, failures=20), outcome(name, "rust", failures=20),
                             client=name)
            self.assertEqual(any("blind" in line for line in said), blind)
            self.assertEqual(len(said), int(blind))


class Table(unittest.TestCase):
    def test_a_line_for_each_client(self) -> None:
        lines = clients.table([outcome("lmdb", "stock", 12345), outcome("lmdb", "rust", 6), outcome("loop", "rust", 7)])
        self.assertEqual(lines[2].split(), ["xfs", "lmdb", "12,345", "0", "0", "6", "0", "0"])
        self.assertEqual(lines[3].split(), ["xfs", "loop", "-", "-", "-", "7", "0", "0"])
        self.assertEqual(len({len(line) for line in lines}), 1)

    def test_power_failures(self) -> None:
        lines = clients.table([outcome("lmdb", "stock", failures=20, inside=7, errors=3), outcome("lmdb", "rust")])
        self.assertEqual(lines[2].split()[2:6], ["20", "7", "3", "0"])
        self.assertIn("inside", lines[1])


class Guests(unittest.TestCase):
    """Both sides of the guest have the same names."""

    def test_side_by_side(self) -> None:
        self.assertEqual(tuple(guest_script("run").WORK), clients.CLIENTS)

    def test_power(self) -> None:
        work = guest_script("power").WORK
        self.assertEqual(tuple(work), clients.FAILING)
        self.assertEqual({name for name, what in work.items() if what.data}, set(clients.XFS_ONLY))
        self.assertLessEqual({*clients.KNOWN, *clients.DEADLY}, set(clients.FAILING))

    def test_programs(self) -> None:
        mains = {path.stem for path in clients.SOURCES.glob("*.c")
                 if re.search(r"^int main\(", path.read_text(), re.MULTILINE)}
        self.assertEqual(set(clients._LINKED), mains)


class Splats(unittest.TestCase):
    def test_each_with_what_follows_is_one(self) -> None:
        one = ["WARNING: CPU: 0", "BUG: KASAN: x", *["more"] * 50]
        self.assertEqual(guest.count_splats("\n".join(["booted", *one, *one])), 2)
        self.assertEqual(guest.count_splats("Kernel command line: x WARNING: \nbooted\n"), 0)


if __name__ == "__main__":
    unittest.main()
