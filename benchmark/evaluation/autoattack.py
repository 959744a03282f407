"""AutoAttack standard (Croce and Hein 2020) through the pyautoattack package, with its side effects contained."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.results.protocol import MIN_CLASSES, STANDARD_TARGETS

PACKAGE = "pyautoattack"
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
BALL_TOLERANCE = 1e-6  # the package may leave the ball by float rounding


@dataclass(frozen=True)
class AutoAttackResult:
    """What is left after each attack of the cascade."""

    robust: dict[str, Tensor]  # attack -> (N,) bool: still classified right after it and all before it
    seconds: float

    @property
    def verdicts(self) -> Tensor:
        """(N,) bool: classified right under the whole of AutoAttack."""
        return self.robust[ATTACKS[-1]]


def package_version() -> str:
    """Return the installed version of the attack package."""
    return version(PACKAGE)


def autoattack(
    model: nn.Module,
    data: Images,
    *,
    num_classes: int,
    epsilon: float,
    seed: int,
    batch_size: int,
    report: Callable[[str], None],
) -> AutoAttackResult:
    """Run AutoAttack standard in the Linf ball on the network as given, in float32.

    Attacks run one after the other on the images still classified right, which gives the verdicts of one plain call
    with the same seed and batch size.

    Args:
        model: network on [0, 1] images that returns logits; attacked in eval mode.
        data: N images; their order matters for the random draws.
        num_classes: fewer than ten make the targeted attacks use all other classes instead of nine.
        epsilon: radius of the ball, in (0, 1) pixels.
        seed: of every attack; the package's default would be the clock.
        batch_size: images per call of an attack.
        report: receives a progress line after each attack.

    Raises:
        UserError: with fewer than four classes, for which the targeted DLR loss is undefined.
        RuntimeError: if an attack returns an image outside the ball or outside [0, 1].
    """
    if num_classes < MIN_CLASSES:
        raise UserError(f"AutoAttack needs at least {MIN_CLASSES} classes, the data set has {num_classes}")
    from pyautoattack import AutoAttack

    started = time.perf_counter()
    images, labels = as_float_images(data.images), data.labels
    robust = torch.ones_like(labels, dtype=torch.bool)
    after: dict[str, Tensor] = {}
    with frozen_eval(model), _contained(images.device), _logged_warnings(report):
        adversary = AutoAttack(model, eps=epsilon, norm="Linf", version="standard", seed=seed, device=images.device)
        adversary.apgd_targeted.n_target_classes = min(STANDARD_TARGETS, num_classes - 1)
        adversary.fab.n_target_classes = min(STANDARD_TARGETS, num_classes - 1)
        for attack in ATTACKS:
            rows = robust.nonzero().flatten()
            if len(rows):
                adversary.attacks_to_run = [attack]
                found, predicted = adversary.run_standard_evaluation(images[rows], labels[rows], batch_size=batch_size)
                _check_in_ball(found, images[rows], epsilon, attack)
                robust[rows] = predicted == labels[rows]
            after[attack] = robust.cpu().clone()
            seconds = time.perf_counter() - started
            report(f"autoattack  {attack:<8} {int(robust.sum())}/{len(robust)} still robust  {seconds:.0f}s")
    return AutoAttackResult(after, time.perf_counter() - started)


def _check_in_ball(found: Tensor, images: Tensor, epsilon: float, attack: str) -> None:
    distance = float((found - images).abs().max())
    if distance > epsilon + BALL_TOLERANCE or float(found.min()) < 0 or float(found.max()) > 1:
        raise RuntimeError(
            f"{attack} returned an image {distance:.6f} away (epsilon {epsilon:.6f}), "
            f"with pixels in [{float(found.min()):.6f}, {float(found.max()):.6f}]"
        )


@contextmanager
def _contained(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators and the tracing function: the package reseeds and removes them."""
    trace = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(trace)


@contextmanager
def _logged_warnings(report: Callable[[str], None]) -> Iterator[None]:
    """Pass the package's warnings (random or vanishing gradients, odd logits) to `report`, not to the terminal."""
    logger = logging.getLogger("auto-attack")

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            report(f"autoattack  warning: {record.getMessage()}")

    handler, propagate = Forward(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
