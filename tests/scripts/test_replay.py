# SPDX-License-Identifier: GPL-2.0
"""The replay of traces: what it lets pass, what it does not, how traces are read, and its table and the model."""

import re
import struct
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from fsdaxlib import protocol, replaying, replays, tracing
from fsdaxlib.progress import CHECKOUT, Fail

# An entry of each kind, as events name it: a page, another file's, 2 MiB, a page of these, 1 GiB.
A = "dev=259:0 ino=12 index=3 pfn=0x1003 order=0"
B = "dev=259:0 ino=13 index=7 pfn=0x1003 order=0"
L = "dev=259:0 ino=12 index=512 pfn=0x1200 order=9"
M = "dev=259:0 ino=13 index=512 pfn=0x1200 order=9"
P = "dev=259:0 ino=14 index=5 pfn=0x1205 order=0"
G = "dev=259:0 ino=12 index=262144 pfn=0x40000 order=18"
FOLIO_A, FOLIO_L, FOLIO_G = (" ".join(of.split()[-2:]) for of in (A, L, G))
SPAN = "dev=259:0 ino=12 first=0 last=18446744073709551615"
MEMORY = "first=0x1000 last=0x1fff"

FAULT_A = f"""
10 request {FOLIO_A} refs=1
10 insert {A}
"""
SHARED = f"""{FAULT_A}
11 join {FOLIO_A} entries=2 waits=0
11 insert {B}
"""
FAULT_L = f"""
10 request {FOLIO_L} refs=1
10 insert {L}
"""
FREE_A = f"""
20 break_begin {SPAN}
20 zap {A}
20 free {FOLIO_A} refs=0
20 remove {A}
20 break_end {SPAN} error=0
"""
# A break that finds a pin.
PINNED_A = f"""{FAULT_A}
20 break_begin {SPAN}
20 zap {A}
20 leave {FOLIO_A} entries=0 waits=1
20 break_busy {A}
"""
REMOVED_A = f"""
20 remove {A}
20 break_end {SPAN} error=0
"""

ALLOWED = {
    "the life of a page": FAULT_A + FREE_A + FAULT_A + FREE_A,
    "a hole": f"20 remove {A.replace('0x1003', '0x9')}",
    "fsync before and while a break waits": f"{FAULT_A} 12 writeback {A}\n {PINNED_A.removeprefix(FAULT_A)}"
                                            f"12 writeback {A}\n 30 (irq) free {FOLIO_A} refs=0 {REMOVED_A}",
    "a break that waits for a pin": f"""{PINNED_A}
20 wait_begin {A}
30 (irq) free {FOLIO_A} refs=0
20 wait_end {A}
{REMOVED_A}""",
    "the pin goes before it is said to be there": f"""{FAULT_A}
20 break_begin {SPAN}
20 zap {A}
20 leave {FOLIO_A} entries=0 waits=1
30 (irq) free {FOLIO_A} refs=0
20 break_busy {A}
{REMOVED_A}""",
    "a fault revives what a break waits for": f"""{PINNED_A}
20 wait_begin {A}
10 join {FOLIO_A} entries=1 waits=0
10 revive {A}
20 zap {A}
20 leave {FOLIO_A} entries=0 waits=1
20 break_busy {A}
30 (irq) free {FOLIO_A} refs=0
20 wait_end {A}
{REMOVED_A}""",
    "a fault revives what is idle": f"""{PINNED_A}
30 free {FOLIO_A} refs=0
10 request {FOLIO_A} refs=1
10 revive {A}
20 zap {A}
20 free {FOLIO_A} refs=0
{REMOVED_A}""",
    "a break that is interrupted": f"""{PINNED_A}
20 break_end {SPAN} error=-512
30 free {FOLIO_A} refs=0
21 break_begin {SPAN}
21 remove {A}
21 break_end {SPAN} error=0""",
    "a break whose caller decides what stays": f"""{FAULT_A}
20 break_begin {SPAN}
20 zap {A}
20 free {FOLIO_A} refs=0
20 break_end {SPAN} error=0
20 remove {A}""",
    "a clone": f"""{SHARED}
20 zap {A}
20 leave {FOLIO_A} entries=1 waits=0
20 remove {A}
20 zap {B}
20 free {FOLIO_A} refs=0
20 remove {B}""",
    "a clone has the block, then the first file lets go": f"""{PINNED_A}
11 join {FOLIO_A} entries=1 waits=0
11 insert {B}
{REMOVED_A}
20 zap {B}
20 free {FOLIO_A} refs=0
20 remove {B}""",
    "a store waits to replace a block": f"""{FAULT_A}
10 zap {A}
10 leave {FOLIO_A} entries=0 waits=1
10 wait_begin {A}
30 free {FOLIO_A} refs=0
10 wait_end {A}
10 remove {A}""",
    "a clone has a page of 2 MiB": f"""{FAULT_L}
11 join {FOLIO_L} entries=2 waits=0
11 insert {P}
20 zap {L}
20 leave {FOLIO_L} entries=1 waits=1
20 break_busy {L}
20 zap {P}
20 leave {FOLIO_L} entries=0 waits=1
20 remove {P}
30 free {FOLIO_L} refs=0
20 remove {L}""",
    "the last page of 2 MiB goes": f"""{FAULT_L}
11 join {FOLIO_L} entries=2 waits=0
11 insert {P}
20 zap {L}
20 leave {FOLIO_L} entries=1 waits=1
20 zap {P}
20 free {FOLIO_L} refs=0
20 remove {P}
20 remove {L}""",
    "a clone gets a page of 2 MiB while they are given up": f"""{FAULT_L}
20 zap {L}
11 join {FOLIO_L} entries=2 waits=0
20 leave {FOLIO_L} entries=1 waits=1
20 break_busy {L}
11 insert {P}
20 zap {P}
20 free {FOLIO_L} refs=0
20 remove {P}
20 remove {L}""",
    "a device goes": f"""{FAULT_A}
40 removal_begin {MEMORY}
40 zap {A}
40 leave {FOLIO_A} entries=0 waits=1
40 break_busy {A}
40 removal_revoked {MEMORY} files=1 ms=0
30 free {FOLIO_A} refs=0
40 removal_end {MEMORY} files=1 ms=9
41 remove {A}""",
    "1 GiB becomes smaller": f"""
10 request {FOLIO_G} refs=1
10 insert {G}
20 zap {G}
20 free {FOLIO_G} refs=0
20 split {G}
""" + "\n".join(f"20 remove dev=259:0 ino=12 index={262144 + n} pfn={0x40000 + n:#x} order=9"
                for n in range(0, 1 << 18, 512)),
    "a folio of another module": f"10 request {FOLIO_A} refs=1\n 30 free {FOLIO_A} refs=0",
    "a claim that does not fit": f"10 request {FOLIO_A} refs=1\n 10 leave {FOLIO_A} entries=0 waits=1\n"
                                 f"10 free {FOLIO_A} refs=0",
}

# What went wrong, by an event that is the last one, and words of what is said of it.
REFUSED = {
    "an event that nobody knows": ("10 turn pfn=0x3", "nothing is known of an event turn"),
    "a folio that is free twice": (f"{FAULT_A} {FREE_A} 30 free {FOLIO_A} refs=0", "becomes free twice"),
    "a folio that is free while an entry tracks it": (f"{FAULT_A} 30 free {FOLIO_A} refs=0", "that 1 entries track"),
    "a folio that is free while a zapped entry has it": (
        f"{FAULT_A} 20 zap {A}\n 30 free {FOLIO_A} refs=0", "1 entries have references"),
    "a request of what is in use": (f"{FAULT_A} 11 request {FOLIO_A} refs=1", "in use is requested"),
    "2 MiB around a page that is in use": (
        f"10 request pfn=0x1205 order=0 refs=1\n 11 request {FOLIO_L} refs=1", "in use is requested"),
    "a page of 2 MiB that are in use": (f"{FAULT_L} 11 request pfn=0x1205 order=0 refs=1", "in use is requested"),
    "a request with two references": (f"10 request {FOLIO_A} refs=2", "with 2 references"),
    "an entry over another one": (
        f"{FAULT_A} 11 request pfn=0x1009 order=0 refs=1\n 11 insert {A.replace('0x1003', '0x1009')}",
        "inserted over another"),
    "a large entry over a small one": (
        f"10 request pfn=0x1009 order=0 refs=1\n 10 insert dev=259:0 ino=12 index=600 pfn=0x1009 order=0\n {FAULT_L}",
        "inserted over another"),
    "a small entry in a large one": (
        f"{FAULT_L} 10 request pfn=0x1009 order=0 refs=1\n"
        "10 insert dev=259:0 ino=12 index=600 pfn=0x1009 order=0", "inserted over another"),
    "an entry without a reference": (f"{FAULT_A} 11 insert {B}", "neither request nor join"),
    "an entry for free memory": (f"11 insert {B}", "is free"),
    "a reference that another thread took": (
        f"10 request {FOLIO_A} refs=1\n 11 insert {A}", "neither request nor join"),
    "two entries by one claim": (f"{FAULT_A} 10 insert {B}", "neither request nor join"),
    "an entry that is zapped twice": (
        f"{FAULT_A} 20 zap {A}\n 20 leave {FOLIO_A} entries=0 waits=1\n 20 zap {A}", "not from zapped to zapped"),
    "a zapped entry of another block": (
        f"{FAULT_A} 20 zap {A.replace('0x1003', '0x1004')}", "the entry names 0x1003"),
    "a tracked entry that is removed": (f"{FAULT_A} 20 remove {A}", "not from tracked to absent"),
    "an entry that is removed twice": (f"{FAULT_A} {FREE_A} 20 remove {A}", "not from absent to absent"),
    "an entry that is removed with its reference": (f"{FAULT_A} 20 zap {A}\n 21 remove {A}", "has not gone yet"),
    "an entry that is removed while its folio is busy": (f"{PINNED_A} 20 remove {A}", "in use, and no other entry"),
    "the same after the folio was said to be idle for others": (
        f"{SHARED} 20 zap {A}\n 20 leave {FOLIO_A} entries=1 waits=0\n 20 break_busy {A}",
        "is busy whose folio is idle"),
    "a tracked entry that is revived": (
        f"{FAULT_A} 10 join {FOLIO_A} entries=2 waits=0\n 10 revive {A}", "not from tracked to tracked"),
    "an entry that is revived without a reference": (f"{PINNED_A} 10 revive {A}", "neither request nor join"),
    "a writeback of nothing": (f"12 writeback {A}", "not there"),
    "a count of entries that is one too many": (f"{FAULT_A} 11 join {FOLIO_A} entries=3 waits=0", "3 entries track"),
    "an entry that goes and was not counted": (
        f"{SHARED} 20 zap {A}\n 20 leave {FOLIO_A} entries=2 waits=0", "2 entries track"),
    "a wait for pins of what others have": (
        f"{SHARED} 20 zap {A}\n 20 leave {FOLIO_A} entries=1 waits=1", "that others have the folio for"),
    "nobody who waits for the pins": (
        f"{FAULT_A} 20 zap {A}\n 20 leave {FOLIO_A} entries=0 waits=0", "none waits for the pins"),
    "a wait for what was not zapped": (f"{FAULT_A} 11 join {FOLIO_A} entries=2 waits=1", "that was not zapped"),
    "all of 2 MiB while another file waits for it": (
        f"{FAULT_L} 20 zap {L}\n 20 leave {FOLIO_L} entries=0 waits=1\n 11 join {FOLIO_L} entries=1 waits=1\n"
        f"11 insert {M}", "another one waits for it nevertheless"),
    "a reference that nobody had": (f"{FAULT_A} 20 leave {FOLIO_A} entries=0 waits=1", "that no entry of this thread"),
    "a break that returns while an entry is tracked": (
        f"{FAULT_A} 20 break_begin {SPAN}\n 20 break_end {SPAN} error=0", "an entry at 3 that is tracked"),
    "a break that returns while a page is pinned": (
        f"{PINNED_A} 20 break_end {SPAN} error=0", "in use, and no other entry"),
    "a break that returns while a part of 2 MiB is tracked": (
        f"{FAULT_L} 20 break_begin dev=259:0 ino=12 first=600 last=601\n"
        "20 break_end dev=259:0 ino=12 first=600 last=601 error=0", "an entry at 512 that is tracked"),
    "a break that returns while it sleeps": (
        f"{PINNED_A} 20 wait_begin {A}\n 20 break_end {SPAN} error=-512", "not from asleep to elsewhere"),
    "a break in a break": (f"20 break_begin {SPAN}\n 20 break_begin {SPAN}", "not from breaking to breaking"),
    "a break that fails somehow": (f"20 break_begin {SPAN}\n 20 break_end {SPAN} error=-5", "fails with -5"),
    "the end of another break": (
        f"20 break_begin {SPAN}\n 20 break_end {SPAN.replace('first=0', 'first=1')} error=0", "not the one that began"),
    "the end of another wait": (
        f"{PINNED_A} 20 wait_begin {A}\n 20 wait_end {B}", "not the one that began"),
    "an interrupt that zaps": (f"{FAULT_A} 20 (irq) zap {A}", "in an interrupt"),
    "a device that goes while a page is pinned": (
        f"40 removal_begin {MEMORY}\n {PINNED_A} 40 removal_revoked {MEMORY} files=1 ms=0\n"
        f"40 removal_end {MEMORY} files=1 ms=0", "1 of its folios are in use"),
    "a device that goes before it was taken from files": (
        f"40 removal_begin {MEMORY}\n 40 removal_end {MEMORY} files=1 ms=0", "not from dying to gone"),
    "1 GiB that is split while it is pinned": (
        f"10 request {FOLIO_G} refs=1\n 10 insert {G}\n 20 zap {G}\n 20 leave {FOLIO_G} entries=0 waits=1\n"
        f"20 split {G}", "in use, and no other entry"),
    "a module that goes while a folio is active": (f"{FAULT_A} 0 unloaded", "1 active folios, 1 entries"),
}


def replay(text: str, *, unloaded: bool = False) -> replaying.Replay:
    state = replaying.Replay()
    state.run(tracing.parse(text), unloaded=unloaded)
    return state


class Allowed(unittest.TestCase):
    def test_what_happens_passes(self) -> None:
        for name, text in ALLOWED.items():
            with self.subTest(name):
                state = replay(text, unloaded=True)
                self.assertEqual([], list(map(str, state.violations)))
                self.assertEqual(1, state.seen["world.end"])

    def test_these_have_each_step(self) -> None:
        seen = sum((replay(text, unloaded=True).seen for text in ALLOWED.values()), Counter[str]())
        self.assertEqual(set(), set(protocol.TRANSITIONS) - set(seen))


class Refused(unittest.TestCase):
    def test_mistakes_are_found_where_they_are(self) -> None:
        for name, (text, words) in REFUSED.items():
            with self.subTest(name):
                events = tracing.parse(text)
                state = replay(text)
                self.assertEqual([events[-1]], [violation.event for violation in state.violations[:1]],
                                 "\n".join(map(str, state.violations)))
                self.assertIn(words, state.violations[0].why)

    def test_the_events_before_are_shown(self) -> None:
        text = str(replay(f"{FAULT_A} {FREE_A} 30 free {FOLIO_A} refs=0").violations[0])
        self.assertIn("becomes free twice (R2)\n", text)
        self.assertIn(f"    10 request {FOLIO_A} refs=1\n", text)
        self.assertTrue(text.endswith(f"  > 30 free {FOLIO_A} refs=0"))

    def test_all_are_counted(self) -> None:
        self.assertEqual(50, replay("1 turn\n" * 50).unexplained)


class Together(unittest.TestCase):
    def outcome(self, names: set[str]) -> list[replays.Outcome]:
        return [replays.Outcome("x", 1, seen=Counter(dict.fromkeys(names, 1)))]

    def expected(self) -> set[str]:
        return {name for name, step in protocol.TRANSITIONS.items() if not step.never}

    def test_everything_has_to_be_seen(self) -> None:
        cases = replays.together(self.outcome(self.expected()), long=True)
        self.assertEqual(["passed"], [case.result for case in cases])
        cases = replays.together(self.outcome(self.expected() - {"entry.revive"}), long=True)
        self.assertEqual([("entry.revive was not seen", "failed")], [(case.name, case.result) for case in cases])

    def test_the_short_form_has_no_large_pages(self) -> None:
        short = {name for name in self.expected() if not protocol.TRANSITIONS[name].long}
        self.assertEqual(["passed"], [case.result for case in replays.together(self.outcome(short))])
        self.assertIn("failed", [case.result for case in replays.together(self.outcome(short), long=True)])

    def test_what_never_comes_does_not_come(self) -> None:
        cases = replays.together(self.outcome(set(protocol.TRANSITIONS)), long=True)
        self.assertEqual(["folio.leave.unused is never seen, since that is a mistake of the caller, and a warning: "
                          "1 times"], [case.name for case in cases])

    def test_a_trace_without_events_fails(self) -> None:
        self.assertIn("failed", [case.result for case in replays.Outcome("x").cases])


class Model(unittest.TestCase):
    def test_the_table_and_the_model_name_the_same(self) -> None:
        self.assertEqual({(name, place) for name, step in protocol.TRANSITIONS.items() for place in step.places},
                         protocol.marks())

    def test_what_changes_a_state_is_in_the_table(self) -> None:
        places = {place for step in protocol.TRANSITIONS.values() for place in step.places}
        self.assertEqual(set(), protocol.writers() - places - set(protocol.SILENT))
        self.assertEqual(set(), set(protocol.SILENT) - protocol.writers())

    def test_what_the_model_leaves_out_has_a_reason(self) -> None:
        for name, step in protocol.TRANSITIONS.items():
            self.assertNotEqual(bool(step.places), bool(step.unmodelled), name)

    def test_each_event_is_in_the_table(self) -> None:
        text = (CHECKOUT / "csrc/events.h").read_text()
        events = re.findall(r"^(?:TRACE_EVENT\(|DEFINE_ENTRY_EVENT\(|DEFINE_EVENT\(\w+, )rust_fsdax_(\w+)", text,
                            re.MULTILINE)
        self.assertEqual({*events, "unloaded"}, {step.event for step in protocol.TRANSITIONS.values()})

    def test_each_step_ends_where_another_begins(self) -> None:
        for machine in {step.machine for step in protocol.TRANSITIONS.values()}:
            steps = {pair for step in protocol.TRANSITIONS.values() if step.machine == machine for pair in step.steps}
            if machine != protocol.WORLD:
                self.assertLessEqual({after for _, after in steps}, {before for before, _ in steps} | {protocol.GONE})


FORMATS = """name: rust_fsdax_free
ID: 7
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;
\tfield:int refs;\toffset:24;\tsize:4;\tsigned:1;

print fmt: "pfn=%#lx"
"""


def entry(delta: int, pid: int, pfn: int, flags: int = 0, kind: int = 7) -> bytes:
    """An event of the ring buffer: free of a page."""
    body = struct.pack("<HBBiQI4xi", kind, flags, 0, pid, pfn, 0, 0)
    return struct.pack("<I", delta << 5 | len(body) // 4) + body


def page(time: int, *events: bytes, lost: bool = False) -> bytes:
    body = b"".join(events)
    return struct.pack("<QQ", time, len(body) | (lost << 31)) + body


class Reading(unittest.TestCase):
    def trace(self, stats: str = "overrun: 0\n", **cpus: bytes) -> Path:
        place = Path(self.enterContext(tempfile.TemporaryDirectory()))
        load = place / "1"
        load.mkdir()
        (load / "formats").write_text(FORMATS)
        (load / "stats0").write_text(stats)
        for name, data in cpus.items():
            (load / name).write_bytes(data)
        return place

    def numbers(self, place: Path) -> list[tuple[int, int]]:
        return [(event.number, event.fields["pfn"]) for load in tracing.loads(place) for event in load.events()]

    def test_cpus_are_merged(self) -> None:
        place = self.trace(cpu0=page(10, entry(0, 1, 1), entry(5, 1, 2)) + page(20, entry(0, 1, 3)),
                           cpu1=page(12, entry(0, 2, 4), entry(10, 2, 5)))
        self.assertEqual([(10, 1), (12, 4), (15, 2), (20, 3), (22, 5)], self.numbers(place))

    def test_fields_and_flags(self) -> None:
        place = self.trace(cpu0=page(1, entry(0, -1, 0x123, flags=0x08), entry(1, 5, 6)))
        first, second = (event for load in tracing.loads(place) for event in load.events())
        self.assertEqual((True, -1, "free", {"pfn": 0x123, "order": 0, "refs": 0}),
                         (first.irq, first.pid, first.name, first.fields))
        self.assertFalse(second.irq)
        self.assertEqual("-1 (irq) free pfn=0x123 order=0 refs=0", str(first))
        self.assertEqual([first._replace(number=0)], tracing.parse(str(first)))

    def test_time_is_extended(self) -> None:
        place = self.trace(cpu0=page(1, struct.pack("<II", 3 << 5 | 30, 1), entry(2, 1, 1)))
        self.assertEqual([(1 + (1 << 27) + 3 + 2, 1)], self.numbers(place))
        place = self.trace(cpu0=page(1, struct.pack("<II", 3 << 5 | 31, 1), entry(2, 1, 1)))
        self.assertEqual([((1 << 27) + 3 + 2, 1)], self.numbers(place))

    def test_what_was_taken_back_is_left_out(self) -> None:
        gone = struct.pack("<II", 2 << 5 | 29, 8) + bytes(4)
        place = self.trace(cpu0=page(1, gone, entry(0, 1, 1), struct.pack("<I", 29)))
        self.assertEqual([(3, 1)], self.numbers(place))

    def test_other_events_are_left_out(self) -> None:
        self.assertEqual([(4, 2)], self.numbers(self.trace(cpu0=page(1, entry(0, 1, 1, kind=8), entry(3, 1, 2)))))

    def test_lost_events_fail(self) -> None:
        with self.assertRaisesRegex(Fail, "were lost.*enlarge the buffer"):
            self.numbers(self.trace(cpu0=page(1, entry(0, 1, 1)) + page(9, entry(0, 1, 1), lost=True)))
        with self.assertRaisesRegex(Fail, "^12 events were lost.*enlarge the buffer"):
            self.numbers(self.trace("entries: 5\noverrun: 12\ndropped events: 0\n", cpu0=page(1, entry(0, 1, 1))))

    def test_incomplete_traces_fail(self) -> None:
        with self.assertRaisesRegex(Fail, "ends within a page"):
            self.numbers(self.trace(cpu0=page(1, entry(0, 1, 1))[:-4]))
        with self.assertRaisesRegex(Fail, "There are no events"):
            tracing.loads(self.trace())
        with self.assertRaisesRegex(Fail, "There is no directory"):
            tracing.loads(Path("/nowhere"))
        place = self.trace(cpu0=page(1, entry(0, 1, 1)))
        (place / "1/formats").unlink()
        with self.assertRaisesRegex(Fail, "no file formats"):
            tracing.loads(place)


if __name__ == "__main__":
    unittest.main()
