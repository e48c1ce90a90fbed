"""Something happens in the middle of a call, at a step that the test chooses.

CPython runs foreign code of the same thread (a finalizer, a weakref callback) where a function of
Python's begins, after a call of a C function and where a loop goes round; before 3.12 also at every
allocation that the garbage collector counts. It runs none between two other steps. So there are
as many places as there are such steps, and a test can try each.
"""

import dis
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

_MONITORED = sys.version_info >= (3, 12)
_ALLOCATES = ("BUILD_", "MAKE_", "LIST_APPEND", "GET_ITER")
_TOOL = 4  # of `sys.monitoring`, which leaves it to anybody
_armed: set[CodeType] = set()


class Stepper:
    """Calls `act` at step number `at` of a call, counted over all functions of `modules`."""

    def __init__(
        self, *modules: ModuleType, at: int = -1, act: Callable[[], Any] = lambda: None
    ) -> None:
        self._codes = codes_of(modules)
        self._at, self._act = at, act
        self._acting = False
        self._last: tuple[object, bool] = None, False  # whose was the last step, and was it a call
        self.steps = 0  # seen so far
        self.where = ""  # the step at which `act` was called

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what `call` returns."""
        return (self._monitored if _MONITORED else self._traced)(call)

    def _step(self, place: str) -> None:
        self.steps += 1
        if self.steps == self._at + 1:
            self.where = place
            self._acting = True
            try:
                self._act()
            finally:
                self._acting = False

    # -- from Python 3.12 on ---------------------------------------------------------------------

    def _monitored(self, call: Callable[[], Any]) -> Any:
        me, monitoring = threading.get_ident(), sys.monitoring
        events = monitoring.events

        def began(code: CodeType, offset: int) -> None:
            if threading.get_ident() == me and not self._acting:
                self._last = code, False
                self._step(code.co_qualname)

        def reached(code: CodeType, offset: int) -> None:
            if threading.get_ident() == me and not self._acting:
                name = _names(code).get(offset, "")
                returned = self._last == (code, True)
                self._last = code, name.startswith("CALL")
                if returned or name.startswith("JUMP_BACKWARD"):
                    self._step(f"{code.co_qualname}, byte {offset}")

        if not _armed:
            monitoring.use_tool_id(_TOOL, "stepping")
        for code in self._codes - _armed:  # once for all runs, as it takes longer than a run
            monitoring.set_local_events(_TOOL, code, events.PY_START | events.INSTRUCTION)
            _armed.add(code)
        try:
            monitoring.register_callback(_TOOL, events.PY_START, began)
            monitoring.register_callback(_TOOL, events.INSTRUCTION, reached)
            return call()
        finally:
            monitoring.register_callback(_TOOL, events.PY_START, None)
            monitoring.register_callback(_TOOL, events.INSTRUCTION, None)

    # -- before ----------------------------------------------------------------------------------

    def _traced(self, call: Callable[[], Any]) -> Any:
        former = sys.gettrace()
        sys.settrace(self._begin)
        try:
            return call()
        finally:
            sys.settrace(former)

    def _begin(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._last = frame, False
        if frame.f_code not in self._codes:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._step(frame.f_code.co_qualname)
        return self._trace

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            name = _names(frame.f_code).get(frame.f_lasti, "")
            returned = self._last == (frame, True)
            self._last = frame, name.startswith("CALL")
            if returned or name.startswith(("JUMP_BACKWARD", *_ALLOCATES)):
                self._step(f"{frame.f_code.co_qualname}, byte {frame.f_lasti}")
        return self._trace


def disarm() -> None:
    """Let all code run at its full speed again; to be called after the last run."""
    for code in _armed:
        sys.monitoring.set_local_events(_TOOL, code, 0)
    if _armed:
        sys.monitoring.free_tool_id(_TOOL)
    _armed.clear()


@functools.cache
def codes_of(modules: tuple[ModuleType, ...]) -> frozenset[CodeType]:
    """Return the code of every function that is defined in `modules`, nested ones too."""
    codes: set[CodeType] = set()
    for module in modules:
        for value in vars(module).values():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            for each in [value, *(vars(value).values() if isinstance(value, type) else ())]:
                function = getattr(each, "__wrapped__", getattr(each, "fget", each))
                if hasattr(function, "__code__"):
                    codes.update(_nested(function.__code__))
    return frozenset(codes)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)


@functools.cache
def _names(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}
