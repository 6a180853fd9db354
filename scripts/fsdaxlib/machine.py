# SPDX-License-Identifier: GPL-2.0
"""The command-line options of a guest, and the guest that they describe."""

import argparse
import os
import platform
import tempfile
from pathlib import Path

from . import arm64, cache, guest, kernel, module, plugin, programs, source, toolchain, tools, usage
from .progress import LOGS, step

_KVM_PROBE_S = 30
# What guests of a kind have besides, of the same suite as their root.
_TOOLS = {"kcore": ("drgn", "python3-drgn")}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every way to start a guest understands."""
    parser.add_argument("--kernel", choices=kernel.KINDS, default="plain",
                        help="debug has KASAN, lockdep and more, kcsan looks for data races, stock "
                             "lacks our series, gcc is built by gcc, kcore can be read by drgn, which the guest has "
                             "then, arm64 is for that architecture "
                             "(default: %(default)s)")
    source.add_options(parser)
    parser.add_argument("--share", type=usage.directory, metavar="DIR", help="show DIR, read-only, in the guest")
    parser.add_argument("--smp", type=usage.at_least(1), default=guest.DEFAULT_SMP, metavar="N",
                        help="number of CPUs (default: %(default)s)")
    parser.add_argument("--mem", type=usage.at_least(1), default=guest.DEFAULT_MEM_MIB, metavar="MIB",
                        help="memory in MiB (default: %(default)s)")
    parser.add_argument("--icount", action="store_true",
                        help="one CPU whose TSC counts instructions")
    parser.add_argument("--pmem", type=usage.at_least(1), default=guest.PMEM_MIB, metavar="MIB",
                        help="size of each pmem device; what is not the default comes on top of "
                             "--mem (default: %(default)s)")
    parser.add_argument("--nvdimm", action="store_true",
                        help="pmem devices are fsdax namespaces on NVDIMMs, made by ndctl, with "
                             "their struct pages on the device")
    parser.add_argument("--cxl", action="store_true",
                        help="pmem devices are fsdax namespaces on CXL devices; a third device has volatile "
                             "memory, which is a region without a driver")
    parser.add_argument("--medium", action="store_true",
                        help="know what a power failure would leave of the pmem devices, and put "
                             "it on a third one when a program asks for it")
    parser.add_argument("--numa", action="store_true",
                        help="two NUMA nodes, with half of the CPUs and of the memory each")
    parser.add_argument("--append", default="", metavar="CMDLINE", help="more kernel command line")
    parser.add_argument("--no-module", action="store_true",
                        help="do without rust_fsdax.ko: then a stock kernel is all that is built")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what a guest that runs a script understands besides."""
    parser.add_argument("--timeout", type=usage.at_least(1), default=guest.DEFAULT_TIMEOUT_S, metavar="S",
                        help="stop the guest after S seconds (default: %(default)s)")
    parser.add_argument("--allow-splat", action="store_true",
                        help="return the script's status whatever the kernel said")


def jobs() -> int:
    """Guests at a time: most have one CPU at work, and that sleeps for a fourth of the time."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    cpus = len(os.sched_getaffinity(0))
    # Half of the memory is left to the host.
    return max(1, min(cpus + cpus // 2, memory // (2 * guest.DEFAULT_MEM_MIB)))


def prepare(args: argparse.Namespace, ko: Path | None = None) -> guest.Guest:
    """Build what is missing and describe the guest, which gets the usual module or KO."""
    guest.check(smp=args.smp, mem=args.mem, pmem=args.pmem, icount=args.icount, nvdimm=args.nvdimm,
                cxl=args.cxl, medium=args.medium, numa=args.numa, other=args.kernel == arm64.KIND)
    built = kernel.ensure(args.kernel)
    if not ko and not args.no_module:
        # Who has no kernel with the series meets a module that was built for one.
        target = kernel.ensure("plain") if args.kernel == "stock" else built
        ko = module.build(target)
    other = arm64.guest_root() if args.kernel == arm64.KIND else None
    vm = guest.Guest(other or built.root, built.image, built.modules, args.kernel, module=ko,
                     emulator=arm64.emulator() if other else None,
                     programs=programs.build(built.root, built.tree, other), smp=args.smp, mem=args.mem,
                     icount=args.icount, pmem=args.pmem, nvdimm=args.nvdimm, append=args.append,
                     cxl=args.cxl, numa=args.numa,
                     share=args.share and args.share.resolve(),
                     timeout=getattr(args, "timeout", guest.DEFAULT_TIMEOUT_S))
    if wanted := _TOOLS.get(args.kernel):
        vm.tools = tools.ensure(*wanted, suite=toolchain.SUITE)
    if args.medium:
        vm.plugin, vm.medium = plugin.build(built.root, plugin.MEDIUM), True
    vm.kvm = not args.icount and not args.medium and not other and _kvm_works(vm)
    return vm


def _kvm_works(vm: guest.Guest) -> bool:
    """Whether a guest boots with KVM: that /dev/kvm opens says too little.

    Asked once per host and kernel.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    answer = cache.directory() / f"kvm-{cache.key(platform.release(), platform.node())}"
    if not answer.exists():
        step("find out whether KVM works here")
        with tempfile.TemporaryDirectory(prefix="rust_fsdax-kvm-") as empty:
            probe = guest.Guest(vm.root, vm.image, vm.modules, vm.kind, kvm=True,
                                timeout=_KVM_PROBE_S, results=Path(empty))
            works = probe.run(["true"], LOGS / "kvm-probe.console") == 0
        answer.write_text("yes" if works else "no")
        step("KVM works" if works else "KVM does not work here: guests run under TCG")
    return answer.read_text() == "yes"
