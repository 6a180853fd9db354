# SPDX-License-Identifier: GPL-2.0
"""Print, as JSON, which processes have pages in pipes and sockets: a program for drgn.

    kernel_memory.py MODULE BUILD_ID PFN:ORDER...

reads the memory of the running kernel. How it is laid out says the debugging information in the
file MODULE, which is that of the module that is loaded, BUILD_ID; the kernel needs none. What
changes while it is read may be missed.
"""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MAX = 65536  # entries of a queue: what is longer has changed while it was read
_TCP, _INET, _INET6 = 6, 2, 10
_KALLSYMS = Path("/proc/kallsyms")


class Missing(Exception):
    """Something is not there; its text says what to do."""


class Pages:
    """The pages that are looked for."""

    def __init__(self, words: list[str]) -> None:
        self._firsts: dict[int, set[int]] = {}  # by order
        for word in words:
            pfn, _, order = word.partition(":")
            self._firsts.setdefault(int(order or 0), set()).add(int(pfn, 0))

    def first(self, pfn: int) -> int | None:
        """The first pfn of the one that has this pfn."""
        for order, firsts in self._firsts.items():
            if (head := pfn & ~((1 << order) - 1)) in firsts:
                return head
        return None


class Kernel:
    """The memory of the running kernel."""

    def __init__(self, prog: Any, pages: Pages) -> None:
        self.prog = prog
        self._pages = pages
        text = prog["VMCOREINFO"].string_().decode()
        if not (found := re.search(r"^SYMBOL\(vmemmap\)=([0-9a-f]+)$", text, re.MULTILINE)):
            raise Missing("the kernel does not say where its struct pages are: it needs CONFIG_SPARSEMEM_VMEMMAP")
        self._vmemmap = int(found[1], 16)
        self._page_size = prog.type("struct page").size

    def wanted(self, page: int) -> int | None:
        """The first pfn of the page with the struct page at this address, if it is looked for."""
        return self._pages.first((page - self._vmemmap) // self._page_size) if page else None


def holders(kernel: Kernel) -> Iterator[dict[str, Any]]:
    """Every file of every process."""
    from drgn import FaultError, Object
    from drgn.helpers.linux.fs import for_each_file
    from drgn.helpers.linux.pid import for_each_task

    seen = set()
    namespace = Object(kernel.prog, "struct pid_namespace *", address_of("init_pid_ns"))
    for task in for_each_task(namespace):
        try:
            if not task.files or task.files.value_() in seen:
                continue
            seen.add(task.files.value_())
            leader = task.group_leader
            who = {"pid": leader.pid.value_(), "comm": leader.comm.string_().decode("utf-8", "replace")}
            files = list(for_each_file(task))
        except FaultError:
            continue
        for number, file in files:
            try:
                found = [{**who, "how": how, "fd": int(number), "pfn": pfn, "detail": detail}
                         for how, pfn, detail in _in_file(kernel, file)]
            except FaultError:
                continue
            yield from found


def address_of(name: str) -> int:
    """Where a variable of the kernel is."""
    with _KALLSYMS.open() as file:
        for line in file:
            words = line.split()
            if words[2] == name and len(words) == 3 and (address := int(words[0], 16)):
                return address
    raise Missing(f"{_KALLSYMS} does not say where {name} is: it needs CONFIG_KALLSYMS_ALL, and "
                  "kernel.kptr_restrict below 2")


def _in_file(kernel: Kernel, file: Any) -> Iterator[tuple[str, int, str]]:
    if not file or not file.f_inode:
        return
    inode = file.f_inode
    mode = inode.i_mode.value_()
    if stat.S_ISFIFO(mode) and inode.i_pipe:
        for pfn in _in_pipe(kernel, inode.i_pipe):
            yield "pipe", pfn, f"pipe:[{inode.i_ino.value_()}]"
    elif stat.S_ISSOCK(mode):
        from drgn import container_of
        sock = container_of(inode, "struct socket_alloc", "vfs_inode").socket.sk
        if sock:
            for pfn, queue in _in_socket(kernel, sock):
                yield "socket", pfn, f"{queue} queue of socket:[{inode.i_ino.value_()}]"


def _in_pipe(kernel: Kernel, pipe: Any) -> Iterator[int]:
    from drgn import sizeof
    size = pipe.ring_size.value_()
    head, tail = pipe.head.value_(), pipe.tail.value_()
    used = (head - tail) & ((1 << 8 * sizeof(pipe.head)) - 1)
    for slot in range(tail, tail + min(used, size)):
        if (pfn := kernel.wanted(pipe.bufs[slot & (size - 1)].page.value_())) is not None:
            yield pfn


def _in_socket(kernel: Kernel, sock: Any) -> Iterator[tuple[int, str]]:
    for name in ("receive", "write"):
        queue = getattr(sock, f"sk_{name}_queue")
        skb, end = queue.next, queue.address_of_().value_()
        for _ in range(_MAX):
            if not skb or skb.value_() == end:
                break
            for pfn in _in_skb(kernel, skb):
                yield pfn, name
            skb = skb.next
    family = sock.member_("__sk_common").skc_family.value_()
    if sock.sk_protocol.value_() == _TCP and family in (_INET, _INET6):
        from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry
        for skb in rbtree_inorder_for_each_entry("struct sk_buff", sock.tcp_rtx_queue.address_of_(),
                                                 "rbnode"):
            for pfn in _in_skb(kernel, skb):
                yield pfn, "retransmit"


def _in_skb(kernel: Kernel, skb: Any) -> Iterator[int]:
    """The pages of a buffer, and of those that hang on it."""
    from drgn import Object
    more = None
    for _ in range(_MAX):
        # On 64 bits, end is an offset.
        info = Object(kernel.prog, "struct skb_shared_info *", skb.head.value_() + skb.end.value_())
        for i in range(min(info.nr_frags.value_(), len(info.frags))):
            address = info.frags[i].netmem.value_()
            if address & 1:
                continue  # memory of a network device
            if (pfn := kernel.wanted(address)) is not None:
                yield pfn
        skb = info.frag_list if more is None else skb.next
        more = True
        if not skb:
            return


def opened(drgn: Any, module: str, build_id: str) -> Any:
    """The program that is the running kernel, with the layouts that are in the file of the module."""
    prog = drgn.Program()
    try:
        prog.set_kernel()
    except (OSError, LookupError, ValueError) as error:
        raise Missing(f"/proc/kcore cannot be read: {error}: it needs CONFIG_PROC_KCORE, and no "
                      "lockdown=confidentiality") from None
    if not hasattr(prog, "extra_module"):
        raise Missing(f"it is {drgn.__version__}, and must be 0.0.31 or newer")
    extra = prog.extra_module("rust_fsdax", create=True)
    extra.build_id = bytes.fromhex(build_id)
    extra.try_file(module)
    try:
        prog.type("struct pipe_inode_info")
    except LookupError:
        if extra.loaded_file_status == drgn.ModuleFileStatus.HAVE:
            raise Missing(f"{module} has no debugging information: name one that is not stripped by "
                          "--module") from None
        raise Missing(f"{module} is not the module that is loaded: name its file by --module") from None
    return prog


def main() -> int:
    try:
        import drgn
    except ImportError as error:
        print(f"it cannot be loaded: {error}", file=sys.stderr)
        return 1
    try:
        kernel = Kernel(opened(drgn, sys.argv[1], sys.argv[2]), Pages(sys.argv[3:]))
        json.dump(list(holders(kernel)), sys.stdout)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    except drgn.FaultError as error:
        print(f"the kernel changed while it was read: {error}: try again", file=sys.stderr)
        return 1
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
