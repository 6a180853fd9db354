# SPDX-License-Identifier: GPL-2.0
"""Print, as JSON, which processes have pages in pipes and sockets: a program for drgn.

    kernel_memory.py PFN:ORDER...

reads the memory of the running kernel, whose debugging information must be there. What changes
while it is read may be missed.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from typing import Any

NO_DRGN, NO_SYMBOLS, NO_MEMORY = 10, 11, 12
_MAX = 65536  # entries of a queue: what is longer has changed while it was read
_TCP, _INET, _INET6 = 6, 2, 10


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


def holders(prog: Any, pages: Pages) -> Iterator[dict[str, Any]]:
    """Every file of every process, and the pipe that a thread splices through."""
    from drgn import FaultError
    from drgn.helpers.linux.fs import for_each_file
    from drgn.helpers.linux.pid import for_each_task

    seen = set()
    for task in for_each_task(prog):
        try:
            leader = task.group_leader
            who = {"pid": leader.pid.value_(), "comm": leader.comm.string_().decode("utf-8", "replace")}
            if task.splice_pipe:
                for pfn in _in_pipe(task.splice_pipe, pages):
                    yield {**who, "how": "pipe", "fd": None, "pfn": pfn,
                           "detail": f"splice or sendfile of thread {task.pid.value_()}"}
            if not task.files or task.files.value_() in seen:
                continue
            seen.add(task.files.value_())
            files = [(fd[0], fd[1]) for fd in for_each_file(task)]
        except FaultError:
            continue
        for number, file in files:
            try:
                found = [{**who, "how": how, "fd": int(number), "pfn": pfn, "detail": detail}
                         for how, pfn, detail in _in_file(prog, file, pages)]
            except FaultError:
                continue
            yield from found


def _in_file(prog: Any, file: Any, pages: Pages) -> Iterator[tuple[str, int, str]]:
    inode = file.f_inode
    if not inode:
        return
    mode = inode.i_mode.value_()
    if stat.S_ISFIFO(mode) and inode.i_pipe:
        for pfn in _in_pipe(inode.i_pipe, pages):
            yield "pipe", pfn, f"pipe:[{inode.i_ino.value_()}]"
    elif stat.S_ISSOCK(mode):
        from drgn import container_of
        sock = container_of(inode, "struct socket_alloc", "vfs_inode").socket.sk
        if sock:
            for pfn, queue in _in_socket(prog, sock, pages):
                yield "socket", pfn, f"{queue} of socket:[{inode.i_ino.value_()}]"


def _in_pipe(pipe: Any, pages: Pages) -> Iterator[int]:
    size = pipe.ring_size.value_()
    head, tail = pipe.head.value_(), pipe.tail.value_()
    bits = 8 * pipe.head.type_.size
    used = (head - tail) & ((1 << bits) - 1)
    for slot in range(tail, tail + min(used, size)):
        if (pfn := _wanted(pipe.bufs[slot & (size - 1)].page, pages)) is not None:
            yield pfn


def _in_socket(prog: Any, sock: Any, pages: Pages) -> Iterator[tuple[int, str]]:
    for name in ("sk_receive_queue", "sk_write_queue"):
        queue = getattr(sock, name)
        skb, end = queue.next, queue.address_of_().value_()
        for _ in range(_MAX):
            if not skb or skb.value_() == end:
                break
            for pfn in _in_skb(prog, skb, pages):
                yield pfn, name[3:]
            skb = skb.next
    if sock.sk_protocol.value_() == _TCP and sock.sk_family.value_() in (_INET, _INET6):
        from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry
        for skb in rbtree_inorder_for_each_entry("struct sk_buff", sock.tcp_rtx_queue.address_of_(),
                                                 "rbnode"):
            for pfn in _in_skb(prog, skb, pages):
                yield pfn, "retransmit queue"


def _in_skb(prog: Any, skb: Any, pages: Pages) -> Iterator[int]:
    """The pages of a buffer, and of those that hang on it."""
    from drgn import Object
    more = None
    for _ in range(_MAX):
        # On 64 bits, end is an offset.
        info = Object(prog, "struct skb_shared_info *", skb.head.value_() + skb.end.value_())
        for i in range(min(info.nr_frags.value_(), len(info.frags))):
            address = info.frags[i].netmem.value_()
            if address & 1:
                continue  # memory of a network device
            if (pfn := _wanted(Object(prog, "struct page *", address), pages)) is not None:
                yield pfn
        skb = info.frag_list if more is None else skb.next
        more = True
        if not skb:
            return


def _wanted(page: Any, pages: Pages) -> int | None:
    from drgn.helpers.linux.mm import page_to_pfn
    return pages.first(page_to_pfn(page).value_()) if page else None


def main() -> int:
    try:
        import drgn
    except ImportError:
        print("drgn is not installed", file=sys.stderr)
        return NO_DRGN
    try:
        prog = drgn.program_from_kernel()
    except (OSError, LookupError, ValueError) as error:
        print(f"/proc/kcore cannot be read: {error}", file=sys.stderr)
        return NO_MEMORY
    try:
        prog.load_default_debug_info()
    except drgn.MissingDebugInfoError as error:
        # Modules without it do not matter.
        try:
            prog.type("struct pipe_inode_info")
        except LookupError:
            print(f"there is no debugging information of the kernel: {str(error).splitlines()[0]}",
                  file=sys.stderr)
            return NO_SYMBOLS
    json.dump(list(holders(prog, Pages(sys.argv[1:]))), sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
