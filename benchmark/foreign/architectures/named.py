"""The architectures by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

import benchmark.foreign.architectures.cifar_resnet as cifar_resnet
import benchmark.foreign.architectures.preact_resnet as preact_resnet
import benchmark.foreign.architectures.suite_resnet as suite_resnet
import benchmark.foreign.architectures.torchvision_resnet as torchvision_resnet
import benchmark.foreign.architectures.vgg as vgg
import benchmark.foreign.architectures.wrn as wrn
from benchmark.errors import UserError, suggestion

Builder = Callable[[str, int, int, Mapping[str, Tensor]], nn.Module]

_BUILDERS: dict[str, Builder] = {
    name: family.build
    for family in (suite_resnet, cifar_resnet, preact_resnet, wrn, vgg, torchvision_resnet)
    for name in family.NAMES
}
NAMES = tuple(_BUILDERS)


def build(name: str, num_classes: int, *, channels: int = 3, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Return a randomly initialised network.

    Args:
        name: one of `NAMES`.
        num_classes: number of logits.
        channels: channels of the images.
        state: the state dict that will be loaded. Public variants of one architecture differ in a few keys (a batch
            norm after the logits, batch norms without scale and shift, a classifier without bias, width of the suite's
            networks); the variant with its keys is built. Without a state dict the variant is the usual one.

    Raises:
        UserError: if there is no such architecture, or its package is not installed.
    """
    if name not in _BUILDERS:
        raise UserError(
            f"unknown architecture {name!r}.{suggestion(name, NAMES)} Known: {', '.join(NAMES)}; "
            "the torchvision networks are those for large images, the others those for CIFAR"
        )
    return _BUILDERS[name](name, num_classes, channels, state or {})
