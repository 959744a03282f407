"""The plans of the mask pictures: which networks and layers are shown, from records alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isqrt

from benchmark.leaderboard.board.rows import Row
from benchmark.leaderboard.board.tables import PRESETS, Board
from benchmark.leaderboard.figure_plans.data import MaskData, Plan, figure_name, precision
from benchmark.leaderboard.formats import printable
from benchmark.results.parts import LayerPart

CHANNELS = 128  # of a legible layer at most: two of them side by side have 768 columns of weights

_CONVOLUTION = re.compile(r"layer(\d+)\.(\d+)\.conv(\d)")
_KERNEL = 9  # weights of a 3x3 kernel


def mask_plans(board: Board) -> tuple[list[Plan], list[str]]:
    """Plan a picture of one layer and one of two consecutive layers for each method and precision that prunes.

    Shown is the first seed of the best row at the method's smallest keep ratio, where a mask shows most, in the first
    preset of the board that has one.

    Returns:
        The plans, and a sentence for each network that has no legible layers.
    """
    best: dict[tuple[str, str], Row] = {}
    for row in sorted(board.rows, key=lambda row: (PRESETS.index(row.preset), row.keep_ratio or 1, -row.robust.mean)):
        if row.own and row.costs.density < 1:
            best.setdefault((row.method, row.weights), row)
    plans, skipped = [], []
    for (method, weights), row in sorted(best.items()):
        record = row.own[0]
        pair = legible_pair(record.compression.layers)
        if pair is None:
            skipped.append(
                f"{record.run}: no mask pictures, it has no residual block of two 3x3 layers of at most {CHANNELS} "
                "channels"
            )
            continue
        shown = f"{printable(method)[:24]}, {precision(weights)}"
        origin = f"Network of {record.run}, the first seed of the best row at the smallest keep ratio of its kind."
        random = "A random mask is one of as many weights, drawn without replacement: the exact expectation."
        for kind, layers, title, caption in (
            (
                "mask",
                pair[1:],
                f"One layer's mask: {shown}, {pair[1]}",
                "Rows are the three rows of each output channel's kernels, columns those of the input channels. Kept "
                "weights are blue; channels without any are tinted orange, and white in the bars. ",
            ),
            (
                "masks",
                pair,
                f"Two consecutive layers: {shown}, {pair[0]} and {pair[1]}",
                "Rows are the channels between the two layers: outputs of the first (left), inputs of the second "
                "(right, transposed). The bars in the middle show whether the first has any weight that produces a "
                "channel and the second any that reads it; white is none. Overlap is the Jaccard index of the two "
                "white sets; if independent, its expectation over sets of these sizes drawn by chance "
                "(hypergeometric). ",
            ),
        ):
            plans.append(
                Plan(
                    name=figure_name(kind, board.protocol, method, weights),
                    title=title,
                    caption=f"{caption}{random} {origin}",
                    protocol=board.protocol,
                    run=record.run,
                    numbers=(),
                    data=MaskData(record.artifact.sha256, method, weights, tuple(layers)),
                )
            )
    return plans, skipped


def legible_pair(layers: Sequence[LayerPart]) -> tuple[str, str] | None:
    """Return the two 3x3 layers of the last block of the last legible stage, of at most CHANNELS channels.

    None if there are none. Blocks of three convolutions, as in ResNet50, do not count.
    """
    blocks: dict[tuple[int, int], dict[int, LayerPart]] = {}
    for layer in layers:
        if match := _CONVOLUTION.fullmatch(layer.name):
            stage, block, position = map(int, match.groups())
            blocks.setdefault((stage, block), {})[position] = layer
    for _, block_layers in sorted(blocks.items(), reverse=True):
        if sorted(block_layers) == [1, 2]:
            first, second = block_layers[1], block_layers[2]
            width = isqrt(second.weights // _KERNEL)
            if width <= CHANNELS and first.weights <= _KERNEL * width * CHANNELS:
                return first.name, second.name
    return None
