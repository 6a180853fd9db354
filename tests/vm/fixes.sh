#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the patches of patches/fixes mend, on fs/dax.c alone: fixes.sh NUMBER, the number of a patch.
# Without it:  scripts/vm run --kernel stock --no-module --allow-splat tests/vm/fixes.sh 4
# With it:     the same with --source TREE, a git tree of that kernel with the fixes.
# 6 needs --medium and 10 --nvdimm. Each wants a guest of its own: without its fix it may not live on.
# Ends with status 0 if what the patch mends is right, 77 if there is nothing that shows it.

set -u

cases() { # FS GROUP WORDS
	"$FSDAX_BIN/scenarios" -f "$1" -g "$2" -p "$3" -t 120
}

mounted() { # DEVICE COMMAND...
	device=$1
	shift
	mkdir -p /mnt/fix
	"$@" "$device" >/dev/null && mount -o dax=always "$device" /mnt/fix
}

# A clone on stripes of 64 KiB gets blocks of its own.
stripes() {
	modprobe -q dm-mod
	echo "0 1228800 striped 2 128 /dev/pmem0 0 /dev/pmem1 0" | dmsetup create --verifyudev fix || return 1
	mounted /dev/mapper/fix mkfs.xfs -q -f -m reflink=1 -l size=64m || return 1
	head -c 1M /dev/urandom >/tmp/old
	cp /tmp/old /mnt/fix/source
	xfs_io -f -c "reflink /mnt/fix/source" /mnt/fix/clone >/dev/null
	xfs_io -c "funshare 0 1m" /mnt/fix/clone
	cmp /tmp/old /mnt/fix/clone && cmp /tmp/old /mnt/fix/source
}

# A store to the last block of a write(2) that makes blocks written, behind its data.
late_zeroes() {
	mounted /dev/pmem0 mkfs.ext4 -q -F -b 4096 -m 0 || return 1
	timeout 200 python3 -u - <<'P'
import mmap, os, random, sys, threading, time
SIZE, TAIL, WANT = 2 << 20, 2048, b"a store!"
fd = os.open("/mnt/fix/f", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, SIZE)
mapping = mmap.mmap(fd, SIZE)
mapping.madvise(15)  # MADV_NOHUGEPAGE
data, lost, took = b"w" * (SIZE - TAIL), 0, 0

def write():
    global took
    begun = time.monotonic()
    os.pwrite(fd, data, 0)
    took = time.monotonic() - begun

for _ in range(400):
    os.ftruncate(fd, 0)
    os.posix_fallocate(fd, 0, SIZE)
    end = time.monotonic() + random.random() * took
    writer = threading.Thread(target=write)
    writer.start()
    while time.monotonic() < end:
        pass
    mapping[SIZE - 8:] = WANT
    writer.join()
    lost += mapping[SIZE - 8:] != WANT
print(f"{lost} stores lost")
sys.exit(lost != 0)
P
}

# A bad sector in what ext4 zeroes beside a block that is written.
bad_sector() {
	mounted /dev/pmem0 mkfs.ext4 -q -F -b 4096 -m 0 || return 1
	# All of the device.
	xfs_io -f -c "pwrite -q -S 0x55 -b 1m 0 1g" /mnt/fix/fill 2>/dev/null
	sync
	rm /mnt/fix/fill
	sync
	xfs_io -f -c "falloc 0 32k" -c fsync /mnt/fix/f
	block=$(filefrag -v -b4096 /mnt/fix/f | sed -n 's/^ *0: *0\.\. *7: *\([0-9]*\)\.\..*/\1/p')
	[ "$block" ] || return 1
	echo "$(((block + 5) * 8)) 8" >/sys/block/pmem0/badblocks || return 1
	xfs_io -c "pwrite -q -S 0x11 0 4k" /mnt/fix/f
	# Never written, hence zero.
	dd if=/mnt/fix/f bs=4k skip=7 count=1 2>/dev/null | cmp -n 4096 - /dev/zero
}

# The driver is unbound under a mapping.
removal() {
	mounted /dev/pmem0 mkfs.xfs -q -f -m reflink=1,rmapbt=1 -d agcount=2 || return 1
	timeout 60 "$FSDAX_BIN/demo" removal stock xfs /dev/pmem0 /mnt/fix >/tmp/figure
	cat /tmp/figure
	grep -q '"died": false, "sigbus": true, "ended": true' /tmp/figure
}

# The same under readers of many clones.
removal_under_readers() {
	mounted /dev/pmem0 mkfs.xfs -q -f -m reflink=1,rmapbt=1 -d agcount=2 || return 1
	timeout 200 python3 - <<'P'
import fcntl, mmap, os, signal, sys, time
PAGES, CLONES, READERS, FICLONE = 64, 40, 4, 0x40049409
files = [os.open(f"/mnt/fix/{i}", os.O_RDWR | os.O_CREAT) for i in range(CLONES)]
os.write(files[0], b"x" * (PAGES << 12))
os.fsync(files[0])
for clone in files[1:]:
    fcntl.ioctl(clone, FICLONE, files[0])
os.sync()

def child(run):
    pid = os.fork()
    if not pid:
        run()
        os._exit(0)
    return pid

def read():
    maps = [mmap.mmap(fd, PAGES << 12) for fd in files]
    while True:
        for mapping in maps:
            for page in range(PAGES):
                mapping[page << 12]
            mapping.madvise(mmap.MADV_DONTNEED)

def unbind():
    device = os.path.basename(os.readlink("/sys/block/pmem0/device"))
    with open("/sys/bus/nd/drivers/nd_pmem/unbind", "w") as file:
        file.write(device)

def ends(pid, limit):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.1)
    return False

readers = [child(read) for _ in range(READERS)]
time.sleep(1)
ended = ends(child(unbind), 60)
died = sum(ends(reader, 10) for reader in readers)
print(f"the unbind {'ends' if ended else 'hangs'}, {died} of {READERS} readers died")
sys.exit(not ended or died != READERS)
P
}

case ${1:?which patch} in
2) cases ext4 options "R25 private faults of both sizes race" ;;
3) cases ext4 options "R25 writes are tracked by userfaultfd" ;;
4) cases ext4 options "R25 soft-dirty is what was stored" ;;
5) cases ext4 options "R25 writes to 2 MiB are tracked by userfaultfd" ;;
6) cases xfs powerfail "a part of a shared block" ;;
7) stripes ;;
8) cases ext4 poison "R13 a bad page of 2 MiB is reported with its own address" ;;
9) late_zeroes ;;
10) bad_sector ;;
11) cases ext4 moves "D31 no blocks move under the mapping of a donor" ;;
12) cases ext4 layout "R6 R9 the swap with the boot loader" ;;
13) removal ;;
14) removal_under_readers ;;
16) cases xfs reflink "R12 a swap of extents is refused beside a pin" ;;
17) cases xfs reflink "R12 clone waits for a pin in either file" ;;
18) cases xfs reflink "R12 dedupe that a signal ends says EINTR" ;;
20) cases ext4 unwritten "R5" ;;
*) exit 77 ;;
esac
