"""The far end of `rig.drivers.probe_process`: a process that holds one probe's vendor library, and nothing else.

Frames on the two pipes are a length (4 bytes, big-endian) and that much CBOR (RFC 8949).  The first request builds the session:
[``module:class``, options].  Every later one is [method, arguments].  The answer is ["ok", value], ["fault", reason, hint, powerless]
for what the session has understood, or ["broken", text] for what it has not.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from importlib import import_module
from typing import Any, BinaryIO

import cbor2


class ProbeFault(Exception):
    """What a vendor's library complained about, in rig's words.  `powerless`: the SoC does not answer for want of voltage, as it seems."""

    def __init__(self, reason: str, *, hint: str = "", powerless: bool = False) -> None:
        self.reason, self.hint, self.powerless = reason, hint, powerless
        super().__init__(reason)


def frame(message: Any) -> bytes:
    """One message as it goes through a pipe."""
    data = cbor2.dumps(message)
    return len(data).to_bytes(4, "big") + data


def main() -> None:
    """Serve until the other end closes its pipe.  What a library prints must not get between the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    session: Any = None
    while True:
        name, arguments = requests.get()
        try:
            if session is None:
                module, _, class_name = name.partition(":")
                session, value = getattr(import_module(module), class_name)(**arguments), None
            else:
                value = getattr(session, name)(*arguments)
            answer = ["ok", value]
        except ProbeFault as fault:
            answer = ["fault", fault.reason, fault.hint, fault.powerless]
        except Exception as error:  # noqa: BLE001 - whatever a vendor's library throws must reach the other end
            answer = ["broken", f"{type(error).__name__}: {error}"]
        answers.write(frame(answer))
        answers.flush()


def _listen(pipe: BinaryIO, requests: queue.SimpleQueue[Any]) -> None:
    """Body of the listening thread.  When the other end is gone the process ends at once, even while a library hangs in a call."""
    while len(head := pipe.read(4)) == 4:
        requests.put(cbor2.loads(pipe.read(int.from_bytes(head, "big"))))
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # takes along what the library has started; a helper that stays would keep the probe
    os._exit(0)
