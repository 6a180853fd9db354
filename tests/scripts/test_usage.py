# SPDX-License-Identifier: GPL-2.0
"""Wrong use of any script: one sentence, one prefix, one exit status; and what Ctrl-C says."""

import argparse
import contextlib
import errno
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import progress, usage
from fsdaxlib.progress import CHECKOUT, Fail, Misuse

PREFIX = "rust_fsdax: "
SCRIPTS = sorted(path.name for path in (CHECKOUT / "scripts").iterdir()
                 if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python3"))
# Each with words of the sentence that says what is wrong.
WRONG = {
    "bench --only nothing": "No metric is called nothing",
    "arm64 nothing": "There is no suite nothing: it is one of kunit-module, ",
    "bench --fs btrfs": "--fs: invalid choice: 'btrfs'",
    "build": "required: command",
    "build kernel nothing": "a KIND is one of plain, debug",
    "build prune --days -3": "--days: it must be 0 or more, not -3",
    "check nothing": "there is no check nothing",
    "clients --only nothing": "There is no client nothing: it is one of libpmem; ",
    "clients --power -1": "--power: it must be 0 or more, not -1",
    "coverage nothing": "There is no such suite",
    "deb --config README.md": "README.md is no configuration of a kernel",
    "deb --lsmod /x": "--lsmod: /x is no file",
    "deb --lsmod README.md --small": "--lsmod wants the output of lsmod",
    "deb --localversion x": "cannot be a part of a package's name",
    "demo 7": "unrecognized arguments: 7",
    "fsdax-pins --watch never": "--watch: never is not a time",
    "fuzz --programs 0": "--programs: it must be 1 or more, not 0",
    "growth --tib 0": "--tib: it must be 1 or more, not 0",
    "htmldocs 7": "unrecognized arguments: 7",
    "kcsan nothing": "there is no step nothing: it is one of instrumented, planted",
    "matrix --series 6.1": "no series for Linux 6.1 here",
    "model nothing": "no world, mutation or litmus test nothing",
    "model -j 0": "it must be 1 or more, not 0",
    "module-graph --tree /x": "--tree: /x is no directory",
    "mutants --only nowhere": "There is no mutant nowhere",
    "mutants --sample 0": "--sample: it must be 1 or more, not 0",
    "powerfail --ops many": "--ops: 'many' is no number",
    "preflight /x": "/x is no directory",
    "profile": "required: METRIC",
    "replay /x": "/x is no directory",
    "replay --only nothing": "There is no run nothing: it is one of ext4, xfs",
    "rustdoc 7": "unrecognized arguments: 7",
    "series": "required: command",
    "soak --minutes -1": "--minutes: it must be 1 or more, not -1",
    "soak --ops 0": "--ops: it must be 1 or more, not 0",
    "transfers nothing": "No metric is called nothing",
    "transfers --cpus 8 1": "--cpus: 2 to 16, not 1",
    "test nothing": "There is no suite nothing",
    "test --jobs x": "'x' is no number",
    "unsafe-audit --tree /x": "--tree: /x is no directory",
    "unsafe-audit --tree /": "--tree / is no checkout",
    "unsafe-audit --record 'a b'": "--record takes one word",
    "vm": "required: command",
    "vm run /x": "/x is no file below the checkout",
    "vm run --share /x README.md": "--share: /x is no directory",
    "vm run --kernel arm64 --numa README.md": "--kernel arm64 has NVDIMMs of its own",
    "vm run --mem 100 README.md": "--mem 2304 or more",
    "vm run --source /x README.md": "There is no /x: --source wants",
}


def run(command: str) -> subprocess.CompletedProcess[str]:
    """What a command does with an empty cache, in which wrong use leaves nothing."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("SERIES", "KERNEL_SOURCE", "MAKEFLAGS", "MFLAGS")}
    with tempfile.TemporaryDirectory() as cache:
        environment["XDG_CACHE_HOME"] = cache
        done = subprocess.run(command, shell=True, cwd=CHECKOUT, env=environment,  # noqa: S602
                              capture_output=True, text=True, check=False)
        made = [str(path) for path in Path(cache).glob("*/*") if path.name != "locks"]
        assert not made, f"{command}: {made}: {done.stderr}"
        return done


class Wrong(unittest.TestCase):
    def test_each_script_is_tried(self) -> None:
        self.assertEqual({command.split()[0] for command in WRONG}, set(SCRIPTS))

    def test_one_sentence_and_status_2(self) -> None:
        for command, words in WRONG.items():
            with self.subTest(command):
                done = run(f"scripts/{command}")
                self.assertEqual(done.returncode, progress.STATUS_MISUSE, done.stderr)
                # Which kernel is used may be said before.
                said = [line for line in done.stderr.splitlines() if not line.startswith("[00:0")]
                self.assertEqual(len(said), 1, done.stderr)
                self.assertTrue(said[0].startswith(PREFIX), said[0])
                self.assertTrue(said[0].endswith("."), said[0])
                self.assertIn(words, said[0])
                self.assertEqual(done.stdout, "")

    def test_unknown_option(self) -> None:
        for script in SCRIPTS:
            with self.subTest(script):
                done = run(f"scripts/{script} --nothing")
                self.assertEqual(done.returncode, progress.STATUS_MISUSE)
                self.assertTrue(done.stderr.startswith(PREFIX), done.stderr)

    def test_help_is_no_mistake(self) -> None:
        for script in SCRIPTS:
            with self.subTest(script):
                done = run(f"scripts/{script} --help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))


class Make(unittest.TestCase):
    """make itself adds a line and ends with 2 whatever a command says."""

    def said(self, arguments: str) -> str:
        done = run(f"make {arguments}")
        self.assertEqual(done.returncode, progress.STATUS_MISUSE)
        line = done.stderr.splitlines()[0]
        self.assertTrue(line.startswith(PREFIX), line)
        return line

    def test_kernel_that_is_not_there(self) -> None:
        self.assertIn("KDIR=/nonexistent is no configured kernel", self.said("modules KDIR=/nonexistent"))
        self.assertIn("KDIR=/nonexistent", self.said("modules_install KDIR=/nonexistent"))

    def test_nowhere_to_install(self) -> None:
        self.assertIn("INSTALL_MOD_PATH is missing", self.said("modules_install"))


class Types(unittest.TestCase):
    def test_at_least(self) -> None:
        self.assertEqual(usage.at_least(0)("0"), 0)
        for text in ("-1", "1.5", "", "x"):
            with self.assertRaises(argparse.ArgumentTypeError):
                usage.at_least(0)(text)

    def test_directory(self) -> None:
        self.assertEqual(usage.directory("/"), Path("/"))
        with self.assertRaises(argparse.ArgumentTypeError):
            usage.directory("/dev/null")


class Ends(unittest.TestCase):
    """What main_wrapper() makes of how a program ends."""

    def end(self, error: BaseException | None, failure_status: int = 1) -> tuple[object, str]:
        said = io.StringIO()
        with mock.patch("sys.stderr", said), self.assertRaises(SystemExit) as caught:
            progress.main_wrapper(mock.Mock(side_effect=error, return_value=7), failure_status)
        return caught.exception.code, said.getvalue()

    def test_status_of_the_program(self) -> None:
        self.assertEqual(self.end(None), (7, ""))

    def test_failure(self) -> None:
        self.assertEqual(self.end(Fail("No.")), (1, "rust_fsdax: No.\n"))
        self.assertEqual(self.end(Fail("No."), 125), (125, "rust_fsdax: No.\n"))

    def test_misuse_is_the_same_for_all(self) -> None:
        self.assertEqual(self.end(Misuse("No."), 125), (progress.STATUS_MISUSE, "rust_fsdax: No.\n"))

    def test_interrupt_says_that_nothing_is_lost(self) -> None:
        self.assertEqual(self.end(KeyboardInterrupt()),
                         (130, "rust_fsdax: interrupted: the next run goes on where this one ended.\n"))

    def test_a_full_disk_is_one_line(self) -> None:
        status, said = self.end(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "build/x"))
        self.assertEqual((status, said),
                         (1, "rust_fsdax: the disk is full at build/x: make room and run this again.\n"))
        with self.assertRaises(PermissionError):
            self.end(PermissionError(errno.EACCES, "no"))

    def logged(self, said: str, explanation: str | None) -> tuple[str, str]:
        """What a command that fails after it said something raises, and what is printed."""
        with tempfile.TemporaryDirectory() as place, mock.patch("sys.stderr", io.StringIO()) as printed:
            with self.assertRaises(Fail) as caught:
                progress.run_logged(["sh", "-c", f"echo {said}; exit 3"], Path(place) / "log", "do it", quiet=True,
                                    explain=lambda _: explanation)
            return str(caught.exception), printed.getvalue()

    def test_what_is_explained_is_one_sentence(self) -> None:
        self.assertEqual(self.logged("a b", "Mend it."), ("Mend it.", ""))

    def test_what_is_not_explained_is_shown(self) -> None:
        sentence, printed = self.logged("a b", None)
        self.assertRegex(sentence, r"^Could not do it \(status 3\): read .*log\.$")
        self.assertEqual(printed, "    a b\n")

    def test_a_full_disk_comes_before_other_reasons(self) -> None:
        self.assertEqual(self.logged("x: No space left on device", "Mend it."),
                         ("Could not do it, since the disk is full: make room and run this again.", ""))

    def test_bugs_are_seen(self) -> None:
        with self.assertRaises(ZeroDivisionError), contextlib.redirect_stderr(io.StringIO()):
            progress.main_wrapper(mock.Mock(side_effect=ZeroDivisionError))


if __name__ == "__main__":
    unittest.main()
