"""What a fault needs of the instruments of a board, and which driver offers what the board's own does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rig.drivers import DRIVERS, RADIO_ADAPTERS, RECOVERY_ONLY, SUPPLY_CAPABILITIES
from rig.model import Board, FaultKind, TriggerKind
from rig.scenario import FaultTemplate, Scenario


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Something that a board cannot do.  `keys` are the places that say it, the most telling first."""

    keys: tuple[str, ...]
    reason: str
    hint: str = ""


def lacking(scenario: Scenario, board: Board) -> Iterator[Lack]:
    """Everything that the faults of `scenario` need and `board` cannot do."""
    for index, share in enumerate(scenario.faults):
        for number, fault in enumerate(share.programme):
            above = f"faults[{index}]" if len(share.programme) == 1 else f"faults[{index}].programme.faults[{number}]"
            yield from _of_fault(fault, board, above)


def _of_fault(fault: FaultTemplate, board: Board, above: str) -> Iterator[Lack]:
    here = f"{above}.{fault.kind.value}"
    sees_operations = fault.trigger.kind is TriggerKind.FLASH_OPERATION or fault.aim is not None
    if sees_operations and board.counter is None:
        reason = f"board {board.name!r} has no counter, so that nobody sees its flash operations"
        yield Lack(keys=(f"{here}.trigger.flash_operation", f"{here}.aim", here, above), reason=reason, hint=_offered("counter"))
    yield from _of_sign(fault, board, here)
    if fault.kind in (FaultKind.POWER_CUT, FaultKind.BROWN_OUT) and board.supply.driver in RECOVERY_ONLY:
        reason = f"the supply {board.supply.driver!r} of board {board.name!r} is for recovery only; it cannot time a cut"
        yield Lack(keys=(here, above), reason=reason, hint="use a ppk2 or a switch, or restrict the scenario with `boards:`")
    elif fault.kind is FaultKind.BROWN_OUT and "set_voltage" not in SUPPLY_CAPABILITIES[board.supply.driver]:
        reason = f"the supply {board.supply.driver!r} of board {board.name!r} cannot set a voltage"
        yield Lack(keys=(here, above), reason=reason, hint=_able("set_voltage"))
    if fault.kind in (FaultKind.POWER_CUT, FaultKind.BROWN_OUT) and board.console.driver == "rtt":
        reason = f"the console of board {board.name!r} is RTT, which keeps the debugger attached: its power cannot be cut for a test"
        yield Lack(keys=(here, above), reason=reason, hint="give the board a uart console")
    if fault.kind is FaultKind.NEW_ADDRESS and "set_address" not in _radio_capabilities(board):
        able = [f"{board.radio.driver} with adapter {scheme}" for scheme, offered in RADIO_ADAPTERS.items() if "set_address" in offered]
        reason = f"the radio {board.radio.driver!r} of board {board.name!r} cannot choose its address"
        yield Lack(keys=(here, above), reason=reason, hint=f"drivers that offer set_address: {', '.join(able)}")
    if fault.kind is FaultKind.INTERFERENCE and board.interferer is None:
        yield Lack(keys=(here, above), reason=f"board {board.name!r} has no interferer", hint=_offered("interferer"))
    if fault.kind is FaultKind.FADE and board.attenuator is None:
        yield Lack(keys=(here, above), reason=f"board {board.name!r} has no attenuator", hint=_offered("attenuator"))
    if fault.kind in (FaultKind.INTERFERENCE, FaultKind.FADE) and not board.enclosure:
        reason = f"board {board.name!r} stands in no shielded enclosure"
        yield Lack(keys=(here, above), reason=reason, hint="shield it, then say so: bench: {enclosure: what it is}")


def _radio_capabilities(board: Board) -> frozenset[str]:
    scheme, _, _ = str(board.radio.options.get("adapter", "")).partition(":")
    return RADIO_ADAPTERS.get(scheme, frozenset())


def _of_sign(fault: FaultTemplate, board: Board, here: str) -> Iterator[Lack]:
    """What a trigger on the supply's samples needs."""
    trigger, offered = fault.trigger, SUPPLY_CAPABILITIES[board.supply.driver]
    keys = tuple(f"{here}.{key}" for key in (f"trigger.{trigger.kind.value}.input", f"trigger.{trigger.kind.value}", "trigger"))
    whose = f"the supply {board.supply.driver!r} of board {board.name!r}"
    if trigger.kind in (TriggerKind.CURRENT, TriggerKind.GPIO) and "watch" not in offered:
        yield Lack(keys=keys[1:], reason=f"{whose} cannot be watched while it samples", hint=_able("watch"))
    elif trigger.pin is not None and "logic_inputs" not in offered:
        yield Lack(keys=keys[1:], reason=f"{whose} has no logic inputs", hint=_able("logic_inputs"))
    elif trigger.pin is not None and f"D{trigger.pin.number}" not in board.logic_inputs:
        reason = f"nothing is wired to logic input {trigger.pin.number} of board {board.name!r}"
        yield Lack(keys=keys, reason=reason, hint=f"wire it, then say so: logic_inputs: {{D{trigger.pin.number}: P0.13}}")


def _able(capability: str) -> str:
    return f"drivers that offer {capability}: {', '.join(name for name, offered in SUPPLY_CAPABILITIES.items() if capability in offered)}"


def _offered(port: str) -> str:
    return f"drivers that offer one: {', '.join(DRIVERS[port])}"
