"""A processor without time: it counts flash operations, loses power at any of them, and remembers boots that it has seen.

Flash is a list of pages, each an immutable `bytes`, so that thousands of nearly equal states cost little.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from rig.virtual.cpu import Bootloader, Cpu, Entry, ResetReason
from rig.virtual.parts import PAGE_SIZE, PARTS, WORD_SIZE, Part

ERASED_PAGE = b"\xff" * PAGE_SIZE
_T = TypeVar("_T")


class PowerCut(Exception):
    """Power went during a flash operation."""


class Flash:
    """NOR flash: erasing sets a page to ones, writing only clears bits."""

    def __init__(self, size: int) -> None:
        self.pages = [ERASED_PAGE] * (size // PAGE_SIZE)

    def copy(self) -> Flash:
        other = Flash(0)
        other.pages = list(self.pages)
        return other

    def read(self, address: int, length: int) -> bytes:
        if length == 0:
            return b""
        assert 0 <= address < address + length <= len(self.pages) * PAGE_SIZE, f"read of {length} at 0x{address:x}"
        return b"".join(self.pages[page][low:high] for page, low, high in _split(address, length))

    def poke(self, address: int, data: bytes) -> None:
        """Set bytes whatever was there."""
        done = 0
        for page, low, high in _split(address, len(data)):
            old = self.pages[page]
            self.pages[page] = old[:low] + data[done : done + high - low] + old[high:]
            done += high - low

    def program(self, address: int, data: bytes) -> None:
        done = 0
        for page, low, high in _split(address, len(data)):
            old, new = self.pages[page], data[done : done + high - low]
            done += high - low
            if old is not ERASED_PAGE:
                both = int.from_bytes(old[low:high], "little") & int.from_bytes(new, "little")
                new = both.to_bytes(high - low, "little")
            self.pages[page] = new if len(new) == PAGE_SIZE else old[:low] + new + old[high:]

    def erase(self, address: int) -> None:
        assert address % PAGE_SIZE == 0
        self.pages[address // PAGE_SIZE] = ERASED_PAGE


def _split(address: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(page number, first byte in it, end byte in it) of a stretch of flash."""
    end = address + length
    while address < end:
        page, low = divmod(address, PAGE_SIZE)
        high = min(PAGE_SIZE, low + end - address)
        yield page, low, high
        address += high - low


@dataclass(frozen=True)
class Op:
    """An erase of the page at `address` (no data), or the words in `data` written from there upwards by one call."""

    address: int
    data: bytes = b""

    @property
    def count(self) -> int:
        return len(self.data) // WORD_SIZE or 1


def tear(flash: Flash, op: Op, kind: str) -> None:
    """What power loss during the single operation `op` leaves: nothing done, half of it, or all of it."""
    if kind == "lost":
        return
    if not op.data:
        flash.erase(op.address) if kind == "done" else flash.poke(op.address, ERASED_PAGE[: PAGE_SIZE // 2])
    else:
        flash.program(op.address, op.data if kind == "done" else op.data[:2] + b"\xff\xff")


@dataclass
class InstantCpu:
    """One life of the processor.  `cut` is (number of the operation, "lost" | "half" | "done")."""

    flash: Flash
    cut: tuple[int, str] | None = None
    part: Part = PARTS["nrf52840"]
    reset_reason: ResetReason = ResetReason.POWER_ON
    gpregret: list[int] = field(default_factory=lambda: [0, 0])
    noinit: dict[str, Any] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    count: int = 0
    console: list[tuple[str, int]] = field(default_factory=list)
    slept_s: float = 0.0
    driven: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def radio(self) -> Any:
        raise AssertionError("there is no radio here")

    @property
    def serial(self) -> Any:
        raise AssertionError("there is no serial port here")

    def read(self, address: int, length: int) -> bytes:
        return self.flash.read(address, length)

    async def erase_page(self, address: int) -> None:
        self._do(Op(address))

    async def write(self, address: int, data: bytes) -> None:
        assert data
        assert (address | len(data)) % WORD_SIZE == 0, f"write of {len(data)} bytes at 0x{address:x}"
        self._do(Op(address, data))

    def _do(self, op: Op) -> None:
        if self.cut is not None and self.cut[0] < self.count + op.count:
            whole = (self.cut[0] - self.count) * WORD_SIZE
            torn = Op(op.address + whole, op.data[whole : whole + WORD_SIZE]) if op.data else op
            if whole:
                self._apply(Op(op.address, op.data[:whole]))
            tear(self.flash, torn, self.cut[1])
            if self.cut[1] == "done":
                self._note(torn)
            raise PowerCut
        self._apply(op)

    def _apply(self, op: Op) -> None:
        self.flash.program(op.address, op.data) if op.data else self.flash.erase(op.address)
        self._note(op)

    def _note(self, op: Op) -> None:
        self.ops.append(op)
        self.count += op.count

    @property
    def erases(self) -> int:
        return sum(not op.data for op in self.ops)

    def protect(self, start: int, size: int) -> None: ...

    def drive_pin(self, pin: str, *, high: bool) -> None:
        self.driven.append((pin, high))

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    async def print(self, line: str) -> None:
        self.console.append((line, self.count))

    def clear_reset_reason(self, mask: int) -> None: ...

    def start_watchdog(self, timeout_s: float) -> None: ...

    def feed_watchdog(self) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        raise AssertionError("nothing runs beside the bootloader")

    def reset(self) -> NoReturn:
        raise AssertionError("the bootloader does not reset")

    def fault(self, reason: str) -> NoReturn:
        raise AssertionError(reason)


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Drive `work` to its end; it never has anything to wait for."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("the work waits for something")


class RecordingCpu(InstantCpu):
    """Notes every byte that it reads which was there before the boot: nothing else can change what the boot does."""

    def __init__(self, flash: Flash) -> None:
        super().__init__(flash)
        self.before = list(flash.pages)
        self.owned: set[int] = set()
        self.depends: dict[tuple[int, int, int], bytes] = {}
        self.programmed: list[Op] = []

    def read(self, address: int, length: int) -> bytes:
        for page, low, high in _split(address, length):
            if page not in self.owned:
                self.depends.setdefault((page, low, high), _part(self.before, page, low, high))
        return super().read(address, length)

    def _apply(self, op: Op) -> None:
        super()._apply(op)
        if not op.data:
            self.owned.add(op.address // PAGE_SIZE)
            return
        done = 0
        for page, low, high in _split(op.address, len(op.data)):
            if page not in self.owned:
                self.programmed.append(Op(page * PAGE_SIZE + low, op.data[done : done + high - low]))
            done += high - low


def _part(pages: list[bytes], page: int, low: int, high: int) -> bytes:
    return pages[page] if high - low == PAGE_SIZE else pages[page][low:high]


@dataclass(frozen=True)
class Boot:
    """What a boot came to: the vector table it jumped to, or None, and how much it did to the flash."""

    entry: Entry | None
    erases: int
    words: int


@dataclass
class _Node:
    question: tuple[int, int, int] | None = None
    answers: dict[bytes, _Node] = field(default_factory=dict)
    result: tuple[Boot, dict[int, bytes], list[Op]] | None = None


class BootMemory:
    """Boots of one bootloader, told apart by what they read.

    A bootloader is a function of the bytes it reads.  Each boot is remembered as the sequence of (place, content) that it met, and
    as what it did.  A state that gives the same answers to the same questions gets the same boot without running it.  Bytes that a
    boot erases before it reads them are in no question, so all states that differ only there are one.
    """

    def __init__(self, bootloader: Bootloader) -> None:
        self._bootloader = bootloader
        self._root = _Node()
        self.runs = 0

    def boot(self, flash: Flash) -> Boot:
        """Boot on `flash` and leave it as the boot does."""
        node = self._root
        while node.question is not None:
            known = node.answers.get(_part(flash.pages, *node.question))
            if known is None:
                return self._run(flash)
            node = known
        if node.result is None:
            return self._run(flash)
        boot, pages, programmed = node.result
        for page, content in pages.items():
            flash.pages[page] = content
        for op in programmed:
            if op.address // PAGE_SIZE not in pages:
                flash.program(op.address, op.data)
        return boot

    def _run(self, flash: Flash) -> Boot:
        self.runs += 1
        cpu = RecordingCpu(flash)
        boot = cold_boot(self._bootloader, cpu)
        node = self._root
        for question, answer in cpu.depends.items():
            assert node.result is None
            assert node.question in (None, question), "the bootloader is not a function of what it reads"
            node.question = question
            node = node.answers.setdefault(answer, _Node())
        node.result = boot, {page: flash.pages[page] for page in cpu.owned}, cpu.programmed
        return boot


def cold_boot(bootloader: Bootloader, cpu: InstantCpu) -> Boot:
    """Run the bootloader alone."""
    as_cpu: Cpu = cpu
    entry = run(bootloader.boot(as_cpu))
    return Boot(entry=entry, erases=cpu.erases, words=cpu.count - cpu.erases)
