# SPDX-License-Identifier: GPL-2.0
"""Programs of others on mounts that fs/dax.c and the module serve: what guests need for them, and what they say."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import sandbox, toolchain, tools
from .cache import lock
from .progress import BUILD, CHECKOUT, LOGS, run_logged

FILE_SYSTEMS = ("ext4", "xfs")
# Each does its work on a mount of its own; tests/clients/run.py has what they do.
CLIENTS = ("libpmem", "libpmemobj", "libpmemobj, killed", "lmdb", "lmdb, killed", "lmdb, map written",
           "lmdb, map not synced", "sqlite", "fio mmap", "fio libpmem", "fio io_uring", "fio libaio", "stress-ng files",
           "stress-ng maps", "dbench", "tree", "overlay", "loop")
# Under these the power fails; tests/clients/power.py has what they do.
FAILING = ("lmdb, map grows", "libpmemobj", "libpmemobj, snapshot", "lmdb", "lmdb, map written", "lmdb, snapshot")
XFS_ONLY = ("libpmemobj, snapshot", "lmdb, snapshot")
# A defect of fs/dax.c, which must be seen to lose data there.
KNOWN = {"lmdb, map grows": "D2"}
# Kernels may die of fs/dax.c under these: it has a guest of its own for each.
DEADLY = XFS_ONLY
PROVIDERS = ("stock", "rust")

SOURCES = CHECKOUT / "tests/clients"
PROGRAMS = BUILD / "clients-bin"
# Beside those of the toolchain root, which has fio, git, python3, tar and losetup.
_PACKAGES = ("dbench", "libpmem-dev", "libpmemobj-dev", "pmdk-tools", "rsync", "stress-ng")
_INSIDE = Path("/packages")
_LIBRARIES = f"{_INSIDE}/usr/lib/x86_64-linux-gnu"
_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]


def root() -> Path:
    """What guests have of Debian besides the toolchain."""
    return tools.ensure("clients", *_PACKAGES, suite=toolchain.SUITE)


def lmdb() -> Path:
    """Debian's LMDB, which programs take with them: guests do without."""
    return tools.ensure("lmdb", "liblmdb-dev", suite=toolchain.SUITE)


# Of which packages each program needs which library.
_LINKED: dict[str, tuple[Callable[[], Path], str] | None] = {
    "persist": (root, "-lpmem"),
    "objects": (root, "-lpmemobj"),
    "records": (lmdb, "-l:liblmdb.a"),
    "power": None,
}


def build(names: Iterable[str] = tuple(_LINKED)) -> None:
    """Compile the programs of tests/clients with these NAMES."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in (Path(__file__), *SOURCES.glob("*.[ch]")))
    with lock(BUILD / "clients-bin.lock", "another build of the clients"):
        for name in names:
            program = PROGRAMS / name
            if program.exists() and program.stat().st_mtime > newest:
                continue
            flags, binds = list(_FLAGS), [sandbox.ro(CHECKOUT), sandbox.rw(BUILD)]
            if linked := _LINKED[name]:
                packages, library = linked
                binds.append(sandbox.Bind(packages(), _INSIDE))
                flags += [f"-I{_INSIDE}/usr/include", f"-L{_LIBRARIES}", f"-Wl,-rpath-link={_LIBRARIES}", library]
            partial = program.with_suffix(".partial")
            sources = [str(SOURCES / f"{source}.c") for source in (name, "client")]
            run_logged(sandbox.command(toolchain.ensure(), ["gcc", "-o", str(partial), *sources, *flags],
                                       cwd=CHECKOUT, binds=binds),
                       LOGS / f"client-{name}.log", f"compile {name}.c", quiet=True)
            partial.rename(program)


@dataclass
class Outcome:
    """What one client did on one mount."""

    fs: str
    client: str
    provider: str
    operations: int
    errors: int
    splats: int
    said: str = ""
    failures: int = 0  # of the power
    inside: int = 0  # of these, in the middle of a transaction


def line_of(outcome: Outcome) -> str:
    """What the guest prints for one."""
    return f"CLIENT {json.dumps(asdict(outcome))}"


def outcomes(output: str) -> Iterator[Outcome]:
    """Those that a guest printed, among other things."""
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        # A guest may die in the middle of one.
        if word == "CLIENT" and rest.endswith("}"):
            yield Outcome(**json.loads(rest))


def latest(found: Iterable[Outcome]) -> list[Outcome]:
    """The last one of each client on each mount."""
    return list({(outcome.client, outcome.provider): outcome for outcome in found}.values())


def problems(fs: str, clients: Sequence[str], found: Iterable[Outcome]) -> list[str]:
    """What is wrong with the clients of a file system, a sentence each."""
    told = []
    by_name = {(outcome.client, outcome.provider): outcome for outcome in found}
    for client in clients:
        if missing := [provider for provider in PROVIDERS if (client, provider) not in by_name]:
            told.append(f"{fs}, {client}: there is no figure of {' and '.join(missing)}.")
        for provider in PROVIDERS:
            if not (outcome := by_name.get((client, provider))):
                continue
            if outcome.splats and not (provider == "stock" and client in DEADLY):
                told.append(f"{fs}, {client}: the kernel complained while it ran on {provider}.")
            if not outcome.operations:
                told.append(f"{fs}, {client}: it did nothing on {provider}.")
            if provider == "rust" and outcome.errors:
                told.append(f"{fs}, {client}: {outcome.errors} errors on rust: {outcome.said}")
            if provider == "stock" and outcome.failures and client in KNOWN and not outcome.errors:
                told.append(f"{fs}, {client}: fs/dax.c lost nothing, although it has {KNOWN[client]}: the check is "
                            "blind.")
    return told


def table(found: Sequence[Outcome]) -> list[str]:
    """The lines of a table, a client in each; where the power failed, how often it did and how often in between."""
    power = any(outcome.failures for outcome in found)
    columns = ("failures", "inside", "errors", "splats") if power else ("operations", "errors", "splats")
    width = sum(map(_width, columns))
    rows: dict[tuple[str, str], dict[str, Outcome]] = {}
    for outcome in found:
        rows.setdefault((outcome.fs, outcome.client), {})[outcome.provider] = outcome
    lines = [" " * 30 + f"{'fs/dax.c':>{width}}{'rust_fsdax':>{width}}",
             f"{'fs':5}{'client':25}" + 2 * "".join(f"{name:>{_width(name)}}" for name in columns)]
    for (fs, client), by_provider in rows.items():
        lines.append(f"{fs:5}{client:25}" + "".join(_cells(by_provider.get(provider), columns)
                                                   for provider in PROVIDERS))
    return lines


def _width(column: str) -> int:
    return len(column) + 3


def _cells(outcome: Outcome | None, columns: Sequence[str]) -> str:
    if outcome is None:
        return "".join(f"{'-':>{_width(name)}}" for name in columns)
    return "".join(f"{getattr(outcome, name):>{_width(name)},}" for name in columns)
