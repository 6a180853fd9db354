# SPDX-License-Identifier: GPL-2.0
"""The graph of the module finds who uses whom, arrows that run up, and circles."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import modules

FILES = {"ffi": "pub(crate) mod sleep;\n", "ffi/sleep": "", "folio": "mod free;\npub(crate) use free::free;\n",
         "folio/free": "", "mapping": "", "mapping/walk": ""}


def graph(**texts: str) -> modules.Graph:
    return modules.graph_of(FILES | {name.replace("__", "/"): text for name, text in texts.items()})


class Uses(unittest.TestCase):
    def test_paths_lead_to_files(self) -> None:
        for text, used in (
                ("use crate::ffi::sleep;", {"ffi/sleep"}),
                ("use crate::ffi::PAGE_SHIFT;", {"ffi"}),
                ("use crate::{\n    ffi::{\n        sleep::{\n            self,\n            on, //\n        },\n"
                 "        PAGE_SHIFT, //\n    },\n    folio::Folio, //\n};", {"ffi/sleep", "ffi", "folio"}),
                ("use super::walk;", {"mapping/walk"}), ("use super::*;", {"mapping"}),
                ("fn f() {\n    crate::ffi::sleep::on();\n}", {"ffi/sleep"}),
                ("// use crate::folio;", set()), ("/// [`crate::folio`]", set()),
                ("#[cfg(RUST_FSDAX_KUNIT)]\ncrate::folio::probe();", set()), ("use kernel::prelude::*;", set())):
            with self.subTest(text):
                self.assertEqual(graph(mapping__pages=text).uses["mapping/pages"], used)

    def test_a_floor_names_its_own_files_without_more(self) -> None:
        self.assertEqual(graph(ffi="const A: u32 = sleep::A;\n").uses["ffi"], {"ffi/sleep"})
        self.assertEqual(graph(ffi="const A: u32 = other::sleep::A;\n").uses["ffi"], frozenset())

    def test_above_a_module_in_a_file_is_the_file(self) -> None:
        text = "pub(crate) mod inner {\n    use super::A;\n    use super::super::free::B;\n}\n"
        self.assertEqual(graph(folio__claim=text).uses["folio/claim"], {"folio/free"})

    def test_what_a_floor_gives_is_no_use(self) -> None:
        self.assertEqual(graph().uses["folio"], frozenset())
        self.assertEqual(modules.problems(graph(folio__free="use super::state::Folio;", folio__state="")), [])


class Problems(unittest.TestCase):
    def test_arrows_run_down(self) -> None:
        self.assertEqual(modules.problems(graph(mapping__walk="use crate::folio::Folio;")), [])
        self.assertEqual(modules.problems(graph(folio__free="use crate::mapping::Walk;")),
                         ["src/folio/free.rs: it uses mapping, which is on a higher floor."])

    def test_circles_are_told_once(self) -> None:
        found = graph(mapping__walk="use super::pages::A;", mapping__pages="use super::locked::B;",
                      mapping__locked="use super::walk::C;")
        self.assertEqual(modules.problems(found),
                         ["src/mapping/locked.rs: it uses itself, by mapping/pages, mapping/walk."])

    def test_every_file_has_a_floor(self) -> None:
        self.assertRegex(modules.problems(graph(attic=""))[0], "^src/attic.rs: it is on none of the floors ffi")

    def test_files_and_functions_are_short(self) -> None:
        def function(lines: int) -> str:
            return "    fn f() {\n" + "\n" * (lines - 2) + "    }\n"

        self.assertEqual(modules.problems(graph(mapping__walk=function(60))), [])
        self.assertEqual(modules.problems(graph(mapping__walk="\n" + function(61))),
                         ["src/mapping/walk.rs:2: f() has 61 lines, and may have 60."])
        self.assertRegex(modules.problems(graph(mapping__walk="\n" * 801))[0], "has 801 lines, and may have 800")

    def test_the_module_is_as_it_should_be(self) -> None:
        self.assertEqual(modules.problems(modules.graph()), [])


if __name__ == "__main__":
    unittest.main()
