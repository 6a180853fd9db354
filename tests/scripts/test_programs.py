# SPDX-License-Identifier: GPL-2.0
"""Guest programs are compiled again if what they are made of changes, and no more than that."""

import os
import sys
import tempfile
import unittest
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import programs, sandbox
from fsdaxlib.progress import Fail

_MAIN = "int main(void)\n"
_SOURCES = {"vm/a.c": "", "vm/same.c": "", "vm/one.c": _MAIN, "vm/one.h": "", "vm/x_preload.c": "",
            "fuzz/same.c": "", "fuzz/two.c": _MAIN, "fuzz/two.h": ""}


class Programs(unittest.TestCase):
    """Two directories with a program each, of which the second has the objects of the first."""

    def setUp(self) -> None:
        self.top = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.clock = 1_000
        for name, text in _SOURCES.items():
            self.write(name, text)
        self.broken = ""
        self.compiled: list[str] = []
        self.linked: dict[str, list[str]] = {}
        places = (self.top / "vm", self.top / "fuzz")
        for name, value in {"SOURCES": places[0], "_PLACES": {"amd64": places}, "_OUT": {"amd64": self.top / "bin"},
                            "run_logged": self.run_tool, "_hmm_tests": mock.DEFAULT}.items():
            self.enterContext(mock.patch.object(programs, name, value))
        self.enterContext(mock.patch.object(sandbox, "command", self.command))

    def write(self, name: str, text: str) -> None:
        path = self.top / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.stamp(path)

    def stamp(self, path: Path) -> None:
        """Whatever is written is newer than what there is."""
        now = max(self.clock, Path(programs.__file__).stat().st_mtime) + 1
        self.clock = int(now)
        os.utime(path, (now, now))

    @staticmethod
    def command(_root: Path, argv: Sequence[str], *, cwd: Path, **_: object) -> tuple[Path, list[str]]:
        return cwd, list(argv)

    def run_tool(self, command: tuple[Path, list[str]], *_: object, **__: object) -> None:
        """What gcc would do."""
        cwd, argv = command
        sources = [Path(word) for word in argv if word.endswith(".c")]
        if "-c" in argv:
            for source in sources:
                if source.name == self.broken:
                    raise Fail("no")
                made = cwd / f"{source.stem}.o"
                made.write_text(str(source))
                self.stamp(made)
                self.compiled.append(str(source.relative_to(self.top)))
            return
        made = Path(argv[argv.index("-o") + 1])
        made.write_text("")
        self.stamp(made)
        self.linked[made.stem] = sorted(Path(word).read_text() for word in argv if word.endswith(".o"))

    def build(self) -> tuple[list[str], list[str]]:
        """What is compiled, and what is linked."""
        self.compiled, self.linked = [], {}
        programs.build(self.top, self.top)
        return sorted(self.compiled), sorted(self.linked)

    def test_what_is_there_is_not_made_again(self) -> None:
        whole = sorted(name for name in _SOURCES if name.endswith(".c") and "preload" not in name)
        self.assertEqual(self.build(), (whole, ["one", "two", "x_preload"]))
        self.assertEqual(self.linked["one"], [f"{self.top}/vm/{name}.c" for name in ("a", "one", "same")])
        self.assertEqual(self.linked["two"], sorted(f"{self.top}/{name}.c" for name in (
            "fuzz/same", "fuzz/two", "vm/a", "vm/same")))
        self.assertEqual(self.build(), ([], []))
        self.assertEqual(sorted(path.name for path in (self.top / "bin").iterdir()), ["one", "two", "x_preload"])

    def test_what_has_changed_is_made_again(self) -> None:
        self.build()
        for name, compiled, linked in (("vm/a.c", ["vm/a.c"], ["one", "two"]),
                                       ("vm/one.c", ["vm/one.c"], ["one"]),
                                       ("fuzz/same.c", ["fuzz/same.c"], ["two"]),
                                       ("vm/x_preload.c", [], ["x_preload"]),
                                       ("fuzz/two.h", ["fuzz/same.c", "fuzz/two.c"], ["two"])):
            with self.subTest(name):
                self.write(name, _SOURCES[name])
                self.assertEqual(self.build(), (compiled, linked))
        self.write("vm/one.h", "")
        self.assertEqual(len(self.build()[0]), 5)

    def test_a_program_goes_with_its_source(self) -> None:
        self.build()
        (self.top / "fuzz/two.c").unlink()
        self.build()
        self.assertFalse((self.top / "bin/two").exists())

    def test_what_does_not_compile_is_tried_again(self) -> None:
        self.build()
        self.broken = "a.c"
        self.write("vm/a.c", "")
        for _ in range(2):
            with self.assertRaises(Fail):
                self.build()
            self.assertEqual(self.linked, {})
        self.broken = ""
        self.assertEqual(self.build(), (["vm/a.c"], ["one", "two"]))


if __name__ == "__main__":
    unittest.main()
