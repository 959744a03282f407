"""Security curves: PGD accuracy as the radius of the ball grows, and the area under it as one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts
from benchmark.evaluation.fast import ComputeBatch

FACTORS = (0, 1 / 4, 1 / 2, 3 / 4, 1, 3 / 2, 2, 4)  # of the protocol's epsilon
STEPS_PER_RADIUS = 4  # step_size is epsilon / 4, as in the protocol


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy within a ball."""

    epsilon: float  # radius in [0, 1) pixels; 0 is no attack
    accuracy: float  # in [0, 1]


def default_epsilons(epsilon: float) -> list[float]:
    """Return 0, 1/4, 1/2, 3/4, 1, 3/2, 2 and 4 times a protocol's epsilon, as far as they are below 1.

    >>> default_epsilons(0.5)
    [0.0, 0.125, 0.25, 0.375, 0.5, 0.75]
    """
    return [factor * epsilon for factor in FACTORS if factor * epsilon < 1]


def security_curve(
    model: nn.Module,
    data: Images,
    *,
    epsilons: Sequence[float],
    steps: int,
    seed: int,
    batch_size: int,
    report: Callable[[str], None],
) -> list[CurvePoint]:
    """Attack with PGD at growing radii; accuracy never rises from one to the next.

    An image broken at a radius counts as broken at all larger ones and is not attacked again: its adversarial image
    lies in the larger balls too. A point is thus the accuracy under the attacks of its radius and of all smaller ones,
    at most that of PGD at its radius alone. At radius 0 it is clean accuracy.

    Args:
        model: network on [0, 1] images; evaluated in eval mode.
        data: N images.
        epsilons: radii in [0, 1) pixels, ascending.
        steps: PGD steps of a quarter of the radius, from one random start.
        seed: of the random starts, which lie in the same directions at every radius.
        batch_size: images per forward pass.
        report: receives a line per point, and one whenever memory runs out.

    Raises:
        ValueError: if the radii do not ascend or lie outside [0, 1).
    """
    if not all(0 <= epsilon < 1 for epsilon in epsilons) or any(a >= b for a, b in pairwise(epsilons)):
        raise ValueError(f"epsilons must ascend within [0, 1), got {list(epsilons)}")
    compute = ComputeBatch(report)  # one for all radii: what did not fit once is not tried again
    robust = clean_verdicts(model, data, batch_size=batch_size, compute=compute)
    points = []
    for epsilon in epsilons:
        if epsilon > 0:
            robust = pgd_verdicts(
                model,
                data,
                epsilon=epsilon,
                step_size=epsilon / STEPS_PER_RADIUS,
                steps=steps,
                restarts=1,
                seed=seed,
                batch_size=batch_size,
                among=robust,
                compute=compute,
            )
        points.append(CurvePoint(epsilon, int(robust.sum()) / len(data)))
        report(f"curve      epsilon {epsilon:.4f} {100 * points[-1].accuracy:.2f}")
    return points


def area_under(points: Sequence[CurvePoint]) -> float:
    """Return the area under a curve by trapezoids, divided by its range of radii: a mean accuracy, in [0, 1].

    Areas over different ranges are not comparable.

    Raises:
        ValueError: with fewer than two points.
    """
    if len(points) < 2:
        raise ValueError(f"an area needs at least two points, got {len(points)}")
    area = sum((b.epsilon - a.epsilon) * (a.accuracy + b.accuracy) / 2 for a, b in pairwise(points))
    return area / (points[-1].epsilon - points[0].epsilon)
