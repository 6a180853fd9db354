# SPDX-License-Identifier: GPL-2.0
"""Programs of the fuzzer: their format, how they come from a seed, how they get smaller, how they look in C.

A program is a text. Each line is a process (0 to 2, or - for the coordinator), an operation of
tests/fuzz/ops.h and its arguments, numbers all of them:

    # seed 7
    0 map 0 2 0 16 0
    - TOGETHER
    0 store 0 3 0 8 1
    1 punch 2 3 0 8
    - JOIN

Any lines are a program, whatever others are gone: what cannot be done is refused in the guest.
"""

import functools
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from .progress import CHECKOUT, Fail

TABLE = CHECKOUT / "tests/fuzz/ops.h"
CALLS = CHECKOUT / "tests/fuzz/calls.c"
COORDINATOR = -1
PROCESSES = 3
MAX_LINES = 400
_FILES, _SLOTS, _PIPES, _MAX_PAGES, _HUGE, _IN_PAGE = 4, 6, 4, 1088, 512, 8
# From the least of each kind of argument to one below the end.
_LIMITS = {"s": (0, _SLOTS), "f": (0, _FILES), "p": (0, _MAX_PAGES), "P": (0, _MAX_PAGES), "n": (1, _MAX_PAGES + 1),
           "m": (1, _MAX_PAGES + 1), "o": (0, _IN_PAGE), "c": (1, _MAX_PAGES * _IN_PAGE + 1), "k": (0, 5),
           "a": (0, 10), "q": (0, _PIPES), "w": (0, PROCESSES), "b": (0, 2), "r": (0, 3), "v": (1, 1 << 24)}
_OP = re.compile(r'^OP\((\w+), (\d+), "(\w*)", (ANY|XFS)\)$', re.MULTILINE)
# Nothing is known of the data afterwards: late in a program.
_ENDINGS = frozenset(("poison", "shut_down", "unbind"))
# splice() into a pipe has that locked while it waits for the lock of the file: who has this and waits for a page in
# the pipe waits until it is killed.
_NOT_TOGETHER = frozenset(("remap", "splice_in", "splice_out", "read"))


@dataclass(frozen=True)
class Op:
    """A row of the table."""

    name: str
    weight: int
    kinds: str
    xfs: bool

    @property
    def coordinators(self) -> bool:
        return self.name.isupper()


@dataclass(frozen=True)
class Line:
    """An operation, with its arguments, of a process or the coordinator."""

    who: int
    op: str
    args: tuple[int, ...] = ()

    def __str__(self) -> str:
        return " ".join(["-" if self.who == COORDINATOR else str(self.who), self.op, *map(str, self.args)])


Program = list[Line]


def parse_table(text: str) -> dict[str, Op]:
    return {name: Op(name, int(weight), kinds, where == "XFS") for name, weight, kinds, where in _OP.findall(text)}


@functools.cache
def table() -> dict[str, Op]:
    """The operations of tests/fuzz/ops.h by their names."""
    return parse_table(TABLE.read_text())


def parse(text: str) -> Program:
    """Read a program; every line must be one that the guest takes."""
    program = []
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split()
        if not words or words[0].startswith("#"):
            continue
        program.append(_parse_line(number, words))
    if len(program) > MAX_LINES:
        raise Fail(f"The program has {len(program)} lines and may have {MAX_LINES}: make it shorter.")
    return program


def _parse_line(number: int, words: list[str]) -> Line:
    wrong = f"Line {number} of the program is wrong, \"{' '.join(words)}\""
    op = table().get(words[1]) if len(words) > 1 else None
    if not op:
        raise Fail(f"{wrong}: tests/fuzz/ops.h has the operations.")
    if len(words) != 2 + len(op.kinds):
        raise Fail(f"{wrong}: {op.name} has {len(op.kinds)} arguments.")
    if words[0] not in (("-",) if op.coordinators else tuple(map(str, range(PROCESSES)))):
        raise Fail(f"{wrong}: it begins with - for what the coordinator does, else with a process from 0 to 2.")
    try:
        args = tuple(map(int, words[2:]))
    except ValueError:
        raise Fail(f"{wrong}: arguments are numbers.") from None
    for value, kind in zip(args, op.kinds, strict=True):
        least, end = _LIMITS[kind]
        if not least <= value < end:
            raise Fail(f"{wrong}: {value} is not from {least} to {end - 1}.")
    return Line(COORDINATOR if op.coordinators else int(words[0]), op.name, args)


def text_of(program: Iterable[Line], comments: Sequence[str] = ()) -> str:
    return "".join(f"{line}\n" for line in [*(f"# {comment}" for comment in comments), *program])


@dataclass
class _View:
    file: int
    page: int
    pages: int


@dataclass
class Generator:
    """Makes the program of a seed. It follows mappings roughly, so that most lines find one."""

    seed: int
    fs: str
    value: int = 0
    program: Program = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        # Files meet in few pages, some of them around where 2 MiB end.
        starts = [0, _HUGE - 6, _HUGE, 2 * _HUGE - 6]
        self._starts = self._random.sample(starts, self._random.randrange(1, 4))
        self._recent: list[tuple[int, int]] = []  # pages of files
        self._views: list[dict[int, _View]] = [{} for _ in range(PROCESSES)]
        self._who: int = 0
        ops = [op for op in table().values() if op.weight and (self.fs == "xfs" or not op.xfs)]
        # Each program has its own taste.
        self._weights = {op: op.weight * self._random.choice((0, 1, 1, 1, 3)) for op in ops}
        for name in ("map", "store", "load"):
            self._weights[table()[name]] = table()[name].weight

    def whole(self) -> Program:
        for file in range(_FILES):
            self._fill(file)
        for who in range(PROCESSES):
            self._who = who
            for _ in range(self._random.randrange(1, 4)):
                self._add(table()["map"])
        self.some(self._random.randrange(15, 60), endings=True)
        return self.program

    def some(self, lines: int, *, endings: bool = False) -> Program:
        end = len(self.program) + lines
        while len(self.program) < end:
            late = endings and end - len(self.program) < lines // 4
            op = self._pick(frozenset() if late else _ENDINGS)
            if op.name == "TOGETHER":
                self._together()
            else:
                self._who = self._random.randrange(PROCESSES)
                self._add(op)
        return self.program

    def _together(self) -> None:
        self.program.append(Line(COORDINATOR, "TOGETHER"))
        for _ in range(self._random.randrange(3, 16)):
            self._who = self._random.randrange(PROCESSES)
            self._add(self._pick(_NOT_TOGETHER | _ENDINGS, coordinator=False))
        self.program.append(Line(COORDINATOR, "JOIN"))

    def _pick(self, unwanted: frozenset[str], *, coordinator: bool = True) -> Op:
        ops = [op for op, weight in self._weights.items()
               if weight and op.name not in unwanted and (coordinator or not op.coordinators)]
        return self._random.choices(ops, [self._weights[op] for op in ops])[0]

    def _fill(self, file: int) -> None:
        self._who = 0
        way = self._random.randrange(4)
        if way:
            pages = self._random.choice((16, 64, _HUGE, 2 * _HUGE))
            self.program.append(Line(0, "allocate", (file, 0, pages)))
        if way != 1:
            self.program.append(Line(0, "write", (file, self._page(), 0, 8 * self._random.randrange(1, 20),
                                                  self._next())))

    def _add(self, op: Op) -> None:
        args: list[int] = []
        for kind in op.kinds:
            args.append(self._argument(op, kind, args))
        self._remember(op, args)
        if op.name == "map":
            self._views[self._who][args[0]] = _View(*args[1:4])
        elif op.name == "FORK":
            self._views[args[1]] = dict(self._views[args[0]])
        elif op.name == "REMOUNT":
            self._views = [{} for _ in range(PROCESSES)]
        self.program.append(Line(COORDINATOR if op.coordinators else self._who, op.name, tuple(args)))
        if op.name == "REMOUNT":
            for self._who in range(PROCESSES):
                self._add(table()["map"])

    def _remember(self, op: Op, args: list[int]) -> None:
        """So that lines meet in the same pages."""
        if op.kinds.startswith("fp"):
            self._recent.append((args[0], args[1]))
        elif op.kinds.startswith("sP") and (view := self._views[self._who].get(args[0])):
            self._recent.append((view.file, view.page + args[1]))
        del self._recent[:-6]

    def _again(self, file: int) -> int | None:
        """A page of the file that was used lately, half of the time."""
        pages = [page for other, page in self._recent if other == file]
        return self._random.choice(pages) if pages and self._random.randrange(2) else None

    def _next(self) -> int:
        self.value += 1
        return self.value

    def _page(self) -> int:
        return min(_MAX_PAGES - 1, self._random.choice(self._starts) + self._random.randrange(12))

    def _count(self) -> int:
        return self._random.choice((1, 1, 2, 3, 4, 8, self._random.randrange(1, 16)))

    def _argument(self, op: Op, kind: str, before: list[int]) -> int:
        if kind in "sfpP":
            found = self._where(op, kind, before)
        elif kind in "mnco":
            found = self._how_many(kind)
        else:
            found = self._next() if kind == "v" else None
        return self._random.randrange(*_LIMITS[kind]) if found is None else found

    def _where(self, op: Op, kind: str, before: list[int]) -> int | None:
        """A mapping, a file or a page, most often one that others use."""
        rnd, views = self._random, self._views[self._who]
        if kind == "s":
            return rnd.choice(sorted(views)) if op.name != "map" and views else None
        if kind == "f":
            return rnd.choice(self._recent)[0] if self._recent and op.name != "map" and rnd.randrange(2) else None
        if kind == "P":
            return self._page_of(views.get(before[0]))
        if op.name == "map" and rnd.randrange(3):
            return 0
        if len(before) == 3 and rnd.randrange(2):
            return before[1]
        page = self._again(before[-1])
        return self._page() if page is None else page

    def _page_of(self, view: _View | None) -> int:
        at = self._again(view.file) if view else None
        page = (self._page() if at is None else at) - (view.page if view else 0)
        if view and 0 <= page < view.pages:
            return page
        return self._random.randrange(min(view.pages, 16) if view else 4)

    def _how_many(self, kind: str) -> int:
        rnd = self._random
        if kind == "m":
            return rnd.choice((8, 32, _HUGE, _HUGE + 16, 2 * _HUGE, 2 * _HUGE))
        if kind == "n":
            return _HUGE if not rnd.randrange(12) else self._count()
        if kind == "c":
            return rnd.choice((1, 3, 8, 8, 8, 16, 8 * self._count()))
        return 0 if rnd.randrange(3) else rnd.randrange(_IN_PAGE)


def generate(seed: int, fs: str) -> Program:
    return Generator(seed, fs).whole()


def mutate(program: Program, other: Program, seed: int, fs: str) -> Program:
    """A program that is like one that was worth to be kept, with lines of another and new ones."""
    rnd = random.Random(seed)
    lines = list(program)
    for _ in range(rnd.randrange(1, 4)):
        at = rnd.randrange(len(lines) + 1)
        way = rnd.randrange(3)
        if way == 0 and lines:
            del lines[at:at + rnd.randrange(1, 6)]
        elif way == 1:
            start = rnd.randrange(len(other)) if other else 0
            lines[at:at] = other[start:start + rnd.randrange(1, 12)]
        else:
            lines[at:at] = Generator(rnd.randrange(1 << 30), fs).some(rnd.randrange(1, 8))
    return renumber(lines[:MAX_LINES])


def renumber(program: Iterable[Line]) -> Program:
    """Give each stored value to one line."""
    value, found = 0, []
    for line in program:
        args = list(line.args)
        for place, kind in enumerate(table()[line.op].kinds):
            if kind == "v":
                value += 1
                args[place] = value
        found.append(replace(line, args=tuple(args)))
    return found


def ddmin(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The lines of a program that fails of which none can go: without it the rest does not fail."""
    parts = 2
    while len(program) > 1:
        size = -(-len(program) // parts)
        for start in range(0, len(program), size):
            rest = program[:start] + program[start + size:]
            if rest and fails(rest):
                program, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(program))
    return program


def simplify(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The same lines with smaller arguments, and of one process, where it still fails."""
    for number in range(len(program)):
        for easier in _easier(program[number]):
            changed = [*program[:number], easier, *program[number + 1:]]
            if fails(changed):
                program = changed
                break
    return program


def _easier(line: Line) -> list[Line]:
    found = []
    if line.who > 0:
        found.append(replace(line, who=0))
    for place, kind in enumerate(table()[line.op].kinds):
        least = {"n": 1, "m": 16, "c": 8, "k": 0}.get(kind)
        if least is not None and line.args[place] > least:
            found.append(replace(line, args=(*line.args[:place], least, *line.args[place + 1:])))
    return found


_FUNCTION = re.compile(r"^(?:static )?[\w ]+?\*?(\w+)\([^;{]*?\)\n\{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_AT_FILE = re.compile(r"file (\d+) page (\d+) sector (\d+) by read is \S+, not (\S+)")
_AT_MAPPING = re.compile(r"process (\d+) mapping (\d+) page (\d+) sector (\d+) is \S+, not (\S+)")
_HEAD = """\
#define PAGE\t((size_t)4096)
#define HUGE\t((size_t)512)
#define SECTOR\t((size_t)512)
#define IN_PAGE\t(PAGE / SECTOR)
#define STAMP(value)\t(0x1000000ul + (value))

enum kind { SMALL, LARGE, SYNC, PRIVATE, READ_ONLY };

struct slot {
\tchar *addr;
\tsize_t pages;
};
"""
_TURNS = """\
static volatile int *turn;

static void at(int line)
{
\twhile (*turn < line)
\t\tusleep(100);
}

static void done(long rc)
{
\tif (rc < 0)
\t\tperror("a call");
\t__atomic_add_fetch(turn, 1, __ATOMIC_SEQ_CST);
}
"""


def to_c(program: Program, failure: str) -> str:
    """The program in C: main(DIRECTORY, SCRATCH) makes the calls and looks at what was wrong."""
    calls = CALLS.read_text()
    functions = {match[1]: match[0] for match in _FUNCTION.finditer(calls)}
    body = _Body(program, failure)
    used = _used(functions, body.text)
    includes = sorted({*re.findall(r"^#include <.*>$", calls, re.MULTILINE), "#include <stdint.h>",
                       "#include <stdio.h>", "#include <sys/types.h>"})
    return "\n".join([
        "/*", f" * {failure}", " *", " * The program: DIRECTORY on the mount, SCRATCH a block device of 256 KiB.", " *",
        *(f" * {line}" for line in program), " */", "#define _GNU_SOURCE", *includes, "",
        _HEAD, "static int fd[4], pipes[4][2], scratch = -1, uffd = -1;", "static struct slot slot[6];", "",
        _TURNS, *(f"{'static ' if text.startswith('long') else ''}{text}"
                  for name, text in functions.items() if name in used), body.text])


def _used(functions: dict[str, str], text: str) -> set[str]:
    """The functions that a text needs, and those that they need."""
    found: set[str] = set()
    texts = [text]
    while texts:
        text = texts.pop()
        for name, function in functions.items():
            if name not in found and re.search(rf"\b{name}\(", text):
                found.add(name)
                texts.append(function)
    return found


class _Body:
    """The part of a C program that is of this program: a function for each process, and main()."""

    def __init__(self, program: Program, failure: str) -> None:
        self._lines: list[list[str]] = [[] for _ in range(PROCESSES)]
        self._ended: list[tuple[str, list[str]]] = []
        self._forks = 0
        self._walk(program, failure)
        first = [self._function(f"process{who}", self._lines[who]) for who in range(PROCESSES)
                 if who in self._first]
        later = [self._function(name, lines) for name, lines in self._ended]
        starts = [f"\tif (!fork()) {{\n\t\tprocess{who}();\n\t\t_exit(0);\n\t}}" for who in self._first]
        self.text = "\n".join([*self._declared(), *later, *first, self._main(starts, failure)])

    def _walk(self, program: Program, failure: str) -> None:
        self._names = [f"process{who}" for who in range(PROCESSES)]
        count, wait = 0, 0
        together = False
        for line in program:
            if line.op in ("TOGETHER", "JOIN"):
                together, wait = line.op == "TOGETHER", count
            elif line.op == "FORK":
                wait, count = self._fork(line, count), count + 1
            elif line.who == COORDINATOR or f"do_{line.op}" not in CALLS.read_text():
                self._lines[max(line.who, 0)].append(f"\t/* {line}: by hand. */")
            else:
                call = f"do_{line.op}({', '.join(map(str, line.args))})"
                self._lines[line.who].append(f"\tat({wait if together else count});\n\tdone({call});")
                count += 1
            if not together:
                wait = count
        if match := _AT_MAPPING.search(failure):
            who, slot, page, sector = map(int, match.groups()[:4])
            self._lines[who].append(f"\tat({count});\n" + _look(
                f"*(volatile uint64_t *)(slot[{slot}].addr + {page} * PAGE + {sector} * SECTOR)", match[5]))
        self._first = [who for who in range(PROCESSES) if self._names[who] == f"process{who}" and self._lines[who]]
        self._ended += [(self._names[who], self._lines[who]) for who in range(PROCESSES)
                        if self._names[who] != f"process{who}"]

    def _fork(self, line: Line, count: int) -> int:
        source, to = line.args
        self._ended.append((self._names[to], self._lines[to]))
        self._forks += 1
        self._names[to], self._lines[to] = f"process{to}_{self._forks}", []
        self._lines[source].append(f"\tat({count});\n\tif (!fork()) {{\n\t\t{self._names[to]}();\n\t\t_exit(0);\n\t}}\n"
                                   "\tdone(0);")
        return count + 1

    def _declared(self) -> list[str]:
        return [f"static void {name}(void);" for name, _ in self._ended]

    @staticmethod
    def _function(name: str, lines: list[str]) -> str:
        return "\n".join([f"static void {name}(void)", "{", *lines, "}", ""])

    @staticmethod
    def _main(starts: list[str], failure: str) -> str:
        last = ["\twhile (wait(NULL) > 0)", "\t\t;"]
        if match := _AT_FILE.search(failure):
            file, page, sector = map(int, match.groups()[:3])
            last += [f"\tif (pread(fd[{file}], &word, sizeof(word), {page} * PAGE + {sector} * SECTOR) < 0)",
                     '\t\tperror("read");', _look("word", match[4])]
        return "\n".join([
            "int main(int argc, char **argv)", "{", "\tchar name[4096];", "\tuint64_t word = 0;", "",
            "\tif (argc < 2 || argc > 3)", "\t\treturn 2;",
            "\tturn = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);",
            "\tfor (int i = 0; i < 4; i++) {",
            '\t\tsnprintf(name, sizeof(name), "%s/f%d", argv[1], i);',
            "\t\tfd[i] = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);",
            "\t\tif (fd[i] < 0 || pipe2(pipes[i], O_NONBLOCK))", "\t\t\treturn 2;", "\t}",
            "\tscratch = argc > 2 ? open(argv[2], O_RDWR | O_DIRECT) : -1;", *starts, *last,
            "\treturn word == ~0ul;", "}", ""])


def _look(what: str, want: str) -> str:
    value = int(want, 16) % (1 << 24)
    expected = f"STAMP({value})" if int(want, 16) else "0ul"
    return (f'\tprintf("%#lx, and it should be %#lx\\n", (unsigned long){what},\n\t       (unsigned long){expected});')
