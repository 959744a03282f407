"""AutoAttack standard (Croce and Hein 2020) through the pyautoattack package, with its side effects contained.

Attack by attack and batch by batch, each finished batch kept in a journal: an evaluation that was killed goes on where
it was, and gives verdicts and images bit by bit as one plain call of the package does.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, frozen_eval
from benchmark.evaluation.journal import FinishedBatch, Journal
from benchmark.evaluation.progress import Place, Progress
from benchmark.hashing import tensors_sha256
from benchmark.results.evaluation import CASCADE
from benchmark.results.protocol import MIN_CLASSES, STANDARD_TARGETS

PACKAGE = "pyautoattack"
PROBED = 8  # images whose logits identify a network in its journal
BALL_TOLERANCE = 1e-6  # the package may leave the ball by float rounding


@dataclass(frozen=True)
class AutoAttackResult:
    """What is left after each attack of the cascade."""

    robust: dict[str, Tensor]  # attack -> (N,) bool: still classified right after it and all before it
    adversarial: Tensor  # (N, C, H, W) float32 on the CPU: the image found, the clean one where none was found
    seconds: float  # spent on finished batches, in all sessions that wrote to the journal

    @property
    def verdicts(self) -> Tensor:
        """(N,) bool: classified right under all attacks that were run."""
        return list(self.robust.values())[-1]


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
    journal: Path | None = None,
    attacks: Sequence[str] = CASCADE,
) -> AutoAttackResult:
    """Run AutoAttack standard in the Linf ball on the network as given, in float32.

    Every attack gets the images still classified right, in order, in batches; the package seeds itself anew for each
    batch, which makes a batch's outcome depend on its images alone. That is what one plain call does inside.

    Args:
        model: network on [0, 1] images that returns logits; attacked in eval mode.
        data: N images; their order matters for the random draws.
        num_classes: fewer than ten make the targeted attacks use all other classes instead of nine.
        epsilon: radius of the ball, in (0, 1) pixels.
        seed: of every attack; the package's default would be the clock.
        batch_size: images per call of an attack.
        report: receives a progress line after each batch and within long ones, and the package's warnings.
        journal: folder for finished batches, which are not run again; None keeps none.
        attacks: the first of the cascade, to stop there.

    Raises:
        UserError: with fewer than four classes, for which the targeted DLR loss is undefined.
        RuntimeError: if an attack returns an image outside the ball or outside [0, 1].
    """
    if num_classes < MIN_CLASSES:
        raise UserError(f"AutoAttack needs at least {MIN_CLASSES} classes, the data set has {num_classes}")
    targets, device = min(STANDARD_TARGETS, num_classes - 1), data.images.device
    settings: dict[str, str | int | float] = {
        "network": _network_hash(model, as_float_images(data.images[:PROBED])),
        "data": tensors_sha256({"images": data.images, "labels": data.labels}),
        "num_classes": num_classes,
        "epsilon": epsilon,
        "seed": seed,
        "batch_size": batch_size,
        "package": f"{PACKAGE} {package_version()}",
        "torch": torch.__version__,
        "device": device.type,
    }
    finished = Journal(journal, settings, report=report)
    progress = Progress(report, total=len(data), targets=targets)
    robust = torch.ones(len(data), dtype=torch.bool)
    adversarial = as_float_images(data.images).cpu()
    after: dict[str, Tensor] = {}
    with frozen_eval(model), _contained(device), _logged_warnings(report), torch.no_grad():
        adversary = _adversary(model, progress, epsilon=epsilon, seed=seed, targets=targets, device=device)
        _check_network(model, adversary, as_float_images(data.images[:batch_size]), data.labels[:batch_size])
        everything = torch.arange(len(data))
        clean = finished.once("clean", everything, partial(_misclassified, model, data, batch_size=batch_size))
        robust[clean.broken] = False
        seconds = clean.seconds
        for attack in attacks:
            batches = [rows for rows in robust.nonzero().flatten().split(batch_size) if len(rows)]
            for number, rows in enumerate(batches, 1):
                later = sum(map(len, batches[number:]))
                place = Place(attack, number, len(batches), images=len(rows), later=later, robust=int(robust.sum()))
                run = partial(_attacked, adversary, data, rows, place, epsilon=epsilon, progress=progress)
                batch = finished.once(f"{attack}-{number:04d}", rows, run)
                robust[batch.broken] = False
                adversarial[batch.broken] = batch.adversarial
                seconds += batch.seconds
                progress.end(attack, forwarded=batch.forwarded, seconds=batch.seconds, robust=int(robust.sum()))
            after[attack] = robust.clone()
        _check_square(adversary, after)
    return AutoAttackResult(after, adversarial, seconds)


@torch.no_grad()
def _network_hash(model: nn.Module, images: Tensor) -> str:
    """Hash parameters, buffers, layers and some logits: two networks may differ in code only, which nothing else tells.

    A network that answers at random has another hash every time, so nothing of it is resumed.
    """
    layers = ",".join(f"{name}:{type(module).__qualname__}" for name, module in model.named_modules())
    with frozen_eval(model):
        logits = model(images)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "the logits": logits}
    return hashlib.sha256(f"{layers};{tensors_sha256(tensors)}".encode()).hexdigest()


def _adversary(
    model: nn.Module, progress: Progress, *, epsilon: float, seed: int, targets: int, device: torch.device
) -> Any:
    """Return the package's standard attack on the network, whose forward passes `progress` counts."""
    from pyautoattack import AutoAttack

    def counted(images: Tensor) -> Tensor:
        progress.forward(len(images))
        logits: Tensor = model(images)
        return logits

    adversary = AutoAttack(counted, eps=epsilon, norm="Linf", version="standard", seed=seed, device=device)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
    adversary.fab.targeted = True
    return adversary


def _check_network(model: nn.Module, adversary: Any, images: Tensor, labels: Tensor) -> None:
    """Make the package's checks of the network, which a plain call makes at its beginning."""
    from pyautoattack import checks

    checks.funcs.update(dict.fromkeys(checks.funcs, 0))  # otherwise one dynamic network accuses all after it
    checks.check_randomized(model, images, labels, bs=len(images), logger=adversary.logger)
    classes = checks.check_range_output(model, images, logger=adversary.logger)
    checks.check_dynamic(model, images, False, logger=adversary.logger)
    targets = adversary.fab.n_target_classes
    checks.check_n_classes(classes, CASCADE, targets, targets, logger=adversary.logger)


def _check_square(adversary: Any, after: dict[str, Tensor]) -> None:
    """Make the package's last check: Square should find next to nothing that the gradients missed."""
    from pyautoattack import checks

    shares = {attack: float(robust.double().mean()) for attack, robust in after.items()}
    checks.check_square_sr(shares, logger=adversary.logger)


def _misclassified(model: nn.Module, data: Images, *, batch_size: int) -> FinishedBatch:
    """Find the images that need no attack."""
    started = time.perf_counter()
    broken = (~clean_verdicts(model, data, batch_size=batch_size)).nonzero().flatten()
    none = torch.empty(0, *data.images.shape[1:])
    return FinishedBatch(broken, none, forwarded=len(data), seconds=time.perf_counter() - started)


def _attacked(
    adversary: Any, data: Images, rows: Tensor, place: Place, *, epsilon: float, progress: Progress
) -> FinishedBatch:
    """Run one attack on some rows, in the way of a plain call of the package."""
    progress.begin(place)
    here = rows.to(data.images.device)
    images, labels = as_float_images(data.images[here]), data.labels[here]
    white_box = {"apgd-ce": adversary.apgd, "apgd-t": adversary.apgd_targeted, "fab-t": adversary.fab}
    attacks = {**white_box, "square": adversary.square}
    found = attacks[place.attack].perturb(images.clone(), labels.clone())
    broken = adversary.get_logits(found).max(dim=1)[1] != labels
    _check_in_ball(found[broken], images[broken], epsilon, place.attack)
    adversarial = found[broken].detach().cpu()
    return FinishedBatch(rows[broken.cpu()], adversarial, forwarded=progress.forwarded, seconds=progress.seconds)


def _check_in_ball(found: Tensor, images: Tensor, epsilon: float, attack: str) -> None:
    if not len(found):
        return
    distance, low, high = float((found - images).abs().max()), float(found.min()), float(found.max())
    if not (distance <= epsilon + BALL_TOLERANCE and low >= 0 and high <= 1):  # so put, it refuses NaN too
        raise RuntimeError(
            f"{attack} returned an image {distance:.6f} away (epsilon {epsilon:.6f}), "
            f"with pixels in [{low:.6f}, {high:.6f}]"
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
    """Pass each kind of warning of the package (random or vanishing gradients, odd logits) to `report` once."""
    logger = logging.getLogger("auto-attack")
    told: set[str] = set()

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            kind = re.sub(r"[0-9.]+", "#", message)  # counts of zero gradients differ from batch to batch
            if kind not in told:
                told.add(kind)
                report(f"autoattack  warning: {message}")

    handler, propagate = Forward(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
