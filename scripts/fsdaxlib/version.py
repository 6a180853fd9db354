# SPDX-License-Identifier: GPL-2.0
"""The version, which dkms.conf says: dkms wants it there, and Kbuild and these scripts read it."""

import argparse
import re

from .progress import CHECKOUT, Fail

_FILE = CHECKOUT / "dkms.conf"


def version() -> str:
    """Such as 0.2."""
    found = re.search(r'^PACKAGE_VERSION="([^"]+)"$', _FILE.read_text(), re.MULTILINE)
    if not found:
        raise Fail(f"{_FILE.name} has no line PACKAGE_VERSION=\"...\".")
    return found[1]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add --version to a program."""
    parser.add_argument("--version", action="version", version=f"rust_fsdax {version()}")
