# SPDX-License-Identifier: GPL-2.0
"""Guests of the other architecture: a QEMU, a root and a machine of their own. Their kernels are those of KIND.

Nothing of it runs at all for x86. The toolchain stays what it is: its clang and rustc compile for both.
"""

from pathlib import Path

from . import toolchain, tools

KIND = "arm64"
TRIPLE = "aarch64-linux-gnu"
# How many times as long as a guest of x86 one may take before it is stopped: it begins with a firmware, and there is
# never KVM.
SLOWER = 3

_EMULATOR = ("qemu-efi-aarch64", "qemu-system-arm")
# What the guest runs, and what its programs are linked with.
_GUEST = ("base-files", "bash", "binutils", "busybox-static", "coreutils", "dash", "daxctl", "diffutils", "dmsetup",
          "e2fsprogs", "erofs-utils", "fdisk", "findutils", "fio", "grep", "iproute2", "kmod", "libc6-dev",
          "libgcc-14-dev", "mount", "ndctl", "procps", "sed", "util-linux", "xfsprogs")
# Without ACPI there are no NVDIMMs, and without this no ACPI.
_FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
# It has what the kernel uses of Armv8.2, such as a dirty state by hardware and a flush to the point of
# persistence, and no authenticated pointers, which would only cost time under TCG.
_CPU = "neoverse-n1"
CONSOLE = "ttyAMA0"
# The board has one serial port.
OUTPUT_PORT = "/dev/hvc0"
# Where the board has its memory, and the alignment of what comes behind it.
_GIB = 1 << 30
_MIB = 1 << 20
_PMEM_MIB = 640
_LABEL_MIB = 2
_KUNIT_MIB = 128
_NVDIMMS = 2
# And a DIMM that the kernel could plug in if it was configured for that: no driver takes it from the KUnit suites.
_DIMMS = _NVDIMMS + 1


def emulator() -> Path:
    """The root with QEMU and its firmware, made if it is not there yet."""
    return tools.ensure("qemu-arm64", *_EMULATOR, suite=toolchain.SUITE)


def guest_root() -> Path:
    """The root of guests, which is the sysroot of their programs as well, made if it is not there yet."""
    return tools.ensure("guest-arm64", *_GUEST, suite=toolchain.SUITE, architecture=KIND)


def compiler(sysroot: str) -> list[str]:
    """What compiles a C program of guests."""
    return ["clang", f"--target={TRIPLE}", f"--sysroot={sysroot}", "-fuse-ld=lld",
            # gcc has no such warning.
            "-Wno-gnu-variable-sized-type-not-at-end"]


def machine(mem: int, smp: int) -> list[str]:
    """QEMU and the machine that it emulates, with MEM MiB and what is no kernel, disk or port."""
    line = ["qemu-system-aarch64", "-machine", "virt,acpi=on,gic-version=3,nvdimm=on", "-cpu", _CPU,
            "-accel", "tcg,thread=multi", "-bios", _FIRMWARE, "-smp", str(smp),
            "-m", f"{mem}M,slots={_DIMMS},maxmem={mem + 1024 * _DIMMS}M"]
    for number in range(_NVDIMMS):
        line += ["-object", f"memory-backend-ram,id=memory{number},size={_PMEM_MIB + _LABEL_MIB}M",
                 "-device", f"nvdimm,id=nvdimm{number},memdev=memory{number},label-size={_LABEL_MIB}M,"
                 f"addr={_base(mem, number):#x}"]
    return [*line, "-object", f"memory-backend-ram,id=kunit,size={_KUNIT_MIB}M",
            "-device", f"pc-dimm,id=dimm,memdev=kunit,addr={_base(mem, _NVDIMMS):#x}"]


def output(chardev: str) -> list[str]:
    """The options of QEMU that make OUTPUT_PORT of a character device."""
    return ["-device", "virtio-serial-pci", "-device", f"virtconsole,chardev={chardev}"]


def kunit_args(mem: int) -> tuple[str, str]:
    """The parameters of the module that name the memory of the KUnit suites."""
    return f"kunit_base={_base(mem, _NVDIMMS):#x}", f"kunit_size={_KUNIT_MIB * _MIB:#x}"


def _base(mem: int, number: int) -> int:
    """Where a DIMM lies: behind the memory, each at a multiple of 1 GiB."""
    end = _GIB + mem * _MIB
    return (-(-end // _GIB) + number) * _GIB
