"""Interrupts at every point: what a signal may do whose handler raises, such as ctrl-C."""

import itertools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import ipvsnl
from ipvsnl.transport import NetlinkSocket

Trace = Callable[[FrameType, str, Any], Any]


class Impatient(NetlinkSocket):
    """The kernel has answered by the time it has taken the question. Whoever waits, waits for what does not come."""

    def _wait(self) -> None:
        raise AssertionError("nothing is there")


def interrupt(act: Callable[[], object], *modules: str, step: int = 1) -> Iterator[int]:
    """Does this again and again, and interrupts it one instruction of these modules later each time, or `step` of them,
    until it is done undisturbed. Yields after each interrupt."""
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one such frame when settrace() is called
    files = {sys.modules[f"{ipvsnl.__name__}.{name}"].__file__ for name in modules}
    for number in itertools.count(0, step):
        left = number

        def trace(frame: FrameType, event: str, argument: Any) -> "Trace | None":
            nonlocal left
            if frame.f_code.co_filename not in files:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            act()
            return
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        yield number
