# SPDX-License-Identifier: GPL-2.0
"""Boots a guest in QEMU and runs one script in it."""

import itertools
import os
import re
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import arm64, sandbox
from .progress import BUILD, CHECKOUT, Misuse, shown, step
from .sandbox import Bind

STATUS_SPLAT = 3
STATUS_TIMEOUT = 124
STATUS_DIED = 125

BOOT_TIMEOUT_S = 240
DEFAULT_TIMEOUT_S = 600
DEFAULT_MEM_MIB = 3072
DEFAULT_SMP = 2

# 128 MiB aligned, or the kernel refuses them as misaligned.
PMEM_ALIGN_MIB = 128
PMEM_MIB = 512
_PMEM_BASES_MIB = (1024, 1536)
_COPY_BASE_MIB = 2048
_MIN_MEM_MIB = 2304
# Larger ones lie above 4 GiB, where QEMU puts what is more than 3 GiB of memory.
_PMEM_HIGH_MIB = 4096
# Beside the memory; room for struct pages on the device itself. Without the labels it must be a
# multiple of 16 MiB.
_NVDIMM_MIB = 640
_NVDIMM_LABEL_MIB = 2
_CXL_MIB = 512
# What is there beside the memory: persistent memory with labels, and volatile.
_CXL_DEVICES = ("persistent", "persistent", "volatile")
KUNIT_BASE = 896 << 20
KUNIT_SIZE = 128 << 20
KUNIT_RANGE = f"memmap={KUNIT_SIZE:#x}${KUNIT_BASE:#x}"
KUNIT_ARGS = (f"kunit_base={KUNIT_BASE:#x}", f"kunit_size={KUNIT_SIZE:#x}")

_SPLAT = re.compile(
    r"WARNING: |BUG: |\bOops\b|\bKASAN: |INFO: (possible|trying|task|rcu)|possible (circular|recursive)"
    r"|rcu: INFO|suspicious RCU|kernel BUG|Kernel panic|general protection|Unable to handle"
    r"|UBSAN: |DEBUG_LOCKS_WARN|refcount_t: |list_(add|del) corruption|Bad page state|scheduling while"
    r"|KCSAN: |kmemleak: \d+ new")
_SPLAT_LINES = 40


@dataclass
class Guest:
    """One boot: which kernel, which machine, what it sees and for how long."""

    root: Path
    image: Path
    modules: Path  # /lib/modules in the guest
    kind: str
    module: Path | None = None  # rust_fsdax.ko
    tools: Path | None = None  # a root that has what ROOT lacks
    emulator: Path | None = None  # the root with QEMU, if the guest is arm64.KIND
    smp: int = DEFAULT_SMP
    mem: int = DEFAULT_MEM_MIB
    icount: bool = False
    pmem: int = PMEM_MIB  # of each device
    nvdimm: bool = False  # pmem as NVDIMMs, which ndctl makes namespaces on
    cxl: bool = False  # pmem, and volatile memory, of CXL devices
    kvm: bool = False
    plugin: Path | None = None  # of TCG, which writes to out=PLUGIN_OUT beside the console
    plugin_out: str = "plugin.out"
    medium: bool = False  # the plugin is plugin.MEDIUM, which copies to a third pmem device
    numa: bool = False  # two nodes
    append: str = ""
    share: Path | None = None
    timeout: int = DEFAULT_TIMEOUT_S
    stop: threading.Event | None = None  # ends it before
    programs: Path = BUILD / "vm-bin"
    results: Path = BUILD / "results"

    def run(self, argv: list[str], console: Path, allow_splat: bool = False,
            output: BinaryIO | None = None) -> int:
        """Run argv as root in the guest; return its status or one of STATUS_*.

        Its output goes to ours, or to OUTPUT.
        """
        job = f"stty -F {self._port} raw -echo\nsetsid -w {shlex.join(argv)} </dev/null >&3 2>&3"
        return self._boot(job, console, allow_splat, output or sys.stdout.buffer)

    def shell(self, console: Path) -> int:
        """Give the user a shell in the guest."""
        size = shutil.get_terminal_size()
        job = (f"stty -F {self._port} sane rows {size.lines} cols {size.columns}\n"
               f"TERM={shlex.quote(os.environ.get('TERM', 'dumb'))} setsid -w -c bash -l <&3 >&3 2>&3")
        return self._boot(job, console, allow_splat=True, output=None)

    def _boot(self, job: str, console: Path, allow_splat: bool, output: BinaryIO | None) -> int:
        """Boot; without OUTPUT the guest's second serial port is our terminal."""
        self.results.mkdir(parents=True, exist_ok=True)
        self.programs.mkdir(parents=True, exist_ok=True)
        console.parent.mkdir(parents=True, exist_ok=True)
        console.write_bytes(b"")
        with tempfile.TemporaryDirectory(prefix="rust_fsdax-vm-") as temporary:
            control = Path(temporary)
            self._fill(control, job)
            command = self._command(control, console)
            started = control / "started"
            limits = BOOT_TIMEOUT_S * (arm64.SLOWER if self.emulator else 1), self.timeout
            if not output:
                subprocess.run(command, check=False)
                timed_out = False
            elif (timed_out := _stream(command, limits, output, started, self.stop)) \
                    and not (started.exists() or self.kvm or (self.stop and self.stop.is_set())):
                # Seen once in some forty boots under TCG on a loaded host, before init.
                step(f"The guest hung before it ran anything; see {shown(console)}. Booting it again.")
                timed_out = _stream(command, limits, output, started, self.stop)
            status_file = control / "status"
            text = status_file.read_text().strip() if status_file.exists() else ""
        if timed_out:
            if not (self.stop and self.stop.is_set()):
                step(f"The guest did not end within {self.timeout} s and was stopped; see {shown(console)}.")
            return STATUS_TIMEOUT
        if splat := find_splat(console.read_text(errors="replace")):
            step(f"splat: {splat[0].strip()}")
            if not allow_splat:
                step(f"The kernel complained; the whole console is in {shown(console)}:")
                print("\n".join(f"    {line}" for line in splat), file=sys.stderr)
                return STATUS_SPLAT
        if not text:
            step(f"The guest died before the script ended; see {shown(console)}.")
            return STATUS_DIED
        return int(text)

    def _fill(self, control: Path, job: str) -> None:
        """Write what the guest's first process reads."""
        for name in ("dev", "new", "rw", "proc"):
            (control / name).mkdir()
        shutil.copy(self.root / "usr/bin/busybox", control / "busybox")
        shutil.copy(Path(__file__).with_name("guest-init"), control / "init")
        (control / "init").chmod(0o755)
        (control / "roots").write_text("\n".join(tag for tag, _ in self._roots()) + "\n")
        env = {
            "FSDAX_PORT": self._port,
            "FSDAX_CHECKOUT": str(CHECKOUT),
            "FSDAX_KERNEL": self.kind,
            "FSDAX_KO": str(self.module or ""),
            "FSDAX_BIN": str(self.programs),
            "FSDAX_RESULTS": str(self.results),
            "FSDAX_SHARE": str(self.share or ""),
            "FSDAX_KUNIT_ARGS": " ".join(self._kunit_args),
            "FSDAX_CXL": "1" if self.cxl else "",
            "FSDAX_NVDIMM": "1" if self.nvdimm or self.emulator else "",
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
        lines += [f"share {tag} {shlex.quote(str(inside))} {'rw' if writable else 'ro'}"
                  for tag, _, inside, writable in self._shares()]
        lines += ["run_job() {", job, "}"]
        (control / "job").write_text("\n".join(lines) + "\n")

    def _roots(self) -> list[tuple[str, Path]]:
        """tag, host directory: which files the guest has is said by the first that has one of that name."""
        return [("root", self.root), *([("tools", self.tools)] if self.tools else [])]

    def _shares(self) -> list[tuple[str, Path, Path, bool]]:
        """tag, host directory, path in the guest, writable."""
        shares = [("modules", self.modules, Path("/lib/modules"), False),
                  ("checkout", CHECKOUT, CHECKOUT, False)]
        if self.share:
            shares.append(("share", self.share, self.share, False))
        shares.append(("results", self.results, self.results, True))
        return shares

    @property
    def _port(self) -> str:
        """What the guest writes its output to."""
        return arm64.OUTPUT_PORT if self.emulator else "/dev/ttyS1"

    @property
    def _kunit_args(self) -> tuple[str, ...]:
        return arm64.kunit_args(self.mem) if self.emulator else KUNIT_ARGS

    def _command(self, control: Path, console: Path) -> list[str]:
        exports = [*((tag, host, False) for tag, host in self._roots()), ("control", control, True)]
        exports += [(tag, host, writable) for tag, host, _, writable in self._shares()]
        image = Path("/guest/kernel")
        binds = [Bind(self.image, image), Bind(console.parent, Path("/guest/log"), writable=True)]
        binds += [Bind(host, Path("/guest") / tag, writable) for tag, host, writable in exports]
        if self.plugin:
            binds.append(Bind(self.plugin, Path("/guest/plugin.so")))
        line = [*(arm64.machine(self.mem, self.smp) if self.emulator else self._machine()),
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-chardev", f"file,id=console,path=/guest/log/{console.name}",
                "-serial", "chardev:console",
                "-chardev", "stdio,id=output,signal=off",
                *(arm64.output("output") if self.emulator else ["-serial", "chardev:output"]),
                "-kernel", str(image), "-append", self._cmdline()]
        if self.plugin:
            line += ["-plugin", ",".join(["file=/guest/plugin.so", *self._plugin_arguments()])]
        for tag, _, writable in exports:
            line += ["-virtfs", f"local,path=/guest/{tag},mount_tag={tag},security_model=none,"
                     f"multidevs=remap,readonly={'off' if writable else 'on'}"]
        if self.cxl:
            # Last: what names no bus is put on the first that there is.
            line += _cxl_devices()
        return sandbox.command(self.emulator or self.root, line, binds=binds,
                               devices=["/dev/kvm"] if self.kvm else [])

    def _machine(self) -> list[str]:
        """QEMU and the machine that it emulates, for x86."""
        memory = self.mem + (0 if self.pmem == PMEM_MIB else 2 * self.pmem)
        line = ["qemu-system-x86_64", "-machine", self._machine_type(),
                "-m", f"{memory}M" + (f",slots=4,maxmem={self.mem + 4 * _NVDIMM_MIB}M"
                                        if self.nvdimm else ""),
                # The CPUs of a socket are on one node.
                "-smp", str(1 if self.icount else self.smp) + (",sockets=2" if self.numa else "")]
        if self.numa:
            half = memory // 2
            for node, cpus in enumerate(_halves(self.smp)):
                line += ["-object", f"memory-backend-ram,id=node{node},size={half}M",
                         "-numa", f"node,nodeid={node},memdev=node{node},cpus={cpus}"]
        if self.icount:
            line += ["-accel", "tcg,thread=single", "-icount", "shift=0"]
        elif self.kvm:
            line += ["-accel", "kvm"]
        else:
            line += ["-accel", "tcg,thread=multi"]
        line += ["-cpu", self._cpu()]
        for number in range(2) if self.nvdimm else ():
            line += ["-object", f"memory-backend-ram,id=memory{number},"
                     f"size={_NVDIMM_MIB + _NVDIMM_LABEL_MIB}M",
                     "-device", f"nvdimm,id=nvdimm{number},memdev=memory{number},"
                     f"label-size={_NVDIMM_LABEL_MIB}M"]
        return line

    def _machine_type(self) -> str:
        if self.cxl:
            return f"q35,cxl=on,cxl-fmw.0.targets.0=cxl,cxl-fmw.0.size={4 * _CXL_MIB}M"
        return f"pc,nvdimm={'on' if self.nvdimm else 'off'}"

    def _cpu(self) -> str:
        if self.cxl:
            # Linux makes no region where caches cannot be flushed, as it thinks of each guest.
            return "host,-hypervisor" if self.kvm else "max,-hypervisor,la57=off,erms=off,fsrm=off"
        if self.kvm:
            return "host"
        # Five-level page tables only cost time under TCG, and so do byte-wise string instructions
        # that hardware is fast at. Where instructions are counted, they are as on hardware.
        return "max,la57=off" if self.icount else "max,la57=off,erms=off,fsrm=off"

    def _pmem_bases(self) -> tuple[int, ...]:
        """Where the pmem devices that are no NVDIMMs lie, in MiB."""
        if self.nvdimm or self.cxl:
            return ()
        if self.medium:
            return *_PMEM_BASES_MIB, _COPY_BASE_MIB
        if self.pmem == PMEM_MIB:
            return _PMEM_BASES_MIB
        return _PMEM_HIGH_MIB, _PMEM_HIGH_MIB + self.pmem

    def _plugin_arguments(self) -> list[str]:
        if not self.medium:
            return [f"out=/guest/log/{self.plugin_out}"]
        *watched, copy = (base << 20 for base in self._pmem_bases())
        return [f"size={self.pmem << 20:#x}", f"copy={copy:#x}",
                *(f"device={base:#x}" for base in watched)]

    def _cmdline(self) -> str:
        # A busy host may keep the timer from ticking while the kernel looks whether it does.
        first = [f"console={arm64.CONSOLE}", "panic=-1"] if self.emulator else \
            ["console=ttyS0", "panic=-1", "no_timer_check"]
        memory = [] if self.emulator else \
            [KUNIT_RANGE, *(f"memmap={self.pmem}M!{base}M" for base in self._pmem_bases())]
        words = [*first, "root=control", "rootfstype=9p", "rw",
                 "init=/init", "rootflags=trans=virtio,version=9p2000.L",
                 "kunit.enable=1", "kunit.autorun=1", *memory,
                 *(f"rust_fsdax.{argument}" for argument in self._kunit_args)]
        return " ".join([*words, self.append]).strip()


def check(*, smp: int, mem: int, pmem: int, icount: bool, nvdimm: bool, cxl: bool, medium: bool,
          numa: bool, other: bool = False) -> None:
    """Whether there can be such a machine. OTHER is one that is arm64.KIND."""
    if other and (icount or medium or numa or cxl or pmem != PMEM_MIB):
        raise Misuse("--kernel arm64 has NVDIMMs of its own, and no --icount, --medium, --numa, "
                     "--cxl or --pmem.")
    if mem < _MIN_MEM_MIB:
        raise Misuse(f"A guest needs --mem {_MIN_MEM_MIB} or more: its two pmem devices lie at "
                     "1 GiB and 1.5 GiB.")
    if pmem != PMEM_MIB and (nvdimm or mem < DEFAULT_MEM_MIB or pmem < PMEM_ALIGN_MIB or pmem % PMEM_ALIGN_MIB):
        raise Misuse(f"--pmem wants a multiple of {PMEM_ALIGN_MIB} MiB, --mem {DEFAULT_MEM_MIB} or "
                     "more, and no --nvdimm.")
    if numa and (nvdimm or icount or smp < 2):
        raise Misuse("--numa wants --smp 2 or more, no --icount and no --nvdimm.")
    if cxl and (nvdimm or medium or icount or numa or pmem != PMEM_MIB):
        raise Misuse("--cxl wants no --nvdimm, --medium, --icount, --numa and --pmem.")
    if medium and (nvdimm or pmem != PMEM_MIB or mem < DEFAULT_MEM_MIB):
        raise Misuse(f"--medium wants --mem {DEFAULT_MEM_MIB} or more, no --pmem and no --nvdimm.")


def _cxl_devices() -> list[str]:
    """A host bridge, and a port of it for each device."""
    line = ["-device", "pxb-cxl,id=cxl,bus=pcie.0,bus_nr=12"]
    for number, kind in enumerate(_CXL_DEVICES):
        memory = f"cxl-memory{number}"
        line += ["-object", f"memory-backend-ram,id={memory},size={_CXL_MIB}M",
                 "-device", f"cxl-rp,id=cxl-port{number},bus=cxl,port={number},chassis=0,slot={number + 1}"]
        device = f"cxl-type3,id=cxl{number},bus=cxl-port{number},{kind}-memdev={memory},sn={number + 1}"
        if kind == "persistent":
            line += ["-object", f"memory-backend-ram,id=cxl-labels{number},size={_NVDIMM_LABEL_MIB}M"]
            device += f",lsa=cxl-labels{number}"
        line += ["-device", device]
    return line


def _halves(cpus: int) -> tuple[str, str]:
    """The CPUs of two NUMA nodes, as QEMU's option wants them."""
    return f"0-{cpus // 2 - 1}", f"{cpus // 2}-{cpus - 1}"


def find_splat(console: str) -> list[str]:
    """The first line of a kernel splat and what follows it, or nothing."""
    return next(_splats(console.splitlines()), [])


def count_splats(console: str) -> int:
    """How many there are, each with what follows it."""
    return sum(1 for _ in _splats(console.splitlines()))


def _splats(lines: list[str]) -> Iterator[list[str]]:
    number = 0
    while number < len(lines):
        # The command line is echoed at boot and may hold anything. The kernel has data races of its own, which are
        # not what we look for.
        if not _SPLAT.search(lines[number]) or "ommand line:" in lines[number] or \
                ("BUG: KCSAN: " in lines[number] and not any("fsdax" in text for text in _until_rule(lines[number:]))):
            number += 1
            continue
        yield lines[number:number + _SPLAT_LINES]
        number += _SPLAT_LINES


def _until_rule(lines: list[str]) -> list[str]:
    """The lines of a KCSAN report, which ends with a rule: it has two stacks, each as long as it may be."""
    return list(itertools.takewhile(lambda line: "=====" not in line, lines))


def _stream(command: list[str], limits: tuple[int, int], output: BinaryIO, started: Path,
            stop: threading.Event | None) -> bool:
    """Copy a command's output; True if it had to be stopped.

    That is if the file STARTED is not there after the first of LIMITS, in seconds, or it has not ended after the
    second, or when STOP is set.
    """
    begin = time.monotonic()
    boot, timeout = limits
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child, \
            selectors.DefaultSelector() as selector:
        assert child.stdout
        selector.register(child.stdout, selectors.EVENT_READ)
        try:
            while (elapsed := time.monotonic() - begin) < timeout:
                if (elapsed > boot and not started.exists()) or (stop and stop.is_set()):
                    return True
                if not selector.select(min(timeout - elapsed, 5)):
                    continue
                data = os.read(child.stdout.fileno(), 65536)
                if not data:
                    return False
                output.write(data)
                output.flush()
            return True
        finally:
            child.kill()
