"""The virtual bench: boards on one air, with their instruments on wires that the ordinary drivers open by name.

A `VirtualBench` is entered before a trial's instruments are opened and left after they are closed.  Everything random on it comes
from the seed that it is given, so the same trial always meets the same bench.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from rig.errors import ConfigError, InstrumentError
from rig.formats.sample_app import MIN_SIZE, ConfirmPolicy, SampleApp
from rig.model import Board, Protocol, Region
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.clock import VirtualTimeLoop
from rig.virtual.cpu import Application, BoardFacts, Bootloader
from rig.virtual.defects import planted
from rig.virtual.endpoints import CURRENT_ENDPOINTS
from rig.virtual.flash import damage_of
from rig.virtual.jitter import SwitchJitter, steady
from rig.virtual.mishaps import ProbeTrouble, Strange, Surrounded, planned
from rig.virtual.parts import PAGE_SIZE, PARTS
from rig.virtual.pins import Pins
from rig.virtual.power import PowerNode
from rig.virtual.ppk2 import VirtualPpk2
from rig.virtual.soc import Soc
from rig.virtual.surroundings import surround
from rig.virtual.switch import VirtualSwitch
from rig.virtual.wires import CURRENT_WIRES, Wires

_DEFAULT_BOOTLOADER = {
    Protocol.SMP: "rig.virtual.mcuboot:Mcuboot",
    Protocol.SECURE_DFU: "rig.virtual.secure_dfu:SecureDfuBootloader",
}
_DEFAULT_APPLICATION = {
    Protocol.SMP: "rig.virtual.smp_application:SmpApplication",
    Protocol.SECURE_DFU: "rig.virtual.dfu_application:DfuApplication",
}
_SERIAL_BAUDRATE = 115_200
"""Of the nRF5 SDK's serial bootloader examples."""
_SOC_OPTIONS = frozenset({"approtect", "radio_sync", "stuck_bits", "worn_pages"})
_SECTIONS = ("bootloader", "application", "power", "soc", "defects", "mishap")
_STRANGERS_MV = 3000
_SUPPLIES = ("ppk2", "switch")
"""Supply drivers that have a twin here, on the wire of that name."""

CURRENT_WORLD: ContextVar[VirtualBench] = ContextVar("rig.virtual.world")


class VirtualBoard:
    """One DK: the SoC, its supply, and the wires that leave it."""

    def __init__(self, board: Board, *, air: Air, wires: Wires, rng: random.Random, jitter: Callable[[], float] = steady) -> None:
        self.name = board.name
        self.device_id = random.Random(f"device-id/{board.name}").getrandbits(64)  # fixed for a board, whatever the trial's seed
        part = PARTS[board.soc]
        address = board.ble_address or _static_random_address(self.device_id)
        facts = BoardFacts(name=board.name, part=part, memory=board.memory, ble_name=board.ble_name, ble_address=address)
        self.power = PowerNode(**_section(board, "power"))
        baudrate = int(board.console.options.get("baudrate", 115200))
        bootloader = _build_bootloader(board, facts)
        self.soc = Soc(
            facts=facts,
            bootloader=bootloader,
            application=_application_factory(board),
            power=self.power,
            console=wires.add(f"{board.name}/console", baudrate=baudrate),
            serial=wires.add(f"{board.name}/serial", baudrate=_SERIAL_BAUDRATE),
            air=air,
            rng=rng,
            code=_code_of(bootloader),
            **_section(board, "soc"),
        )
        for start, content in _factory_flash(bootloader, self.soc.code):
            self.soc.flash.poke(start, content)
        self.power.on_good = self.soc.power_good
        self.power.on_fail = self.soc.power_fail
        self.supply = _build_supply(board, wires, self.power, pins=self.soc.pins, jitter=jitter)
        self.supply_wire = board.supply.driver
        self.probe_trouble: ProbeTrouble | None = None
        self.probe_users = 0
        self.on_probe_use: Callable[[bool], object] = lambda _open: None
        self.at_probe = self
        """What the cable of this board's probe really ends at."""


class VirtualBench:
    """`bench: {driver: virtual}`.  `boards` are those that the trial touches; `seed` tells one bench from another.

    `supply_jitter_us` is the standard deviation, in microseconds, of the time that the supplies take to switch.
    """

    def __init__(self, boards: Sequence[Board], *, trial_seed: int, seed: int = 1, supply_jitter_us: float = 0.0) -> None:
        self._supply_jitter_s = supply_jitter_us / 1e6
        self._specs = boards
        self._seed = f"{seed}/{trial_seed}"
        self._boards: dict[str, VirtualBoard] = {}
        self._strangers: list[VirtualBoard] = []
        self._mishaps: list[Callable[[], object]] = []
        self._tokens: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        rng = random.Random(f"bench/{self._seed}")
        air = Air(seed=rng.getrandbits(32))
        wires = Wires(ptys=not isinstance(asyncio.get_running_loop(), VirtualTimeLoop))
        self._wires = wires
        self._enter(CURRENT_AIR, air)
        self._enter(CURRENT_WIRES, wires)
        self._enter(CURRENT_WORLD, self)
        self._enter(CURRENT_ENDPOINTS, surround(self._specs, air=air, wires=wires))
        for spec in self._specs:
            jitter = SwitchJitter(self._supply_jitter_s, random.Random(f"supply/{self._seed}/{spec.name}"))
            board = VirtualBoard(spec, air=air, wires=wires, rng=random.Random(rng.getrandbits(64)), jitter=jitter)
            self._boards[spec.name] = board
            mishap = planned(_section(spec, "mishap"))
            if mishap is not None and mishap.befalls(f"{self._seed}/{spec.name}"):
                around = Surrounded(board=board, wires=wires, air=air, another=partial(self._another, spec, air))
                self._mishaps.append(mishap.schedule(around))
        return self

    def _another(self, spec: Board, air: Air, kind: Strange) -> VirtualBoard:
        """A second board beside the one of `spec`, under power: on an air of its own unless it is to be heard."""
        mine = self._boards[spec.name]
        soc = next(name for name in PARTS if name != spec.soc) if kind is Strange.OTHER_SOC else spec.soc
        twin = replace(spec, name=f"{spec.name}-{kind}", soc=soc, ble_address=mine.soc.facts.ble_address)
        seed = f"{self._seed}/{kind}"
        where = air if kind is Strange.SAME_ADDRESS else Air(seed=random.Random(seed).getrandbits(32))
        board = VirtualBoard(twin, air=where, wires=Wires(), rng=random.Random(seed))
        if kind is Strange.SAME_ADDRESS:
            board.soc.flash.poke(0, mine.soc.flash.read(0, mine.soc.facts.part.flash_size))
        board.power.set_source_mv(_STRANGERS_MV)
        board.power.switch(True)
        self._strangers.append(board)
        return board

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call_off in self._mishaps:
            call_off()
        for board in (*self._boards.values(), *self._strangers):
            board.soc.power_fail()
            board.supply.close()
        self._wires.close()
        await asyncio.sleep(0)  # let cancelled firmware tasks end before their loop does
        while self._tokens:
            self._tokens.pop()()
        for name, board in self._boards.items():
            if board.soc.failure is not None and error is None:
                raise InstrumentError(
                    f"{name}.model",
                    f"the bootloader or application class raised {type(board.soc.failure).__name__}: {board.soc.failure}",
                    hint="mend the class named in the boards file",
                ) from board.soc.failure

    def board(self, name: str, *, user: str) -> VirtualBoard:
        """The board called `name`; `user` is the instrument that asks."""
        try:
            return self._boards[name]
        except KeyError:
            raise InstrumentError(user, f"the virtual bench has no board {name!r}") from None

    def _enter(self, variable: ContextVar[Any], value: object) -> None:
        token = variable.set(value)
        self._tokens.append(lambda: variable.reset(token))


def check_model(board: Board) -> list[tuple[tuple[str, ...], str]]:
    """Problems of a board's ``model:`` section as (key path, reason); builds the classes, opens nothing."""
    known = ", ".join(_SECTIONS)
    problems: list[tuple[tuple[str, ...], str]] = [
        ((section,), f"unknown section; known: {known}") for section in board.model if section not in _SECTIONS
    ]
    if board.supply.driver not in _SUPPLIES:
        problems.append(((), _no_twin(board)))
    part = PARTS[board.soc]
    facts = BoardFacts(name=board.name, part=part, memory=board.memory, ble_name=board.ble_name, ble_address="00:00:00:00:00:00")
    try:
        planted(board.model, board.protocol)
    except ConfigError as error:
        return [*problems, (("defects",), str(error))]
    checks: dict[str, Callable[[], object]] = {
        "bootloader": lambda: _build_bootloader(board, facts),
        "application": lambda: _check_application(board, facts),
        "power": lambda: PowerNode(**_section(board, "power")),
        "soc": lambda: _check_soc(board),
        "mishap": lambda: planned(_section(board, "mishap")),
    }
    for section, build in checks.items():
        try:
            build()
        except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything, and all of it is a mistake in the file
            problems.append(((section,), str(error) or type(error).__name__))
    return problems


def _check_application(board: Board, facts: BoardFacts) -> None:
    """Whether the class takes the options, tried with an image that does nothing."""
    image = SampleApp(
        soc=board.soc, name="check", version="0.0.0", address=board.memory.primary.start, size=MIN_SIZE,
        confirm=ConfirmPolicy.NEVER, self_test_s=0.0, crash=False,
    )  # fmt: skip
    _application_factory(board)(image, facts)


def _check_soc(board: Board) -> None:
    unknown = sorted(_section(board, "soc").keys() - _SOC_OPTIONS)
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r}; known: {', '.join(sorted(_SOC_OPTIONS))}")
    options = _section(board, "soc")
    damage_of(PARTS[board.soc], options.get("stuck_bits", ()), options.get("worn_pages", ()))


def _build_supply(
    board: Board, wires: Wires, power: PowerNode, *, pins: Pins, jitter: Callable[[], float]
) -> VirtualPpk2 | VirtualSwitch:
    match board.supply.driver:
        case "ppk2":
            inputs = {int(name[1:]): partial(pins.high_between, pin) for name, pin in board.logic_inputs.items()}
            return VirtualPpk2(wires.add(f"{board.name}/ppk2"), power, inputs=inputs, jitter=jitter)
        case "switch":
            end = wires.add(f"{board.name}/switch", baudrate=int(board.supply.options.get("baudrate", 115200)))
            return VirtualSwitch(end, power, voltage_mv=int(board.supply.options.get("voltage_mv", 3000)), jitter=jitter)
        case _:
            raise ConfigError(_no_twin(board))


def _no_twin(board: Board) -> str:
    return f"a virtual board has no supply of the driver {board.supply.driver}; it can have: {', '.join(_SUPPLIES)}"


def _section(board: Board, name: str) -> dict[str, Any]:
    section = planted(board.model, board.protocol).get(name, {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"boards.{board.name}.model.{name} must be a mapping")
    return dict(section)


def _load_class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"class {name!r} cannot be loaded: {error}; write it as module:Class") from None


def _build_bootloader(board: Board, facts: BoardFacts) -> Bootloader:
    options = _section(board, "bootloader")
    cls = _load_class(str(options.pop("class", _DEFAULT_BOOTLOADER[board.protocol])))
    bootloader: Bootloader = getattr(cls, "for_board", cls)(facts, **options)
    return bootloader


def _code_of(bootloader: Bootloader) -> Region | None:
    """Where the bootloader itself lies; None for a class of the user's that does not say so.

    Of MCUboot's room only the first page: without its vector table nothing runs, and behind its code it may keep a counter.
    """
    declared: Region | None = getattr(bootloader, "code", None)
    if declared is None and isinstance(bootloader, _load_class(_DEFAULT_BOOTLOADER[Protocol.SMP])):
        return Region(start=0, size=PAGE_SIZE)
    return declared


def _factory_flash(bootloader: Bootloader, code: Region | None) -> Iterable[tuple[int, bytes]]:
    """What production programs: what the bootloader's class says, else bytes that nothing executes in the bootloader's place."""
    contents: Iterable[tuple[int, bytes]] = getattr(bootloader, "factory_flash", ())
    if contents or code is None:
        return contents
    return [(code.start, hashlib.shake_256(b"rig virtual bootloader").digest(code.size))]


def _application_factory(board: Board) -> Callable[[SampleApp, BoardFacts], Application]:
    options = _section(board, "application")
    cls = _load_class(str(options.pop("class", _DEFAULT_APPLICATION[board.protocol])))

    def build(image: SampleApp, facts: BoardFacts) -> Application:
        application: Application = cls(image, facts, **options)
        return application

    return build


def _static_random_address(device_id: int) -> str:
    """Static random address from FICR.DEVICEADDR: the two top bits are set (Core Specification Vol 6 Part B 1.3.2.1)."""
    raw = (device_id & 0xFFFF_FFFF_FFFF) | 0xC000_0000_0000
    return ":".join(f"{(raw >> shift) & 0xFF:02X}" for shift in range(40, -8, -8))


