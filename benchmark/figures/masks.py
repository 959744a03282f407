"""Draws masks: one layer, or two consecutive ones with the channels between them.

Every weight is a whole number of pixels, so that none is lost or blurred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from benchmark.figures.mask_numbers import (
    Channels,
    Mask,
    empty_inputs,
    empty_outputs,
    expected_empty_share,
    expected_jaccard,
    jaccard,
)
from benchmark.figures.style import NOMINAL_DPI, PNG_DPI, WIDTH, drawable
from benchmark.leaderboard.figure_plans.data import MaskData, Plan

BLUE, ORANGE, WHITE, RULE = (0, 90, 160), (253, 224, 186), (255, 255, 255), (232, 232, 232)
BOTH = (247, 190, 120)  # where an empty row crosses an empty column
ONE_LAYER = 1080  # pixels of the largest side of a single layer's picture, and of a pair's
PAIR = 900
BAR, GAP = 22, 10  # pixels: thickness of a bar, distance from its mask
SIDE, BELOW, ABOVE, NOTE = 92, 150, 100, 40  # margins in pixels, and the height of a note

Pixels = NDArray[np.uint8]  # (height, width, 3)


def mask_facts(masks: Mapping[str, Mask]) -> tuple[tuple[str, str], ...]:
    """Return the numbers beside a picture of one layer or of two consecutive ones, as label and value.

    Args:
        masks: (out_channels, in_channels, 3, 3) by layer, in the order of the network.
    """
    facts = []
    for name, mask in masks.items():
        kept = int(mask.sum())
        facts.append((f"{name}: weights kept", f"{kept:,} of {mask.size:,} ({100 * kept / mask.size:.2f}%)"))
        for what, empty in (("input", empty_inputs(mask)), ("output", empty_outputs(mask))):
            chance = expected_empty_share(mask.size, kept, mask.size // len(empty))
            facts.append(
                (
                    f"{name}: {what} channels without a weight",
                    f"{_share(empty)}; random mask {100 * chance:.1f}%",
                )
            )
    if len(masks) == 2:
        first, second = masks.values()
        unmade, unread = empty_outputs(first), empty_inputs(second)
        overlap, expected = jaccard(unmade, unread), expected_jaccard(int(unmade.sum()), int(unread.sum()), len(unmade))
        facts.append(("channels empty on both sides", f"{int((unmade & unread).sum())} of {len(unmade)}"))
        text = "none is empty" if overlap is None else f"{overlap:.3f}; {expected:.3f} if independent"
        facts.append(("overlap (Jaccard) of the empty channels between the layers", text))
    return tuple(facts)


def draw_masks(plan: Plan, data: MaskData, masks: Mapping[str, Mask]) -> Figure:
    """Return the picture of one layer's mask, or of two.

    Args:
        plan: its title is written above the picture.
        data: what is shown.
        masks: (out_channels, in_channels, 3, 3) by layer.
    """
    return _one(plan, masks[data.layers[0]]) if len(data.layers) == 1 else _two(plan, *masks.values())


def _one(plan: Plan, mask: Mask) -> Figure:
    scale = _scale(mask.shape[:2], ONE_LAYER)
    image = mask_image(mask, scale)
    height, width, _ = image.shape
    inputs, outputs = empty_inputs(mask), empty_outputs(mask)
    sheet = _Sheet(plan.title, width + GAP + BAR, BAR + GAP + height)
    sheet.place(0, 0, bar_image(inputs, scale, upright=False))
    axes = sheet.place(0, BAR + GAP, image)
    sheet.place(width + GAP, BAR + GAP, bar_image(outputs, scale, upright=True))
    sheet.describe(axes, _axis_label("input", inputs, mask), _axis_label("output", outputs, mask))
    return sheet.figure


def _two(plan: Plan, first: Mask, second: Mask) -> Figure:
    scale = _scale((*first.shape[:2], *second.shape[:2]), PAIR)
    left, right = mask_image(first, scale), mask_image(second.swapaxes(0, 1), scale)
    unmade, unread = empty_outputs(first), empty_inputs(second)
    middle = left.shape[1] + GAP
    beyond = middle + 2 * (BAR + GAP)
    sheet = _Sheet(plan.title, beyond + right.shape[1], left.shape[0], note=_overlap(unmade, unread))
    left_axes = sheet.place(0, 0, left)
    sheet.place(middle, 0, bar_image(unmade, scale, upright=True))
    sheet.place(middle + BAR + GAP, 0, bar_image(unread, scale, upright=True))
    right_axes = sheet.place(beyond, 0, right)
    sheet.describe(left_axes, _axis_label("input", empty_inputs(first), first), _axis_label("output", unmade, first))
    sheet.describe(
        right_axes, _axis_label("output", empty_outputs(second), second), _axis_label("input", unread, second)
    )
    right_axes.yaxis.set_label_position("right")
    return sheet.figure


def _overlap(unmade: Channels, unread: Channels) -> str:
    overlap, expected = jaccard(unmade, unread), expected_jaccard(int(unmade.sum()), int(unread.sum()), len(unmade))
    if overlap is None:
        return "No channel between the layers is empty on either side."
    both = int((unmade & unread).sum())
    return (
        f"Channels empty on both sides: {both} of {len(unmade)}. "
        f"Overlap (Jaccard) {overlap:.3f}, if independent {expected:.3f}."
    )


class _Sheet:
    """A page on which pictures are placed pixel by pixel at PNG_DPI, with margins for texts.

    Letters and margins grow with a page that is wider than usual, because it is shown at the usual width.
    """

    def __init__(self, title: str, width: int, height: int, *, note: str = "") -> None:
        self.zoom = max(1.0, width / (WIDTH * PNG_DPI - 2 * SIDE))
        side, self.above = round(SIDE * self.zoom), round(ABOVE * self.zoom)
        self.left, self.width = side, width + 2 * side
        self.height = self.above + height + round((BELOW + (NOTE if note else 0)) * self.zoom)
        self.figure = Figure(figsize=(self.width / PNG_DPI, self.height / PNG_DPI), dpi=NOMINAL_DPI)
        FigureCanvasAgg(self.figure)
        size, x = 9.5 * self.zoom, self.left / self.width
        lines = drawable(title, 160).replace(": ", ":\n", 1)
        top = 1 - 14 * self.zoom / self.height
        self.figure.text(x, top, lines, va="top", ha="left", fontsize=size + 0.5, linespacing=1.3)
        self.figure.text(x, 56 * self.zoom / self.height, note, va="bottom", ha="left", fontsize=size)
        keys = [
            Patch(facecolor=_hex(BLUE), label="weight kept"),
            Patch(facecolor=_hex(ORANGE), label="empty channel"),
            Patch(facecolor=_hex(BOTH), label="two crossing"),
            Patch(facecolor="white", edgecolor=_hex(BLUE), label="empty, in bar"),
        ]
        self.figure.legend(
            handles=keys,
            loc="lower left",
            bbox_to_anchor=(x, 0.0),
            ncols=4,
            borderaxespad=0.5,
            borderpad=0,
            columnspacing=1.0,
            handlelength=1.0,
            fontsize=size,
        )

    def place(self, left: int, top: int, image: Pixels) -> Axes:
        """Put a picture at a place within the margins and return its axes."""
        height, width, _ = image.shape
        x, y = self.left + left, self.height - self.above - top - height
        box = (x / self.width, y / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.imshow(image, interpolation="none", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def describe(self, axes: Axes, columns: str, rows: str) -> None:
        """Write what the columns and rows of a picture are."""
        axes.set_xlabel(columns, labelpad=5 * self.zoom, fontsize=9.5 * self.zoom)
        axes.set_ylabel(rows, labelpad=5 * self.zoom, fontsize=9.5 * self.zoom)


def mask_image(mask: Mask, scale: int) -> Pixels:
    """Return the picture of a mask: rows and columns of channels, each a 3x3 kernel of squares between thin rules.

    Args:
        mask: (rows, columns, 3, 3).
        scale: pixels along a weight.
    """
    rows, columns, high, wide = mask.shape
    colours = np.full((rows, columns, 3), WHITE, np.uint8)
    no_row, no_column = empty_outputs(mask), empty_inputs(mask)
    colours[no_row] = ORANGE
    colours[:, no_column] = ORANGE
    colours[np.ix_(no_row, no_column)] = BOTH
    cells = np.broadcast_to(colours[:, :, None, None], (*mask.shape, 3)).copy()
    cells[mask] = BLUE
    pixels = cells.repeat(scale, axis=2).repeat(scale, axis=3)
    pitch_down, pitch_right = high * scale + 1, wide * scale + 1
    framed = np.full((rows, columns, pitch_down, pitch_right, 3), RULE, np.uint8)
    framed[:, :, 1:, 1:] = pixels
    image = np.full((rows * pitch_down + 1, columns * pitch_right + 1, 3), RULE, np.uint8)
    image[:-1, :-1] = framed.transpose(0, 2, 1, 3, 4).reshape(rows * pitch_down, columns * pitch_right, 3)
    return image


def bar_image(empty: Channels, scale: int, *, upright: bool) -> Pixels:
    """Return a bar with a cell per channel beside its mask: blue if it has weights, white if not."""
    pitch = 3 * scale + 1
    line = np.full((len(empty) * pitch + 1, 3), RULE, np.uint8)
    cells = np.where(empty[:, None], np.array(WHITE), np.array(BLUE)).astype(np.uint8)
    line[:-1].reshape(len(empty), pitch, 3)[:, 1:] = cells[:, None]
    bar = np.repeat(line[:, None], BAR, axis=1)
    bar[:, [0, -1]] = BLUE
    bar[[0, -1]] = BLUE
    return bar if upright else np.ascontiguousarray(bar.swapaxes(0, 1))


def _axis_label(what: str, empty: Channels, mask: Mask) -> str:
    chance = expected_empty_share(mask.size, int(mask.sum()), mask.size // len(empty))
    return f"{len(empty)} {what} channels, {int(empty.sum())} empty\n(random mask: {chance * len(empty):.1f})"


def _share(empty: Channels) -> str:
    return f"{int(empty.sum())} of {len(empty)} ({100 * float(empty.mean()):.1f}%)"


def _scale(channels: Sequence[int], pixels: int) -> int:
    return max(1, min(40, (pixels // max(channels) - 1) // 3))


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
