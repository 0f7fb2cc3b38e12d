"""boards.yaml → `rig.model.Board`s, or every problem at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations

from rig.config.problems import Checked, checked, suggestion
from rig.config.schema_boards import (
    BoardEntry,
    BoardsDocument,
    ExplicitMemory,
    LabBench,
    PresetMemory,
    VirtualBench,
)
from rig.config.schema_boards import Region as RegionEntry
from rig.config.schema_parts import Strict
from rig.config.schema_supplies import HttpPlugSupply, UhubctlSupply
from rig.config.yaml_source import Document, Node, key_path, merged
from rig.drivers import MODEL_CHECKS, resolve
from rig.errors import ConfigError
from rig.formats.soc import PAGE_SIZE, SOCS
from rig.model import Board, ConsoleSignals, InstrumentSpec, MemoryMap, Protocol, RecoveryPolicy, Region, Rung, WearBudget

_WHOLE = frozenset({"memory"})
_SELECTORS = ("driver", "class")
_RTT_PROBES = ("nrfjprog", "pyocd")
_AROUND = frozenset({"enclosure", "interferer"})
"""Keys under `bench` that are not options of the bench's driver."""
_THE_BENCH = -1
"""Stands for a board's place in the file where something belongs to none of them."""
_INSTRUMENTS = (
    ("probe", None, "serial_number", None),
    ("probe", None, "unique_id", None),
    ("supply", "scpi", "resource", "channel"),
    ("supply", "joulescope", "serial_number", None),
    ("supply", "uhubctl", "location", "port"),
    ("supply", "http-plug", "host", "channel"),
    ("attenuator", None, "host", "channel"),
)
"""What serves one board at a time beside a serial port: role, driver where it matters, the key that names the instrument, and the key
of its output where it has several."""


@dataclass(frozen=True, kw_only=True)
class WearPlace:
    """The key of a board's budget and where it stands, counting from 1, with the line quoted."""

    key: str
    line: int
    column: int
    excerpt: str


@dataclass(frozen=True, kw_only=True)
class BoardsFile:
    """A boards file that has been checked.  `bench` names the bench's driver; ``lab`` means that nothing has to be built."""

    file: str
    bench: InstrumentSpec
    boards: tuple[Board, ...]
    wear_places: Mapping[str, WearPlace] = field(default_factory=dict)
    """Where the file says how much the flash of a board may wear, by board; only those that have a budget."""


# ------------------------------------------------------------------------------------------------------- memory presets
def _slots(start: int, size: int) -> tuple[Region, Region]:
    return Region(start=start, size=size), Region(start=start + size, size=size)


def mcuboot_map(soc: str, mode: str) -> MemoryMap:
    """Zephyr's partition maps: the current ones, and the older ones with a scratch area.

    Source: Zephyr `dts/vendor/nordic/nrf52840_partition.dtsi` and `boards/nordic/nrf52dk`; the nRF52833 has the flash and the map
    of the nRF52832.
    """
    large = soc == "nrf52840"
    storage = Region(start=0xF8000, size=0x8000) if large else Region(start=0x7A000, size=0x6000)
    if mode == "swap-scratch":
        primary, secondary = _slots(0xC000, 0x67000 if large else 0x32000)
        scratch = Region(start=0xDA000, size=0x1E000) if large else Region(start=0x70000, size=0xA000)
        return MemoryMap(primary=primary, secondary=secondary, scratch=scratch, user_data=storage)
    primary, secondary = _slots(0xC000, 0x76000 if large else 0x37000)
    offset = PAGE_SIZE if mode == "swap-offset" else 0
    return MemoryMap(primary=primary, secondary=secondary, user_data=storage, upload_offset=offset)


def _secure_dfu_map(soc: str) -> MemoryMap:
    """The nRF5 SDK's BLE bootloader examples: S132 7.2 on the nRF52832, S140 7.2 on the others.

    Source: nRF5 SDK 17.0.2, linker files of `examples/dfu/secure_bootloader`; three pages of application data below the bootloader.
    """
    end = SOCS[soc].flash_size
    bootloader, own_data = end - 8 * PAGE_SIZE, 3 * PAGE_SIZE
    start = 0x26000 if soc == "nrf52832" else 0x27000
    room = bootloader - own_data - start
    return MemoryMap(
        primary=Region(start=start, size=room),
        secondary=Region(start=start + room, size=0),
        user_data=Region(start=start + room, size=own_data),
        settings=Region(start=end - PAGE_SIZE, size=PAGE_SIZE),
        settings_backup=Region(start=end - 2 * PAGE_SIZE, size=PAGE_SIZE),
    )


def _memory(entry: PresetMemory | ExplicitMemory, soc: str) -> MemoryMap:
    if isinstance(entry, PresetMemory):
        return _secure_dfu_map(soc) if entry.preset == "secure-dfu" else mcuboot_map(soc, entry.preset)
    return MemoryMap(
        primary=_region(entry.primary),
        secondary=_region(entry.secondary),
        user_data=_region(entry.user_data),
        scratch=_region(entry.scratch) if entry.scratch else None,
        upload_offset=entry.upload_offset,
    )


def _region(entry: RegionEntry) -> Region:
    return Region(start=entry.start, size=entry.size)


# ----------------------------------------------------------------------------------------------------------- conversion
def read_boards(document: Document) -> BoardsFile | None:
    """Check `document` and convert it; None when it has problems, all of which are then in it."""
    if document.root is None:
        return None
    top = checked(BoardsDocument, document.root, document)
    if top is None:
        return None
    bench = _spec(top.model.bench, without=_AROUND) if top.has("bench") else None
    nodes = list(_entries(document.root)) if top.has("boards") else []
    boards = [board for node in nodes if (board := _read_board(node, document, bench))]
    _check_uniqueness(document.root, nodes, document)
    if top.has("bench"):
        _check_enclosure(top.model.bench, document.root, nodes, document)
    if document.problems or bench is None:
        return None
    return BoardsFile(
        file=document.file,
        bench=bench,
        boards=tuple(_inside(top.model.bench, board) for board in boards),
        wear_places=dict(_wear_places(nodes, document)),
    )


def _wear_places(nodes: list[Node], document: Document) -> Iterator[tuple[str, WearPlace]]:
    for node in nodes:
        name, erases = _text(node, "name"), node.at_loc(("wear", "erases"))
        if name is not None and erases is not None:
            at = erases.key_at or erases.at
            yield name.value, WearPlace(key=key_path(erases.loc), line=at.line + 1, column=at.column + 1, excerpt=document.excerpt(at))


def _entries(root: Node) -> Iterator[Node]:
    """The boards with the defaults merged in, each value still at its own place."""
    defaults, boards = root.child("defaults"), root.child("boards")
    assert boards is not None
    for node in boards.value:
        yield merged(defaults, node, whole=_WHOLE, selectors=_SELECTORS) if defaults else node


def _read_board(node: Node, document: Document, bench: InstrumentSpec | None) -> Board | None:
    entry = checked(BoardEntry, node, document)
    if entry is None:
        return None
    _check_memory(entry, node, document)
    _check_voltage(entry, node, document)
    _check_address(entry, node, document)
    _check_dfu_port(entry, node, document)
    _check_recovery(entry, node, document)
    _check_rtt(entry, node, document)
    if not entry.complete:
        return None
    board = _board(entry.model)
    if bench is not None:
        _check_model(board, node, document, bench)
    return board


def _board(entry: BoardEntry) -> Board:
    return Board(
        name=entry.name,
        soc=entry.soc,
        protocol=entry.protocol,
        ble_name=entry.ble.name,
        ble_address=entry.ble.address,
        memory=_memory(entry.memory, entry.soc),
        probe=_spec(entry.probe),
        supply=_spec(entry.supply),
        console=_spec(entry.console),
        radio=_spec(entry.radio),
        attenuator=_spec(entry.attenuator) if entry.attenuator else None,
        counter=_spec(entry.counter) if entry.counter else None,
        logic_inputs=entry.logic_inputs,
        signals=ConsoleSignals(**entry.signals.model_dump()),
        in_place=entry.in_place,
        dfu_port=entry.dfu_port,
        production=entry.production,
        sacrificial=entry.sacrificial,
        recovery=RecoveryPolicy(**dict(entry.recovery)),
        wear=WearBudget(erases=entry.wear.erases) if entry.wear else None,
        model=entry.model,
    )


def _inside(bench: VirtualBench | LabBench, board: Board) -> Board:
    """`board` with what the bench has for all boards."""
    interferer = _spec(bench.interferer) if bench.interferer else None
    return replace(board, interferer=interferer, enclosure=bench.enclosure or "")


def _spec(entry: Strict, *, without: frozenset[str] = frozenset()) -> InstrumentSpec:
    options = entry.model_dump(exclude_none=True, exclude=set(without))
    return InstrumentSpec(driver=options.pop("driver"), options=options)


# --------------------------------------------------------------------------------------------------------------- checks
def _check_memory(entry: Checked[BoardEntry], node: Node, document: Document) -> None:
    """Regions must lie in the SoC's flash and apart from each other; presets are MCUboot's."""
    if not entry.has("soc", "memory"):
        return
    memory, soc = node.child("memory"), SOCS[entry.model.soc]
    assert memory is not None
    form = entry.model.memory
    if isinstance(form, PresetMemory):
        if entry.has("protocol") and (entry.model.protocol is Protocol.SECURE_DFU) != (form.preset == "secure-dfu"):
            at = memory.child("preset") or memory
            hint = "secure-dfu goes with protocol secure_dfu, the others with smp"
            document.report(at.at, key=key_path(at.loc), reason=f"is no memory map of a {entry.model.protocol} board", hint=hint)
        return
    regions = {name: region for name in ExplicitMemory.model_fields if isinstance(region := getattr(form, name), RegionEntry)}
    for name, region in regions.items():
        if region.start + region.size > soc.flash_size:
            at = memory.child(name) or memory
            reason = f"ends at 0x{region.start + region.size:x}, beyond the {soc.flash_size // 1024} KiB flash of {soc.name}"
            document.report(at.at, key=key_path(at.loc), reason=reason)
    for (first, one), (second, two) in combinations(regions.items(), 2):
        if one.start < two.start + two.size and two.start < one.start + one.size:
            at = memory.child(second) or memory
            document.report(at.at, key=key_path(at.loc), reason=f"overlaps {first}")


def _check_address(entry: Checked[BoardEntry], node: Node, document: Document) -> None:
    """In DFU mode the board is found by its address plus one."""
    if entry.has("protocol", "ble") and entry.model.protocol is Protocol.SECURE_DFU and entry.model.ble.address is None:
        at = node.child("ble") or node
        reason = "a secure_dfu board needs its address, since its bootloader advertises the address plus one"
        document.report(at.at, key=key_path((*at.loc, "address")), reason=reason)


def _check_dfu_port(entry: Checked[BoardEntry], node: Node, document: Document) -> None:
    if entry.has("protocol", "dfu_port") and entry.model.dfu_port is not None and entry.model.protocol is not Protocol.SECURE_DFU:
        at = node.child("dfu_port") or node
        document.report(at.at, key=key_path(at.loc), reason=f"a board of protocol {entry.model.protocol} has no serial bootloader")


def _check_rtt(entry: Checked[BoardEntry], node: Node, document: Document) -> None:
    """RTT is read through the probe, which must be one that can."""
    if not entry.has("console", "probe") or entry.model.console.driver != "rtt":
        return
    if entry.model.probe.driver not in _RTT_PROBES:
        at = node.child("console") or node
        reason = f"the probe {entry.model.probe.driver!r} cannot read RTT"
        document.report(at.at, key=key_path((*node.loc, "console", "driver")), reason=reason, hint=f"probes that can: {', '.join(_RTT_PROBES)}")


def _check_recovery(entry: Checked[BoardEntry], node: Node, document: Document) -> None:
    if entry.has("recovery") and Rung.RECOVER in entry.model.recovery.rungs and not (entry.has("sacrificial") and entry.model.sacrificial):
        at = node.at_loc(("recovery", "rungs")) or node
        document.report(at.at, key=key_path(at.loc), reason="recover erases the whole chip, so that the board must be `sacrificial: true`")


def _check_voltage(entry: Checked[BoardEntry], node: Node, document: Document) -> None:
    """More than the SoC stands destroys it; less than it needs never boots."""
    if not entry.has("soc", "supply"):
        return
    low, high = SOCS[entry.model.soc].supply_mv
    supply = entry.model.supply
    if isinstance(supply, UhubctlSupply | HttpPlugSupply):
        return  # what a hub or a plug feeds has a regulator of its own
    if not low <= supply.voltage_mv <= high:
        at = node.at_loc(("supply", "voltage_mv")) or node.child("supply") or node
        reason = f"{supply.voltage_mv} mV is outside what an {entry.model.soc} stands ({low} to {high} mV)"
        document.report(at.at, key=key_path(at.loc), reason=reason)


def _check_enclosure(bench: VirtualBench | LabBench, root: Node, nodes: list[Node], document: Document) -> None:
    """Interference leaves no room without walls: it is against the law, and it disturbs the neighbours' boards."""
    if bench.enclosure is not None:
        return
    found = [root.at_loc(("bench", "interferer")), *(node.child("attenuator") for node in nodes)]
    for place in {node.at: node for node in found if node is not None}.values():
        reason = "needs a shielded enclosure, and the bench has none"
        hint = "shield interferer, boards and central, then say so: bench: {enclosure: what it is, and what it was measured to hold back}"
        document.report(place.key_at or place.at, key=key_path(place.loc), reason=reason, hint=hint)


def _check_model(board: Board, node: Node, document: Document, bench: InstrumentSpec) -> None:
    """The `model:` section belongs to the bench's own driver, which alone can check it."""
    section = node.child("model")
    if bench.driver not in MODEL_CHECKS:
        if section is not None and board.model:
            reason = f"describes a virtual board, but the bench is {bench.driver!r}"
            document.report(section.key_at, key=key_path(section.loc), reason=reason, hint="remove it, or use bench driver 'virtual'")
        return
    try:
        found = resolve(MODEL_CHECKS[bench.driver])(board)
    except ConfigError as error:
        document.report(node.at, key=key_path(node.loc), reason=str(error))
        return
    for path, reason in found:
        at = section or node
        for step in (*path, *re.findall(r"'([^']+)'", reason)):  # a reason quotes the key that it is about, where there is one
            at = at.child(step) or at
        document.report(at.key_at or at.at, key=key_path(at.loc), reason=reason)


def _check_uniqueness(root: Node, nodes: list[Node], document: Document) -> None:
    """Two boards must not share a name, a Bluetooth address, a name on the air that nothing tells apart, or an instrument."""
    seen: dict[tuple[str, str], tuple[int, Node]] = {}
    if port := _text(root, "bench", "interferer", "port"):
        seen["port", os.path.realpath(port.value)] = (_THE_BENCH, port)
    for index, node in enumerate(nodes):
        for kind, value, at, what in _claims(node):
            owner, first = seen.setdefault((kind, value), (index, at))
            if first is at:
                if owner != index:
                    document.report(at.at, key=key_path(at.loc), reason=f"several boards get {what} from here")
                continue
            reason = f"{what} is taken already by {key_path(first.loc)} in line {first.at.line + 1}"
            document.report(at.at, key=key_path(at.loc), reason=reason)


def _claims(node: Node) -> Iterator[tuple[str, str, Node, str]]:
    """What a board wants for itself: (kind, value to compare, place, words)."""
    if name := _text(node, "name"):
        yield "name", name.value.casefold(), name, f"the board name {name.value!r}"
    if address := _text(node, "ble", "address"):
        yield "address", address.value.upper(), address, f"the Bluetooth address {address.value!r}"
    elif ble_name := _text(node, "ble", "name"):
        yield "ble", ble_name.value, ble_name, f"without an address, the name on the air {ble_name.value!r}"
    for loc in (("supply", "port"), ("console", "port"), ("dfu_port",)):
        if port := _text(node, *loc):
            yield "port", os.path.realpath(port.value), port, f"the port {port.value!r}"
    for role, driver, key, output in _INSTRUMENTS:
        named = node.at_loc((role, key))
        if named is None or driver not in (None, getattr(node.at_loc((role, "driver")), "value", None)):
            continue
        which = node.at_loc((role, output)) if output else None
        shown = f"the {role} {named.value!r}" + (f", {output} {which.value}" if which else "")
        yield role, f"{str(named.value).lstrip('0')}/{which.value if which else 0}", named, shown


def _text(node: Node, *loc: str) -> Node | None:
    found = node.at_loc(loc)
    return found if found is not None and isinstance(found.value, str) else None


def known_board(name: str, boards: BoardsFile) -> str:
    """A hint for a board name that is not in `boards`."""
    return suggestion(name, [board.name for board in boards.boards])
