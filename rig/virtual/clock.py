"""The clocks that a bench can run on: the wall clock, and a virtual one that jumps to the next timer.

On the virtual clock nobody waits: when nothing is runnable the loop's time becomes that of the next timer, so that minutes of radio
traffic take milliseconds, and the same inputs give the same times in every run.  While real input or output is under way (a job in a
thread, a socket or a pipe that the loop watches) time passes as on the wall, because nobody knows when the answer will come.

When nothing can ever run again, the loop raises `DeadlockError` instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack

from rig.errors import InstrumentError

_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")


_LOOK_EVERY = 64
"""Turns of a busy loop after which it looks for signals; to look at each would be a twentieth of a trial's work."""


class DeadlockError(InstrumentError):
    """Every task waits for another one and no timer is set.  Names the tasks and where each of them waits."""

    def __init__(self, waiting: list[str]) -> None:
        self.waiting = waiting
        super().__init__("virtual clock", "nothing can ever run again; waiting: " + ("; ".join(waiting) or "no task at all"))


def _where(task: asyncio.Task[Any]) -> str:
    """The name of `task` and the innermost line on which it waits."""
    frames = task.get_stack()
    if not frames:
        return task.get_name()
    frame = frames[-1]
    return f"{task.get_name()} in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


class _JumpingSelector(selectors.BaseSelector):
    """A selector that, instead of waiting, moves `now` forward by the time it was asked to wait."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0
        self.jobs_in_threads = 0
        self._files = self._unlooked = 0
        self.tasks: Callable[[], list[asyncio.Task[Any]]] = list

    def _real_input_is_pending(self) -> bool:
        # One file is always registered: the pipe by which threads wake the loop.
        return self.jobs_in_threads > 0 or self._files > 1

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and not self._real_input_is_pending() and self._unlooked < _LOOK_EVERY:
            self._unlooked += 1  # only a signal could come here, and that has time until the loop has less to do
            return []
        self._unlooked = 0
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if self._real_input_is_pending():
            started = time.monotonic()
            ready = self._real.select(timeout)
            waited = time.monotonic() - started
            self.now += waited if timeout is None else min(waited, timeout) if ready else timeout
            return ready
        if timeout is None:
            raise DeadlockError(sorted(_where(task) for task in self.tasks()))
        self.now += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._real.register(fileobj, events, data)
        self._files += 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._real.unregister(fileobj)
        self._files -= 1
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 0.0 and jumps."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._jumping.tasks = lambda: [task for task in asyncio.all_tasks(self) if not task.done()]

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts) -> asyncio.Future[_T]:
        self._jumping.jobs_in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Also a thread, which the loop starts by itself."""
        self._jumping.jobs_in_threads += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._jumping.jobs_in_threads -= 1

    def _job_done(self, _future: asyncio.Future[_T]) -> None:
        self._jumping.jobs_in_threads -= 1


def loop_factory(kind: Literal["virtual", "wall"]) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what `asyncio.Runner` needs to make a loop on the clock of that `kind`."""
    return VirtualTimeLoop if kind == "virtual" else asyncio.new_event_loop
