"""Torchvision's residual networks for large images, under its own key names. Torchvision is imported late."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from benchmark.foreign.torchvision_package import import_torchvision

_PREFIX = "torchvision-"
_MODELS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2")
NAMES = tuple(f"{_PREFIX}{model}" for model in _MODELS)


def build(name: str, num_classes: int, channels: int, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network; its batch norms have no scale and shift, and its classifier no bias, if the state has none.

    Raises:
        UserError: if torchvision is not installed.
    """
    models = import_torchvision("torchvision.models", purpose=f"the architecture {name}")
    network: nn.Module = models.get_model(name.removeprefix(_PREFIX), weights=None, num_classes=num_classes)
    if state and "bn1.weight" not in state:
        _drop_scale_and_shift(network)
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
    if state and "fc.bias" not in state:
        assert isinstance(network.fc, nn.Linear)
        network.fc = nn.Linear(network.fc.in_features, num_classes, bias=False)
    return network


def _drop_scale_and_shift(network: nn.Module) -> None:
    """Make every batch norm non-affine; torchvision's initialisation cannot build them so."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.affine = False
            module.register_parameter("weight", None)
            module.register_parameter("bias", None)
