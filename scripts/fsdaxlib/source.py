# SPDX-License-Identifier: GPL-2.0
"""Which kernel series is used, and where its source comes from.

patches/linux-X.Y says that X.Y is supported. Its source is what --source names, or what the cache
has, or what the Debian archive has, in this order.
"""

import argparse
import contextlib
import functools
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cache, sandbox, toolchain, version
from .archive import MIRROR, Archive, Unreachable, explain
from .progress import CHECKOUT, LOGS, Fail, Misuse, run_logged, step
from .sandbox import Bind

PATCHES = CHECKOUT / "patches"
# The environment carries the choice to the programs that these scripts start.
SERIES, SOURCE = "SERIES", "KERNEL_SOURCE"
_TOLD = "RUST_FSDAX_SERIES_TOLD"

_SUITES = (f"{toolchain.SUITE}-backports", "forky", "sid")
_KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"
_MIB = 2500
_OWN = "own"  # is in an entry of the cache that was made from a tree of the user
_NUMBER = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", re.MULTILINE)
# Traces of a build in a source tree.
_BUILT = (".config", "include/config", "include/generated/autoconf.h")
_HOW = "give one with --source TARBALL|DIR (KERNEL_SOURCE= for make)"


@dataclass(frozen=True)
class Source:
    """A kernel source in the cache, as it was published: nothing of ours is in it."""

    release: str  # such as 7.3.4
    entry: Path

    @property
    def tree(self) -> Path:
        return self.entry / "linux"

    @property
    def series(self) -> str:
        return series_of(self.release)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a series and of a source to a program, and --version."""
    version.add_option(parser)
    parser.add_argument("--series", action=_ToEnvironment, variable=SERIES, metavar="X.Y",
                        help=f"the kernel series, of {', '.join(supported())} "
                             "(default: the newest whose source can be had)")
    parser.add_argument("--source", action=_ToEnvironment, variable=SOURCE, metavar="TARBALL|DIR",
                        help="take the kernel source from a tarball, a linux-source .deb, an unpacked "
                             "tree, a git tree, or DIR@TAG of a git tree")


class _ToEnvironment(argparse.Action):
    """Keeps a value where programs started by this one find it."""

    def __init__(self, option_strings: list[str], dest: str, variable: str, metavar: str,
                 help: str) -> None:  # noqa: A002, the name that argparse has
        super().__init__(option_strings, dest, metavar=metavar, help=help)
        self._variable = variable

    def __call__(self, _parser: argparse.ArgumentParser, _namespace: argparse.Namespace,
                 values: object, _option: str | None = None) -> None:
        os.environ[self._variable] = str(values)


def supported(patches: Path = PATCHES) -> list[str]:
    """The series that are patched here, newest first."""
    found = [path.name.removeprefix("linux-") for path in patches.glob("linux-*")
             if any(path.glob("0001-*.patch"))]
    return sorted(found, key=_numbers, reverse=True)


def series_of(release: str) -> str:
    """7.3 of 7.3.4."""
    return ".".join(release.split(".")[:2])


def release_of(makefile: str) -> str | None:
    """The version that the top Makefile of a kernel has, or None if it is none."""
    found = dict(_NUMBER.findall(makefile))
    if len(found) != 3:
        return None
    return f"{found['VERSION']}.{found['PATCHLEVEL']}.{found['SUBLEVEL']}"


@functools.cache
def chosen() -> Source:
    """The source that everything of this run is built from; says which on the first call."""
    series = os.environ.get(SERIES) or None
    given = os.environ.get(SOURCE) or None
    if series and series not in supported():
        raise Misuse(f"There is no series for Linux {series} here: choose {' or '.join(supported())}.")
    source = _given(given, series) if given else _newest([series] if series else supported())
    os.environ[SERIES] = source.series
    if not os.environ.get(_TOLD):
        step(f"Linux {source.release} with patches/linux-{source.series}")
        os.environ[_TOLD] = "1"
    return source


def obtain(series: str) -> Source:
    """The source of a series, from the cache or the archive. Raises Fail where there is none."""
    if os.environ.get(SOURCE) and chosen().series == series:
        return chosen()
    return _newest([series])


def _newest(wanted: list[str]) -> Source:
    """The first of the wanted series whose source can be had."""
    return select(wanted, cached, _fetch)


def select(wanted: list[str], look: Callable[[str], Source | None],
           fetch: Callable[[str], Source | None]) -> Source:
    """The first of the WANTED series that LOOK or FETCH finds.

    Where the archive cannot be asked, an older series that is here is better than none.
    """
    unreachable: Unreachable | None = None
    for series in wanted:
        if found := look(series):
            if unreachable:
                step(f"the archive cannot be reached: taking Linux {series}, which is in the cache")
            return found
        if unreachable:
            continue
        try:
            if found := fetch(series):
                return found
        except Unreachable as fail:
            unreachable = fail
    names = " or ".join(wanted)
    if unreachable:
        raise Fail(f"There is no source of Linux {names} in the cache, and {MIRROR} cannot be reached: "
                   f"check the network (or set http_proxy), or {_HOW}.")
    raise Fail(f"Neither the cache nor the Debian archive ({', '.join(_SUITES)}) has a source of Linux "
               f"{names} any more: {_HOW}.")


def cached(series: str) -> Source | None:
    """The newest source of a series in the cache; a tree that was named once, if there is nothing else."""
    found = [Source(path.name.split("-")[1], path) for path in cache.directory().glob(f"source-{series}.*")
             if (path / "linux/Makefile").exists() and not path.name.endswith(".partial")]
    return max(found, default=None, key=lambda source: (
        not (source.entry / _OWN).exists(), _numbers(source.release), source.entry.name))


def forget(source: Source) -> None:
    """Drop what the user gave and the series does not fit, or the next run would find it."""
    if os.environ.get(SOURCE) and chosen() == source:
        shutil.rmtree(source.entry, ignore_errors=True)


def archive() -> Archive:
    """The suites that may have a source, by the keys that the toolchain root came with."""
    root = toolchain.ensure()
    return Archive({suite: f"deb [signed-by={root / _KEYRING}] {MIRROR} {suite} main"
                    for suite in _SUITES}, cache.directory() / "apt")


def _fetch(series: str) -> Source | None:
    """The source of a series from the archive, or None if it has none."""
    return from_archive(archive(), series)


def from_archive(where: Archive, series: str) -> Source | None:
    """The source of a series from the first suite that has it."""
    package = f"linux-source-{series}"
    failed: Unreachable | None = None
    for offer in where.offers(package):
        cache.need_space(_MIB, "The kernel source")
        try:
            file = where.download(package, offer)
        except Unreachable as fail:
            failed = fail
            continue
        try:
            return from_tarball(file, series)
        finally:
            file.unlink(missing_ok=True)
    if failed:
        raise failed
    return None


def _given(text: str, series: str | None) -> Source:
    """The source that the user names."""
    path, _, tag = text.rpartition("@") if "@" in text and not Path(text).exists() else (text, "", "")
    place = Path(path).expanduser().resolve()
    if place.is_file() and not tag:
        return from_tarball(place, series)
    if not place.is_dir():
        raise Misuse(f"There is no {path}: --source wants a tarball, an unpacked tree or a git tree.")
    if (place / ".git").exists():
        return from_git(place, tag, series)
    if tag:
        raise Misuse(f"{path} is no git tree, so that there is no {tag} in it.")
    return from_tree(place, series)


def _check(release: str | None, what: str, series: str | None) -> str:
    """The release, if it is of a series that is wanted or supported."""
    if release is None:
        raise Fail(f"{what} holds no kernel source: its top directory has no kernel Makefile.")
    wanted = [series] if series else supported()
    if series_of(release) not in wanted:
        raise Fail(f"{what} is Linux {release}, and {' or '.join(wanted)} is wanted: choose another "
                   + ("source or another --series." if series and series_of(release) in supported()
                      else "source."))
    return release


def _entry(release: str, identity: str, make: Callable[[Path], None], own: bool = False) -> Source:
    """A source in the cache, whole or not at all. OWN is for what nobody has published."""
    def clean(partial: Path) -> None:
        try:
            cache.need_space(_MIB, "The kernel source")
            shutil.rmtree(partial / "linux", ignore_errors=True)
            make(partial / "linux")
            if own:
                (partial / _OWN).touch()
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    return Source(release, cache.entry(f"source-{release}-{cache.key(identity)}", clean))


def from_tarball(file: Path, series: str | None) -> Source:
    """The source in a tarball, or in a Debian package that holds one."""
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    with _opened(file) as tarball:
        release = _check(_release_inside(tarball, file), file.name, series)

    return _entry(release, digest, functools.partial(_unpack, file))


def _unpack(file: Path, tree: Path) -> None:
    """Unpack a tarball, or what a package of Debian holds, by the tools of the toolchain root."""
    def run(command: list[str], directory: Path, name: str) -> None:
        run_logged(sandbox.command(root, command, binds=[Bind(directory, Path("/from")),
                                                         Bind(out, Path("/to"), writable=True)]),
                   LOGS / "source.log", f"unpack {name}",
                   explain=lambda log: explain(log) or f"{file.name} is damaged or cut off: get it again.")

    root, out = toolchain.ensure(), tree
    if file.suffix == ".deb":
        out = tree.with_name("package")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        run(["dpkg-deb", "-x", f"/from/{file.name}", "/to"], file.parent, file.name)
        file, out = next(out.glob("usr/src/linux-source-*.tar.*")), tree
    tree.mkdir(parents=True)
    # A name that begins with "./" has a component more.
    run(["tar", "-x", "-f", f"/from/{file.name}", "-C", "/to", r"--transform=s,^\(\./\)\?[^/]*/\?,,rSh",
         "--no-same-owner"], file.parent, file.name)
    shutil.rmtree(tree.with_name("package"), ignore_errors=True)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    """A tarball to be read from its beginning; that in a Debian package if it is one."""
    nothing = Fail(f"{file.name} is no tarball and no package that holds one: --source wants a kernel "
                   "source.")
    try:
        if file.suffix != ".deb":
            with tarfile.open(file, "r|*") as tarball:
                yield tarball
            return
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as package, \
                tarfile.open(fileobj=package.stdout, mode="r|") as outer:
            for member in outer:
                inner = outer.extractfile(member)
                if inner and re.search(r"usr/src/linux-source-[^/]*\.tar\.\w+$", member.name):
                    with tarfile.open(fileobj=inner, mode="r|*") as tarball:
                        yield tarball
                        package.kill()
                        return
        raise nothing
    except (tarfile.ReadError, EOFError):
        raise nothing from None


def _release_inside(tarball: tarfile.TarFile, file: Path) -> str | None:
    """The release of the kernel in a tarball."""
    try:
        for member in tarball:
            if re.fullmatch(r"(?:\./)?[^/]+/Makefile", member.name):
                data = tarball.extractfile(member)
                return release_of(data.read().decode(errors="replace")) if data else None
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error):
        raise Fail(f"{file.name} is damaged or cut off: get it again.") from None
    return None


def from_git(tree: Path, tag: str, series: str | None) -> Source:
    """A commit of a git tree: what is checked out, which must have no local changes, or a tag."""
    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, text=True,
                              check=False)
        return done.stdout if done.returncode == 0 else None

    if not shutil.which("git"):
        raise Fail("git is missing: install the package git to take a source from a git tree.")
    commit = (git("rev-parse", "--verify", "--quiet", f"{tag or 'HEAD'}^{{commit}}") or "").strip()
    if not commit:
        raise Fail(f"{tree} has no {tag}." if tag else f"{tree} has no commit that is checked out.")
    if not tag and (changed := git("status", "--porcelain", "--untracked-files=no")):
        raise Fail(f"{tree} has local changes ({changed.split()[-1]} and maybe more): commit or undo "
                   "them, or name what you want with DIR@TAG.")
    release = _check(release_of(git("show", f"{commit}:Makefile") or ""), f"{tree}{'@' * bool(tag)}{tag}",
                     series)

    def export(to: Path) -> None:
        to.mkdir(parents=True)
        with subprocess.Popen(["git", "-C", str(tree), "archive", commit],
                              stdout=subprocess.PIPE) as reader:
            unpacked = subprocess.run(["tar", "-x", "-C", str(to)], stdin=reader.stdout, check=False)
        if reader.returncode or unpacked.returncode:
            raise Fail(f"git could not give all of {commit[:12]} of {tree}: look at what it says above.")

    return _entry(release, commit, export, own=True)


def from_tree(tree: Path, series: str | None) -> Source:
    """An unpacked source that nobody built in."""
    makefile = tree / "Makefile"
    release = _check(release_of(makefile.read_text(errors="replace")) if makefile.is_file() else None,
                     str(tree), series)
    if built := [name for name in _BUILT if (tree / name).exists()]:
        raise Fail(f"{tree} has been built in ({built[0]} is there): run 'make mrproper' in it, or unpack "
                   "the source again.")

    def copy(to: Path) -> None:
        cache.copy_tree(tree, to)

    return _entry(release, _listing(tree), copy, own=True)


def _listing(tree: Path) -> str:
    """Names a state of a tree: its files with their sizes and times."""
    digest = hashlib.sha256()
    for directory, subdirectories, files in os.walk(tree):
        subdirectories.sort()
        for name in sorted(files):
            path = Path(directory, name)
            info = path.lstat()
            digest.update(f"{path.relative_to(tree)} {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d+", version))
