"""Keeps this process quick to answer while real instruments wait for it.

Two things stand between a console line and the power command that it triggers, beside the work itself.  The garbage collector stops
everything to look at all objects that the process has ever made, most of which are modules and stay: they are put out of its sight, and
it waits until the trial is over (what a trial leaves in cycles is little; what is in none goes at once, as always).  And other programs
have the processor: where the operating system permits it, this one is woken at once.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_PRIORITY = 1
"""The lowest of the real-time priorities: before every ordinary program, behind the kernel's own interrupt threads."""


@contextmanager
def prompt() -> Iterator[None]:
    """Whatever runs inside is neither held up by the garbage collector nor, where that is permitted, by other programs."""
    with ExitStack() as stack:
        _collect_nothing(stack)
        _run_first(stack)
        yield


def _collect_nothing(stack: ExitStack) -> None:
    if not gc.isenabled():
        return
    gc.collect()  # or what is garbage already would be frozen with the rest
    gc.freeze()
    gc.disable()
    stack.callback(gc.enable)
    stack.callback(gc.unfreeze)


def _run_first(stack: ExitStack) -> None:
    """Real-time scheduling (sched(7)): Linux grants it to root, and up to the limit ``rtprio`` to others.

    Programs and threads that are started meanwhile run as usual, and so they do afterwards: only root may take that flag back.
    """
    if not hasattr(os, "sched_setscheduler"):
        return
    former, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except PermissionError:
        return
    stack.callback(os.sched_setscheduler, 0, former | os.SCHED_RESET_ON_FORK, parameter)
