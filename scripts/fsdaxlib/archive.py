# SPDX-License-Identifier: GPL-2.0
"""Packages of the Debian archive that are wanted as files, of whichever suite still has them."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .progress import LOGS, DiskFull, Fail, run_logged

MIRROR = "http://deb.debian.org/debian"
_UNREACHABLE = ("Could not resolve", "Temporary failure resolving", "Could not connect",
                "Connection failed", "Failed to fetch", "Network is unreachable")


class Unreachable(Fail):
    """The archive could not be asked: it may well have what is wanted."""


@dataclass(frozen=True)
class Offer:
    """A version of a package in a suite."""

    suite: str
    version: str


def explain(log: str) -> str | None:
    """What a log of apt means in one sentence, for the failures that users can mend."""
    if any(sign in log for sign in _UNREACHABLE):
        return f"{MIRROR} cannot be reached: check the network, or set http_proxy, and run this again."
    return None


class Archive:
    """Suites of an archive, asked by the apt of this machine with a state of its own.

    LINES maps a suite to its line of a sources.list, first choice first. apt keeps its lists and
    what it fetched in DIRECTORY.
    """

    def __init__(self, lines: dict[str, str], directory: Path) -> None:
        self._lines = lines
        self._directory = directory
        self._updated: set[str] = set()

    @property
    def suites(self) -> Sequence[str]:
        return list(self._lines)

    def offers(self, package: str) -> Iterator[Offer]:
        """The newest version of PACKAGE in each suite that has one.

        A later suite is only asked when the caller wants more. Raises Unreachable at the end if one of
        them could not be asked.
        """
        failed: Unreachable | None = None
        for suite in self._lines:
            try:
                self._update(suite)
            except Unreachable as fail:
                failed = fail
                continue
            found = subprocess.run(self._command("apt-cache", suite, "show", "--no-all-versions", package),
                                   capture_output=True, text=True, check=False)
            for line in found.stdout.splitlines():
                if line.startswith("Version: "):
                    yield Offer(suite, line.removeprefix("Version: "))
        if failed:
            raise failed

    def download(self, package: str, offer: Offer) -> Path:
        """Fetch what was offered; apt checks that it is what the archive signed.

        Raises Unreachable if it does not come.
        """
        place = self._directory / "packages"
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob(f"{package}_*"):
            old.unlink()
        try:
            run_logged(self._command("apt-get", offer.suite, "download", f"{package}={offer.version}"),
                       LOGS / "archive.log", f"fetch {package} {offer.version} ({offer.suite})",
                       explain=explain, cwd=place)
        except DiskFull:
            raise
        except Fail as fail:
            raise Unreachable(str(fail)) from None
        return next(place.glob(f"{package}_*"))

    def _update(self, suite: str) -> None:
        if suite in self._updated:
            return
        state = self._directory / suite
        for part in ("state/lists/partial", "cache/archives/partial"):
            (state / part).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        (state / "sources.list").write_text(self._lines[suite] + "\n")
        try:
            run_logged(self._command("apt-get", suite, "update"), LOGS / "archive.log",
                       f"ask the archive what {suite} has", explain=explain)
        except DiskFull:
            raise
        except Fail as fail:
            raise Unreachable(str(fail)) from None
        self._updated.add(suite)

    def _command(self, tool: str, suite: str, *arguments: str) -> list[str]:
        state = self._directory / suite
        options = {"Dir::State": state / "state", "Dir::State::status": state / "status",
                   "Dir::State::lists": state / "state/lists", "Dir::Cache": state / "cache",
                   "Dir::Etc::sourcelist": state / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
                   "APT::Architecture": "amd64", "APT::Architectures": "amd64",
                   "Acquire::Languages": "none", "Acquire::Retries": "2",
                   # Without this a suite that cannot be reached is a warning.
                   "APT::Update::Error-Mode": "any"}
        if os.geteuid() == 0:
            # The cache may lie in a home that apt's own user cannot look into.
            options["APT::Sandbox::User"] = "root"
        return [tool, "-q", *(f"-o{name}={value}" for name, value in options.items()), *arguments]
