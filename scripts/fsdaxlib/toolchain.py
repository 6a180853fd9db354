# SPDX-License-Identifier: GPL-2.0
"""The toolchain root: Debian packages that build the kernel and that guests run on."""

import os
import re
import shutil
from pathlib import Path

from . import archive, cache
from .progress import LOGS, Fail, run_logged

SUITE = "trixie"
_PACKAGES = (
    # building
    "bc", "bindgen", "bison", "ccache", "clang", "cpio", "flex", "gcc", "git", "kmod", "libc6-dev",
    "libelf-dev", "libssl-dev", "lld", "llvm", "make", "perl", "python3", "xz-utils",
    "rustc", "rust-src",
    # checking
    "codespell", "rust-clippy", "rustfmt", "shellcheck", "sparse",
    # running
    "bpftrace", "busybox-static", "daxctl", "dmsetup", "e2fsprogs", "erofs-utils", "fdisk", "fio",
    "iproute2", "ndctl", "procps", "qemu-system-x86", "trace-cmd", "xfsprogs",
    # model checking
    "spin",
)
# What comes from backports although trixie has an older one.
_PREFERENCES = f"""\
Package: src:rustc src:linux src:qemu src:seabios src:ipxe
Pin: release n={SUITE}-backports
Pin-Priority: 600
"""
_COMPILER = re.compile(r"(?:bindgen|binutils|clang|gcc|libclang|libllvm|lld|llvm|rust)")
_HOST_PACKAGES = {"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap"}
_ROOT_MIB = 3300
_UNPACKING_MIB = 3000


def ensure() -> Path:
    """The toolchain root, made if it is not there yet."""
    _host_needs()
    name = f"toolchain-{identity()}"
    return cache.entry(name, _make) / "root"


def identity() -> str:
    """Names the recipe; a root of another recipe is another entry."""
    return cache.key(SUITE, archive.MIRROR, _PREFERENCES, *_PACKAGES)


def compilers(root: Path) -> bytes:
    """Names the versions of what turns a source into a kernel."""
    return versions(root, _COMPILER)


def versions(root: Path, packages: re.Pattern[str]) -> bytes:
    """Names the versions of the packages of a root whose names begin like that."""
    status = (root / "var/lib/dpkg/status").read_text()
    found = re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", status, re.MULTILINE)
    return "\n".join(f"{name} {version}" for name, version in sorted(found)
                     if packages.match(name)).encode()


def _host_needs() -> None:
    wanted = dict(_HOST_PACKAGES)
    if os.geteuid() != 0:
        wanted["newuidmap"] = "uidmap"
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Fail(f"This machine lacks {' and '.join(missing)}: run "
                   f"'sudo {' '.join(install)}', then the same command again.")
    log = LOGS / "host-packages.log"
    run_logged(["apt-get", "update"], log, "update the package lists of this machine", explain=_explain)
    run_logged(install, log, f"install {' '.join(missing)} on this machine", append=True,
               explain=_explain)


def _make(partial: Path) -> None:
    cache.need_space(_ROOT_MIB + _UNPACKING_MIB, "The toolchain root")
    packed, unfinished, root = (partial / name for name in ("root.tar", "root.partial", "root"))
    if not (partial / "archive-complete").exists():
        # A user namespace cannot look into a private home; /tmp may be memory.
        temporary = partial / "tmp" if os.geteuid() == 0 else Path("/var/tmp")
        shutil.rmtree(partial / "tmp", ignore_errors=True)
        temporary.mkdir(exist_ok=True)
        run_logged(["env", f"TMPDIR={temporary}",
                    "mmdebstrap", f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
                    "--variant=minbase", f"--include={','.join(_PACKAGES)}",
                    "--aptopt=APT::Install-Recommends \"false\"",
                    f"--setup-hook=mkdir -p \"$1/etc/apt/preferences.d\"; "
                    f"printf %s '{_PREFERENCES}' >\"$1/etc/apt/preferences.d/rust_fsdax\"",
                    SUITE, str(packed), f"deb {archive.MIRROR} {SUITE} main",
                    f"deb {archive.MIRROR} {SUITE}-backports main"],
                   LOGS / "toolchain.log", "fetch and install the toolchain (about 1.5 min)",
                   explain=_explain)
        (partial / "archive-complete").touch()
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    run_logged(["tar", "-xf", str(packed), "-C", str(unfinished), "--no-same-owner",
                "--exclude=./dev/*"], LOGS / "toolchain-unpack.log", "unpack the toolchain")
    unfinished.rename(root)
    shutil.rmtree(partial / "tmp", ignore_errors=True)
    for leftover in (packed, partial / "archive-complete"):
        leftover.unlink()


def _explain(log: str) -> str | None:
    """What mmdebstrap's log means in one sentence, for the failures that users can mend."""
    if "Unable to locate package" in log:
        package = log.split("Unable to locate package", 1)[1].split(maxsplit=1)[0]
        return f"The Debian archive has no package {package}: take a newer rust_fsdax."
    return archive.explain(log)
