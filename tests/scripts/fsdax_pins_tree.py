# SPDX-License-Identifier: GPL-2.0
"""A directory that stands for a machine: /proc, /sys, debugfs and a mount with a file."""

import gzip
import lzma
import os
import platform
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/fsdax-pins"
GOLDEN = Path(__file__).with_name("fsdax_pins")
_dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
sys.path.insert(0, str(ROOT / "scripts"))
from fsdaxpins import processes

sys.dont_write_bytecode = _dont_write

MOUNTS = """\
dev s_id fs provider tracked.0 zapped.0 busy.0 shared.0 tracked.9 zapped.9 busy.9 shared.9 \
tracked.18 zapped.18 busy.18 shared.18
121:1 pmem1 ext4 rust_fsdax 10 4 3 0 2 1 1 0 0 0 0 0
121:2 a\\040b xfs rust_fsdax 7 0 0 5 0 0 0 0 1 0 0 0
"""
BUSY = """\
dev ino index pfn order refcount mapcount pins age_ms waiter_pid
121:1 13 4 0x140204 0 1 0 0 1500 812
121:1 13 512 0x140400 9 3 1 1 150000 0
"""
WAITERS = """\
pid comm what dev ino index pfn waited_ms
812 my\\040trunc\\012 break 121:1 13 4 0x140204 1400
900 ndctl removal 0:0 0 0 0x140999 99
"""
FAULTS = """\
dev s_id fs read.0 write.0 hole.0 sync.0 read.9 write.9 hole.9 sync.9 read.18 write.18 hole.18 sync.18 \
fallback.fit.9 fallback.extent.9 fallback.entries.9 fallback.shared.9 fallback.other_order.9 \
fallback.no_memory.9 fallback.device.9 fallback.filesystem.9 \
fallback.fit.18 fallback.extent.18 fallback.entries.18 fallback.shared.18 fallback.other_order.18 \
fallback.no_memory.18 fallback.device.18 fallback.filesystem.18 copy retried failed around
121:1 pmem1 ext4 1200000 34 2 1 16 20 3 4 0 0 0 0 5 0 6 0 0 0 0 7 0 0 0 0 0 0 0 0 8 9 10 11
121:2 a\\040b xfs 0 0 0 0 0 1 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0 0 0 0
"""
EMPTY = tuple(text.splitlines(keepends=True)[0] for text in (MOUNTS, BUSY, WAITERS, FAULTS))
MOUNTINFO = r"""22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
29 28 0:7 / /sys/kernel/debug rw shared:11 - debugfs debugfs rw
40 28 121:1 / /mnt/a\040b rw,relatime shared:20 - ext4 /dev/pmem1 rw,dax=always
41 28 121:1 /sub /mnt/c rw - ext4 /dev/pmem1 rw,dax=always
42 28 121:3 / /mnt/old rw - xfs /dev/pmem3 rw,attr2,dax=always
43 28 121:4 / /mnt/never rw - ext4 /dev/pmem4 rw,dax=never
44 28 121:5 / /mnt/plain rw - ext4 /dev/pmem5 rw
45 28 9:99 / /mnt/disk rw - ext4 /dev/sda1 rw
46 28 121:6 / /mnt/e2 rw - ext2 /dev/pmem6 rw,dax
"""
PAGE = 4096
ADDRESS = 0x40000000
_RW, _RW_DIRECT, _O_PATH = os.O_RDWR, os.O_RDWR | os.O_DIRECT, 0o10000000
PREADV, PREAD = (({"preadv": 295, "pread64": 17}, {"preadv": 69, "pread64": 67})
                 [platform.machine() == "aarch64"][name] for name in ("preadv", "pread64"))


class Tree:
    """The directory; what the kernel says of 121:1 is about its file, /mnt/a b/dir/the file."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.file = top / "mnt/a b/dir/the file"
        self.file.parent.mkdir(parents=True)
        self.file.write_text("x")
        number = self.file.stat()
        self.ino, self.dev = number.st_ino, f"{os.major(number.st_dev)}:{os.minor(number.st_dev)}"
        self.debugfs = top / "sys/kernel/debug/rust_fsdax"
        self.write("sys/module/rust_fsdax/parameters/bind", "Y\n")
        self.write("sys/dev/block/121:5/queue/dax", "1\n")
        self.write("sys/dev/block/9:99/queue/dax", "0\n")
        self.mountinfo(MOUNTINFO)
        self.says(MOUNTS, BUSY, WAITERS, FAULTS)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # At once, for a program that reads meanwhile.
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(text if isinstance(text, bytes) else text.encode())
        partial.rename(path)
        return path

    def real(self, text: str) -> str:
        """With the file for 121:1 and inode 13."""
        return text.replace("121:1 ", f"{self.dev} ").replace(" 13 ", f" {self.ino} ")

    def says(self, mounts: str, busy: str, waiters: str, faults: str = FAULTS) -> None:
        for name, text in (("mounts", mounts), ("busy", busy), ("waiters", waiters), ("faults", faults)):
            self.write(f"sys/kernel/debug/rust_fsdax/{name}", self.real(text))

    def mountinfo(self, text: str, process: str = "self") -> None:
        self.write(f"proc/{process}/mountinfo", self.real(text))

    def process(self, pid: int, comm: str, maps: str = "", fds: dict[int, str] | None = None) -> Path:
        """Maps are lines of "pages first flags": mappings of the file, from ADDRESS on."""
        place = self.top / "proc" / str(pid)
        self.mountinfo(MOUNTINFO, str(pid))
        self.write(f"proc/{pid}/comm", comm + "\n")
        major, minor = (int(word) for word in self.dev.split(":"))
        lines, address = ["00400000-00401000 r-xp 00000000 08:01 13                 /usr/bin/x\n"], ADDRESS
        for line in maps.splitlines():
            pages, first, flags = line.split()
            end = address + int(pages) * PAGE
            lines.append(f"{address:08x}-{end:08x} {flags} {int(first) * PAGE:08x} {major:02x}:{minor:02x} "
                         f"{self.ino}              /mnt/a b/dir/the file\n")
            address = end
        lines.append("7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0     [stack]\n")
        self.write(f"proc/{pid}/maps", "".join(lines))
        (place / "task" / str(pid)).mkdir(parents=True)
        self.write(f"proc/{pid}/task/{pid}/syscall", "running\n")
        (place / "fdinfo").mkdir()
        for number, text in (fds or {}).items():
            self.write(f"proc/{pid}/fdinfo/{number}", text)
        return place

    def module(self, suffix: str = "") -> None:
        """The file of the module, and that it is the one that is loaded."""
        self.write("sys/module/rust_fsdax/notes/.note.gnu.build-id",
                   struct.pack("=3I", 4, 3, 3) + b"GNU\0" + bytes((1, 0x23, 0xff)))
        self.write("proc/sys/kernel/osrelease", "7.3.4\n")
        file = f"updates/rust_fsdax.ko{suffix}"
        self.write("lib/modules/7.3.4/modules.dep", f"kernel/fs/dax.ko:\n{file}: kernel/fs/dax.ko\n")
        self.write(f"lib/modules/7.3.4/{file}",
                   {"": b"elf", ".xz": lzma.compress(b"elf"), ".gz": gzip.compress(b"elf")}[suffix])

    def fdinfo(self, flags: int, mnt_id: int = 40, ino: int = 0, more: str = "") -> str:
        return f"pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t{mnt_id}\nino:\t{ino or self.ino}\n{more}"

    def populate(self) -> None:
        """One of each kind."""
        mapper = self.process(100, "db server", "16 0 rw-s\n8 16 rw-s\n1024 256 r--s\n", {
            4: self.fdinfo(_RW), 5: self.fdinfo(_RW, mnt_id=42), 6: self.fdinfo(_O_PATH),
            7: self.fdinfo(_RW, ino=self.ino + 1)})
        with (mapper / "pagemap").open("wb") as pagemap:  # page 515 of the 2 MiB at 512
            at = ADDRESS // PAGE + 16 + 8 + 512 - 256
            pagemap.seek(at * 8)
            pagemap.write((1 << 63 | 0x140400).to_bytes(8, "little"))
        direct = self.process(200, "reader", "8 0 rw-s", {
            3: self.fdinfo(_RW_DIRECT, mnt_id=45, ino=77), 4: self.fdinfo(_RW, mnt_id=45, ino=78)})
        self.write("proc/200/task/201/syscall", f"{PREADV} 0x3 0x1000 0x2 0x0 0x0 0x0 0x7ffc0 0x7f00\n")
        self.write("proc/200/task/202/syscall", f"{PREAD} 0x4 {ADDRESS:#x} 0x8000 0x0 0x0 0x0 0x7f 0x7f\n")
        with (direct / "mem").open("wb") as memory:
            memory.seek(0x1000)
            for base, length in ((ADDRESS + 0x800000, PAGE), (ADDRESS + 3 * PAGE, 2 * PAGE)):
                memory.write(processes._IOVEC.pack(base, length))
        self.process(300, "ring\x1b[31m", "1024 0 rw-s", {
            9: self.fdinfo(_RW, mnt_id=15, ino=99, more="SqMask:\t0x7\nUserFiles:\t0\nUserBufs:\t0\n")})
        maps = self.process(301, "events", "1024 0 rw-s") / "maps"
        self.write("proc/301/maps",
                   maps.read_text() + "7f00-7f01 rw-s 00000000 00:0f 1300   /[aio] (deleted)\n")
        self.process(400, "tail", fds={3: self.fdinfo(os.O_RDONLY)})
        self.process(500, "kworker/0:1")
        self.process(812, "my trunc", fds={3: self.fdinfo(_RW)})
