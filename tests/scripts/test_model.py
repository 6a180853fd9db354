# SPDX-License-Identifier: GPL-2.0
"""What is kept of the searches of the model."""

import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import cache, model, toolchain

_WORLD = "requests"
_MUTATION = next(one for one in model.MUTATIONS if one.world == _WORLD)


class Programs(unittest.TestCase):
    """The compiled searches in the cache."""

    def setUp(self) -> None:
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.flat = model._Flat(["byte a;"], ["a.pml:1"])
        self.versions = b"gcc 1, spin 1"
        self.tools: list[str] = []
        self.enterContext(mock.patch.object(model, "_versions", self.named))
        self.enterContext(mock.patch.object(cache, "directory", return_value=self.out))
        self.enterContext(mock.patch.object(model, "_tool", self.tool))

    def named(self, *_: object) -> bytes:
        return self.versions

    def tool(self, _root: Path, out: Path, argv: list[str], *_: object) -> str:
        self.tools.append(argv[0])
        if argv[0] == "gcc":
            (out / "pan").write_text(" ".join(argv))
        return ""

    def program(self, mutation: model.Mutation | None = None, *, fair: bool = False, long: bool = False,
                large: bool = False) -> str:
        return model._program(Path("root"), self.out, self.flat, mutation, fair=fair, long=long, large=large).name

    def test_the_same_is_built_once(self) -> None:
        first = self.program()
        self.assertEqual(first, self.program())
        self.assertEqual(self.tools, ["spin", "gcc"])
        self.assertIn("-DSAFETY", (self.out / first / "pan").read_text())

    def test_whatever_goes_in_makes_another_one(self) -> None:
        names = [self.program(), self.program(_MUTATION), self.program(fair=True), self.program(long=True),
                 self.program(large=True)]
        self.flat.lines.append("byte b;")
        names.append(self.program())
        self.versions = b"gcc 1, spin 2"
        names.append(self.program())
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(self.tools, ["spin", "gcc"] * len(names))

    def test_the_largest_are_there(self) -> None:
        names = {*model.worlds(long=True), *(mutation.name for mutation in model.MUTATIONS)}
        self.assertLessEqual(model._LARGE, names)

    def test_the_tools_are_those_of_the_toolchain(self) -> None:
        for name in ("spin", "gcc-14", "binutils"):
            self.assertTrue(re.match(model._TOOLS, name))


class Searches(unittest.TestCase):
    """What a search says is of this run."""

    def test_each_search_runs(self) -> None:
        ran: list[list[str]] = []

        def tool(_root: Path, _out: Path, argv: list[str], *_: object, check: bool = True) -> str:
            self.assertFalse(check)
            ran.append(argv)
            return "depth reached 5, errors: 0\n   7 states, stored\n"

        def program(*_: object, **__: object) -> Path:
            return Path("/kept")

        out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        replaced: dict[str, object] = {"_OUT": out, "_tool": tool, "_program": program}
        for name, value in replaced.items():
            self.enterContext(mock.patch.object(model, name, value))
        self.enterContext(mock.patch.object(toolchain, "ensure", return_value=out))
        for _ in range(2):
            search = model._search(_WORLD, _MUTATION, long=False)
            self.assertEqual((search.states, search.depth, search.errors), (7, 5, []))
        self.assertEqual([argv[0] for argv in ran], ["/kept/pan"] * 2)
        self.assertTrue((out / f"{_WORLD}-{_MUTATION.name}" / "flat.pml").read_text())


if __name__ == "__main__":
    unittest.main()
