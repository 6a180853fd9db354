# SPDX-License-Identifier: GPL-2.0
"""Drivers that could request their folios by offset: patches/drivers, which no kernel of ours has."""

import re
import shutil
import tempfile
from pathlib import Path

from . import compiling, kernel, source, toolchain
from .fixes import subject
from .progress import BUILD, LOGS
from .sandbox import Bind

_NUMBER = re.compile(r"^Subject: \[PATCH (\d+)/(\d+)\] ", re.MULTILINE)
_CHANGED = re.compile(r"^\+\+\+ b/(\S+)$", re.MULTILINE)
_LINE = re.compile(r"^([-+])(?![-+]{2} )(.*)$", re.MULTILINE)
_CALL = re.compile(r"\b(?:zone_device_(?:page|folio)_init|set_page_count)\(")
# kbuild finds the files of amdkfd by the Makefile of amdgpu.
_AMDKFD, _BY_AMDGPU = "drivers/gpu/drm/amd/amdkfd/", "drivers/gpu/drm/amd/amdgpu/../amdkfd/"


def patches(series: str) -> list[Path]:
    """The patches that go onto a series, in order: its own, or those for the newest, if it has none."""
    for name in (series, source.supported()[0]):
        if found := sorted((source.PATCHES / f"drivers/linux-{name}").glob("*.patch")):
            return [path for path in found if not path.name.startswith("0000-")]
    return []


def objects(found: list[Path]) -> list[str]:
    """What has to be compiled to see whether patches compile, as make calls it."""
    return [name.replace(_AMDKFD, _BY_AMDGPU) for name in compiling.touched(found)]


def problems(text: str, number: int, count: int) -> list[str]:
    """What is wrong with a patch, by its text."""
    found = []
    message, _, diff = text.partition("\ndiff --git ")
    match = _NUMBER.search(message)
    if not match or (int(match[1]), int(match[2])) != (number, count):
        found.append(f"it is not number {number} of {count}")
    if re.search(r"^Signed-off-by:", message, re.MULTILINE):
        found.append("it has a Signed-off-by, which is for the submitter to add")
    lines = _LINE.findall(diff)
    if any(sign == "+" and _CALL.search(line) for sign, line in lines):
        found.append("it makes a folio of a page by hand")
    # What is for mm/ serves a driver that comes later.
    if not subject(text).startswith("mm/") and not _converts(lines):
        found.append("it turns no call into a pgmap_request_folio()")
    return found


def _converts(lines: list[tuple[str, str]]) -> bool:
    return (any(sign == "-" and _CALL.search(line) for sign, line in lines)
            and any(sign == "+" and "pgmap_request_folio(" in line for sign, line in lines))


def overlay(origin: source.Source, tree: Path, place: Path) -> list[Bind]:
    """Put what the patches change of a source with its series into PLACE, patched; return what shows it there.

    Fail if they do not apply.
    """
    found, root = patches(origin.series), toolchain.ensure()
    names = sorted({name for path in found for name in _CHANGED.findall(path.read_text())})
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / name, place / name)
    for path in found:
        kernel.apply(root, place, path, origin.release)
    return [Bind(place / name, kernel.SOURCE_INSIDE / name) for name in names]


def apply(origin: source.Source) -> None:
    """Fail if the patches do not apply to a source with its series."""
    with _place() as place:
        overlay(origin, kernel.patched(origin), Path(place))


def compile_all(origin: source.Source) -> int:
    """Compile what the patches touch; return the number of files. W=1 may find nothing in it."""
    checked, names = compiling.Checked(origin, "drivers"), objects(patches(origin.series))
    with _place() as place:
        checked.objects(names, LOGS / f"drivers-{origin.series}.log", "compile what patches/drivers touches",
                        overlay(origin, kernel.patched(origin), Path(place)))
    return len(names)


def _place() -> tempfile.TemporaryDirectory[str]:
    BUILD.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="drivers-", dir=BUILD)
