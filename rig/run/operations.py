"""The list of flash operations that an undisturbed update makes, which cuts are aimed by."""

from __future__ import annotations

from rig.coverage import purpose
from rig.journal import Journal
from rig.model import Json, MemoryMap, Phase
from rig.ports import FlashOperation, OperationCounter


class OperationList:
    """Writes what `counter` has seen into the journal, phase by phase."""

    def __init__(self, journal: Journal, counter: OperationCounter, memory: MemoryMap) -> None:
        self._journal, self._counter, self._memory = journal, counter, memory
        self._phase: Phase | None = None
        self._first = self._told = self._words = 0

    def begin(self, phase: Phase) -> None:
        """What begins from now on belongs to `phase`."""
        self._phase, self._words = phase, self._counter.count()
        self._first = self._told = self._counter.begun()

    def tell(self) -> None:
        """Write down what has begun since the last time."""
        operations = self._counter.operations(self._told)
        if self._phase is None or not operations:
            return
        self._journal.emit(
            "counter",
            "flash.operations",
            phase=self._phase.value,
            number=self._told - self._first + 1,
            operation=self._words,
            operations=[self._row(operation) for operation in operations],
        )
        self._told += len(operations)

    def _row(self, operation: FlashOperation) -> list[Json]:
        """Kind, address, words, the counter's reading at its beginning, and in nanoseconds when it began and how long it takes."""
        kind = purpose(erase=operation.erase, address=operation.address, words=operation.words, memory=self._memory)
        began_ns, duration_ns = self._journal.t_ns(operation.started_s), round(operation.duration_s * 1e9)
        return [kind.value, operation.address, operation.words, operation.first, began_ns, duration_ns]
