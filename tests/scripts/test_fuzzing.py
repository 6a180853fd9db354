# SPDX-License-Identifier: GPL-2.0
"""The programs of the fuzzer: format, generator, reducer, C."""

import re
import sys
import unittest
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import fuzzing
from fsdaxlib.fuzzing import COORDINATOR, Line, Program
from fsdaxlib.progress import CHECKOUT, Fail

_PROGRAM = """\
# seed 7
0 map 0 2 0 16 0

- TOGETHER
0 store 0 3 0 8 1
1 punch 2 3 0 8
- JOIN
"""


class Format(unittest.TestCase):
    def test_a_program_is_read_and_written(self) -> None:
        program = fuzzing.parse(_PROGRAM)
        self.assertEqual(program[0], Line(0, "map", (0, 2, 0, 16, 0)))
        self.assertEqual(program[1], Line(COORDINATOR, "TOGETHER"))
        self.assertEqual(fuzzing.text_of(program, ["seed 7"]), _PROGRAM.replace("\n\n", "\n"))

    def test_what_is_wrong_is_said(self) -> None:
        for text, said in (("0 mop 0", "operations"), ("0", "operations"), ("0 punch 1 2", "4 arguments"),
                           ("- punch 0 0 0 8", "begins with"), ("0 JOIN", "begins with"), ("3 fsync 0", "begins with"),
                           ("0 fsync x", "numbers"), ("0 fsync 4", "4 is not from 0 to 3"),
                           ("0 allocate 0 0 0", "0 is not from 1")):
            with self.subTest(text), self.assertRaisesRegex(Fail, said):
                fuzzing.parse(text)
        with self.assertRaisesRegex(Fail, "may have 400"):
            fuzzing.parse("0 fsync 0\n" * 401)

    def test_the_guest_has_the_same_limits(self) -> None:
        names = {"SLOTS": 6, "FILES": 4, "MAX_PAGES": 1088, "IN_PAGE": 8, "MAX_SECTORS": 1088 * 8, "KINDS": 5,
                 "PIPES": 4, "PROCESSES": 3, "MAX_VALUE": 1 << 24}
        text = (CHECKOUT / "tests/fuzz/fuzz.c").read_text()
        found = re.findall(r"\{ '(\w)', (\d), (\w+)(?: \+ (1))? \}", text)
        for kind, least, end, more in found:
            with self.subTest(kind):
                value = (int(end) if end.isdigit() else names[end]) + (1 if more else 0)
                self.assertEqual(fuzzing._LIMITS[kind], (int(least), value))
        self.assertEqual({kind for kind, *_ in found}, set(fuzzing._LIMITS))

    def test_each_operation_has_its_code(self) -> None:
        ops = (CHECKOUT / "tests/fuzz/ops.c").read_text()
        calls = fuzzing.CALLS.read_text()
        self.assertGreater(len(fuzzing.table()), 40)
        for op in fuzzing.table().values():
            with self.subTest(op.name):
                self.assertIn(f"op_{op.name}(const long *a)" if not op.coordinators else f"op_{op.name}\t", ops)
                self.assertLessEqual(set(op.kinds), set(fuzzing._LIMITS))
                if not op.coordinators and op.name not in ("interrupt", "look_inside", "reopen", "unbind"):
                    self.assertIn(f"long do_{op.name}(", calls)


class Generating(unittest.TestCase):
    def test_a_seed_is_a_program_that_can_be_read(self) -> None:
        for seed in range(50):
            for fs in ("ext4", "xfs"):
                program = fuzzing.generate(seed, fs)
                self.assertEqual(program, fuzzing.generate(seed, fs))
                self.assertEqual(program, fuzzing.parse(fuzzing.text_of(program)))
                self.assertNotEqual(program, fuzzing.generate(seed + 1, fs))

    def test_every_operation_comes_where_it_can(self) -> None:
        for fs in ("ext4", "xfs"):
            found = {line.op for seed in range(1000) for line in fuzzing.generate(seed, fs)}
            self.assertEqual(found, {op.name for op in fuzzing.table().values() if fs == "xfs" or not op.xfs})

    def test_each_value_is_stored_by_one_line(self) -> None:
        program = fuzzing.generate(3, "xfs")
        for tried in (program, fuzzing.mutate(program, fuzzing.generate(4, "xfs"), 5, "xfs")):
            values = [line.args[place] for line in tried
                      for place, kind in enumerate(fuzzing.table()[line.op].kinds) if kind == "v"]
            self.assertEqual(values, list(range(1, len(values) + 1)))

    def test_a_mutation_is_a_program(self) -> None:
        programs = [fuzzing.generate(seed, "xfs") for seed in range(20)]
        for seed, program in enumerate(programs):
            changed = fuzzing.mutate(program, programs[0], seed, "xfs")
            self.assertEqual(changed, fuzzing.mutate(program, programs[0], seed, "xfs"))
            fuzzing.parse(fuzzing.text_of(changed))


class Reducing(unittest.TestCase):
    def setUp(self) -> None:
        self.tries = 0

    def fails(self, *wanted: str) -> Callable[[Program], bool]:
        def test(program: Program) -> bool:
            self.tries += 1
            names = [line.op for line in program]
            place = 0
            for name in wanted:
                if name not in names[place:]:
                    return False
                place = names.index(name, place) + 1
            return True
        return test

    def test_what_is_not_needed_goes(self) -> None:
        program = [*fuzzing.generate(1, "ext4")[:30], Line(0, "freeze"), *fuzzing.generate(2, "ext4")[:20],
                   Line(1, "shut_down", (0,)), Line(0, "fsync", (1,))]
        left = fuzzing.ddmin(program, self.fails("freeze", "shut_down"))
        self.assertEqual([line.op for line in left], ["freeze", "shut_down"])
        self.assertLess(self.tries, 120)

    def test_one_line_is_enough(self) -> None:
        self.assertEqual([line.op for line in fuzzing.ddmin(fuzzing.generate(1, "ext4"), self.fails("map"))], ["map"])

    def test_all_lines_are_needed(self) -> None:
        program = fuzzing.parse("0 map 0 2 0 16 0\n0 store 0 3 0 8 1\n0 fsync 2\n")
        self.assertEqual(fuzzing.ddmin(program, lambda tried: len(tried) == 3), program)

    def test_arguments_become_simple(self) -> None:
        program = fuzzing.parse("2 map 0 2 0 512 3\n2 punch 2 3 0 80\n")
        simple = fuzzing.simplify(program, lambda tried: tried[1].args[3] == 80)
        self.assertEqual(fuzzing.text_of(simple), "0 map 0 2 0 512 3\n0 punch 2 3 0 80\n")


class InC(unittest.TestCase):
    def test_a_program_has_what_it_calls_and_no_more(self) -> None:
        text = fuzzing.to_c(fuzzing.parse("0 map 0 2 0 16 0\n1 direct_read 0 3 1 4\n"), "data: line 2: wrong")
        for name in ("find_room", "do_map", "do_direct_read", "fill_scratch", "put_stamp", "main"):
            self.assertRegex(text, rf"(?m)^(static )?[\w ]*\*?{name}\(")
        for name in ("do_punch", "submit_read", "do_load"):
            self.assertNotIn(name, text)
        self.assertEqual(text.count("{"), text.count("}"))

    def test_processes_take_turns(self) -> None:
        program = fuzzing.parse("0 fsync 0\n1 fsync 1\n- TOGETHER\n0 fsync 2\n1 fsync 3\n- JOIN\n2 fsync 0\n")
        text = fuzzing.to_c(program, "hang: it does not end")
        turns = re.findall(r"at\((\d)\);\n\tdone\(do_fsync\((\d)\)\)", text)
        self.assertEqual(turns, [("0", "0"), ("2", "2"), ("1", "1"), ("2", "3"), ("4", "0")])

    def test_a_fork_begins_a_process_anew(self) -> None:
        text = fuzzing.to_c(fuzzing.parse("1 fsync 1\n- FORK 0 1\n1 fsync 2\n"), "hang: it does not end")
        self.assertRegex(text, r"at\(1\);\n\tif \(!fork\(\)\) \{\n\t\tprocess1_1\(\);")
        self.assertRegex(text, r"void process1\(void\)\n\{\n\tat\(0\);\n\tdone\(do_fsync\(1\)\);\n\}")
        self.assertRegex(text, r"void process1_1\(void\)\n\{\n\tat\(2\);\n\tdone\(do_fsync\(2\)\);\n\}")

    def test_it_looks_at_what_was_wrong(self) -> None:
        program = fuzzing.parse("0 map 0 2 0 16 0\n0 store 0 3 0 8 7\n")
        text = fuzzing.to_c(program, "data: line 2: process 0 mapping 0 page 3 sector 1 is 0, not 0xf00000010000007")
        self.assertRegex(text, r"at\(2\);\n\tprintf\(.*\n?.*slot\[0\]\.addr \+ 3 \* PAGE \+ 1 \* SECTOR")
        self.assertIn("STAMP(7))", text)
        text = fuzzing.to_c(program, "data: line 2: file 2 page 5 sector 1 by read is 0x7, not 0")
        self.assertRegex(text, r"pread\(fd\[2\], &word, sizeof\(word\), 5 \* PAGE \+ 1 \* SECTOR\)(.|\n)*0ul\)")


if __name__ == "__main__":
    unittest.main()
