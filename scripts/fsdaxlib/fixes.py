# SPDX-License-Identifier: GPL-2.0
"""The fixes that go to the kernel without us: patches/fixes/linux-X.Y."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import compiling, kernel, sandbox, source, toolchain
from .progress import BUILD, LOGS, run_logged
from .sandbox import Bind

# What only a kernel with our series has.
_OURS = re.compile(r"\b(?:\w*fsdax_provider\w*|\w*dax_provider\w*|dax_sb_provider|DAX_BREAK_\w+|enum dax_break"
                   r"|dax_break_layout_range|dax_trace_\w+|pgmap_request_folio|rust_fsdax"
                   r"|EXPORT_SYMBOL_FOR_MODULES)\b")
_SUBJECT = re.compile(r"^Subject: \[PATCH (\d+)/(\d+)\] (.+(?:\n .+)*)$", re.MULTILINE)
_NEEDS = re.compile(r"^Needs patch (\d+)\b", re.MULTILINE)
_FIXES = re.compile(r'^Fixes: [0-9a-f]{12,} \(".+"\)$', re.MULTILINE)
_FIXES_LINE = re.compile(r"^Fixes: .*$", re.MULTILINE)
_CHANGED = re.compile(r"^\+\+\+ b/(\S+)$", re.MULTILINE)
_INDEX = re.compile(r"^index .*\n", re.MULTILINE)


def supported() -> list[str]:
    """The series that there are fixes for."""
    return [series for series in source.supported() if patches(series)]


def patches(series: str) -> list[Path]:
    """The fixes for a series, in order."""
    return sorted(path for path in (source.PATCHES / f"fixes/linux-{series}").glob("*.patch")
                  if not path.name.startswith("0000-"))


def subject(text: str) -> str:
    """The title of a patch, without its number."""
    match = _SUBJECT.search(text)
    return match[3].replace("\n", "") if match else ""


def needs(text: str) -> list[int]:
    """The numbers of the patches without which one does not apply."""
    return [int(number) for number in _NEEDS.findall(text)]


def chains(found: list[Path]) -> Iterator[tuple[str, list[Path]]]:
    """What has to apply to plain source: all of them, and each with nothing but what it needs."""
    yield "all", found
    for path in found:
        chain, wanted = [path], needs(path.read_text())
        while wanted:
            number = wanted.pop()
            chain.insert(0, found[number - 1])
            wanted += needs(chain[0].read_text())
        yield path.stem, chain


def problems(text: str, number: int, count: int) -> list[str]:
    """What is wrong with a patch that shall go without us, by its text."""
    found = []
    message, _, diff = text.partition("\ndiff --git ")
    commit, _, note = message.partition("\n---\n")
    match = _SUBJECT.search(text)
    if not match or (int(match[1]), int(match[2])) != (number, count):
        found.append(f"it is not number {number} of {count}")
    found += [f"it has {word}, which is ours" for word in sorted(set(_OURS.findall(diff)))]
    if not _FIXES.search(commit) and "Fixes: is to be found" not in note:
        found.append("neither does it say what it fixes, nor that this is to be found")
    if not re.search(r"^Reproducer\b|there is nothing to reproduce|^Found by reading", note, re.MULTILINE):
        found.append("it does not say how to reproduce what it fixes")
    if ("Applies alone." in note) == bool(needs(note)):
        found.append("it does not say whether it applies alone")
    if [wanted for wanted in needs(note) if wanted >= number]:
        found.append("it needs a patch that comes later")
    return found


def strays(series: str) -> list[str]:
    """The fixes that the series of the module has as well, but in another form."""
    ours = {subject(text): _change(text) for text in map(Path.read_text, kernel.patches(series))}
    return [path.name for path in patches(series)
            if ours.get(subject(text := path.read_text()), _change(text)) != _change(text)]


def untagged(series: str) -> list[str]:
    """The patches of the module's series that do not name the commits which the fix of that title names."""
    tags = {subject(text): _tags(text) for text in map(Path.read_text, patches(supported()[0]))}
    return [path.name for path in kernel.patches(series)
            if tags.get(subject(text := path.read_text()), _tags(text)) != _tags(text)]


def _tags(text: str) -> list[str]:
    message = text.partition("\n---\n")[0]
    return [line for line in _FIXES_LINE.findall(message) if _FIXES.match(line)]


def _change(text: str) -> str:
    return _INDEX.sub("", text[text.index("\ndiff --git "):])


def command(chain: list[Path]) -> list[str]:
    """What checks, in a source, whether patches apply to it one after the other."""
    # git knows what one file of patches has done before, not what others have.
    return ["sh", "-c", 'cat "$@" | git apply --check', "sh", *map(str, chain)]


def apply(origin: source.Source, name: str, chain: list[Path]) -> None:
    """Fail if patches do not apply to a source."""
    run_logged(sandbox.command(toolchain.ensure(), command(chain), cwd=kernel.SOURCE_INSIDE,
                               binds=[Bind(origin.tree, kernel.SOURCE_INSIDE), sandbox.ro(source.PATCHES)]),
               LOGS / f"fixes-{origin.series}-{name}.log", f"apply the fixes: {name}", quiet=True)


def compile_all(origin: source.Source) -> int:
    """Compile what each fix touches, on plain source with those before it; return the number of fixes.

    W=1 may find nothing in it.
    """
    found, root = patches(origin.series), toolchain.ensure()
    if not found:
        return 0
    checked = compiling.Checked(origin, f"{compiling.STOCK}+check")
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fixes-", dir=BUILD) as directory:
        place = Path(directory)
        names = sorted({name for path in found for name in _CHANGED.findall(path.read_text())})
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin.tree / name, place / name)
        shows = [Bind(place / name, kernel.SOURCE_INSIDE / name) for name in names]
        for path in found:
            kernel.apply(root, place, path, origin.release)
            checked.objects(compiling.touched([path]), LOGS / f"fixes-{origin.series}-{path.stem[:4]}.log",
                            f"compile what {path.name[:50]} touches", shows)
    return len(found)
