# SPDX-License-Identifier: GPL-2.0
"""Small roots with single tools that the toolchain lacks; no kernel depends on them."""

import os
import shutil
from functools import partial
from pathlib import Path

from . import archive, cache
from .progress import LOGS, run_logged

_SUITE = "forky"
_MIB = 600


def ensure(name: str, *packages: str, suite: str = _SUITE, architecture: str | None = None) -> Path:
    """The root NAME with these packages and what they depend on, made if it is not there yet.

    No script of a package is run: ARCHITECTURE may be one whose programs do not run here.
    """
    entry = f"{name}-{cache.key(suite, archive.MIRROR, *packages, *([architecture] if architecture else []))}"
    return cache.entry(entry, partial(_make, name, packages, suite, architecture=architecture)) / "root"


def _make(name: str, packages: tuple[str, ...], suite: str, entry: Path, architecture: str | None = None) -> None:
    cache.need_space(_MIB, name)
    packed, unfinished = entry / "root.tar", entry / "root.partial"
    # A mirror that lags behind by weeks is no reason to do without: signatures are checked.
    run_logged(["mmdebstrap", f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
                "--variant=extract", f"--include={','.join(packages)}",
                *([f"--architectures={architecture}"] if architecture else []),
                "--aptopt=APT::Install-Recommends \"false\"",
                "--aptopt=Acquire::Check-Valid-Until \"false\"",
                suite, str(packed), f"deb {archive.MIRROR} {suite} main"],
               LOGS / f"{name}.log", f"fetch {_listed(packages)} (about 0.5 min)",
               explain=archive.explain)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    run_logged(["tar", "-xf", str(packed), "-C", str(unfinished), "--no-same-owner",
                "--exclude=./dev/*"], LOGS / f"{name}-unpack.log", f"unpack {_listed(packages)}")
    certificates = sorted(unfinished.glob("usr/share/ca-certificates/*/*.crt"))
    if certificates:
        # What configuring ca-certificates would write: Python's requests fails without it.
        bundle = unfinished / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text() for path in certificates))
    unfinished.rename(entry / "root")
    packed.unlink()


def _listed(packages: tuple[str, ...]) -> str:
    """The packages as a line of progress has them."""
    return " and ".join(packages) if len(packages) < 5 else f"{len(packages)} packages"
