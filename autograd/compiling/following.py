"""Which way a function's code goes, instruction by instruction, in this thread; and on whose behalf each frame runs."""

from __future__ import annotations

import gc
import signal
import sys
from abc import abstractmethod
from array import array
from dis import opmap
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

from ..source import of_library
from .arguments import Stopped

TELLING = {"warnings", "linecache", "tracemalloc"}  # modules that tell of a warning, whoever caused it
OURS, NUMPYS, PYTHONS, USER = "ours", "numpy's", "Python's", "the user's"  # whose code this is
MONITORING: Any = getattr(sys, "monitoring", None)  # from Python 3.12 on
OTHER_WAY = "it goes another way on what stands for its arguments while it is recorded. Does it ask for types?"
PUSH_EXC_INFO = opmap["PUSH_EXC_INFO"]
LONGEST = 1 << 20  # instructions that are followed


class Following:
    """Follows a function while it runs, and stops it, the second time, where it goes another way than the first."""

    def __init__(self) -> None:
        self.reason: str | None = None  # what speaks against running code in its place
        self.kinds: dict[int, str] = {}  # whose a namespace is
        handlers = [*gc.callbacks, *map(signal.getsignal, signal.valid_signals())]
        self.at_any_time = {getattr(f, "__code__", None) for f in handlers}  # code that nobody calls
        self.ways: list[array[int]] = []  # which way the code went, each time that it was followed
        self.tool: int | None = None
        self.stopped = False  # whether it was: that happens once

    @abstractmethod
    def seen(self, frame: FrameType, event: str, arg: Any) -> None:
        """A function is called, of Python or of C, as `sys.setprofile` tells."""

    def refuse(self, reason: str) -> None:
        self.reason = self.reason or reason
        if len(self.ways) > 1 and not self.stopped:  # it is being recorded, and may change what cannot be put back
            self.stopped = True
            raise Stopped(self.reason)

    def start(self) -> None:
        self.ways.append(array("q"))
        self.has_returned = self.stopped = False
        self.old: Any = sys.getprofile()
        self.thread, self.tool = get_ident(), None
        if MONITORING is None:
            sys.settrace(self.entered)  # nobody else traces: see `Compiled.learn`
        else:
            self.monitor()
        if self.old is not None and not callable(self.old):  # as cProfile, who can be told to pause
            self.old.disable()
        sys.setprofile(self.seen)

    def monitor(self) -> None:
        self.tool = next((i for i in (4, 3, 5) if MONITORING.get_tool(i) is None), None)
        if self.tool is None:
            self.refuse("nobody can follow its instructions: too many others do (sys.monitoring)")
        else:
            MONITORING.use_tool_id(self.tool, "chainrule")
            MONITORING.register_callback(self.tool, MONITORING.events.INSTRUCTION, self.instruction)
            MONITORING.set_events(self.tool, MONITORING.events.INSTRUCTION)

    def stop(self) -> None:
        if self.tool is not None and MONITORING.get_tool(self.tool) == "chainrule":
            MONITORING.set_events(self.tool, 0)
            MONITORING.register_callback(self.tool, MONITORING.events.INSTRUCTION, None)
            MONITORING.free_tool_id(self.tool)
        if sys.gettrace() == self.entered:
            sys.settrace(None)
        if sys.getprofile() == self.seen:
            sys.setprofile(None)
            if callable(self.old):
                sys.setprofile(self.old)
            elif self.old is not None:
                self.old.enable()

    def entered(self, frame: FrameType, event: str, arg: Any) -> Any:
        if self.owner(frame) is not USER:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self.step

    def step(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            self.follow(frame.f_code, frame.f_lasti)
        return self.step

    def instruction(self, code: CodeType, offset: int) -> Any:
        """The same, from Python 3.12 on, where a frame that has begun cannot be asked to tell of its instructions."""
        if get_ident() == self.thread:
            frame = sys._getframe(1)
            if self.owner(frame) is USER:
                self.follow(code, offset)
            elif kind_of_namespace(frame.f_globals) in (OURS, NUMPYS):
                return MONITORING.DISABLE
        return None

    def follow(self, code: CodeType, offset: int) -> None:
        """Note which way the code goes; end the recording where that is not the way of the first run."""
        if self.has_returned:
            return
        first, way = self.ways[0], self.ways[-1]
        here = hash((code.co_name, code.co_firstlineno, offset))
        if way is not first and (len(way) >= len(first) or first[len(way)] != here):
            # Not while an error is handled, nor where a handler begins: what has been entered is to be left.
            if sys.exc_info()[1] is None and code.co_code[offset] != PUSH_EXC_INFO:
                self.refuse(OTHER_WAY)
            self.reason = self.reason or OTHER_WAY
        if len(way) >= LONGEST:
            self.has_returned = True
            self.refuse("it runs for too long to be followed")
        way.append(here)

    def returned(self) -> None:
        """The function has returned; the rules of its operations may run after that."""
        self.has_returned = True
        if len(self.ways[-1]) != len(self.ways[0]):
            self.refuse(OTHER_WAY)

    def owner(self, frame: FrameType | None) -> str:
        """On whose behalf a frame runs: the user's, NumPy's for the user, or what is no business of the function's."""
        numpys = False
        while frame is not None:
            named = frame.f_globals
            kind = self.kinds.get(id(named)) or self.kinds.setdefault(id(named), kind_of_namespace(named))
            if kind is OURS or frame.f_code in self.at_any_time or frame.f_code.co_name == "__del__":
                return OURS
            if kind is USER:
                return NUMPYS if numpys else USER
            numpys = numpys or kind is NUMPYS
            frame = frame.f_back
        return OURS


def kind_of_namespace(named: dict[str, Any]) -> str:
    """Whose code has these globals."""
    name = str(named.get("__name__", "")).partition(".")[0]
    if name == "numpy":
        return NUMPYS
    if of_library(named) or name in TELLING:
        return OURS
    return PYTHONS if name in sys.stdlib_module_names or name.startswith("namedtuple_") else USER
