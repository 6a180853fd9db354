# SPDX-License-Identifier: GPL-2.0
"""A Debian machine of its own: a disk that GRUB boots from, with systemd and an initramfs, and NVDIMMs.

The other guests (guest.py) have a kernel that QEMU loads and the toolchain root. This one is like what
users have: it boots what is on its disk, and what was installed there stays.
"""

import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import archive, cache, sandbox, toolchain, tools
from .progress import LOGS, Fail, run_logged, shown, step
from .sandbox import Bind

# No compiler is among them, nor what they depend on.
_PACKAGES = ("e2fsprogs", "grub-pc-bin", "grub2-common", "initramfs-tools", "kmod", "linux-image-amd64", "ndctl",
             "python3", "systemd-sysv", "udev", "xfsprogs", "zstd")
_DISK_MIB = 6144
_FIRST_SECTOR = 2048
_IMAGE_MIB = 7000
_MEM_MIB = 2048
_NVDIMM_MIB = 512
_LABEL_MIB = 2
_COMMAND_LINE = "console=ttyS0 no_timer_check panic=-1"
_FIRST_BOOT = f"root=/dev/vda1 ro {_COMMAND_LINE}"
# What the host gives to a boot comes on the second disk, as a tar file; what it says leaves by the second
# serial port.
_UNIT = """\
[Unit]
Description=What the host wants to be run
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /run/job && tar -C /run/job -xf /dev/vdb && cd /run/job && sh ./job >/dev/ttyS1 2>&1'
ExecStopPost=/bin/systemctl --no-block poweroff

[Install]
WantedBy=graphical.target
"""
_FILES = {
    "etc/fstab": "/dev/vda1 / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "machine\n",
    "etc/default/grub": f'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_TERMINAL=serial\n'
                        f'GRUB_CMDLINE_LINUX_DEFAULT=""\nGRUB_CMDLINE_LINUX="{_COMMAND_LINE}"\n',
    "etc/systemd/system/job.service": _UNIT,
}


@dataclass(frozen=True)
class Image:
    """A disk with Debian on it, which is not changed, and the kernel that it came with."""

    root: Path  # the toolchain
    entry: Path

    @property
    def disk(self) -> Path:
        return self.entry / "disk"


def image() -> Image:
    """The disk, made if it is not there yet."""
    root = toolchain.ensure()
    name = cache.key(toolchain.SUITE, archive.MIRROR, *_PACKAGES, *_FILES, *_FILES.values(), str(_DISK_MIB))
    return Image(root, cache.entry(f"debian-{name}", partial(_make, root)))


def _make(root: Path, entry: Path) -> None:
    cache.need_space(_IMAGE_MIB, "A Debian machine")
    packed = entry / "root.tar"
    # A user namespace cannot look into a private home; /tmp may be memory.
    with tempfile.TemporaryDirectory(dir=entry if os.geteuid() == 0 else "/var/tmp") as place:
        hooks = []
        for name, text in _FILES.items():
            file = Path(place) / name.replace("/", "-")
            file.write_text(text)
            hooks.append(f"--customize-hook=upload {shlex.quote(str(file))} /{name}")
        hooks.append('--customize-hook=chroot "$1" systemctl enable job.service')
        run_logged(["env", f"TMPDIR={place}", "mmdebstrap",
                    f"--mode={'root' if os.geteuid() == 0 else 'unshare'}", "--variant=minbase",
                    f"--include={','.join(_PACKAGES)}", "--aptopt=APT::Install-Recommends \"false\"", *hooks,
                    toolchain.SUITE, str(packed), f"deb {archive.MIRROR} {toolchain.SUITE} main"],
                   LOGS / "debian.log", "fetch and install a Debian machine (about 2 min)", explain=archive.explain)
    _take_kernel(packed, entry)
    _make_disk(root, packed, entry)
    packed.unlink()


def _take_kernel(packed: Path, entry: Path) -> None:
    """Have the kernel and the initramfs of the first boot beside the disk: GRUB is not there yet."""
    with tarfile.open(packed) as tarball:
        for member in tarball:
            for name in ("vmlinuz", "initrd"):
                if re.fullmatch(rf"(?:\./)?boot/{name}(?:\.img)?-\S+", member.name):
                    data = tarball.extractfile(member)
                    assert data
                    (entry / name).write_bytes(data.read())


def _make_disk(root: Path, packed: Path, entry: Path) -> None:
    disk, inside = entry / "disk.partial", Path("/disk")
    with disk.open("wb") as file:
        file.truncate(_DISK_MIB << 20)
    partition = f"echo '{_FIRST_SECTOR},,L,*' | sfdisk --quiet --label dos {inside}/{disk.name}"
    run_logged(sandbox.command(root, ["sh", "-c", partition], binds=[Bind(entry, inside, writable=True)]),
               LOGS / "debian-disk.log", "partition a disk", quiet=True)
    # This mke2fs reads a tar file, with the owners that it has.
    run_logged(sandbox.command(
        tools.ensure("mke2fs", "e2fsprogs", "libarchive13t64", suite=toolchain.SUITE),
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", f"{inside}/{packed.name}", "-E", f"offset={_FIRST_SECTOR * 512}",
         f"{inside}/{disk.name}", f"{_DISK_MIB - 2}M"],
        binds=[Bind(entry, inside, writable=True)]), LOGS / "debian-disk.log", "make a file system of it")
    disk.rename(entry / "disk")


@dataclass
class Machine:
    """One machine: its disk and its NVDIMMs are files in a directory of its own."""

    image: Image
    place: Path
    timeout: int = 1500

    @classmethod
    def new(cls, machine_image: Image, place: Path) -> "Machine":
        """A machine as it was made, with NVDIMMs that hold nothing."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        run_logged(["cp", "--sparse=always", str(machine_image.disk), str(place / "disk")], LOGS / "debian-copy.log",
                   "copy the disk", quiet=True)
        for number in range(2):
            with (place / f"nvdimm{number}").open("wb") as file:
                file.truncate((_NVDIMM_MIB + _LABEL_MIB) << 20)
        return cls(machine_image, place)

    def boot(self, name: str, job: str, files: Iterable[tuple[Path, str]], *, first: bool = False) -> list[str]:
        """Boot, run JOB, a shell script, beside FILES, each with the name that it has there; return what it prints.

        Ends when the machine is off. The FIRST boot has the kernel that QEMU loads, all others that of GRUB.
        """
        _pack(self.place / "job.tar", job, files)
        console, output = LOGS / f"debian-{name}.console", LOGS / f"debian-{name}.log"
        step(f"{name} ...")
        with output.open("wb") as out:
            try:
                status = subprocess.run(self._command(console, first=first), stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=subprocess.STDOUT, timeout=self.timeout, check=False).returncode
            except subprocess.TimeoutExpired:
                raise Fail(f"The machine was not off after {self.timeout} s: read {shown(console)} and "
                           f"{shown(output)}.") from None
        step(f"{name}: done")
        if status:
            raise Fail(f"QEMU ended with status {status}: read {shown(output)}.")
        return output.read_text(errors="replace").splitlines()

    def _command(self, console: Path, *, first: bool) -> list[str]:
        image, place, log = Path("/guest/image"), Path("/guest/machine"), Path("/guest/log")
        line = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "pc,nvdimm=on", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off,erms=off,fsrm=off",
                "-smp", "2", "-m", f"{_MEM_MIB}M,slots=4,maxmem={_MEM_MIB + 4 * (_NVDIMM_MIB + _LABEL_MIB)}M",
                "-chardev", f"file,id=console,path={log}/{console.name}", "-serial", "chardev:console",
                "-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output",
                "-drive", f"if=virtio,format=raw,cache=unsafe,file={place}/disk",
                "-drive", f"if=virtio,format=raw,readonly=on,file={place}/job.tar"]
        for number in range(2):
            line += ["-object", f"memory-backend-file,id=memory{number},share=on,mem-path={place}/nvdimm{number},"
                     f"size={_NVDIMM_MIB + _LABEL_MIB}M",
                     "-device", f"nvdimm,id=nvdimm{number},memdev=memory{number},label-size={_LABEL_MIB}M"]
        if first:
            line += ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd", "-append", _FIRST_BOOT]
        return sandbox.command(self.image.root, line, binds=[
            Bind(self.image.entry, image), Bind(self.place, place, writable=True),
            Bind(console.parent, log, writable=True)])


def _pack(tar: Path, job: str, files: Iterable[tuple[Path, str]]) -> None:
    """What a boot gets: a whole number of sectors, and more than none."""
    script = tar.with_name("job")
    script.write_text(job)
    with tarfile.open(tar, "w") as tarball:
        for path, name in [(script, "job"), *files]:
            tarball.add(path, name)
