"""The flash-operation counter of a virtual board, which no real bench has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rig.ports import FlashOperation
from rig.virtual.world import CURRENT_WORLD, VirtualBoard


class VirtualOperationCounter:
    """`rig.ports.OperationCounter` on the virtual board named `owner`."""

    def __init__(self, *, owner: str) -> None:
        self._owner = owner
        self._board: VirtualBoard | None = None

    async def __aenter__(self) -> Self:
        self._board = CURRENT_WORLD.get().board(self._owner, user=f"{self._owner}.counter")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board = None

    def count(self) -> int:
        assert self._board is not None
        return self._board.soc.flash.count

    def begun(self) -> int:
        assert self._board is not None
        return len(self._board.soc.operations)

    def operations(self, since: int) -> Sequence[FlashOperation]:
        assert self._board is not None
        return self._board.soc.operations[since:]

    def power_failed_s(self) -> float | None:
        assert self._board is not None
        return self._board.soc.power_failed_s

    def erases(self) -> int:
        assert self._board is not None
        return sum(self._board.soc.flash.erase_counts)

    def call_at(self, count: int, action: Callable[[], None]) -> Callable[[], None]:
        assert self._board is not None
        return self._board.soc.call_at_operation(count, action)

    def watch(self, listener: Callable[[FlashOperation], None]) -> Callable[[], None]:
        assert self._board is not None
        return self._board.soc.observe_operations(listener)
