"""Restores a network after a measurement exactly as it was, also after an error.

Networks are not copied for a measurement: scripted and exported modules, or computed weights, often refuse a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.attacks import input_gradients_only

CONTENTS = ("_parameters", "_buffers", "_modules")  # of a module, by name


class Snapshot:
    """What a network's modules hold: modes, attributes, and the storage, values and gradients of every tensor."""

    def __init__(self, network: nn.Module) -> None:
        """Save the state of all modules of a network; takes the memory of its parameters and buffers once more."""
        self.modules = [
            (
                module,
                getattr(module, "training", None),
                {kind: dict(getattr(module, kind).items()) for kind in CONTENTS},
                {name: value for name, value in vars(module).items() if name not in CONTENTS},
            )
            for module in network.modules()
        ]
        tensors: dict[int, Tensor] = {}
        for _, _, contents, attributes in self.modules:
            held = [*contents["_parameters"].values(), *contents["_buffers"].values(), *attributes.values()]
            tensors |= {id(tensor): tensor for tensor in held if isinstance(tensor, Tensor)}
        self.tensors = [_TensorState(tensor) for tensor in tensors.values()]

    def restore(self) -> None:
        """Restore the saved state."""
        for tensor in self.tensors:
            tensor.restore()
        for module, mode, contents, attributes in self.modules:
            for kind, before in contents.items():
                _restore_items(getattr(module, kind), before)
            _restore_items(vars(module), attributes, keep=CONTENTS)
            if isinstance(mode, bool) and module.training is not mode:
                module.training = mode  # a scripted module keeps its mode outside its attributes


class _TensorState:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.data, self.values = tensor, tensor.data, _Values(tensor.data)
        self.leaf, self.requires_grad = tensor.is_leaf, tensor.requires_grad
        self.grad = tensor.grad if tensor.is_leaf else None
        self.grad_values = None if self.grad is None else _Values(self.grad.data)

    def restore(self) -> None:
        self.tensor.data = self.data
        self.values.restore()
        if self.leaf:
            if self.tensor.requires_grad != self.requires_grad:
                self.tensor.requires_grad_(self.requires_grad)
            self.tensor.grad = self.grad
        if self.grad_values is not None:
            self.grad_values.restore()


class _Values:
    """The bytes behind a tensor: its elements may share memory, and some number types have no comparison."""

    def __init__(self, data: Tensor) -> None:
        self.data = data
        strided = data.layout == torch.strided
        self.bytes = data.untyped_storage().clone() if strided and not data.is_meta else None
        self.copy = None if strided else data.clone()

    def restore(self) -> None:
        if self.bytes is not None:
            self.data.untyped_storage().copy_(self.bytes)
        if self.copy is not None:
            self.data.copy_(self.copy)


@contextmanager
def left_as_found(network: nn.Module) -> Iterator[None]:
    """Freeze the parameters inside the block; then restore the whole network.

    A forward pass may change it: batch norms update statistics in train mode, which a network may force.
    """
    snapshot = Snapshot(network)
    try:
        with input_gradients_only(network):
            yield
    finally:
        snapshot.restore()


def _restore_items(items: Any, before: dict[str, Any], keep: tuple[str, ...] = ()) -> None:
    """Make a mapping hold the same objects as before; that of a scripted module cannot shrink."""
    for name in [name for name in items.keys() if name not in before and name not in keep]:  # noqa: SIM118
        del items[name]
    for name, value in before.items():
        if items[name] is not value if name in items else True:
            items[name] = value
