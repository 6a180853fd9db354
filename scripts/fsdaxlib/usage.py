# SPDX-License-Identifier: GPL-2.0
"""Command lines: what is wrong with one is said in one sentence, with one prefix and one status."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .progress import Misuse


class Parser(argparse.ArgumentParser):
    """Says what is wrong by Misuse, so that main_wrapper() tells it as everything else."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401, those of argparse
        super().__init__(**{"prog": f"scripts/{Path(sys.argv[0]).name}"} | options)

    def error(self, message: str) -> NoReturn:
        """One sentence instead of the usage, which is long."""
        raise Misuse(f"{self.prog}: {message.rstrip('.')}; {self.prog} --help says what there is.")


def at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: an integer from LEAST on."""
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"it must be {least} or more, not {value}")
        return value
    return number


def directory(text: str) -> Path:
    """A type of arguments: a directory that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no directory")
    return path
