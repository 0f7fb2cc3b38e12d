"""A `pyjoulescope_driver.Driver` with one instrument in the supply line of a virtual board; its public methods, and nothing inside.

As the real one it is called from threads, and calls back from a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rig.virtual.power import PowerNode

CHUNK_S = 0.01
RATE_HZ, DECIMATION = 1_000_000, 10
STEP_S = DECIMATION / RATE_HZ
FIRST_SAMPLE = 123_456


class StubDriver:
    """Made in a thread, as the driver makes its own; `loop` is the one that `node` lives on."""

    def __init__(self, node: PowerNode, loop: asyncio.AbstractEventLoop, *, path: str = "u/js220/004521") -> None:
        self._node, self._loop, self.path = node, loop, path
        self._thread = ThreadPoolExecutor(1)
        self.published: list[tuple[str, object]] = []
        self.failure: Exception | None = None
        self.paths = [path]
        self.drop: Callable[[np.ndarray], np.ndarray | None] = lambda data: data
        """What becomes of the samples of a piece; None loses it."""
        self.is_open = False
        self._receivers: dict[str, object] = {}
        self._enabled: dict[str, bool] = {}
        self._started_s = 0.0
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------ as pyjoulescope_driver has them
    def device_paths(self, timeout=None):
        return self.paths

    def open(self, device_prefix, mode=None, timeout=None):
        self._fail()
        assert device_prefix == self.path and mode == "defaults"
        self.is_open = True

    def publish(self, topic: str, value, timeout=None):
        self._fail()
        assert self.is_open
        name = topic.removeprefix(f"{self.path}/")
        self.published.append((name, value))
        self._on_loop(lambda: self._obey(name, value))

    def subscribe(self, topic: str, flags, fn, timeout=None):
        assert flags == "pub"
        self._receivers[topic] = fn

    def unsubscribe(self, topic, fn, timeout=None):
        assert self._receivers.pop(topic) is fn

    def finalize(self, timeout=None):
        self.is_open = False
        self._thread.shutdown()

    # ------------------------------------------------------------------------------------------------------- the instrument
    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _on_loop(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(5.0)

    def _obey(self, name: str, value) -> None:
        if name in ("s/i/range/mode", "s/i/range/select"):
            self._node.switch({"auto": True, "off": False}[value])
        elif name.endswith("/ctrl"):
            self._enabled[name[2]] = bool(value)
            self._stream(any(self._enabled.values()))
        else:
            assert (name, value) == ("h/fs", round(1 / STEP_S))

    def _stream(self, on: bool) -> None:
        if on and self._timer is None:
            self._started_s, self._sent = self._loop.time(), 0
            self._node.record_from(self._started_s)
            self._timer = self._loop.call_later(CHUNK_S, self._send)
        elif not on and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._node.record_from(None)

    def _send(self) -> None:
        number = round(CHUNK_S / STEP_S)
        start_s = self._started_s + self._sent * STEP_S
        end_s = start_s + number * STEP_S
        volts = 3.0 * self._node.vdd_high_between(start_s, end_s, STEP_S)
        for name, data in (("i", self._node.current_between(start_s, end_s, STEP_S)), ("v", volts)):
            topic = f"{self.path}/s/{name}/!data"
            kept = self.drop(data.astype(np.float32))
            if self._enabled.get(name) and topic in self._receivers and kept is not None:
                value = {
                    "sample_id": (FIRST_SAMPLE + self._sent) * DECIMATION,
                    "sample_rate": RATE_HZ,
                    "decimate_factor": DECIMATION,
                    "utc": 0,
                    "data": kept,
                }
                self._thread.submit(self._receivers[topic], topic, value)
        self._sent += number
        self._node.record_from(end_s)
        self._timer = self._loop.call_at(end_s + CHUNK_S, self._send)
