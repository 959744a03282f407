"""Walks through the bytes of an ONNX file before anything is built from them: what it holds, and how much.

An ONNX file is a protobuf message. Each field is a number and a value: an integer, four or eight bytes, or a length
and so many bytes, which may be a message again. A parser builds an object for every message, so that a small file could
fill the memory; this walk builds none, and ends at the first thing that is not allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmark.errors import UserError

MAX_MESSAGES = 200_000  # nodes, attributes, tensors, axes and everything else that becomes an object
MAX_NODES = 20_000
MAX_TENSORS = 20_000
MAX_NUMBERS = 2**27  # in all tensors together
MAX_AXES = 8
MAX_ATTRIBUTE = 4096  # numbers in an attribute, or bytes of its text
MAX_TEXT = 2**16  # bytes of a name or comment
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types

# The fields of each message that may be there: by number a message, or a kind of value.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {
        **{1: "integer", 2: "text", 3: "text", 4: "text", 5: "integer", 6: "text"},
        **{7: "graph", 8: "operator set", 14: "entry"},
    },
    "operator set": {1: "text", 2: "integer"},
    "entry": {1: "text", 2: "text"},
    "graph": {1: "node", 2: "text", 5: "tensor", 10: "text", 11: "value", 12: "value", 13: "value", 16: "entry"},
    "node": {1: "text", 2: "text", 3: "text", 4: "text", 5: "attribute", 6: "text", 7: "text", 9: "entry"},
    "attribute": {
        **{1: "text", 2: "number", 3: "integer", 4: "short", 5: "tensor", 7: "numbers", 8: "integers", 9: "short"},
        **{13: "text", 20: "integer"},
    },
    "tensor": {
        **{1: "axes", 2: "type", 4: "data", 5: "data", 7: "data", 8: "text", 9: "raw", 10: "data", 11: "data"},
        **{12: "text", 14: "place", 16: "entry"},
    },
    "value": {1: "text", 2: "kind", 3: "text", 4: "entry"},
    "kind": {1: "dense", 6: "text"},
    "dense": {1: "integer", 2: "shape"},
    "shape": {1: "axis"},
    "axis": {1: "integer", 2: "text", 3: "text"},
}
# What others mean, for the message.
_FORBIDDEN = {
    ("model", 20): "training information",
    ("model", 25): "functions of its own",
    ("graph", 14): "quantisation annotations",
    ("graph", 15): "sparse tensors",
    ("attribute", 6): "a subgraph (as If and Loop have)",
    ("attribute", 11): "subgraphs (as If and Loop have)",
    ("attribute", 10): "lists of tensors",
    ("attribute", 22): "sparse tensors",
    ("attribute", 21): "references to attributes of functions",
    ("tensor", 6): "tensors of text",
    ("tensor", 13): "tensors in other files",
}
_SIZES = {1: 4, 6: 4, 7: 8, 9: 1}  # bytes of a number by its type in ONNX: float32, int32, int64, bool


class _Field(NamedTuple):
    number: int
    wire: int
    start: int  # of the value's bytes
    end: int
    integer: int  # of a varint


def scan(content: bytes) -> None:
    """Check that a file holds nothing but allowed messages, and no more of them than allowed.

    Args:
        content: the whole file.

    Raises:
        UserError: if it does.
    """
    _Walk(content).run()


class _Walk:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.messages = self.numbers = 0
        self.counts = dict.fromkeys(("graph", "node", "tensor"), 0)

    def run(self) -> None:
        waiting = [("model", 0, len(self.content))]
        while waiting:
            kind, start, end = waiting.pop()
            self._count(kind)
            axes, type_of, raw, data = list[int](), 0, -1, 0
            for field in _fields(self.content, start, end):
                held = _FIELDS[kind].get(field.number)
                if held is None:
                    what = _FORBIDDEN.get((kind, field.number), f"an unknown field, {field.number}, in a {kind}")
                    raise UserError(f"the ONNX file holds {what}, which a submitted network may not have")
                self._check(kind, held, field)
                if held in _FIELDS:
                    waiting.append((held, field.start, field.end))
                elif held == "axes":
                    axes += _integers(self.content, field)
                elif held == "type":
                    type_of = field.integer
                elif held == "raw":
                    raw = field.end - field.start if raw < 0 else len(self.content)  # twice: refused below
                elif held == "data":
                    data += field.end - field.start if field.wire == _BYTES else 1
            if kind == "tensor":
                self._tensor(axes, type_of, raw, data)

    def _count(self, kind: str) -> None:
        self.messages += 1
        if self.messages > MAX_MESSAGES:
            raise UserError(f"the ONNX file holds more than {MAX_MESSAGES:,} parts, too many for a network here")
        if kind in self.counts:
            self.counts[kind] += 1
            limit = {"graph": 1, "node": MAX_NODES, "tensor": MAX_TENSORS}[kind]
            if self.counts[kind] > limit:
                raise UserError(f"the ONNX file holds more than {limit:,} {kind}{'' if limit == 1 else 's'}")

    def _check(self, kind: str, held: str, field: _Field) -> None:
        """Refuse a value of another wire type than its field has, or too long a text or list."""
        size = field.end - field.start
        lists = ("axes", "data", "numbers", "integers")
        fixed = {"integer": _VARINT, "type": _VARINT, "place": _VARINT, "number": _FOUR}
        if held not in lists and field.wire != fixed.get(held, _BYTES):
            raise UserError(f"the ONNX file is damaged: a field of a {kind} has another type than ONNX gives it")
        limit = {"text": MAX_TEXT, "short": MAX_ATTRIBUTE, "numbers": 4 * MAX_ATTRIBUTE, "integers": 8 * MAX_ATTRIBUTE}
        if size > limit.get(held, size):
            raise UserError(
                f"the ONNX file holds a {'text' if held in ('text', 'short') else 'list'} of {size:,} bytes"
            )
        if held in ("numbers", "integers", "short", "text", "data") and field.wire != _BYTES:
            self._count("number")  # each of a list that is not packed is a field of its own
        if held == "place" and field.integer != 0:
            raise UserError("the ONNX file holds tensors in other files, which a submitted network may not have")

    def _tensor(self, axes: list[int], type_of: int, raw: int, data: int) -> None:
        """Compare the numbers that a tensor declares with the bytes that it has, and count them."""
        if type_of not in _SIZES:
            raise UserError(
                f"the ONNX file holds a tensor of type {type_of}; float32, int32, int64 and bool are allowed"
            )
        if len(axes) > MAX_AXES or any(not 0 <= length <= MAX_NUMBERS for length in axes):
            raise UserError(f"the ONNX file declares a tensor with axes of {str(axes)[:100]}")
        count = 1
        for length in axes:
            count *= length
        self.numbers += count
        if self.numbers > MAX_NUMBERS:
            raise UserError(
                f"the ONNX file declares {self.numbers:,} numbers in its tensors, at most {MAX_NUMBERS:,} are allowed"
            )
        # A list holds a float in four bytes and an integer in one to ten.
        fits = raw == count * _SIZES[type_of] if raw >= 0 else data == 4 * count if type_of == 1 else data >= count
        if not fits or (raw >= 0 and data):
            raise UserError(f"the ONNX file declares a tensor of {count:,} numbers, but holds other data for it")


def _fields(content: bytes, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message."""
    position = start
    while position < end:
        tag, position = _varint(content, position, end)
        number, wire, integer = tag >> 3, tag & 7, 0
        begin = position
        if wire == _VARINT:
            integer, position = _varint(content, position, end)
        elif wire == _BYTES:
            length, begin = _varint(content, position, end)
            position = begin + length
        elif wire in (_EIGHT, _FOUR):
            position += 8 if wire == _EIGHT else 4
        else:
            position = end + 1
        if position > end:
            raise _damaged()
        yield _Field(number, wire, begin, position, integer)


def _integers(content: bytes, field: _Field) -> list[int]:
    """Return the integers of one field of a list: several in one, or one."""
    if field.wire == _VARINT:
        return [field.integer]
    if field.end - field.start > 10 * MAX_AXES:
        return [0] * (MAX_AXES + 1)
    integers, position = [], field.start
    while position < field.end:
        integer, position = _varint(content, position, field.end)
        integers.append(integer)
    return integers


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """Return an integer in the seven lower bits of each byte, the lowest first, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _damaged()


def _damaged() -> UserError:
    return UserError("the ONNX file is damaged: it cannot be parsed; fetch or export it again")
