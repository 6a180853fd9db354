# SPDX-License-Identifier: GPL-2.0
"""The command line of a guest: each option of scripts/vm is what QEMU and the kernel get."""

import dataclasses
import itertools
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import arm64, guest, kernel, machine, module, plugin, programs, usage
from fsdaxlib.guest import Guest
from fsdaxlib.progress import CHECKOUT, Misuse

_SHAPE = {"smp": guest.DEFAULT_SMP, "mem": guest.DEFAULT_MEM_MIB, "pmem": guest.PMEM_MIB, "icount": False,
          "nvdimm": False, "cxl": False, "medium": False, "numa": False}


class InPlace(unittest.TestCase):
    """Has a guest whose files are in a directory of its own."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = Path(directory.name)
        self.vm = Guest(self.place / "root", self.place / "bzImage", self.place / "modules", "plain",
                        module=Path("/m/rust_fsdax.ko"), results=self.place / "results")
        busybox = self.vm.root / "usr/bin/busybox"
        busybox.parent.mkdir(parents=True)
        busybox.touch()

    def command(self, **changes: object) -> list[str]:
        """The command that boots it, behind bwrap's --."""
        vm = dataclasses.replace(self.vm, **changes)  # type: ignore[arg-type]
        line = vm._command(self.place / "control", self.place / "log/console")
        return line[line.index("--") + 1:]

    def cmdline(self, **changes: object) -> list[str]:
        """The command line of its kernel."""
        line = self.command(**changes)
        return line[line.index("-append") + 1].split()


def values(line: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(line) if name == option]


class Machine(InPlace):
    def test_usual_one(self) -> None:
        line = self.command()
        self.assertEqual(line[0], "qemu-system-x86_64")
        self.assertEqual(values(line, "-machine"), ["pc,nvdimm=off"])
        self.assertEqual(values(line, "-m"), ["3072M"])
        self.assertEqual(values(line, "-smp"), ["2"])
        self.assertEqual(values(line, "-accel"), ["tcg,thread=multi"])
        self.assertEqual(values(line, "-cpu"), ["max,la57=off,erms=off,fsrm=off"])
        self.assertEqual(values(line, "-icount") + values(line, "-plugin") + values(line, "-numa"), [])

    def test_kvm(self) -> None:
        line = self.command(kvm=True)
        self.assertEqual((values(line, "-accel"), values(line, "-cpu")), (["kvm"], ["host"]))
        vm = dataclasses.replace(self.vm, kvm=True)
        self.assertIn("/dev/kvm", vm._command(self.place, self.place / "console"))
        self.assertNotIn("/dev/kvm", self.vm._command(self.place, self.place / "console"))

    def test_icount_has_one_cpu_as_hardware_has_it(self) -> None:
        line = self.command(icount=True, smp=4)
        self.assertEqual(values(line, "-smp"), ["1"])
        self.assertEqual(values(line, "-accel"), ["tcg,thread=single"])
        self.assertEqual(values(line, "-icount"), ["shift=0"])
        self.assertEqual(values(line, "-cpu"), ["max,la57=off"])

    def test_numa_halves_cpus_and_memory(self) -> None:
        line = self.command(numa=True, smp=4)
        self.assertEqual(values(line, "-smp"), ["4,sockets=2"])
        self.assertEqual(values(line, "-numa"), ["node,nodeid=0,memdev=node0,cpus=0-1",
                                                 "node,nodeid=1,memdev=node1,cpus=2-3"])
        self.assertEqual([value for value in values(line, "-object") if "node" in value],
                         ["memory-backend-ram,id=node0,size=1536M", "memory-backend-ram,id=node1,size=1536M"])

    def test_plugin_of_a_power_failure_knows_the_devices(self) -> None:
        plugin = values(self.command(plugin=self.place / "medium.so", medium=True), "-plugin")
        self.assertEqual(plugin, ["file=/guest/plugin.so,size=0x20000000,copy=0x80000000,"
                                  "device=0x40000000,device=0x60000000"])

    def test_other_plugins_write_beside_the_console(self) -> None:
        self.assertEqual(values(self.command(plugin=self.place / "insns.so", plugin_out="insns.counts"), "-plugin"),
                         ["file=/guest/plugin.so,out=/guest/log/insns.counts"])


class OtherArchitecture(InPlace):
    """A guest that is arm64, under another QEMU and on another root."""

    def test_machine(self) -> None:
        line = self.command(emulator=self.place / "qemu")
        self.assertEqual(line[0], "qemu-system-aarch64")
        self.assertEqual(values(line, "-machine"), ["virt,acpi=on,gic-version=3,nvdimm=on"])
        self.assertEqual(values(line, "-bios"), ["/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"])
        self.assertEqual(values(line, "-accel"), ["tcg,thread=multi"])
        self.assertEqual(values(line, "-kernel"), values(self.command(), "-kernel"))
        self.assertEqual(values(line, "-virtfs"), values(self.command(), "-virtfs"))

    def test_dimms_lie_behind_the_memory_and_do_not_meet(self) -> None:
        for mem, first in ((3072, 4), (2304, 4), (2048, 3), (3073, 5)):
            line = self.command(emulator=self.place / "qemu", mem=mem)
            at = [value.rpartition("addr=")[2] for value in values(line, "-device") if "addr=" in value]
            self.assertEqual(at, [f"{(first + number) << 30:#x}" for number in range(3)])
            self.assertEqual(values(line, "-m"), [f"{mem}M,slots=3,maxmem={mem + 3072}M"])

    def test_kunit_has_a_dimm_that_is_no_nvdimm(self) -> None:
        devices = values(self.command(emulator=self.place / "qemu"), "-device")
        self.assertEqual([value.partition(",")[0] for value in devices if value.endswith("addr=0x180000000")],
                         ["pc-dimm"])
        words = self.cmdline(emulator=self.place / "qemu")
        self.assertIn("rust_fsdax.kunit_base=0x180000000", words)
        self.assertIn("rust_fsdax.kunit_size=0x8000000", words)
        self.assertEqual([word for word in words if word.startswith(("memmap", "no_timer"))], [])

    def test_output_has_a_port_of_its_own(self) -> None:
        line = self.command(emulator=self.place / "qemu")
        self.assertEqual(values(line, "-serial"), ["chardev:console"])
        self.assertIn("virtconsole,chardev=output", values(line, "-device"))
        self.assertIn("console=ttyAMA0", self.cmdline(emulator=self.place / "qemu"))
        self.assertEqual(self.port(emulator=self.place / "qemu"), "export FSDAX_PORT=/dev/hvc0")
        self.assertEqual(self.port(), "export FSDAX_PORT=/dev/ttyS1")

    def port(self, **changes: object) -> str:
        control = self.place / f"control-{len(changes)}"
        control.mkdir()
        dataclasses.replace(self.vm, **changes)._fill(control, "run")  # type: ignore[arg-type]
        return (control / "job").read_text().splitlines()[0]

    def test_qemu_runs_in_its_root_and_the_guest_sees_its_own(self) -> None:
        qemu = self.place / "qemu/usr/bin"
        qemu.mkdir(parents=True)
        line = dataclasses.replace(self.vm, emulator=self.place / "qemu")._command(self.place, self.place / "console")
        self.assertEqual(line[line.index(str(qemu)) + 1], "/usr/bin")
        self.assertEqual(line[line.index(str(self.vm.root)) + 1], "/guest/root")


class Memory(InPlace):
    def test_pmem_is_part_of_the_memory(self) -> None:
        words = self.cmdline()
        self.assertIn("memmap=512M!1024M", words)
        self.assertIn("memmap=512M!1536M", words)

    def test_larger_pmem_comes_on_top(self) -> None:
        self.assertEqual(values(self.command(pmem=1280), "-m"), ["5632M"])
        self.assertEqual([word for word in self.cmdline(pmem=1280) if "!" in word],
                         ["memmap=1280M!4096M", "memmap=1280M!5376M"])

    def test_power_failure_has_a_third_device(self) -> None:
        self.assertEqual([word for word in self.cmdline(medium=True) if "!" in word],
                         ["memmap=512M!1024M", "memmap=512M!1536M", "memmap=512M!2048M"])

    def test_nvdimms_are_no_part_of_the_memory(self) -> None:
        line = self.command(nvdimm=True)
        self.assertEqual(values(line, "-m"), ["3072M,slots=4,maxmem=5632M"])
        self.assertEqual(values(line, "-machine"), ["pc,nvdimm=on"])
        self.assertEqual(values(line, "-device")[-2:], ["nvdimm,id=nvdimm0,memdev=memory0,label-size=2M",
                                                        "nvdimm,id=nvdimm1,memdev=memory1,label-size=2M"])
        self.assertEqual([word for word in self.cmdline(nvdimm=True) if "!" in word], [])

    def test_cxl_devices_are_no_part_of_the_memory(self) -> None:
        line = self.command(cxl=True)
        self.assertEqual(values(line, "-m"), ["3072M"])
        self.assertEqual(values(line, "-machine"), ["q35,cxl=on,cxl-fmw.0.targets.0=cxl,cxl-fmw.0.size=2048M"])
        self.assertEqual([value.partition(",")[0] for value in values(line, "-device")],
                         ["pxb-cxl", *["cxl-rp", "cxl-type3"] * 3])
        self.assertEqual([value.split(",")[3].partition("=")[0] for value in values(line, "-device")
                          if value.startswith("cxl-type3")],
                         ["persistent-memdev", "persistent-memdev", "volatile-memdev"])
        self.assertEqual([word for word in self.cmdline(cxl=True) if "!" in word], [])
        # No region is made where caches cannot be flushed.
        for kvm in (False, True):
            self.assertIn("-hypervisor", values(self.command(cxl=True, kvm=kvm), "-cpu")[0])

    def test_kunit_has_memory_of_its_own(self) -> None:
        words = self.cmdline()
        self.assertIn("memmap=0x8000000$0x38000000", words)
        self.assertIn("rust_fsdax.kunit_base=0x38000000", words)
        self.assertIn("rust_fsdax.kunit_size=0x8000000", words)

    def test_more_command_line_is_last(self) -> None:
        self.assertEqual(self.cmdline(append="oops=panic quiet")[-2:], ["oops=panic", "quiet"])


class Shares(InPlace):
    def shares(self, **changes: object) -> dict[str, str]:
        """Tag and whether it is read-only."""
        return {value.split("mount_tag=")[1].split(",")[0]: value.rpartition("readonly=")[2]
                for value in values(self.command(**changes), "-virtfs")}

    def test_only_results_and_control_are_writable(self) -> None:
        self.assertEqual(self.shares(), {"root": "on", "control": "off", "modules": "on", "checkout": "on",
                                         "results": "off"})

    def test_share_is_read_only(self) -> None:
        self.assertEqual(self.shares(share=self.place)["share"], "on")

    def test_root_of_tools_is_below_the_other(self) -> None:
        self.assertEqual(list(self.shares(tools=self.place))[:2], ["root", "tools"])
        (self.place / "control").mkdir()
        for tools, roots in ((None, "root\n"), (self.place, "root\ntools\n")):
            shutil.rmtree(self.place / "control")
            (self.place / "control").mkdir()
            dataclasses.replace(self.vm, tools=tools)._fill(self.place / "control", "true")
            self.assertEqual((self.place / "control/roots").read_text(), roots)

    def test_job_has_the_environment_and_mounts(self) -> None:
        control = self.place / "control"
        control.mkdir()
        dataclasses.replace(self.vm, share=Path("/a b"), nvdimm=True)._fill(control, "run 'it'")
        lines = (control / "job").read_text().splitlines()
        self.assertIn(f"export FSDAX_CHECKOUT={CHECKOUT}", lines)
        self.assertIn("export FSDAX_KO=/m/rust_fsdax.ko", lines)
        self.assertIn("export FSDAX_NVDIMM=1", lines)
        self.assertIn("export FSDAX_SHARE='/a b'", lines)
        self.assertIn("share share '/a b' ro", lines)
        self.assertIn(f"share results {self.place}/results rw", lines)
        self.assertEqual(lines[-3:], ["run_job() {", "run 'it'", "}"])
        self.assertTrue((control / "init").stat().st_mode & 0o100)


class Refused(unittest.TestCase):
    def refused(self, words: str, **changes: object) -> None:
        with self.assertRaisesRegex(Misuse, words):
            guest.check(**_SHAPE | changes)  # type: ignore[arg-type]

    def test_usual_one_is_not(self) -> None:
        guest.check(**_SHAPE)  # type: ignore[arg-type]
        guest.check(**_SHAPE | {"pmem": 1280})  # type: ignore[arg-type]

    def test_devices_need_memory(self) -> None:
        self.refused("--mem 2304 or more", mem=2303)
        self.refused("--pmem wants", mem=2304, pmem=640)
        self.refused("--medium wants", mem=2304, medium=True)

    def test_pmem_is_aligned(self) -> None:
        self.refused("multiple of 128 MiB", pmem=513)
        self.refused("multiple of 128 MiB", pmem=0)

    def test_nvdimms_have_their_own_size(self) -> None:
        self.refused("no --nvdimm", nvdimm=True, pmem=640)
        self.refused("no --nvdimm", nvdimm=True, medium=True)
        self.refused("no --nvdimm", nvdimm=True, numa=True)

    def test_other_architecture_has_one_shape(self) -> None:
        guest.check(**_SHAPE | {"other": True})  # type: ignore[arg-type]
        for changes in ({"icount": True}, {"medium": True}, {"numa": True}, {"cxl": True}, {"pmem": 640}):
            self.refused("--kernel arm64 has", other=True, **changes)

    def test_cxl_devices_have_their_own_size(self) -> None:
        self.refused("no --nvdimm", cxl=True, nvdimm=True)
        self.refused("and --pmem", cxl=True, pmem=640)

    def test_numa_needs_two_cpus(self) -> None:
        self.refused("--smp 2 or more", numa=True, smp=1)
        self.refused("no --icount", numa=True, icount=True)


class Options(InPlace):
    def prepared(self, *options: str) -> tuple[Guest, mock.Mock]:
        """The guest that these options describe, and kernel.ensure()."""
        parser = usage.Parser()
        machine.add_options(parser)
        machine.add_run_options(parser)
        built = mock.Mock(root=self.vm.root, image=self.vm.image, modules=self.vm.modules)
        with mock.patch.object(kernel, "ensure", return_value=built) as ensure, \
                mock.patch.object(module, "build", return_value=Path("ko")), \
                mock.patch.object(programs, "build", return_value=Path("bin")), \
                mock.patch.object(plugin, "build", return_value=Path("medium.so")), \
                mock.patch.object(machine, "_kvm_works", return_value=True):
            return machine.prepare(parser.parse_args(list(options))), ensure

    def test_defaults(self) -> None:
        vm, ensure = self.prepared()
        self.assertEqual((vm.smp, vm.mem, vm.pmem, vm.timeout, vm.kvm, vm.kind),
                         (guest.DEFAULT_SMP, guest.DEFAULT_MEM_MIB, guest.PMEM_MIB, guest.DEFAULT_TIMEOUT_S,
                          True, "plain"))
        ensure.assert_called_once_with("plain")

    def test_each_option_arrives(self) -> None:
        vm, _ = self.prepared("--smp=4", "--mem=4096", "--numa", "--append=quiet", "--timeout=7",
                              f"--share={self.place}")
        self.assertEqual((vm.smp, vm.mem, vm.numa, vm.append, vm.timeout, vm.share),
                         (4, 4096, True, "quiet", 7, self.place.resolve()))

    def test_counted_instructions_and_plugins_need_tcg(self) -> None:
        self.assertFalse(self.prepared("--icount")[0].kvm)
        vm, _ = self.prepared("--medium")
        self.assertEqual((vm.kvm, vm.medium, vm.plugin), (False, True, Path("medium.so")))

    def test_kernel_without_the_series_gets_the_module_of_another(self) -> None:
        _, ensure = self.prepared("--kernel=stock")
        self.assertEqual([call.args for call in ensure.call_args_list], [("stock",), ("plain",)])

    def test_other_architecture_has_its_roots_and_no_kvm(self) -> None:
        with mock.patch.object(arm64, "guest_root", return_value=Path("/arm")), \
                mock.patch.object(arm64, "emulator", return_value=Path("/qemu")):
            vm, ensure = self.prepared("--kernel=arm64")
        self.assertEqual((vm.root, vm.emulator, vm.kvm), (Path("/arm"), Path("/qemu"), False))
        ensure.assert_called_once_with("arm64")
        self.assertIsNone(self.prepared()[0].emulator)

    def test_what_cannot_be_is_refused_before_anything_is_built(self) -> None:
        parser = usage.Parser()
        machine.add_options(parser)
        with mock.patch.object(kernel, "ensure") as ensure, self.assertRaises(Misuse):
            machine.prepare(parser.parse_args(["--mem=1"]))
        ensure.assert_not_called()


if __name__ == "__main__":
    unittest.main()
