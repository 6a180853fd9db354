# SPDX-License-Identifier: GPL-2.0
"""Mistakes are made in code alone, one at a time, and each operator makes those that it is for."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import mutating, rusttext
from fsdaxlib.progress import CHECKOUT

FREE = "src/folio/free.rs"


def fn(body: str, head: str = "fn f()") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{head} {{\n{lines}}}\n"


def changes(body: str, operator: str, *, path: str = "src/x.rs", head: str = "fn f()") -> list[str]:
    found = mutating.mutants(path, fn(body, head))
    return [mutant.change.removeprefix(f"{operator}: ") for mutant in found if mutant.operator == operator]


class Code(unittest.TestCase):

    def test_keeps_length_and_lines(self) -> None:
        for path in mutating.files(CHECKOUT):
            text = (CHECKOUT / path).read_text()
            code = rusttext.code(text)
            self.assertEqual(len(code), len(text), path)
            self.assertEqual([at for at, letter in enumerate(text) if letter == "\n"],
                             [at for at, letter in enumerate(code) if letter == "\n"], path)
            self.assertEqual(code.count("{"), code.count("}"), path)

    def test_has_no_comments_strings_and_characters(self) -> None:
        code = rusttext.code('a(); // b()\n/* c() /* d() */ e() */ f("g() \\" h()", \'i\', \'\\\'\', r#"j(" k"#);\n')
        self.assertEqual("".join(code.split()), "a();f(,,,);")

    def test_has_lifetimes(self) -> None:
        self.assertIn("<'a>", rusttext.code("fn f<'a>(x: &'a u8) {}\n"))

    def test_has_no_uses_and_attributes(self) -> None:
        self.assertEqual(rusttext.code("#[inline(true)]\npub(crate) use a::{b, c};\nx\n").split(), ["x"])

    def test_has_nothing_for_tests_and_reports(self) -> None:
        for gone in ("#[cfg(RUST_FSDAX_KUNIT)]\nif rang { ring(); }",
                     "#[cfg(RUST_FSDAX_KUNIT)]\ncrate::probe::visit();",
                     "#[cfg(CONFIG_FAULT_INJECTION)]\nfn g() { h(true); }"):
            self.assertEqual(rusttext.code(f"{gone}\nx();").split(), ["x();"], gone)
        code = rusttext.code('trace::free(|| a.pfn(), true); warn_on_once!(b == c); pr_warn!("{}", d());\n')
        self.assertEqual("".join(code.split()), "trace::free();warn_on_once!();pr_warn!();")

    def test_functions_by_line(self) -> None:
        names = rusttext.functions("struct A;\nfn f() {\n    g();\n}\n\nfn h() {\n}\n")
        self.assertEqual(names, ["-", "f", "f", "f", "-", "h", "h", "-"])


class Operators(unittest.TestCase):

    def test_wake(self) -> None:
        self.assertEqual(changes("waiters.wake();\nx();", "wake"), ["waiters.wake(); -> nothing"])
        self.assertEqual(changes("sleep::Address::of(p).wake();", "wake"), ["sleep::Address::of(p).wake(); -> nothing"])

    def test_swap_is_of_neighbours_where_order_matters(self) -> None:
        body = "page.retire(mark);\n// Why.\nwaiters.wake();\nunsafe { put(pgmap) };\nif a {\n    b();\n}\n"
        self.assertEqual(changes(body, "swap", path=FREE), [
            "page.retire(mark); waiters.wake(); -> waiters.wake(); page.retire(mark);",
            "waiters.wake(); unsafe { put(pgmap) }; -> unsafe { put(pgmap) }; waiters.wake();"])
        self.assertEqual(changes(body, "swap"), [])

    def test_order(self) -> None:
        self.assertEqual(changes("a.store(x, Release);", "order"),
                         ["a.store(x, Release); -> a.store(x, kernel::sync::atomic::Relaxed);"])
        self.assertEqual(changes("let b = a.load(Acquire) as usize;\nsmp_mb();\na.xchg(x, Full);", "order"), [
            "let b = a.load(Acquire) as usize; -> let b = a.load(kernel::sync::atomic::Relaxed) as usize;",
            "smp_mb(); -> nothing", "a.xchg(x, Full); -> a.xchg(x, kernel::sync::atomic::Relaxed);"])
        self.assertEqual(changes("a.load(Relaxed);", "order"), [])

    def test_mark(self) -> None:
        self.assertEqual(changes("at.marks().clear(Mark::Busy);", "mark"), ["at.marks().clear(Mark::Busy); -> ();"])
        self.assertEqual(changes("a.set(b, |marks| marks.set(Mark::Busy));", "mark"),
                         ["a.set(b, |marks| marks.set(Mark::Busy)); -> a.set(b, |marks| ());"])
        self.assertEqual(changes("a.set(b);", "mark"), [])

    def test_bound(self) -> None:
        self.assertEqual(changes("let a = b <= range.last;", "bound"), [
            "let a = b <= range.last; -> let a = b < range.last;",
            "let a = b <= range.last; -> let a = b <= range.first;"])
        self.assertEqual(changes("let a = b + 1;", "bound"), ["let a = b + 1; -> let a = b;"])
        self.assertEqual(changes("let a: Vec<u8> = b.first();", "bound"), [])

    def test_leak(self) -> None:
        self.assertEqual(changes("drop(lock);", "leak"), ["drop(lock); -> core::mem::forget(lock);"])
        self.assertEqual(changes("unsafe { bindings::rust_fsdax_folio_put(raw) };", "leak"),
                         ["unsafe { bindings::rust_fsdax_folio_put(raw) }; -> unsafe { () };"])

    def test_condition_is_negated_and_loses_parts(self) -> None:
        self.assertEqual(changes("if a && b(c || d) {\n    e();\n}", "condition"), [
            "if a && b(c || d) { -> if true && b(c || d) {", "if a && b(c || d) { -> if !(a && b(c || d)) {",
            "if a && b(c || d) { -> if a && true {"])
        self.assertEqual(changes("let x = a == b;", "condition"), ["let x = a == b; -> let x = a != b;"])
        self.assertEqual(changes("if !unsafe { a(b) } {\n    e();\n}", "condition"),
                         ["if !unsafe { a(b) } { -> if !(!unsafe { a(b) }) {"])
        for not_one in ("if let Some(a) = b {\n}", "if warn_on_once!(a) {\n}", "a.map(|| b);"):
            self.assertEqual(changes(not_one, "condition"), [], not_one)

    def test_condition_of_an_arm(self) -> None:
        self.assertEqual(changes("match a {\n    B if c => d,\n}", "condition"), ["B if c => d, -> B if !(c) => d,"])

    def test_constant(self) -> None:
        self.assertEqual(changes("return Left::Idle;", "constant"), ["return Left::Idle; -> return Left::Busy;"])
        for not_one in ("a == Left::Busy;", "match a {\n    Left::Idle => b,\n}", "trace::a(true);"):
            self.assertEqual(changes(not_one, "constant"), [], not_one)

    def test_assign(self) -> None:
        self.assertEqual(changes("self.scanned += 1;", "assign"), ["self.scanned += 1; -> nothing"])
        self.assertEqual(changes("let a = 1;\nf(|| b = 1);", "assign"), [])

    def test_call(self) -> None:
        self.assertEqual(changes("a(b)?;\nlet c = d();\nunsafe { e() }", "call"),
                         ["a(b)?; -> nothing", "unsafe { e() } -> unsafe { }"])
        self.assertEqual(changes("unsafe { e() };\n1", "call", head="fn f() -> u8"), ["unsafe { e() }; -> unsafe { };"])
        self.assertEqual(changes("a(b)", "call", head="fn f() -> u8"), [])
        self.assertEqual(changes("trace::a(|| b());\ndrop(c);", "call"), [])

    def test_one_change_has_one_operator(self) -> None:
        found = mutating.mutants("src/x.rs", fn("a.wake();\nb.marks().set(Mark::Dirty);\ndrop(c);"))
        self.assertEqual([mutant.operator for mutant in found], ["wake", "mark", "leak"])


class Module(unittest.TestCase):

    def test_each_change_is_one_and_keeps_the_lines(self) -> None:
        texts = {path: (CHECKOUT / path).read_text() for path in mutating.files(CHECKOUT)}
        for mutant in mutating.of_module(CHECKOUT):
            text = texts[mutant.file]
            changed = mutant.applied(text)
            self.assertNotEqual(changed, text, mutant.title)
            self.assertEqual(changed.count("\n"), text.count("\n"), mutant.title)
            self.assertEqual(text[mutant.start:mutant.end], mutant.old, mutant.title)

    def test_all_operators_find_something_and_each_function_is_named(self) -> None:
        found = mutating.of_module(CHECKOUT)
        self.assertEqual({mutant.operator for mutant in found}, set(mutating.OPERATORS))
        self.assertEqual([mutant.title for mutant in found if mutant.function == "-"], [])

    def test_files_without_any_are_there(self) -> None:
        for name in mutating._NOT:
            self.assertTrue((CHECKOUT / name).exists(), name)
            self.assertNotIn(name, mutating.files(CHECKOUT))


if __name__ == "__main__":
    unittest.main()
