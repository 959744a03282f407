"""The available networks: names, depths and widths. Imports no torch, so that `list` is instant."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.errors import UserError, suggestion

STAGE_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Shape:
    """Depth and width of a CIFAR-style residual network."""

    blocks: tuple[int, int, int, int]  # residual blocks per stage
    bottleneck: bool = False  # 1x1, 3x3, 1x1 with fourfold expansion instead of two 3x3
    widths: tuple[int, int, int, int] = STAGE_WIDTHS  # channels per stage before expansion
    about: str = ""

    def scaled(self, width: float) -> tuple[int, ...]:
        """Return the channels per stage at a width multiplier, at least one each."""
        return tuple(max(1, round(channels * width)) for channels in self.widths)


SHAPES = {
    "resnet6": Shape(
        (1, 1, 0, 0), about="7 convolutions in two stages: for 8x8 images, which four stages would shrink to a pixel"
    ),
    "resnet10": Shape((1, 1, 1, 1), about="13 convolutions, for quick experiments"),
    "resnet18": Shape((2, 2, 2, 2), about="21 convolutions"),
    "resnet34": Shape((3, 4, 6, 3), about="37 convolutions, the paper's network"),
    "resnet50": Shape((3, 4, 6, 3), bottleneck=True, about="54 convolutions, bottleneck blocks"),
    # Dense networks with about 1% of ResNet34's weights; widths follow the per-stage budget of strategy p.
    "resnet34-narrow-p1.0": Shape((3, 4, 6, 3), widths=(6, 13, 26, 51), about="small dense, shaped like p=1.0"),
    "resnet34-narrow-p0.5": Shape((3, 4, 6, 3), widths=(14, 20, 29, 40), about="small dense, shaped like p=0.5"),
    "resnet34-narrow-p0.1": Shape((3, 4, 6, 3), widths=(23, 25, 27, 29), about="small dense, shaped like p=0.1"),
    "resnet34-narrow-p0.0": Shape((3, 4, 6, 3), widths=(26, 26, 26, 26), about="small dense, shaped like p=0"),
}


def get_shape(name: str) -> Shape:
    """Return the shape called `name`.

    Raises:
        UserError: if there is none.
    """
    if name not in SHAPES:
        raise UserError(f"unknown architecture {name!r}.{suggestion(name, SHAPES)} Known: {', '.join(SHAPES)}")
    return SHAPES[name]
