# SPDX-License-Identifier: GPL-2.0
"""Run programs of Debian and those of this directory on two mounts of a guest, and say what each did.

Runs in a guest, see run.sh. Each client gets an empty directory of a mount, on /mnt/stock, then on /mnt/rust.
"""

import argparse
import json
import mmap
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fsdaxlib import clients
from fsdaxlib.guest import count_splats
from guestwork import Log, Work, Wrong, call, checked, counts, mounted, program, read_counts, served_as_wanted

_KILLS = 10
# fio and dbench want memory and semaphores of System V, which our kernels lack.
_SHM = {"LD_PRELOAD": f"{os.environ.get('FSDAX_BIN')}/shm_preload"}
_TREE = (100, 50)  # directories, and files in each
_CANNOT = 3, 4  # of stress-ng: the kernel lacks what it needs
_STRESS_S = 5
# With the options that make them work on small files, rather than on memory.
_STRESSORS: dict[str, dict[str, tuple[str, ...]]] = {
    "files": {
        "hdd": ("--hdd-bytes=8m",), "iomix": ("--iomix-bytes=8m",), "revio": ("--revio-bytes=8m",),
        "sync-file": ("--sync-file-bytes=1m",), "copy-file": ("--copy-file-bytes=128m",),
        "dentry": ("--dentries=256",), "dir": ("--dir-dirs=64",), "fallocate": ("--fallocate-bytes=8m",),
        "fiemap": ("--fiemap-bytes=8m",), "fpunch": ("--fpunch-bytes=4m",), "readahead": ("--readahead-bytes=8m",),
        "seek": ("--seek-size=8m",),
        **dict.fromkeys(("access", "aio", "aiol", "chattr", "chmod", "file-ioctl", "filerace", "flock", "fsize",
                         "fstat", "getdent", "inotify", "io-uring", "link", "locka", "lockofd", "metamix", "open",
                         "rename", "sendfile", "splice", "touch", "unlink", "utime", "xattr"), ()),
    },
    "maps": {
        "mmap": ("--mmap-file", "--mmap-async", "--mmap-write-check", "--mmap-bytes=8m"),
        "mmaphuge": ("--mmaphuge-file", "--mmaphuge-mmaps=4"), "mmaptorture": ("--mmaptorture-bytes=16m",),
        "msync": ("--msync-bytes=4m",),
        **dict.fromkeys(("fault", "madvise", "msyncmany", "rmap"), ()),
    },
}
_STRESS_OPS = 8


def counted(work: Work, name: str, *arguments: str | Path | int) -> None:
    """Run a program of this directory, which counts by itself."""
    operations, errors, said = program(name, *arguments)
    work.operations += operations
    work.errors += errors
    work.said += said


def libpmem(work: Work) -> None:
    counted(work, "persist", work.place / "file", 4000)


def libpmemobj(work: Work) -> None:
    counted(work, "objects", "run", work.place / "pool", work.place / "counts", work.seed, 10000)
    call("pmempool", "check", work.place / "pool")


def killed(work: Work, name: str, store: Path, *arguments: str) -> None:
    """Kill a program again and again, and look at what it has committed."""
    chance = random.Random(work.seed)
    with counts(work.place.parent.name) as path:
        for _ in range(_KILLS):
            before = read_counts(path)[1]
            child = subprocess.Popen([clients.PROGRAMS / name, "run", store, path, str(work.seed), "0", *arguments],
                                     stdout=subprocess.PIPE, text=True)
            while read_counts(path)[1] < before + 100 and child.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.random() / 10)
            child.kill()
            said = child.communicate()[0]
            if child.returncode != -signal.SIGKILL:
                raise Wrong(f"{name} ended by itself: {said.strip()}")
            begun, promised = read_counts(path)
            work.operations += promised - before
            checked(name, store, work.seed, promised, begun)


def objects_killed(work: Work) -> None:
    killed(work, "objects", work.place / "pool")


def records(how: str) -> Callable[[Work], None]:
    def run(work: Work) -> None:
        counted(work, "records", "run", work.place, work.place / "counts", work.seed, 3000, how)
        counted(work, "records", "check", work.place, work.seed, 3000, 3000)
    return run


def records_killed(work: Work) -> None:
    killed(work, "records", work.place, "writemap")


def sqlite(work: Work) -> None:
    """Transactions in WAL mode with a mapping, checkpoints between them, two connections."""
    chance = random.Random(work.seed)
    path, rows = work.place / "db", {}
    database = sqlite3.connect(path, isolation_level=None)
    reader = sqlite3.connect(path, isolation_level=None)
    for connection in (database, reader):
        connection.execute("PRAGMA mmap_size=67108864")
    mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    work.expect(mode == "wal", f"the journal is {mode}")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
    for step in range(400):
        database.execute("BEGIN")
        changed: dict[int, bytes | None] = {}
        for _ in range(8):
            key = chance.randrange(1000)
            changed[key] = None if chance.random() < 0.25 else chance.randbytes(chance.randrange(1, 3000))
            if (data := changed[key]) is None:
                database.execute("DELETE FROM t WHERE k=?", (key,))
            else:
                database.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, data))
            work.operations += 1
        if step % 10 == 9:
            database.execute("ROLLBACK")
        else:
            database.execute("COMMIT")
            rows.update(changed)
        if step % 50 == 49:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA incremental_vacuum")
    wanted = {key: data for key, data in rows.items() if data is not None}
    for name, connection in (("the writer", database), ("another connection", reader)):
        work.expect(dict(connection.execute("SELECT k, v FROM t")) == wanted, f"{name} sees other rows")
    database.close()
    reader.close()
    again = sqlite3.connect(path)
    work.expect(dict(again.execute("SELECT k, v FROM t")) == wanted, "there are other rows after all were closed")
    said = again.execute("PRAGMA integrity_check").fetchone()[0]
    work.expect(said == "ok", f"integrity_check: {said}")
    again.close()


def fio(engine: str, *options: str) -> Callable[[Work], None]:
    def run(work: Work) -> None:
        out = call("fio", "--name=job", f"--directory={work.place}", f"--ioengine={engine}", "--rw=randwrite",
                   "--size=4m", "--verify=crc32c", "--verify_fatal=0", "--do_verify=1", "--numjobs=2", "--loops=1",
                   "--fsync=64", "--end_fsync=1", f"--randseed={work.seed}", "--output-format=json", *options,
                   env=_SHM, good=(0, 1))
        if "{" not in out:
            raise Wrong(f"fio: {out.strip()}")
        report = json.loads(out[out.index("{"):])
        for job in report["jobs"]:
            work.operations += job["write"]["total_ios"] + job["read"]["total_ios"]
            if job["error"]:
                work.wrong(f"fio: error {job['error']}")
    return run


def stress(kind: str) -> Callable[[Work], None]:
    """A few operations of each stressor, one after the other."""
    def run(work: Work) -> None:
        for name, options in _STRESSORS[kind].items():
            metrics = Path("/tmp/stress.yaml")
            metrics.unlink(missing_ok=True)
            begin = time.monotonic()
            try:
                call("stress-ng", "--temp-path", work.place, "--verify", "--metrics", "--yaml", metrics, "--oom-avoid",
                     "--no-rand-seed", f"--timeout={_STRESS_S}", f"--{name}=1", f"--{name}-ops={_STRESS_OPS}",
                     *options, good=(0, *_CANNOT))
            except Wrong as wrong:
                work.wrong(str(wrong))
            text = metrics.read_text() if metrics.exists() else ""
            operations = sum(map(int, re.findall(r"bogo-ops: (\d+)", text)))
            print(f"# {name}: {operations} operations in {time.monotonic() - begin:.1f} s", flush=True)
            work.operations += operations
    return run


def dbench(work: Work) -> None:
    out = call("dbench", "-c", "/usr/share/dbench/client.txt", "-D", work.place, "-t", "5", "2",
               env=_SHM)
    found = re.findall(r"^ ([A-Z]\w+) +(\d+) +[\d.]+ +[\d.]+$", out, re.MULTILINE)
    work.operations += sum(int(number) for _, number in found)
    for line in out.splitlines():
        if re.search(r"fail|error|ENO", line, re.IGNORECASE):
            work.wrong(line.strip())


def make_tree(place: Path, chance: random.Random) -> None:
    """Small files, some with holes, some links."""
    directories, files = _TREE
    for number in range(directories):
        directory = place / f"d{number % 10}" / f"d{number}"
        directory.mkdir(parents=True)
        for file in range(files):
            path = directory / f"f{file}"
            path.write_bytes(chance.randbytes(chance.choice((0, 100, 1000, 5000, 9000))))
        with (directory / "f0").open("r+b") as hole:
            hole.truncate(100_000)
        (directory / "link").symlink_to("f1")


def tree(work: Work) -> None:
    """Copy a tree by tar, rsync and git, and compare."""
    first, by_tar, by_rsync, clone = (work.place / name for name in ("tree", "tar", "rsync", "clone"))
    make_tree(first, random.Random(work.seed))
    by_tar.mkdir()
    call("tar", "-C", first, "-cSf", work.place / "tree.tar", ".")
    call("tar", "-C", by_tar, "-xf", work.place / "tree.tar")
    call("rsync", "-aHS", f"{by_tar}/", by_rsync)
    env = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a",
           "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": "/dev/null"}
    git = ("git", "-C", by_rsync, "-c", "core.fsync=all", "-c", "gc.auto=0")
    call("git", "init", "-q", by_rsync, env=env)
    call(*git, "add", "-A", env=env)
    call(*git, "commit", "-q", "-m", "all", env=env)
    call(*git, "gc", "-q", env=env)
    call("git", "clone", "-q", "--no-hardlinks", by_rsync, clone, env=env)
    call("git", "-C", clone, "fsck", "--full", "--strict", env=env)
    shutil.rmtree(clone / ".git")
    shutil.rmtree(by_rsync / ".git")
    for copy in (by_tar, by_rsync, clone):
        if said := call("rsync", "-rlnc", "--delete", "--out-format=%n", f"{first}/", f"{copy}/").strip():
            work.wrong(f"{copy.name} differs: {said.splitlines()[0]}")
        work.operations += _TREE[0] * _TREE[1]


def store_and_read(work: Work, place: Path, number: int) -> None:
    """Write files, store to them by a mapping, and read them back."""
    chance = random.Random(work.seed)
    for index in range(number):
        path, data = place / f"file{index}", bytearray(chance.randbytes(chance.randrange(1, 40_000)))
        path.write_bytes(data)
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            at = chance.randrange(len(data))
            mapping[at] = data[at] = 255 - data[at]
            mapping.flush()
        work.expect(path.read_bytes() == data, f"{path.name} has other data")
        work.operations += 3


def overlay(work: Work) -> None:
    """The mount is both layers: copies up, whiteouts, renames."""
    lower, upper, inner = (work.place / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, inner):
        path.mkdir()
    store_and_read(work, lower, 100)
    old = (lower / "file7").read_bytes()
    options = f"lowerdir={lower},upperdir={upper},workdir={inner}"
    with mounted("overlay", options, "overlay", Path("/mnt/merged")) as merged:
        for index in range(0, 100, 2):
            data = (lower / f"file{index}").read_bytes()
            with (merged / f"file{index}").open("ab") as file:
                file.write(b"more")
            work.expect((merged / f"file{index}").read_bytes() == data + b"more", f"file{index} was copied up wrongly")
            work.expect((lower / f"file{index}").read_bytes() == data, f"file{index} below has changed")
            work.operations += 3
        for index in range(1, 20, 2):
            (merged / f"file{index}").unlink()
            work.operations += 1
        work.expect((lower / "file7").read_bytes() == old, "a file below went")
        (merged / "file98").rename(merged / "renamed")
        (merged / "new").mkdir()
        store_and_read(work, merged / "new", 50)
        work.expect(len(list(merged.iterdir())) == 91, "there are other names")


def loop(work: Work) -> None:
    """A file system in a file, on a loop device, with and without O_DIRECT."""
    for direct in ("off", "on"):
        image = work.place / f"image-{direct}"
        with image.open("wb") as file:
            file.truncate(64 << 20)
        device = call("losetup", "--find", "--show", f"--direct-io={direct}", image).strip()
        try:
            call("mkfs.ext4", "-q", "-F", device)
            with mounted("ext4", "discard", device, Path("/mnt/inside")) as inside:
                store_and_read(work, inside, 150)
                call("sync", "-f", inside)
                for index in range(0, 150, 3):
                    (inside / f"file{index}").unlink()
                    work.operations += 1
                call("fstrim", inside)
            call("e2fsck", "-fn", device)
        finally:
            call("losetup", "--detach", device)


WORK: dict[str, Callable[[Work], None]] = {
    "libpmem": libpmem,
    "libpmemobj": libpmemobj,
    "libpmemobj, killed": objects_killed,
    "lmdb": records("write"),
    "lmdb, killed": records_killed,
    "lmdb, map written": records("writemap"),
    "lmdb, map not synced": records("nosync"),
    "sqlite": sqlite,
    "fio mmap": fio("mmap"),
    "fio libpmem": fio("libpmem", "--direct=1", "--iodepth=1", "--thread"),
    "fio io_uring": fio("io_uring", "--direct=1", "--iodepth=8"),
    "fio libaio": fio("libaio", "--direct=1", "--iodepth=8"),
    "stress-ng files": stress("files"),
    "stress-ng maps": stress("maps"),
    "dbench": dbench,
    "tree": tree,
    "overlay": overlay,
    "loop": loop,
}


def attempt(fs: str, client: str, provider: str, seed: int, log: Log) -> clients.Outcome:
    """Run one client on one mount."""
    place = Path("/mnt") / provider / "client"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    work = Work(place, seed)
    try:
        WORK[client](work)
    except (Wrong, OSError, sqlite3.Error, ValueError) as error:
        work.wrong(f"{type(error).__name__}: {error}")
    shutil.rmtree(place, ignore_errors=True)
    return clients.Outcome(fs, client, provider, work.operations, work.errors, count_splats(log.new()),
                           " ".join(work.said)[:2000])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fs", choices=clients.FILE_SYSTEMS)
    parser.add_argument("seed", type=int)
    parser.add_argument("clients", nargs="+", choices=clients.CLIENTS)
    args = parser.parse_args()
    log = Log()
    if not served_as_wanted(log):
        return 1
    for client in args.clients:
        for provider in clients.PROVIDERS:
            print(f"{client} on {provider} ...", flush=True)
            print(clients.line_of(attempt(args.fs, client, provider, args.seed, log)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
