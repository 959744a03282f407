"""Unpickles arrays, lists and text; the result is never larger than the pickle.

Python's own unpickler follows references and hashes keys of any kind. Thirty lists, each of which holds the one before
it twice, are a file of 200 bytes but a billion entries to walk through; a key made of nested tuples is hashed again at
every level, or overflows the stack. Here no container can be referred to twice, and keys are text.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, Protocol, runtime_checkable

_LITERALS = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES
    BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    """.split()  # noqa: SIM905
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GET = ("GET", "BINGET", "LONG_BINGET")
_MARK = object()


@runtime_checkable
class Stateful(Protocol):
    """An object whose state a pickle may set."""

    def __setstate__(self, state: Any) -> None:
        """Set the state."""
        ...


def build(stream: IO[bytes], find: Callable[[str, str], Any]) -> Any:
    """Return the object in a pickle of any protocol; Python 2 strings are decoded as Latin-1.

    Args:
        stream: the pickle. Reads must stop at the end of the file, however many bytes are requested.
        find: returns the substitute for a global, by its module and name, or raises.

    Raises:
        UnpicklingError: if the pickle needs more than arrays, lists, text, numbers and dictionaries with text keys.
        Exception: of many types, if it is broken.
    """
    machine = _Machine(find)
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in _LITERALS:
            machine.stack.append(argument)
        elif name in _PUT:
            machine.remember(argument)
        elif name == "STOP":
            return machine.pop()
        elif name not in ("PROTO", "FRAME"):
            machine.step(name, argument)
    raise pickle.UnpicklingError("it ends too early")


class _Machine:
    def __init__(self, find: Callable[[str, str], Any]) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._find = find

    def step(self, name: str, argument: Any) -> None:
        """Run an opcode that is neither a literal nor writes to the memo."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self._take(_TUPLES[name])))
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in _GET:
            self.stack.append(self._recalled(argument))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            self.stack.append([] if name == "EMPTY_LIST" else {})
        elif name in ("TUPLE", "LIST"):
            self.stack.append(tuple(self._marked()) if name == "TUPLE" else self._marked())
        elif name == "DICT":
            values = self._marked()
            self.stack.append({})
            self._set(values)
        elif name in ("APPEND", "APPENDS"):
            self._extend(self._take(1) if name == "APPEND" else self._marked())
        elif name in ("SETITEM", "SETITEMS"):
            self._set(self._take(2) if name == "SETITEM" else self._marked())
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, name = argument.split(" ", 1) if name == "GLOBAL" else self._take(2)
            self.stack.append(self._find(module, name))
        elif name == "REDUCE":
            function, arguments = self._take(2)
            self.stack.append(function(*arguments))
        elif name == "BUILD":
            (state,) = self._take(1)
            if not isinstance(self.stack[-1], Stateful):
                raise pickle.UnpicklingError("it sets the state of an object that has none")
            self.stack[-1].__setstate__(state)
        else:
            raise pickle.UnpicklingError(f"it uses {name}, which no image file needs")

    def pop(self) -> Any:
        """Remove the last value from the stack and return it."""
        (value,) = self._take(1)
        return value

    def remember(self, index: int | None) -> None:
        """Store the last value in the memo, at the next free index if None."""
        self._memo[len(self._memo) if index is None else index] = self.stack[-1]

    def _recalled(self, index: int) -> Any:
        value = self._memo[index]
        if isinstance(value, list | tuple | dict):
            raise pickle.UnpicklingError(f"it uses one {type(value).__name__} twice, which no image file needs")
        return value

    def _take(self, count: int) -> list[Any]:
        values = self.stack[len(self.stack) - count :]
        if len(values) < count or any(value is _MARK for value in values):
            raise pickle.UnpicklingError("its values do not add up")
        del self.stack[len(self.stack) - count :]
        return values

    def _marked(self) -> list[Any]:
        """Remove all values above the last mark and return them."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise pickle.UnpicklingError("it appends to something other than a list")
        self.stack[-1].extend(values)

    def _set(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(values) % 2:
            raise pickle.UnpicklingError("it sets entries of something other than a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes):
                raise pickle.UnpicklingError(f"a key is {type(key).__name__} instead of text")
            self.stack[-1][key] = value
