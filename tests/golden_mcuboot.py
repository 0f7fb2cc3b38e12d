"""Measurements of a real MCUboot (tests/golden/mcuboot/README.md), and the same things done with the virtual one.

Files are found below `tests/golden/mcuboot` and below the directories that the environment variable RIG_GOLDEN names.  Everything
is derived from the fields of a file, so that further files of the same format need no further code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.model import MemoryMap, Region
from rig.virtual.mcuboot import Console, Mcuboot, McubootConfig, Mode, TrustedKey, confirm, set_pending
from rig.virtual.mcuboot.header import HEADER_SIZE, Header
from rig.virtual.mcuboot.trailer import MAGIC_BYTES, Magic, read_swap_state
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE
from tests.instant_cpu import ERASED_PAGE, Flash, InstantCpu, Op, PowerCut, cold_boot, run
from tests.signed_images import FOREIGN_KEY, KEY, flip, signed_image

FLASH_SIZE = 1024 * 1024
HALT = "halt"
_MODES = {
    "offset": Mode.SWAP_OFFSET,
    "move": Mode.SWAP_MOVE,
    "scratch": Mode.SWAP_SCRATCH,
    "overwrite": Mode.OVERWRITE_ONLY,
}
_FLAW = r"(wrong|bad|invalid|corrupt\w*|flip\w*|tamper\w*|foreign|damaged|broken|spoil\w*)"
_THING = r"(image|signature|signed|hash|key|payload)"
_BAD_NEW_IMAGE = re.compile(rf"unsigned|{_FLAW}[\W_]+(\w+\W+)?{_THING}|{_THING}[\W_]+((is|was)\W+)?{_FLAW}", re.IGNORECASE)
"""How a description tells that the new image must be refused; how it is flawed makes no difference to MCUboot."""
Json = Any


def files(kind: str) -> list[Path]:
    """All measurements of `kind` ("traces" or "tables"), in a stable order."""
    roots = [Path(__file__).parent / "golden" / "mcuboot"]
    roots += [Path(name) for name in os.environ.get("RIG_GOLDEN", "").split(os.pathsep) if name]
    found = (path for root in roots for path in sorted(root.rglob("*.json")))
    return [path for path in found if ("table" in json.loads(path.read_text())) == (kind == "tables")]


def number(text: str) -> int:
    """A hexadecimal number as the files write it."""
    return int(text, 16)


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What one file was measured with: a bootloader and images of the same shape."""

    mode: str
    memory: MemoryMap
    bootloader: Mcuboot
    images: dict[str, bytes]
    trailers: dict[str, Region]
    """Trailer areas by slot."""

    @classmethod
    def of(cls, document: Json) -> Lab:
        layout = document["layout"]
        assert (layout["page"], layout["write"], layout["max_align"]) == (PAGE_SIZE, WORD_SIZE, 8)
        size = number(layout["slot_size"])
        areas = {name: Region(start=number(layout[name]), size=size) for name in ("primary", "secondary")}
        if "scratch" in layout:
            areas["scratch"] = Region(start=number(layout["scratch"]), size=number(layout["scratch_size"]))
        memory = MemoryMap(
            primary=areas["primary"],
            secondary=areas["secondary"],
            user_data=Region(start=0xF8000, size=0x8000),
            scratch=areas.get("scratch"),
            upload_offset=number(layout.get("secondary_image_offset", "0")),
        )
        config = McubootConfig(
            mode=_MODES[document["mode"]],
            memory=memory,
            keys=(TrustedKey.of(KEY.public_key()),),
            max_sectors=layout["max_img_sectors"],
            console=Console.BARE_METAL,
        )
        starts = {name: number(layout[f"{name}_trailer"]) for name in areas}
        trailers = {name: Region(start=starts[name], size=area.end - starts[name]) for name, area in areas.items()}
        # The files' status area in offset mode begins lower than its first entry, by a word for each sector.
        unused = config.layout.max_sectors * WORD_SIZE if config.layout.by_offset else 0
        for name, trailer in trailers.items():
            assert trailer.size == (config.layout.scratch_size if name == "scratch" else config.layout.size + unused)
        return cls(mode=document["mode"], memory=memory, bootloader=Mcuboot(config), images=_images(document), trailers=trailers)

    def area(self, name: str) -> Region:
        area = getattr(self.memory, name)
        assert isinstance(area, Region)
        return area

    def version_of(self, entry: int, flash: Flash) -> str:
        """Which version an application at `entry` says it is."""
        header = Header.parse(flash.read(self.memory.primary.start, HEADER_SIZE))
        assert entry == self.memory.primary.start + header.header_size
        return "{}.{}.{}".format(*header.version)


def _images(document: Json) -> dict[str, bytes]:
    bad = _BAD_NEW_IMAGE.search(f"{document.get('case', '')} {document.get('setup', '')}")
    return {
        name: signed_image(
            facts["version"],
            header_size=facts["hdr_size"],
            image_size=facts["img_size"],
            tlv_size=facts["tlv_bytes"],
            key=FOREIGN_KEY if bad and name != "old" else KEY,
        )
        for name, facts in document["images"].items()
    }


# --------------------------------------------------------------------------------------------------------------- set-up
def initial_flash(lab: Lab, document: Json) -> Flash:
    """The flash that a trace starts from: images as its decoded record names them, then the words of the trailers."""
    flash = Flash(FLASH_SIZE)
    record = document["initial"]
    primary, secondary = lab.memory.primary.start, lab.memory.secondary.start
    place(lab, flash, primary, record["primary"]["image"], usual="old")
    place(lab, flash, secondary, record["secondary"]["image"], usual="new")
    if lab.memory.upload_offset and record["secondary"]["image"] not in lab.images:
        shifted = record["secondary"][f"image_at_0x{PAGE_SIZE:x}"]
        place(lab, flash, secondary + lab.memory.upload_offset, shifted, usual="new")
    for address, value in document["initial_trailer_words"]:
        flash.program(number(address), number(value).to_bytes(WORD_SIZE, "little"))
    return flash


def place(lab: Lab, flash: Flash, address: int, name: str, *, usual: str) -> None:
    """Put an image at `address`: whole, or in the state that a decoded record calls by `name`."""
    if name == "erased-head":
        return
    image = lab.images.get(name.removesuffix("-head-only"), lab.images[usual])
    if name.endswith("-head-only"):
        image = flip(image, len(image) // 2)
    elif name == "other":
        image = flip(image, 0, 0xFF)
    flash.poke(address, image)


# ------------------------------------------------------------------------------------------------------------- decoding
def decode(lab: Lab, flash: Flash) -> Json:
    """The flash as the `after` records describe it."""
    record = {slot: _decode_slot(lab, flash, slot) for slot in ("primary", "secondary")}
    if lab.memory.scratch:
        scratch = lab.memory.scratch
        record["scratch"] = _decode_trailer(lab, flash, "scratch") | {
            "pages_not_erased": [
                hex(page) for page in range(scratch.start, scratch.end, PAGE_SIZE) if flash.pages[page // PAGE_SIZE] != ERASED_PAGE
            ]
        }
    return record


def _decode_slot(lab: Lab, flash: Flash, slot: str) -> Json:
    record = {"image": _image_at(lab, flash, lab.area(slot).start)} | _decode_trailer(lab, flash, slot)
    if slot == "secondary" and lab.memory.upload_offset:
        record[f"image_at_0x{PAGE_SIZE:x}"] = _image_at(lab, flash, lab.memory.secondary.start + lab.memory.upload_offset)
    return record


def _image_at(lab: Lab, flash: Flash, start: int) -> str:
    for name, image in lab.images.items():
        if flash.read(start, len(image)) == image:
            return name
    head = flash.read(start, HEADER_SIZE)
    if head == ERASED_PAGE[:HEADER_SIZE]:
        return "erased-head"
    return next((f"{name}-head-only" for name, image in lab.images.items() if image.startswith(head)), "other")


def _decode_trailer(lab: Lab, flash: Flash, slot: str) -> Json:
    end = lab.area(slot).end
    layout = lab.bootloader.config.layout
    magic = flash.read(end - 16, 16)
    status = flash.read(lab.trailers[slot].start, lab.trailers[slot].size - layout.swap_size_from_end)
    words = [status[at : at + WORD_SIZE] for at in range(0, len(status), WORD_SIZE)]
    size = flash.read(end - layout.swap_size_from_end, WORD_SIZE)
    record = {
        "magic": "good" if magic == MAGIC_BYTES else "unset" if magic == ERASED_PAGE[:16] else "bad",
        "image_ok": _flag(flash, end - 24),
        "copy_done": _flag(flash, end - 32),
        "swap_info": _hex(flash.read(end - 40, 1)),
        "swap_size": "-" if size == ERASED_PAGE[:4] else int.from_bytes(size, "little"),
        "status_words": sum(word != ERASED_PAGE[:4] for word in words),
    }
    if layout.by_offset:
        record["tlv_sizes"] = _hex(flash.read(end - 48, 4)[::-1])
    return record


def _flag(flash: Flash, address: int) -> str:
    text = _hex(flash.read(address, 1))
    return "1" if text == "01" else text


def _hex(data: bytes) -> str:
    return "-" if data == ERASED_PAGE[: len(data)] else data.hex()


# ---------------------------------------------------------------------------------------------------------- one boot
@dataclass(frozen=True, kw_only=True)
class Life:
    """What came of one power-on: `running` is the version that the application printed, None when the bootloader stopped."""

    cpu: InstantCpu
    running: str | None
    is_cut: bool
    app_ops: int


def power_on(lab: Lab, flash: Flash, *, action: str | None = None, cut: tuple[int, str] | None = None) -> Life:
    """Boot, and let the application do `action`, as the measured one did it."""
    cpu = InstantCpu(flash, cut=cut)
    running, before = None, 0
    try:
        boot = cold_boot(lab.bootloader, cpu)
        before = cpu.count
        if boot.entry is not None:
            running = lab.version_of(boot.entry.vector_table, flash)
            cpu.console.append((f"APP {running}", cpu.count))
            if action is not None:
                cpu.console.append((_act(lab, cpu, action), cpu.count))
            cpu.console.append(("READY", cpu.count))
    except PowerCut:
        return Life(cpu=cpu, running=running, is_cut=True, app_ops=cpu.count - before)
    return Life(cpu=cpu, running=running, is_cut=False, app_ops=cpu.count - before)


def _act(lab: Lab, cpu: InstantCpu, action: str) -> str:
    """The line that the measured application prints after a request, with MCUboot's return code."""
    if action == "confirm":
        broken = read_swap_state(cpu, lab.memory.primary).magic is Magic.BAD
        run(confirm(cpu, lab.memory))
        return f"confirm rc={4 if broken else 0}"
    permanent = {"set_pending(test)": False, "set_pending(permanent)": True}[action]
    accepted = run(set_pending(cpu, lab.memory, permanent=permanent))
    return f"set_pending({int(permanent)}) rc={0 if accepted else 3}"


# ---------------------------------------------------------------------------------------------------------- operations
@dataclass(frozen=True)
class Steps:
    """Operations one by one: erases as ~address, words as their address; values of the words that matter, by position."""

    places: list[int]
    values: dict[int, int]


def golden_steps(ops: Json) -> Steps:
    """The operations of a file.  Only words inside trailers come with their value."""
    places: list[int] = []
    values: dict[int, int] = {}
    for op in ops:
        address = number(op[1])
        if op[0] == "E":
            places.append(~address)
            continue
        words = 1 if op[0] == "w" else op[2]
        if op[0] in "wf":
            value = number(op[2]) if op[0] == "w" else 0xFFFFFFFF
            values.update({len(places) + index: value for index in range(words)})
        places.extend(range(address, address + words * WORD_SIZE, WORD_SIZE))
    return Steps(places, values)


def virtual_steps(ops: list[Op], *, payload: Region | None = None) -> Steps:
    """Our operations; words that bulk copies put into `payload` have no value to compare, their content is our own image's."""
    places: list[int] = []
    values: dict[int, int] = {}
    for op in ops:
        if not op.data:
            places.append(~op.address)
            continue
        for at in range(0, len(op.data), WORD_SIZE):
            address = op.address + at
            if len(op.data) == WORD_SIZE or payload is None or not payload.start <= address < payload.end:
                values[len(places)] = int.from_bytes(op.data[at : at + WORD_SIZE], "little")
            places.append(address)
    return Steps(places, values)


def differences(golden: Steps, ours: Steps) -> Iterator[str]:
    """Where two sequences of operations part."""
    if golden.places != ours.places:
        at = next((i for i, (a, b) in enumerate(zip(golden.places, ours.places, strict=False)) if a != b), -1)
        yield f"{len(golden.places)} operations measured, {len(ours.places)} done; they part at {at}"
        return
    for at, value in golden.values.items():
        if at in ours.values and ours.values[at] != value:
            yield f"operation {at} writes {ours.values[at]:08x} to 0x{golden.places[at]:x}, measured {value:08x}"
