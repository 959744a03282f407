"""Square on a sparse copy: the package's attack with all squares drawn in advance, and its passes in `SquareSearch`.

The squares do not depend on the images, and no image influences another. The points and margins are those of the
package's own loop, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.evaluation.fast import AttackedNetwork
from methods.sparse.squares import SquareSearch

PASSES_AT_ONCE = 2048  # of one image, between two reports


def searching(attack: Any, attacked: AttackedNetwork) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return a replacement for `attack_single_run` of the package's Square, Linf and on the margin."""
    run: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = attack.attack_single_run

    def single_run(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        network = attacked.sparse
        if network is None or 2 * len(y) < network.lanes:  # few images are faster in strips
            return run(x, y)
        best = torch.clamp(x + attack.eps * attack.random_choice([len(x), x.shape[1], 1, x.shape[3]]), 0.0, 1.0)
        squares, signs = _drawn(attack, x.shape)
        size = attacked.at_most(len(y))
        for images, points, labels in zip(x.split(size), best.split(size), y.split(size), strict=True):
            share = len(labels) / len(y)
            attacked.count(len(labels), share)
            arrays = images.contiguous().numpy(), points.numpy(), labels.numpy()
            search, queries = SquareSearch(network, *arrays, attack.eps), 0
            attacked.check(torch.from_numpy(search.logits))
            while queries < len(squares) and search.open:
                part = slice(queries, queries + max(1, PASSES_AT_ONCE // search.open))
                attacked.count(search.open * len(squares[part]), share * len(squares[part]))
                search.run(squares[part], signs[part])
                attacked.check(torch.from_numpy(search.logits))
                queries = part.stop
        return torch.ones(len(y)), best

    return single_run


def _drawn(attack: Any, shape: torch.Size) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw all squares, (Q, 3) row, column and side, and their signs (Q, C), in the order of the package's loop."""
    _, channels, height, width = shape
    features = channels * height * width
    areas = (attack.p_selection(query) * features / channels for query in range(attack.n_queries))
    sides = torch.tensor([min(max(round(math.sqrt(area)), 1), height, width) for area in areas])
    draws = torch.rand(attack.n_queries, 2 + channels)
    row, column = (((end - sides) * draws[:, place]).long() for place, end in enumerate((height, width)))
    return torch.stack([row, column, sides], 1).numpy(), torch.sign(2 * draws[:, 2:] - 1).numpy()
