# SPDX-License-Identifier: GPL-2.0
"""Tries the packages of scripts/deb on a Debian machine: install, reboot, mount, purge, and back.

It runs the commands that the README gives to users.
"""

import re
import shlex

from . import deb, debian, guest, ktap
from .progress import BUILD, CHECKOUT, LOGS, Fail, step

_README = CHECKOUT / "README.md"
_SECTION = "## On your own machine"
_MOST_COMMANDS = 5
_STAGES = CHECKOUT / "tests/deb/stages.py"
_BOOTS = ("install", "bound", "locked", "back")


def commands(readme: str) -> list[str]:
    """The commands that the README gives to whoever wants the module on a machine of his own."""
    _, _, rest = readme.partition(f"{_SECTION}\n")
    block = re.search(r"(?:^ {4}\S.*\n)+", rest, re.MULTILINE)
    if not block:
        raise Fail(f"README.md has no commands below '{_SECTION}'.")
    # Without the comments.
    found = [re.sub(r"\s{2,}# .*", "", line).strip() for line in block[0].splitlines()]
    if len(found) > _MOST_COMMANDS:
        raise Fail(f"README.md has more than {_MOST_COMMANDS} commands below '{_SECTION}'.")
    return found


def make_arguments(command: str) -> list[str]:
    """What scripts/deb gets from the make deb of the README."""
    words = shlex.split(command)
    if words[:2] != ["make", "deb"]:
        raise Fail(f"README.md does not begin with make deb, but with '{command}'.")
    given = [word.removeprefix("ARGS=") for word in words[2:]]
    return shlex.split(" ".join(given))


def require(document: str) -> str:
    """The line of modprobe.d in installing.rst, for who has rather no device than stock."""
    found = re.search(r"^ +(install nd_pmem .+)$", document, re.MULTILINE)
    if not found:
        raise Fail("installing.rst has no line for modprobe.d that begins with 'install nd_pmem'.")
    return f"{found[1]}\n"


def run(*, gcc: bool = False) -> ktap.Report:
    """Build the packages and boot the machine as often as it takes; the report of all boots.

    GCC says by which compiler; what a user types in the machine is the same.
    """
    wanted = commands(_README.read_text())
    if make_arguments(wanted[0]) != ["--small"]:
        raise Fail("README.md gives make deb other arguments than the test does, which are --small.")
    choice = deb.Wanted(small=True, gcc=gcc)
    packages = deb.build(choice)
    release = deb.ensure(choice).release
    machine = debian.Machine.new(debian.image(), BUILD / "debian")
    (machine.place / "commands").write_text("\n".join(wanted) + "\n")
    (machine.place / "release").write_text(f"{release}\n")
    (machine.place / "require").write_text(require((CHECKOUT / "Documentation/installing.rst").read_text()))
    report = ktap.Report()
    for name in _BOOTS:
        files = [(_STAGES, _STAGES.name)]
        files += [(machine.place / told, told) for told in ("commands", "release", "require")]
        if name == "install":
            files += [(package, f"build/deb/{package.name}") for package in packages]
        lines = machine.boot(name, f"python3 {_STAGES.name} {name}\n", files, first=name == "install")
        found = ktap.parse(lines)
        console = LOGS / f"debian-{name}.console"
        if splat := guest.find_splat(console.read_text(errors="replace")):
            found.problems.append(f"the kernel complained in {name}: {splat[0].strip()}")
        report.cases += found.cases
        report.problems += found.problems
        if found.problems or any(case.result == "failed" for case in found.cases):
            # What follows has nothing to stand on.
            step(f"the boot '{name}' failed: see build/logs/debian-{name}.log and .console")
            break
    else:
        # They are as large as a disk.
        for file in (machine.place / "disk", *machine.place.glob("nvdimm*")):
            file.unlink()
    return report
