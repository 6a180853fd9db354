# SPDX-License-Identifier: GPL-2.0
"""Which mounts have DAX files, and whether the module or fs/dax.c serves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from .machine import MODULE, Machine, Mountpoint
from .render import printable, table
from .state import Mount

_SERVED = ("ext4", "xfs", "erofs", "virtiofs")
_DAX = (*_SERVED, "ext2")
_BY_ATTRIBUTE = ("ext4", "xfs")  # without an option, files with the attribute are DAX files
STOCK = "stock"


@dataclass
class DaxMount:
    """A superblock with DAX files, wherever it is mounted."""

    dev: str
    name: str
    fs: str
    dax: str  # always, inode, default: inode without being asked for, never, unknown
    served_by: str
    paths: list[str] = field(default_factory=list)
    warning: str | None = None


@dataclass
class Mounts:
    """All of them, and how the module is disposed."""

    loaded: bool
    bind: str | None
    mounts: list[DaxMount]

    @property
    def warnings(self) -> list[str]:
        return [mount.warning for mount in self.mounts if mount.warning]


def dax_option(options: str) -> str | None:
    """What a superblock says of DAX: always, inode, never or nothing."""
    found = None
    for word in options.split(","):
        if word == "dax":
            found = "always"
        elif word.startswith("dax="):
            found = word[4:]
    return found


def find(machine: Machine, bound: list[Mount]) -> Mounts:
    """Join what the module serves with what is mounted here. Takes bound mounts that are not, too."""
    served = {mount.dev: mount for mount in bound}
    found: dict[str, DaxMount] = {}
    for point in machine.mountpoints():
        if mount := found.get(point.dev):
            mount.paths.append(printable(point.path))
            continue
        dax = dax_option(point.options)
        if point.dev not in served and not _may_have(machine, point, dax):
            continue
        provider = served[point.dev].provider if point.dev in served else STOCK
        default = "default" if point.fs in _BY_ATTRIBUTE else "unknown"
        found[point.dev] = DaxMount(point.dev, _name(point, served.get(point.dev)), point.fs,
                                    dax or default, provider, [printable(point.path)])
    for dev, bound_mount in served.items():
        if dev not in found:  # in another mount namespace, or detached
            found[dev] = DaxMount(dev, bound_mount.s_id, bound_mount.fs, "unknown", bound_mount.provider)
    mounts = Mounts(machine.loaded(), machine.parameter("bind"), list(found.values()))
    if mounts.loaded:
        for mount in mounts.mounts:
            mount.warning = _warning(mount, mounts.bind)
    return mounts


def _may_have(machine: Machine, point: Mountpoint, dax: str | None) -> bool:
    """Whether a mount that the module does not serve has DAX files."""
    if point.fs not in _DAX or dax == "never":
        return False
    return dax is not None or (point.fs in _BY_ATTRIBUTE and machine.dax_device(point.dev))


def _name(point: Mountpoint, bound: Mount | None) -> str:
    return printable(bound.s_id if bound else point.source.removeprefix("/dev/"))


def _warning(mount: DaxMount, bind: str | None) -> str | None:
    if mount.served_by != STOCK or mount.dax not in ("always", "inode"):
        return None
    start = f"{mount.paths[0]} is a DAX mount that stock fs/dax.c serves although {MODULE} is loaded: "
    if mount.fs not in _SERVED:
        return start + f"{mount.fs} is not served by it; take ext4, xfs or erofs."
    if bind == "N":
        return start + (f"new mounts are not bound: echo Y > /sys/module/{MODULE}/parameters/bind, "
                        "then unmount and mount it.")
    return start + ("it was mounted before the module was loaded, or cannot be bound (blocks that are "
                    "not 4 KiB, a zoned XFS): unmount and mount it, and see dmesg | grep 'fsdax pages'.")


def render(mounts: Mounts) -> str:
    lines = [["DEVICE", "TYPE", "DAX", "SERVED BY", "MOUNTED AT"]]
    lines += ([printable(mount.name), mount.fs, mount.dax,
               "stock fs/dax.c" if mount.served_by == STOCK else mount.served_by,
               ", ".join(mount.paths) or "- (not in this mount namespace)"] for mount in mounts.mounts)
    out = table(lines, set()) if mounts.mounts else ["No mount has DAX files."]
    if mounts.loaded and mounts.bind == "N":
        out.append(f"The next mounts will be served by stock fs/dax.c: /sys/module/{MODULE}/parameters/bind "
                   "is N.")
    return "\n".join(out)
