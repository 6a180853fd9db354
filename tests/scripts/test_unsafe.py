# SPDX-License-Identifier: GPL-2.0
"""The audit of unsafe code finds all of it, and what is missing."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import unsafe
from fsdaxlib.progress import CHECKOUT, Fail

RULES = "//! Rules: R1, R3.\n"
TREND = """\
Text.

====  ====
this  that
====  ====
a     b
====  ====

====================  ==========  ==========
file                  2026-01-01  2026-02-01
====================  ==========  ==========
src/gone.rs           3/10        \\-
src/here.rs           2/10        1/10
all                   5/20        1/10
====================  ==========  ==========

More.
"""


def audited(text: str, rules: str = RULES) -> unsafe.File:
    return unsafe.audit_text("src/here.rs", rules + text, ["R1", "R2", "R3"])


def uses(text: str) -> list[tuple[int, str, str | None]]:
    return [(use.line - 1, use.kind, use.safety) for use in audited(text).uses]


class Words(unittest.TestCase):
    def test_strings_comments_and_characters_hold_no_code(self) -> None:
        for text in ('"unsafe { \\" unsafe {"', 'r#"a " unsafe {"#', 'br"unsafe {"', 'c"unsafe {"',
                     "// unsafe {", "/* a /* b */ unsafe { */", "/// unsafe {", "r#unsafe",
                     "unsafely", "'\"'; b'\"'; '\\''"):
            with self.subTest(text):
                self.assertEqual(uses(f"fn f() {{\n{text}\n}}\n"), [])

    def test_what_is_behind_them_is_code(self) -> None:
        for text in ('"\\\\"', "'\"'", "'{'", "b'\\''", "'a: loop {}", "&'a T", "r\"\\\"", "0..1",
                     "'\\u{7b}'", "/* { */", "\"{\""):
            with self.subTest(text):
                self.assertEqual(uses(f"{text}; // SAFETY: x\nunsafe {{}}\n"), [(2, "block", "x")])

    def test_lines_count_in_strings_and_comments(self) -> None:
        text = '"a\n b";\nr"\n";\n/*\n*/\n// SAFETY: x\nunsafe {}\n'
        self.assertEqual(uses(text), [(8, "block", "x")])

    def test_what_does_not_end_is_said(self) -> None:
        for text in ("/* a", 'r#"a"', '"a', "unsafe { {}"):
            with self.subTest(text), self.assertRaisesRegex(Fail, r"src/here\.rs:2: "):
                audited(text)


class Kinds(unittest.TestCase):
    def test_each_kind_is_told(self) -> None:
        for text, kind in (("unsafe { f() }", "block"), ("unsafe impl Send for A {}", "impl"),
                           ("unsafe extern \"C\" { fn f(); }", "extern"),
                           ("unsafe(uninit) static A: B;", "attribute"),
                           ("unsafe impl<T> Send for A<T> {}", "impl")):
            with self.subTest(text):
                self.assertEqual(uses(f"// SAFETY: x\n{text}\n"), [(2, kind, "x")])
        for text, kind in (("unsafe fn f() {}", "fn"), ("pub(crate) const unsafe fn f();", "fn"),
                           ("#[no_mangle]\npub unsafe extern \"C\" fn f<T>() {}", "fn"),
                           ("unsafe trait A {}", "trait")):
            with self.subTest(text):
                self.assertEqual([use[1:] for use in uses(f"/// # Safety\n///\n/// x\n{text}\n")],
                                 [(kind, "x")])

    def test_type_of_a_function_is_no_use(self) -> None:
        self.assertEqual(uses('type A = unsafe fn(u8);\ntype B = unsafe extern "C" fn();\n'), [])

    def test_unknown_use_is_a_problem(self) -> None:
        self.assertEqual(audited("unsafe static A;\n").problems,
                         ["src/here.rs:2: The audit does not know this use of unsafe."])


class Texts(unittest.TestCase):
    def test_missing_comment_is_a_problem(self) -> None:
        for text in ("fn f() {\n    unsafe {}\n}\n",
                     "fn f() {\n    // why\n    unsafe {}\n}\n",
                     "// SAFETY: of f\nfn f() {\n    unsafe {}\n}\n",
                     "// SAFETY: of a\na();\nunsafe {}\n",
                     "// SAFETY: of the first\nunsafe {}\nunsafe {}\n",
                     "f(/* SAFETY: x */ 1);\n\nunsafe {}\n",
                     "// SAFETY:\nunsafe {}\n",
                     "/// SAFETY: no comment\nunsafe {}\n"):
            with self.subTest(text):
                problems = audited(text).problems
                self.assertEqual(len(problems), 1)
                self.assertRegex(problems[0], r'^src/here\.rs:\d+: The unsafe block has no comment '
                                              r'"SAFETY:"\.$')

    def test_missing_section_is_a_problem(self) -> None:
        for text in ("unsafe fn f() {}\n", "/// Does it.\nunsafe fn f() {}\n",
                     "// SAFETY: x\nunsafe fn f() {}\n", "/// # Safety\nunsafe fn f() {}\n",
                     "/// # Safety\n///\n/// x\nfn g() {}\nunsafe fn f() {}\n"):
            with self.subTest(text):
                self.assertRegex(audited(text).problems[0], 'unsafe fn has no section "# Safety"')

    def test_comment_of_the_statement_field_or_arm_is_found(self) -> None:
        for text in ("// SAFETY: x\nlet a =\n    f(b, [unsafe {}]);\n",
                     "A {\n    b: 1,\n    // SAFETY: x\n    c: unsafe {},\n}\n",
                     "match a {\n    B => f(1),\n    // SAFETY: x\n    C => unsafe {},\n}\n",
                     "f(\n    1,\n    // SAFETY: x\n    unsafe {},\n)\n",
                     "// SAFETY: x\nlet a = |b, c| unsafe {};\n",
                     "// SAFETY: x\n#[a(b)]\nunsafe {}\n",
                     "/* SAFETY: x */\nunsafe {}\n"):
            with self.subTest(text):
                self.assertEqual([use[2] for use in uses(text)], ["x"])

    def test_comment_of_another_arm_or_field_is_not(self) -> None:
        for text in ("match a {\n    // SAFETY: x\n    B => f(1),\n    C => unsafe {},\n}\n",
                     "A {\n    // SAFETY: x\n    b: f(1),\n    c: unsafe {},\n}\n"):
            with self.subTest(text):
                self.assertEqual([use[2] for use in uses(text)], [None])

    def test_text_ends_where_another_begins(self) -> None:
        for text in ("// Why.\n// SAFETY: a\n// b.\n// INVARIANT: c\nunsafe {}\n",
                     "// INVARIANT: c\n// SAFETY: a\n// b.\nunsafe {}\n",
                     "// SAFETY: old\n\n// SAFETY: a\n// b.\nunsafe {}\n"):
            with self.subTest(text):
                self.assertEqual([use[2] for use in uses(text)], ["a b."])
        text = "/// # Errors\n///\n/// e\n///\n/// # Safety\n///\n/// a\n/// b.\n///\n/// # C\nunsafe fn f();\n"
        self.assertEqual([use[2] for use in uses(text)], ["a b."])

    def test_unsafe_lines_are_counted_once(self) -> None:
        text = ("// SAFETY: x\nunsafe {\n    // SAFETY: x\n    unsafe { f() };\n}\n"
                "// SAFETY: x\nunsafe {}\n")
        self.assertEqual((audited(text).unsafe_lines, audited(text).lines), (5, 8))


class Rules(unittest.TestCase):
    def test_rules_are_those_of_the_file_or_of_the_text(self) -> None:
        file = audited("// SAFETY: x\nunsafe {}\n// SAFETY: By R2.\nunsafe {}\n")
        self.assertEqual([use.rules for use in file.uses], [("R1", "R3"), ("R2",)])
        self.assertEqual(file.problems, [])

    def test_rules_are_required_where_there_is_unsafe_code(self) -> None:
        self.assertEqual(audited("// SAFETY: x\nunsafe {}\n", "//! Text.\n").problems,
                         ['src/here.rs:3: A file with unsafe code needs a line "//! Rules: R2, R3."'])
        self.assertEqual(audited("fn f() {}\n", "//! Text.\n").problems, [])

    def test_none_needs_a_reason(self) -> None:
        self.assertEqual(audited("", "//! Rules: none, tests.\n").problems, [])
        for line in ("none.", "none, .", "R1 R2.", "R1", "all."):
            with self.subTest(line):
                self.assertRegex(audited("", f"//! Rules: {line}\n").problems[0], "of the form")

    def test_unknown_rules_are_refused(self) -> None:
        self.assertRegex(audited("", "//! Rules: R1, R9.\n").problems[0], "here.rs:1: .* no rule R9")
        self.assertRegex(audited("// SAFETY: R9.\nunsafe {}\n").problems[0], "here.rs:3: .* no rule R9")


class Facts(unittest.TestCase):
    def test_a_text_without_a_fact_is_refused(self) -> None:
        for text in ("As above.", "As above; it stays.", "Any context.", "By the requirement of this function.",
                     "By the requirements of this function, all of them.", "As [`count`]."):
            with self.subTest(text):
                self.assertEqual(audited(f"// SAFETY: {text}\nunsafe {{}}\n").problems,
                                 ['src/here.rs:3: The comment "SAFETY:" names no fact.'])
        for text in ("By the type invariant it stays.", "The caller keeps it, as above."):
            with self.subTest(text):
                self.assertEqual(audited(f"// SAFETY: {text}\nunsafe {{}}\n").problems, [])

    def test_a_promise_is_not_who_calls(self) -> None:
        for text in ("Called through the table.", "Called once, before the rest.", "Only called by C.", "None.",
                     "The caller evicts `inode`."):
            with self.subTest(text):
                self.assertRegex(audited(f"/// # Safety\n///\n/// {text}\nunsafe fn f() {{}}\n").problems[0],
                                 "who calls")
        self.assertEqual(audited("/// # Safety\n///\n/// `p` is valid.\nunsafe fn f() {}\n").problems, [])

    def test_what_is_done_has_no_unsafe_code(self) -> None:
        for path in ("src/fsdax.rs", "src/fsdax/fault.rs", "src/mapping/entry.rs", "src/pgmap/order.rs"):
            with self.subTest(path):
                text = f"{RULES}use crate::ffi::bindings;\n// SAFETY: x\nunsafe {{}}\n"
                self.assertEqual(unsafe.audit_text(path, text, ["R1", "R3"]).problems,
                                 [f"{path}:2: This file may not name bindings.",
                                  f"{path}:4: This file may not name unsafe."])


class Trend(unittest.TestCase):
    def file(self, path: str, lines: int) -> unsafe.File:
        return unsafe.File(path, 20, lines)

    def test_increase_over_the_last_column_is_told(self) -> None:
        files = [self.file("src/here.rs", 2), self.file("src/gone.rs", 1), self.file("src/x.rs", 0)]
        self.assertEqual(unsafe.increases(files, TREND), [
            "src/here.rs has 2 unsafe lines, and had 1: see Documentation/unsafe.rst.",
            "src/gone.rs has 1 unsafe lines, and had 0: see Documentation/unsafe.rst."])
        self.assertEqual(unsafe.increases([self.file("src/here.rs", 1)], TREND), [])

    def test_column_is_added_and_renewed(self) -> None:
        files = [self.file("src/here.rs", 4), self.file("src/new.rs", 1), self.file("src/x.rs", 0)]
        for name, row in (("2026-03-01", ["2/10", "1/10", "4/20"]), ("2026-02-01", ["2/10", "4/20"])):
            with self.subTest(name):
                text = unsafe.with_column(files, TREND, name)
                names, rows = unsafe._read_trend(text)
                self.assertEqual(names[-1], name)
                self.assertEqual(rows["src/here.rs"], row)
                self.assertEqual(rows["src/new.rs"][-2:], ["\\-", "1/20"])
                self.assertEqual(rows["all"][-1], "5/60")
                self.assertNotIn("src/x.rs", rows)
                self.assertEqual(unsafe.increases(files, text), [])
                self.assertTrue(text.startswith("Text.\n\n===") and text.endswith("===\n\nMore.\n"))

    def test_document_without_a_table_is_refused(self) -> None:
        with self.assertRaisesRegex(Fail, "no table"):
            unsafe.increases([], "Text.\n")

    def test_the_committed_table_can_be_read(self) -> None:
        names, rows = unsafe._read_trend((CHECKOUT / unsafe.TREND).read_text())
        self.assertTrue(names)
        self.assertTrue(all(len(cells) == len(names) for cells in rows.values()))


if __name__ == "__main__":
    unittest.main()
