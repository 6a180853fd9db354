#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What is done on a Debian machine, boot by boot, to try the packages; prints TAP.

scripts/fsdaxlib/debtest.py brings it there, with the packages and the commands of the README.
"""

import mmap
import os
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASE = (HERE / "release").read_text().strip()
COMMANDS = (HERE / "commands").read_text().splitlines()
REQUIRE = (HERE / "require").read_text()
# The mount of the README, and one of XFS beside it.
MOUNTS = {"pmem0": Path("/mnt"), "pmem1": Path("/srv")}
XFS_LINE = "/dev/pmem1 /srv xfs dax=always,nofail 0 2\n"
FSTAB = Path("/etc/fstab")
GRUB = Path("/etc/default/grub")
PROM = Path("/var/lib/prometheus/node-exporter/fsdax-pins.prom")
# The end of a module with a signature.
SIGNED = b"~Module signature appended~\n"
PACKAGES = (f"linux-image-{RELEASE}", f"linux-headers-{RELEASE}", f"rust-fsdax-module-{RELEASE}", "rust-fsdax-tools")
PAGES = 1024
PAGE = 4096


def run(*words: str, ok: bool = True) -> str:
    """Run a command; return what it prints. With OK, it must not fail."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    print("".join(f"# {line}\n" for line in [shlex.join(words), *done.stdout.splitlines()]), end="", flush=True)
    if ok and done.returncode:
        raise AssertionError(f"{shlex.join(words)} ended with status {done.returncode}")
    return done.stdout


def as_user_types(command: str) -> str:
    """Run a command of the README, in a directory with what make deb made; we are root already."""
    return run("sh", "-c", f"cd {HERE} && {command.replace('sudo ', '')}")


def check(holds: object, what: str) -> None:
    """What must hold."""
    if not holds:
        raise AssertionError(what)


def pattern(seed: int) -> bytes:
    """What a file holds."""
    return b"".join(bytes([(seed + page) % 251]) * PAGE for page in range(PAGES))


def log_of_kernel() -> str:
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout


def served_by() -> dict[str, str]:
    """Who serves the mounts, as the kernel says in its log."""
    return dict(re.findall(r"dax: (pmem\d): fsdax pages are served by (.+)$", log_of_kernel(), re.MULTILINE))


def wait_for_mounts() -> None:
    """Mounts of fstab with nofail are not waited for at boot."""
    for path in MOUNTS.values():
        run("systemctl", "start", run("systemd-escape", "--path", "--suffix=mount", str(path)).strip())


# The boot that installs.

def no_compiler() -> None:
    found = [name for name in ("gcc", "cc", "clang", "rustc", "make") if shutil.which(name)]
    check(not found, f"{found} is there")


def own_kernel() -> None:
    check(os.uname().release != RELEASE, f"it runs {RELEASE} already")
    run("grub-install", "/dev/vda")
    run("update-grub")


def file_systems() -> None:
    for number in range(2):
        run("ndctl", "create-namespace", "--force", f"--reconfig=namespace{number}.0", "--mode=fsdax", "--map=mem")
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "/dev/pmem0")
    run("mkfs.xfs", "-q", "-f", "/dev/pmem1")
    PROM.parent.mkdir(parents=True)


def install() -> None:
    as_user_types(next(command for command in COMMANDS if "dpkg" in command))
    for name in PACKAGES:
        check("install ok installed" in run("dpkg", "-s", name), f"{name} is not installed")


def other_kernel_is_as_before() -> None:
    run("modprobe", "-r", "nd_pmem")
    run("modprobe", "nd_pmem")
    run("udevadm", "settle")
    check(Path("/dev/pmem0").exists(), "nd_pmem is not loaded any more")


def rather_no_device() -> None:
    """The line of installing.rst, on a kernel for which there is no module."""
    rule = Path("/etc/modprobe.d/require.conf")
    rule.write_text(REQUIRE)
    run("modprobe", "-r", "nd_pmem")
    try:
        check("rust_fsdax not found" in run("modprobe", "nd_pmem", ok=False), "modprobe does not say why")
        check(not Path("/dev/pmem0").exists(), "nd_pmem is loaded")
    finally:
        rule.unlink()
    run("modprobe", "nd_pmem")
    run("udevadm", "settle")


def mount_at_boot() -> None:
    as_user_types(next(command for command in COMMANDS if "fstab" in command))
    with FSTAB.open("a") as fstab:
        fstab.write(XFS_LINE)


# The boot with the module.

def new_kernel() -> None:
    check(os.uname().release == RELEASE, f"it runs {os.uname().release}")


def loaded_before_the_mount() -> None:
    wait_for_mounts()
    check(Path("/sys/module/rust_fsdax").exists(), "the module is not loaded")
    check(served_by() == dict.fromkeys(MOUNTS, "rust_fsdax"), f"they are served by {served_by()}")
    for path in MOUNTS.values():
        check("dax=always" in run("findmnt", "-n", "-o", "OPTIONS", str(path)), f"{path} has no DAX")


def tools_say_so() -> None:
    # A status of 6 would say that stock serves a DAX mount.
    text = as_user_types(next(command for command in COMMANDS if "fsdax-pins" in command))
    for name, fs in (("pmem0", "ext4"), ("pmem1", "xfs")):
        check(re.search(rf"^{name}\s+{fs}\s+always\s+rust_fsdax\s", text, re.MULTILINE), f"no line of {name}")
    mounts = Path("/sys/kernel/debug/rust_fsdax/mounts").read_text()
    for name in MOUNTS:
        check(f" {name} " in mounts, f"debugfs has no {name}")


def program_is_right() -> None:
    for seed, path in enumerate(MOUNTS.values()):
        file = path / "file"
        with file.open("w+b") as out:
            out.truncate(PAGES * PAGE)
            with mmap.mmap(out.fileno(), PAGES * PAGE) as memory:
                memory[:] = pattern(seed)
                memory.flush()
        check(file.read_bytes() == pattern(seed), f"{file} reads wrong")
        run("fallocate", "--punch-hole", "--offset", "4096", "--length", "8192", str(file))
        expected = pattern(seed)[:PAGE] + bytes(2 * PAGE) + pattern(seed)[3 * PAGE:]
        check(file.read_bytes() == expected, f"{file} reads wrong after a punch")
        with file.open("r+b") as out, mmap.mmap(out.fileno(), PAGES * PAGE) as memory:
            memory[PAGE:3 * PAGE] = pattern(seed)[PAGE:3 * PAGE]
    run("sync")


def units_run() -> None:
    run("systemctl", "start", "fsdax-pins.service")
    served = re.findall(r'^rust_fsdax_mount_info.device="(\w+)".*served_by="(\w+)"', PROM.read_text(), re.MULTILINE)
    check(dict(served) == dict.fromkeys(MOUNTS, "rust_fsdax"), f"the metrics say {served}")
    check(re.search(r"^rust_fsdax_stock_dax_mounts 0$", PROM.read_text(), re.MULTILINE), "stock serves a mount")
    run("systemctl", "enable", "--now", "fsdax-pins.timer")
    check("active" in run("systemctl", "is-active", "fsdax-pins.timer").split(), "the timer does not run")


def unload_is_refused() -> None:
    check("in use" in run("modprobe", "-r", "rust_fsdax", ok=False), "it was not refused")


def lock_next_boot() -> None:
    locking = "module.sig_enforce=1 lockdown=integrity"
    GRUB.write_text(GRUB.read_text().replace('CMDLINE_LINUX="', f'CMDLINE_LINUX="{locking} '))
    run("update-grub")


# The boot that lets nothing in without a signature.

def locked() -> None:
    check(Path("/sys/module/module/parameters/sig_enforce").read_text().strip() == "Y", "sig_enforce is off")
    check("[integrity]" in run("cat", "/sys/kernel/security/lockdown"), "there is no lockdown")


def unsigned_is_refused() -> None:
    module = Path(f"/lib/modules/{RELEASE}/updates/rust_fsdax.ko").read_bytes()
    check(module.endswith(SIGNED), "the module of the package has no signature")
    # The last word before the mark is the length of the signature, the descriptor has 12 bytes.
    end = len(module) - len(SIGNED) - 12
    length = int.from_bytes(module[end + 8:end + 12], "big")
    unsigned = Path("/run/unsigned.ko")
    unsigned.write_bytes(module[:end - length])
    check("rejected" in run("insmod", str(unsigned), ok=False), "it was not refused")


def files_are_there() -> None:
    wait_for_mounts()
    for seed, path in enumerate(MOUNTS.values()):
        check((path / "file").read_bytes() == pattern(seed), f"{path}/file reads wrong")


def purge() -> None:
    run("apt-get", "purge", "--yes", *PACKAGES)
    for path in (f"/lib/modules/{RELEASE}", f"/boot/vmlinuz-{RELEASE}", f"/boot/initrd.img-{RELEASE}",
                 f"/usr/src/linux-headers-{RELEASE}", f"/usr/lib/modprobe.d/rust_fsdax-{RELEASE}.conf",
                 "/usr/sbin/fsdax-pins"):
        check(not Path(path).exists(), f"{path} is left")
    check(RELEASE not in Path("/boot/grub/grub.cfg").read_text(), "GRUB still offers it")


# The boot after that.

def old_kernel() -> None:
    check(os.uname().release != RELEASE, f"it runs {RELEASE} still")


def without_module() -> None:
    check(not Path("/sys/module/rust_fsdax").exists(), "the module is loaded")


STAGES: dict[str, dict[str, Callable[[], None]]] = {
    "install": {"a machine without a compiler": no_compiler, "it boots from its disk from now on": own_kernel,
                "file systems on pmem": file_systems, "dpkg -i of the packages": install,
                "the module's package changes nothing for another kernel": other_kernel_is_as_before,
                "rather no device than stock": rather_no_device, "mounts in fstab": mount_at_boot},
    "bound": {"the kernel of the packages runs": new_kernel,
              "the module is loaded before the mounts": loaded_before_the_mount,
              "fsdax-pins and debugfs say who serves": tools_say_so, "a program stores and reads": program_is_right,
              "the systemd units of fsdax-pins run": units_run,
              "the module stays while it is needed": unload_is_refused,
              "signatures are asked for at the next boot": lock_next_boot},
    "locked": {"the kernel of the packages runs": new_kernel, "module.sig_enforce=1 and lockdown=integrity": locked,
               "the module is loaded before the mounts": loaded_before_the_mount, "the tools work": tools_say_so,
               "the systemd units of fsdax-pins run": units_run,
               "a module without a signature is refused": unsigned_is_refused,
               "the files of the last boot are right": files_are_there, "apt-get purge of the packages": purge},
    "back": {"Debian's kernel runs again": old_kernel, "the module is gone": without_module,
             "the files are right": files_are_there},
}


def outcomes(stage: str) -> Iterator[str]:
    """Run a stage; a line of TAP for each of its cases."""
    cases = STAGES[stage]
    yield f"1..{len(cases)}"
    for number, (name, case) in enumerate(cases.items(), 1):
        try:
            case()
            yield f"ok {number} - {stage}: {name}"
        except Exception:  # noqa: BLE001, whatever it is, the rest is tried
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
            yield f"not ok {number} - {stage}: {name}"


def main() -> int:
    failed = False
    for line in outcomes(sys.argv[1]):
        print(line, flush=True)
        failed |= line.startswith("not ok")
    if sys.argv[1] == "install":
        as_user_types(next(command for command in COMMANDS if "reboot" in command))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
