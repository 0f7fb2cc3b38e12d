"""A measured table of "what becomes of a power cut at this operation", and the same table made with the virtual MCUboot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rig.virtual.mcuboot import confirm
from rig.virtual.mcuboot.trailer import MAGIC_BYTES
from rig.virtual.parts import WORD_SIZE
from tests.golden_mcuboot import (
    FLASH_SIZE,
    HALT,
    Lab,
    decode,
    golden_steps,
    number,
    power_on,
    virtual_steps,
)
from tests.instant_cpu import Boot, BootMemory, Flash, InstantCpu, Op, cold_boot, run, tear

Json = Any


@dataclass(frozen=True)
class Fate:
    """What came after one cut."""

    versions: tuple[str, ...]
    final: str
    erases: int
    words: int


@dataclass(kw_only=True)
class CutTable:
    """One table file with a way to work out any of its points.  Boots are remembered unless `remembers` is False."""

    document: Json
    remembers: bool = True
    lab: Lab = field(init=False)
    start: Flash = field(init=False)
    ops: list[Op] = field(init=False)

    def __post_init__(self) -> None:
        self.lab = Lab.of(self.document)
        self._names = {facts["version"]: name for name, facts in self.document["images"].items()}
        self._confirms = "confirm" in self.document["app"].replace("never confirms", "")
        self._memory = BootMemory(self.lab.bootloader)
        self._later: dict[tuple[tuple[bytes, ...], int], tuple[tuple[str, ...], str]] = {}
        self.start, self.ops = self._find_start()
        self.boots = len(self.document["undisturbed"].split(">"))

    @property
    def runs(self) -> int:
        """How many boots were really run."""
        return self._memory.runs

    def _find_start(self) -> tuple[Flash, list[Op]]:
        """The file does not say what the flash held; it lists the operations of the undisturbed boot, and only one state gives those."""
        wanted = golden_steps(self.document["ops"]).places
        for flash in _candidates(self.lab, self.document):
            state = flash.copy()
            life = power_on(self.lab, state, action="confirm" if self._confirms else None)
            if virtual_steps(life.cpu.ops).places == wanted:
                return flash, life.cpu.ops
        raise AssertionError("no known state makes the bootloader do what was measured")

    def undisturbed(self) -> str:
        """Versions run by boots without a cut, as the file writes them."""
        flash = self.start.copy()
        return ">".join(self._boot(flash)[0] for _ in range(self.boots))

    def points(self) -> Iterator[tuple[int, str, Flash]]:
        """Every operation of the boot with every kind of cut: (number, kind, flash after the cut), in order."""
        flash = self.start.copy()
        at = 0
        for op in self.ops:
            words = [op.data[i : i + WORD_SIZE] for i in range(0, len(op.data), WORD_SIZE)] or [b""]
            for index, word in enumerate(words):
                single = Op(op.address + index * WORD_SIZE, word)
                for kind in self.document["kinds"]:
                    torn = flash.copy()
                    tear(torn, single, kind)
                    yield at, kind, torn
                tear(flash, single, "done")
                at += 1

    def fate(self, flash: Flash) -> Fate:
        """Boot on what a cut left, as often as the measurement did."""
        first, boot = self._boot(flash)
        rest, final = self._afterwards(flash, self.boots - 1)
        return Fate(versions=(first, *rest), final=final, erases=boot.erases, words=boot.words)

    def _afterwards(self, flash: Flash, boots: int) -> tuple[tuple[str, ...], str]:
        key = (tuple(flash.pages), boots)
        if not self.remembers or key not in self._later:
            versions = tuple(self._boot(flash)[0] for _ in range(boots))
            self._later[key] = versions, self._final(flash)
        return self._later[key]

    def _boot(self, flash: Flash) -> tuple[str, Boot]:
        if self.remembers and not self._confirms:
            boot = self._memory.boot(flash)
        else:
            cpu = InstantCpu(flash)
            boot = cold_boot(self.lab.bootloader, cpu)
            if self._confirms and boot.entry is not None:
                run(confirm(cpu, self.lab.memory))
                boot = Boot(entry=boot.entry, erases=cpu.erases, words=cpu.count - cpu.erases)
        if boot.entry is None:
            return HALT, boot
        version = self.lab.version_of(boot.entry.vector_table, flash)
        return self._names.get(version, version), boot

    def _final(self, flash: Flash) -> str:
        record = decode(self.lab, flash)
        return " | ".join(f"{letter}:{_summary(record[slot])}" for letter, slot in (("P", "primary"), ("S", "secondary")))


def _summary(record: Json) -> str:
    text = (
        f"{record['image']} magic={record['magic']} ok={record['image_ok']} cd={record['copy_done']} "
        f"si={record['swap_info']} st={record['status_words']}"
    )
    return text + (f" at1000={record['image_at_0x1000']}" if "image_at_0x1000" in record else "")


def _candidates(lab: Lab, document: Json) -> Iterator[Flash]:
    """States that a table may start from, the likely one first: a request by a signing tool or an application, or after a test boot."""
    for words in _requests(lab):
        flash = Flash(FLASH_SIZE)
        flash.poke(lab.memory.primary.start, lab.images["old"])
        flash.poke(lab.memory.secondary.start + lab.memory.upload_offset, lab.images["new"])
        for address, value in document.get("initial_trailer_words", ()):
            flash.program(number(address), number(value).to_bytes(WORD_SIZE, "little"))
        for from_end, data in words:
            flash.poke(lab.memory.secondary.end - from_end, data)
        yield flash
        tested = flash.copy()
        power_on(lab, tested)
        yield tested


def _requests(lab: Lab) -> list[list[tuple[int, bytes]]]:
    del lab
    magic, image_ok = (16, MAGIC_BYTES), (24, b"\x01")
    return [[magic], [magic, image_ok], [magic, (40, b"\x02")], [magic, image_ok, (40, b"\x03")], []]


# ----------------------------------------------------------------------------------------------------------- comparison
def spread(rows: Json, kind: str) -> dict[int, list[Any]]:
    """A column of ranges ``[from, to, kind, value…]`` as one value per operation."""
    column: dict[int, list[Any]] = {}
    for first, last, row_kind, *value in rows:
        if row_kind == kind:
            column.update(dict.fromkeys(range(first, last + 1), value))
    return column


def disagreements(table: CutTable, wanted: Callable[[int], bool]) -> list[str]:
    """Measured points at which the virtual bootloader's fate is another one; `wanted` selects operations by number."""
    document, names = table.document, set(table.document["images"])
    outcomes = {kind: spread(document["outcomes"], kind) for kind in document["kinds"]}
    finals = {kind: spread(document["final"], kind) for kind in document["kinds"]}
    resumes = {kind: spread(document["resume"], kind) for kind in document["kinds"]}
    found: list[str] = []
    for at, kind, flash in table.points():
        if at not in outcomes[kind] or not wanted(at):
            continue
        fate = table.fate(flash)
        measured = tuple(name if name in names else HALT for name in outcomes[kind][at][0].split(">"))
        final = document["finals"][finals[kind][at][0]]
        place = f"operation {at} {kind}"
        if fate.versions != measured:
            found.append(f"{place}: runs {fate.versions}, measured {measured}")
        if not final.startswith(fate.final):
            found.append(f"{place}: leaves {fate.final}, measured {final}")
        if [fate.erases, fate.words] != resumes[kind][at]:
            found.append(f"{place}: resumes with {fate.erases} erases and {fate.words} words, measured {resumes[kind][at]}")
    return found
