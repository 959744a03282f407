"""One interface for networks of others: takes any batch of float images, returns one row of logits per image.

Any callable will do: modules, functions, TorchScript, exported and compiled programs. They are measured in place and as
they are, because many refuse a copy, another layout or another type.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

DEPTH = 6  # how deep a function's objects are searched for modules
ITEMS = 1000  # a longer list holds data
PLAIN = (str, bytes, int, float, complex, bool, type(None), type, Tensor, types.ModuleType)


class Foreign(nn.Module):
    """A network of others, called with the number and type of images that it accepts.

    Attributes:
        called: the network: a module or any other callable.
        least: images that it needs at once; fewer are padded with the last of them.
        most: images that it takes at once; more are passed in parts. None for any number.
        image_type: the type of images it needs; None for the type they have.
    """

    def __init__(self, called: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.called = called
        own = set(self.modules())
        # Modules that a function closes over, or that a module keeps in a list, have modes and parameters as well.
        self.within = nn.ModuleList(module for module in modules_in(called) if module not in own)
        self.least, self.most = 1, None
        self.image_type: torch.dtype | None = None
        self.training = self.within.training = False  # neither of these two depends on it

    least: int
    most: int | None

    def train(self, mode: bool = True) -> Foreign:
        """Set the mode of all modules; those of `torch.export`, which refuse, only get the flag."""
        for module in (self.called, *self.within):
            if isinstance(module, nn.Module):
                _set_mode(module, mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images in [0, 1] to (B, classes) logits."""
        images = images if self.image_type is None else images.to(self.image_type)
        if self.most is None or len(images) <= self.most:
            return self._part(images)
        return torch.cat([self._part(part) for part in images.split(self.most)])

    def _part(self, images: Tensor) -> Tensor:
        missing = self.least - len(images)
        padded = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else images
        logits = self.called(padded)
        if isinstance(logits, Tensor) and len(padded) == 1 and logits.ndim == 1:
            logits = logits[None]  # a network that squeezes loses the axis of a single image
        return logits[: len(images)] if missing > 0 else logits


def _set_mode(module: nn.Module, mode: bool) -> None:
    try:
        module.train(mode)
    except NotImplementedError:
        module.training = mode
        for child in module.children():
            _set_mode(child, mode)


def modules_in(value: object) -> Iterator[nn.Module]:
    """Yield the modules that a callable visibly uses: its own, and those it closes over, names or keeps in lists."""
    yield from _modules_in(value, {}, DEPTH)


def _modules_in(value: object, seen: dict[int, object], depth: int) -> Iterator[nn.Module]:
    if depth == 0 or isinstance(value, PLAIN) or id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, nn.Module):
        yield value
        for module in value.modules():
            for attribute in list(vars(module).values()):
                if isinstance(attribute, list | tuple | dict):
                    yield from _modules_in(attribute, seen, depth - 1)
        return
    for part in _parts(value):
        yield from _modules_in(part, seen, depth - 1)


def _parts(value: object) -> list[object]:
    """Return what a container, function, method or object refers to."""
    if isinstance(value, list | tuple | set):
        return list(value) if len(value) <= ITEMS else []
    if isinstance(value, dict):
        return list(value.values()) if len(value) <= ITEMS else []
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        closed_over = [cell.cell_contents for cell in value.__closure__ or () if not _empty(cell)]
        named = [value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__]
        return [*closed_over, *named, value.__defaults__, value.__kwdefaults__, *vars(value).values()]
    if isinstance(value, types.BuiltinMethodType | types.BuiltinFunctionType):
        return [value.__self__]
    return list(vars(value).values()) if hasattr(value, "__dict__") else []


def _empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # of a name that has no value yet
        return True


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the global names used by a function and by those defined inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
