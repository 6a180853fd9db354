# SPDX-License-Identifier: GPL-2.0
"""Debian packages of a kernel with the series, its headers, the module and the tools.

The kernel's scripts/package/builddeb fills the packages of the kernel and its headers. Its make
bindeb-pkg would leave out of the headers what modules in Rust are compiled against.
"""

import functools
import gzip
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import archive, cache, kernel, preflight, sandbox, source, toolchain, tools, version
from .progress import BUILD, CHECKOUT, LOGS, Fail, Misuse, run_logged, shown, step
from .sandbox import Bind

OUT = BUILD / "deb"
_CONFIGS = CHECKOUT / "scripts/kconfig"
_FRAGMENT = _CONFIGS / "deb.config"
_SMALL = _CONFIGS / "deb-small.modules"
_FLAVOUR = "amd64_none_amd64"
_LOCALVERSION = re.compile(r"-[a-z0-9+.-]+")
_OPTION = re.compile(r"(?:# )?(CONFIG_\w+)(?:=| is not set)")
_MIB = {True: 6000, False: 40000}
_MINUTES = {True: "about 20 min", False: "hours"}
_CHECKOUT_INSIDE = Path("/src/rust_fsdax")
_MAINTAINER = "rust_fsdax developers <rust_fsdax@example.org>"
_KEY_CONFIG = """\
[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
CN = Modules of a kernel with rust_fsdax
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Wanted:
    """What kind of kernel the packages are to hold."""

    config: Path | None = None  # a .config, rather than that of Debian
    small: bool = False
    lsmod: Path | None = None  # what lsmod wrote on the machine that it is for
    gcc: bool = False
    localversion: str = "-fsdax"

    @property
    def compiler(self) -> list[str]:
        """The arguments of make that choose the compiler."""
        return [] if self.gcc else ["LLVM=1"]


@dataclass(frozen=True)
class Packaged:
    """A kernel and its headers as packages, in the cache."""

    root: Path  # the toolchain
    release: str  # such as 7.3.4-fsdax
    entry: Path

    @property
    def packages(self) -> list[Path]:
        return sorted(self.entry.glob("*.deb"))

    @property
    def headers(self) -> Path:
        """What the package of the headers has below /usr/src."""
        return self.entry / "headers"

    @property
    def headers_inside(self) -> Path:
        """Where headers are seen in the sandbox, as on the machine that has the package."""
        return Path(f"/usr/src/linux-headers-{self.release}")

    @property
    def key(self) -> Path:
        return self.entry / "key"


def check(wanted: Wanted) -> None:
    """Whether there can be such packages: what is wrong is said before anything is fetched."""
    if not _LOCALVERSION.fullmatch(wanted.localversion):
        raise Misuse(f"--localversion {wanted.localversion} cannot be a part of a package's name: it begins with "
                   "a hyphen and has small letters, digits, and + . - after it.")
    if wanted.lsmod and not wanted.small:
        raise Misuse("--lsmod says what --small keeps: give both.")
    if wanted.lsmod:
        modules_of_lsmod(wanted.lsmod.read_text(errors="replace"))
    if wanted.config and not re.search(r"^CONFIG_\w+=", wanted.config.read_text(errors="replace"), re.MULTILINE):
        raise Misuse(f"{wanted.config} is no configuration of a kernel: name a .config or a /boot/config-*.")


def merge(base: str, fragment: str) -> str:
    """A configuration in which the options of FRAGMENT are as it says."""
    named = {match[1] for line in fragment.splitlines() if (match := _OPTION.match(line))}
    kept = [line for line in base.splitlines()
            if not ((match := _OPTION.match(line)) and match[1] in named)]
    return "\n".join([*kept, *(line for line in fragment.splitlines() if _OPTION.match(line)), ""])


def lost(fragment: str, taken: str) -> list[str]:
    """The lines of FRAGMENT that Kconfig did not take: it drops what it cannot have without a word."""
    lines = taken.splitlines()
    found = {match[1]: line for line in lines if (match := _OPTION.match(line))}
    wanted = {match[1]: line for line in fragment.splitlines() if (match := _OPTION.match(line))}
    # What is off need not be named.
    return [line for name, line in wanted.items()
            if found.get(name, f"# {name} is not set") != line and not (line.endswith('=""') and name not in found)]


def modules_of(text: str) -> list[str]:
    """The modules that a list like ours names."""
    return [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]


def modules_of_lsmod(text: str) -> list[str]:
    """The modules in what lsmod wrote; raises Fail if it did not."""
    lines = text.splitlines()
    if not lines or lines[0].split()[:2] != ["Module", "Size"]:
        raise Misuse("--lsmod wants the output of lsmod, whose first line begins with 'Module' and 'Size'.")
    return [line.split()[0] for line in lines[1:] if line.strip()]


def lsmod(names: Iterable[str]) -> str:
    """A list of modules as lsmod writes it, which make localmodconfig reads."""
    return "".join(["Module Size Used by\n", *(f"{name.replace('-', '_')} 0 0\n" for name in sorted(set(names)))])


def control(package: str, package_version: str, summary: str, text: str, fields: dict[str, str]) -> str:
    """The control file of a package; FIELDS are those that not all have."""
    fixed = {"Package": package, "Version": package_version, "Architecture": "amd64", "Maintainer": _MAINTAINER,
             "Section": "kernel", "Priority": "optional", **fields, "Description": summary}
    return "".join([*(f"{name}: {value}\n" for name, value in fixed.items()),
                    *(f" {line}\n" for line in text.splitlines())])


def softdeps(names: Sequence[str]) -> str:
    """What modprobe.d says so that the module is there before what makes devices that it serves."""
    return "".join(["# Who serves a mount is decided when it is mounted: load rust_fsdax before there is a device.\n",
                    *(f"softdep {name} pre: rust_fsdax\n" for name in names)])


# What makes block devices and DAX devices that the module serves, and a file system that is one.
BEFORE = ("nd_pmem", "device_dax", "virtiofs")


def ensure(wanted: Wanted) -> Packaged:
    """The packages of the kernel and its headers, built if they are not there yet."""
    check(wanted)
    origin, root = source.chosen(), toolchain.ensure()
    base = _base(wanted, origin)
    fragment = _fragment(wanted)
    names = modules_of(_SMALL.read_text()) if wanted.small else []
    if wanted.lsmod:
        names += modules_of_lsmod(wanted.lsmod.read_text(errors="replace"))
    tree = kernel.patched(origin)
    release = f"{origin.release}{wanted.localversion}"
    name = cache.key(tree.parent.name, base, fragment, *sorted(names), *wanted.compiler, toolchain.compilers(root),
                     kernel.COMPILER.read_text(), *preflight.RUST)
    entry = cache.entry(f"deb-{release}-{name}", functools.partial(
        _Build(root, tree, release, wanted.compiler, small=wanted.small).run, base, fragment, names))
    return Packaged(root, release, entry)


def _fragment(wanted: Wanted) -> str:
    return (f'{_FRAGMENT.read_text()}CONFIG_LOCALVERSION="{wanted.localversion}"\n'
            "# CONFIG_LOCALVERSION_AUTO is not set\n")


def _base(wanted: Wanted, origin: source.Source) -> str:
    """The configuration to begin with."""
    if wanted.config:
        return wanted.config.read_text(errors="replace")
    entry = cache.entry(f"config-{origin.series}-debian", functools.partial(_fetch_config, origin))
    return (entry / "config").read_text()


def _fetch_config(origin: source.Source, partial: Path) -> None:
    """Debian's own configuration for the series."""
    package = f"linux-config-{origin.series}"
    where = source.archive()
    failed: archive.Unreachable | None = None
    for offer in where.offers(package):
        try:
            file = where.download(package, offer)
        except archive.Unreachable as fail:
            failed = fail
            continue
        unpacked = partial / "package"
        run_logged(["dpkg-deb", "-x", str(file), str(unpacked)], LOGS / "deb-config.log", f"unpack {file.name}",
                   quiet=True)
        packed = next(unpacked.glob(f"usr/src/linux-config-*/config.{_FLAVOUR}.xz"))
        run_logged(["sh", "-c", 'xz -dc "$1" >"$2"', "sh", str(packed), str(partial / "config")],
                   LOGS / "deb-config.log", f"unpack {packed.name}", quiet=True)
        shutil.rmtree(unpacked)
        file.unlink()
        return
    raise failed or Fail(f"The Debian archive has no {package} any more: name a configuration with --config FILE, "
                         "such as /boot/config-* of a Debian machine.")


class _Build:
    """One build of a kernel, in a directory that becomes an entry of the cache."""

    def __init__(self, root: Path, tree: Path, release: str, compiler: list[str], *, small: bool) -> None:
        self._root, self._tree, self._release = root, tree, release
        self._compiler, self._small = compiler, small

    def run(self, base: str, fragment: str, names: list[str], partial: Path) -> None:
        """Configure, build and package."""
        cache.need_space(_MIB[self._small], "A kernel for packages")
        (partial / "build").mkdir(exist_ok=True)
        make_key(partial / "key")
        self._configure(base, fragment, names, partial)
        self._make(partial, [], "", f"build Linux {self._release} ({_MINUTES[self._small]} on 2 cores)")
        for what in ("image", "headers"):
            package = f"linux-{what}-{self._release}"
            # make expands this.
            script = "$(srctree)/scripts/package/builddeb"
            shutil.rmtree(partial / "build/debian" / package, ignore_errors=True)
            self._make(partial, ["run-command", f"KBUILD_RUN_COMMAND=+{script} {package}"], f"-{what}",
                       f"fill {package}")
        certificate = partial / "build/certs/signing_key.x509"
        check_certificate(certificate, partial / "build/vmlinux")
        self._package(partial)
        shutil.copy(certificate, partial / "key")
        # The headers are all that modules need.
        shutil.rmtree(partial / "build")

    def _make(self, partial: Path, arguments: list[str], log: str, what: str) -> None:
        run_logged(kernel.make(self._root, self._tree, arguments,
                               [Bind(partial, kernel.KERNEL_INSIDE, writable=True)], compiler=self._compiler,
                               env={"KBUILD_BUILD_USER": "rust_fsdax", "KBUILD_BUILD_HOST": "debian"}),
                   LOGS / f"deb{log}.log", what)

    def _configure(self, base: str, fragment: str, names: list[str], partial: Path) -> None:
        config = partial / "build/.config"
        config.write_text(merge(base, fragment))
        self._make(partial, ["olddefconfig"], "-config", "configure the kernel")
        if names:
            (partial / "build/lsmod").write_text(lsmod(names))
            self._make(partial, [f"LSMOD={kernel.KERNEL_INSIDE}/build/lsmod", "localmodconfig"], "-config",
                       "leave out what is not in the list of modules")
            config.write_text(merge(config.read_text(), fragment))
            self._make(partial, ["olddefconfig"], "-config", "configure the kernel once more")
        if dropped := lost(fragment, config.read_text()):
            raise Fail(f"Kconfig did not take {', '.join(dropped)}: name another configuration with --config FILE.")

    def _package(self, partial: Path) -> None:
        debian = partial / "build/debian"
        image, headers = (debian / f"linux-{what}-{self._release}" for what in ("image", "headers"))
        place = headers / f"usr/src/{headers.name}"
        _add_rust(partial / "build", place)
        rest = ("Built by scripts/deb of rust_fsdax, with its series of patches. The module itself is in\n"
                f"rust-fsdax-module-{self._release}.")
        number = f"{self._release.partition('-')[0]}-1"
        build_package(self._root, image, control(
            image.name, number, f"Linux {self._release} with the rust_fsdax series", rest,
            {"Depends": "kmod", "Recommends": "initramfs-tools | linux-initramfs-tool"}), partial)
        build_package(self._root, headers, control(
            headers.name, number, f"headers of Linux {self._release}", f"With what modules in Rust need.\n{rest}", {}),
            partial)
        place.rename(partial / "headers")


def _add_rust(build: Path, headers: Path) -> None:
    """Add to HEADERS what modules in Rust are compiled against, and the configuration."""
    shutil.copy(build / ".config", headers)
    for pattern in ("rust/*.rmeta", "rust/*.rlib", "rust/*.so", "rust/kernel/generated_*.rs"):
        for path in build.glob(pattern):
            target = headers / path.relative_to(build)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    if missing := [name for name in preflight.RUST if not (headers / "rust" / name).exists()]:
        raise Fail(f"The build has no rust/{missing[0]}: take a newer rust_fsdax.")


def check_certificate(certificate: Path, image: Path) -> None:
    """Fail if IMAGE, a kernel, does not have the certificate of the key that its modules are signed with."""
    if certificate.read_bytes() not in image.read_bytes():
        raise Fail(f"{image.name} has another certificate than that of the key of its modules: remove the directory "
                   "ccache from the cache, and run this again.")


def make_key(directory: Path) -> None:
    """Have a key in DIRECTORY that modules are signed with, and its certificate, for one kernel alone."""
    if (directory / "signing_key.pem").exists():
        return
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "openssl.cnf").write_text(_KEY_CONFIG)
    root = tools.ensure("openssl", "openssl", suite=toolchain.SUITE)
    inside = Path("/key")
    run_logged(sandbox.command(
        root, ["openssl", "req", "-new", "-x509", "-nodes", "-utf8", "-sha256", "-days", "36500", "-newkey", "rsa:3072",
               "-config", f"{inside}/openssl.cnf", "-outform", "PEM", "-out", f"{inside}/partial",
               "-keyout", f"{inside}/partial"], binds=[Bind(directory, inside, writable=True)]),
        LOGS / "deb-key.log", "make a key that modules are signed with", quiet=True)
    (directory / "partial").rename(directory / "signing_key.pem")


def build_package(root: Path, tree: Path, control_file: str, out: Path) -> Path:
    """Make a package of what is in TREE, which gets CONTROL_FILE, in the directory OUT."""
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "DEBIAN/control").write_text(control_file)
    fields = dict(line.split(": ", 1) for line in control_file.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
    documents = tree / f"usr/share/doc/{fields['Package']}"
    documents.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "COPYING", documents / "copyright")
    name = f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.deb"
    inside, made = Path("/package"), Path("/made")
    run_logged(sandbox.command(root, ["dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(inside),
                                      f"{made}/{name}"],
                               binds=[Bind(tree, inside), Bind(out, made, writable=True)]),
               LOGS / "deb-build.log", f"make {name}", quiet=True)
    return out / name


def module_package(packaged: Packaged, out: Path) -> Path:
    """The package of the module, built against the headers and signed by the key of the kernel."""
    ko = _build_module(packaged)
    tree = BUILD / "deb-trees/module"
    shutil.rmtree(tree, ignore_errors=True)
    place = tree / f"lib/modules/{packaged.release}/updates"
    place.mkdir(parents=True)
    shutil.copy(ko, place)
    _sign(packaged, place / ko.name)
    modprobe = tree / f"usr/lib/modprobe.d/rust_fsdax-{packaged.release}.conf"
    modprobe.parent.mkdir(parents=True)
    modprobe.write_text(softdeps(BEFORE))
    scripts = tree / "DEBIAN"
    scripts.mkdir()
    for name, text in maintainer_scripts(packaged.release).items():
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    return build_package(packaged.root, tree, control(
        f"rust-fsdax-module-{packaged.release}", version.version(), f"rust_fsdax for Linux {packaged.release}",
        "Serves the pages of DAX file systems. It is loaded before the drivers of devices that have them.",
        {"Depends": f"linux-image-{packaged.release}, kmod", "Recommends": "rust-fsdax-tools"}), out)


def maintainer_scripts(release: str) -> dict[str, str]:
    """What a package manager runs: the lists of modules, and the initramfs if there is one, change with the module."""
    update = f"""\
if [ -e /boot/initrd.img-{release} ] && command -v update-initramfs >/dev/null; then
	update-initramfs -u -k {release}
fi
"""
    depmod = f"[ ! -e /lib/modules/{release}/modules.order ] || depmod {release}\n"
    return {"postinst": f'#!/bin/sh\nset -e\n[ "$1" = configure ] || exit 0\n{depmod}{update}',
            "postrm": f'#!/bin/sh\nset -e\n[ "$1" = remove ] || exit 0\n{depmod}{update}'}


def _build_module(packaged: Packaged) -> Path:
    """Build the module as users do on a machine that has the headers, with make modules KDIR=DIR."""
    out = BUILD / "modules-own"
    with cache.lock(out.with_name(f"{out.name}.lock"), "another build of the module"):
        built_for = out / "built-for"
        if out.exists() and (not built_for.exists() or built_for.read_text() != packaged.entry.name):
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        built_for.write_text(packaged.entry.name)
        run_logged(sandbox.command(
            packaged.root, ["make", "-C", str(_CHECKOUT_INSIDE), "modules", f"KDIR={packaged.headers_inside}"],
            binds=[Bind(packaged.headers, packaged.headers_inside), Bind(CHECKOUT, _CHECKOUT_INSIDE),
                   Bind(out, _CHECKOUT_INSIDE / out.relative_to(CHECKOUT), writable=True)]),
            LOGS / "deb-module.log", f"build the module for Linux {packaged.release}")
        kept = BUILD / "deb-module/rust_fsdax.ko"
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(out / kept.name, kept)
    return kept


def _sign(packaged: Packaged, ko: Path) -> None:
    """Sign a module as the kernel's modules are. Its debugging information is for fsdax-pins."""
    found = re.search(r'^CONFIG_MODULE_SIG_HASH="(\w+)"$', (packaged.headers / ".config").read_text(), re.MULTILINE)
    key, inside = Path("/key"), Path("/module")
    sign = [f"{packaged.headers_inside}/scripts/sign-file", found[1] if found else "sha256", f"{key}/signing_key.pem",
            f"{key}/signing_key.x509"]
    run_logged(sandbox.command(
        packaged.root, [*sign, f"{inside}/{ko.name}"],
        binds=[Bind(packaged.headers, packaged.headers_inside), Bind(packaged.key, key),
               Bind(ko.parent, inside, writable=True)]), LOGS / "deb-sign.log", "sign the module", quiet=True)


def tools_package(root: Path, out: Path) -> Path:
    """The package of what make install installs."""
    tree = BUILD / "deb-trees/tools"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    inside = Path("/tree")
    run_logged(sandbox.command(root, ["make", "-C", str(_CHECKOUT_INSIDE), "install", f"DESTDIR={inside}",
                                      "PREFIX=/usr"],
                               binds=[Bind(CHECKOUT, _CHECKOUT_INSIDE), Bind(tree, inside, writable=True)]),
               LOGS / "deb-tools.log", "install the tools", quiet=True)
    for page in tree.glob("usr/share/man/*/*"):
        # Without a time, so that the same page is the same file.
        page.with_name(f"{page.name}.gz").write_bytes(gzip.compress(page.read_bytes(), mtime=0))
        page.unlink()
    (tree / "DEBIAN").mkdir()
    for name, when in (("postinst", "configure"), ("postrm", "remove")):
        script = tree / "DEBIAN" / name
        script.write_text(f'#!/bin/sh\nset -e\n[ "$1" = {when} ] && [ -d /run/systemd/system ] || exit 0\n'
                          "systemctl daemon-reload\n")
        script.chmod(0o755)
    return build_package(root, tree, control(
        "rust-fsdax-tools", version.version(), "who holds, and who serves, the pages of DAX file systems",
        "fsdax-pins(8) with its systemd units, and a script for bpftrace.",
        {"Architecture": "all", "Section": "admin", "Depends": "python3",
         "Suggests": "bpftrace, prometheus-node-exporter, python3-drgn"}), out)


def build(wanted: Wanted, out: Path = OUT) -> list[Path]:
    """All four packages, in the directory OUT, which has no others afterwards."""
    packaged = ensure(wanted)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.deb"):
        old.unlink()
    made = []
    for package in packaged.packages:
        try:
            os.link(package, out / package.name)
        except OSError:
            # Another file system.
            shutil.copy(package, out)
        made.append(out / package.name)
    made += [module_package(packaged, out), tools_package(packaged.root, out)]
    step(f"install them: sudo dpkg -i {shown(out)}/*.deb")
    return made
