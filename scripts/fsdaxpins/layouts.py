# SPDX-License-Identifier: GPL-2.0
"""The file of the module that is loaded: its debugging information has the layouts of this kernel."""

from __future__ import annotations

import gzip
import importlib
import lzma
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .machine import MODULE, Machine

_NOTE = struct.Struct("=3I")  # lengths of name and content, type
_BY_OPTION = "name it by --module"


class Missing(Exception):
    """There is no such file; its text is a sentence that says what to do."""


def build_id(machine: Machine) -> str:
    """The build ID of the module that is loaded, as hexadecimal digits."""
    place = machine.sys / "module" / MODULE / "notes/.note.gnu.build-id"
    try:
        note = place.read_bytes()
        name, content, _ = _NOTE.unpack_from(note)
    except (OSError, struct.error):
        raise Missing(f"{machine.name(str(place))} does not tell which file the module is of") from None
    start = _NOTE.size + (name + 3) // 4 * 4
    return note[start:start + content].hex()


def installed(machine: Machine) -> Path:
    """The file that modprobe loads."""
    try:
        release = (machine.proc / "sys/kernel/osrelease").read_text().strip()
        top = Path(machine.place(f"/lib/modules/{release}"))
        lines = (top / "modules.dep").read_text().splitlines()
    except OSError as error:
        raise Missing(f"{machine.name(error.filename)} cannot be read, which tells where {MODULE}.ko is: "
                      f"{_BY_OPTION}") from None
    for line in lines:
        path = line.partition(":")[0]
        if path.rpartition("/")[2].startswith(f"{MODULE}.ko"):
            return top / path
    raise Missing(f"{machine.name(str(top))} has no {MODULE}.ko: {_BY_OPTION}")


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """The file, or a copy that is not compressed."""
    if file.suffix == ".ko":
        yield file
        return
    with tempfile.NamedTemporaryFile(suffix=".ko") as copy:
        try:
            with _opener(file)(file) as packed:
                shutil.copyfileobj(packed, copy)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise Missing(f"{file} cannot be read: {error}") from None
        copy.flush()
        yield Path(copy.name)


def _opener(file: Path) -> Callable[[Path], Any]:
    if file.suffix == ".zst":
        try:
            return importlib.import_module("compression.zstd").open  # type: ignore[no-any-return]
        except ImportError:
            raise Missing(f"Python before 3.14 cannot unpack {file}: do it by zstd -d, and {_BY_OPTION}") from None
    openers: dict[str, Callable[[Path], Any]] = {".xz": lzma.open, ".gz": gzip.open}
    return openers.get(file.suffix, lambda path: path.open("rb"))
