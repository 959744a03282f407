"""AutoAttack standard (Croce and Hein 2020) through the pyautoattack package.

Attack by attack and batch by batch, each finished batch kept in a journal: an evaluation that was killed goes on where
it was. The package's mathematics and random draws are those of one plain call, and so are the verdicts. On a network
of this project less is computed for them (see `attacked`, `fab_targets`); on any other the images are the same, too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images, frozen_eval
from benchmark.evaluation.fast import Attacked, ComputeBatch
from benchmark.evaluation.journal import FinishedBatch, Journal
from benchmark.evaluation.probes import check_finite
from benchmark.evaluation.progress import QUERIES, Place, Progress
from benchmark.evaluation.pyautoattack_adapter import (
    PACKAGE,
    check_network,
    check_square,
    contained,
    logged_warnings,
    package_version,
    standard_attack,
)
from benchmark.results.evaluation import CASCADE
from benchmark.results.protocol import MIN_CLASSES, STANDARD_TARGETS
from benchmark.runtime.hashing import tensors_sha256

WAY = "folded 2"  # of computing; another one may round otherwise, and must not go on from this one's journal
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
    queries: int = QUERIES,
    compute: ComputeBatch | None = None,
    before_pass: Callable[[int], None] = lambda images: None,
) -> AutoAttackResult:
    """Run AutoAttack standard in the Linf ball on the network as given, in float32.

    Every attack gets the images still classified right, in order, in batches; the package seeds itself anew for each
    batch, which makes a batch's outcome depend on its images alone. That is what one plain call does inside.
    An image counts as broken only if the network itself, as given, misclassifies what was found.

    Args:
        model: network on [0, 1] images that returns logits; attacked in eval mode.
        data: N images; their order matters for the random draws.
        num_classes: fewer than ten make the targeted attacks use all other classes instead of nine.
        epsilon: radius of the ball, in (0, 1) pixels.
        seed: of every attack; the package's default would be the clock.
        batch_size: images per call of an attack.
        report: receives a progress line after each batch and within long ones, and the package's warnings.
        journal: folder for finished batches, which are not run again; None keeps none.
        attacks: some of the cascade, in its order.
        queries: of Square; fewer than the standard's make a weaker attack.
        compute: how many images go through the network at once, which changes no verdict; None finds out.
        before_pass: called before each pass of an attack through the network with the images that it has; may raise to
            break off.

    Raises:
        UserError: with fewer than four classes, for which the targeted DLR loss is undefined, if not even one image
            fits into memory, or for logits that are not finite, on which the package's attacks are undefined.
        RuntimeError: if an attack returns an image outside the ball or outside [0, 1].
    """
    if num_classes < MIN_CLASSES:
        raise UserError(f"AutoAttack needs at least {MIN_CLASSES} classes, the data set has {num_classes}")
    targets, device = min(STANDARD_TARGETS, num_classes - 1), data.images.device
    compute = ComputeBatch(report) if compute is None else compute
    progress = Progress(report, total=len(data), targets=targets, queries=queries)

    def count(images: int, passes: float) -> None:
        before_pass(images)
        progress.forward(images, passes)

    robust = torch.ones(len(data), dtype=torch.bool)
    adversarial = as_float_images(data.images).cpu()
    after: dict[str, Tensor] = {}
    with frozen_eval(model), contained(device), logged_warnings(report), torch.no_grad():
        attacked = Attacked(model, compute, count=count, check=check_finite)
        compute.suit(attacked.network, as_float_images(data.images[:1]))
        if attacked.folded:
            progress.merge_targets()
        settings: dict[str, str | int | float] = {
            "network": compute.until_it_fits(partial(_network_hash, attacked, as_float_images(data.images[:PROBED]))),
            "data": tensors_sha256({"images": data.images, "labels": data.labels}),
            "num_classes": num_classes,
            "epsilon": epsilon,
            "seed": seed,
            **({"queries": queries} if queries != QUERIES else {}),
            "batch_size": batch_size,
            "package": f"{PACKAGE} {package_version()}",
            "torch": torch.__version__,
            "device": device.type,
            "way": WAY if attacked.folded else "plain",
        }
        finished = Journal(journal, settings, report=report)
        adversary = standard_attack(
            attacked, epsilon=epsilon, seed=seed, targets=targets, queries=queries, device=device
        )
        first, labels = as_float_images(data.images[:batch_size]), data.labels[:batch_size]
        compute.until_it_fits(partial(check_network, adversary, attacked.truth, first, labels))
        everything = torch.arange(len(data))
        clean = finished.once("clean", everything, partial(_misclassified, attacked, data, batch_size=batch_size))
        robust[clean.broken] = False
        seconds = clean.seconds
        for attack in attacks:
            batches = [rows for rows in robust.nonzero().flatten().split(batch_size) if len(rows)]
            for number, rows in enumerate(batches, 1):
                later = sum(map(len, batches[number:]))
                place = Place(attack, number, len(batches), images=len(rows), later=later, robust=int(robust.sum()))
                run = partial(_attacked, adversary, attacked, data, rows, place, epsilon=epsilon, progress=progress)
                batch = finished.once(f"{attack}-{number:04d}", rows, partial(compute.until_it_fits, run))
                robust[batch.broken] = False
                adversarial[batch.broken] = batch.adversarial
                seconds += batch.seconds
                progress.end(attack, forwarded=batch.forwarded, seconds=batch.seconds, robust=int(robust.sum()))
            after[attack] = robust.clone()
        check_square(adversary, after)
    return AutoAttackResult(after, adversarial, seconds)


def _network_hash(attacked: Attacked, images: Tensor) -> str:
    """Hash parameters, buffers, layers and some logits: two networks may differ in code only, which nothing else tells.

    A network that answers at random has another hash every time, so nothing of it is resumed.
    """
    model = attacked.stored
    layers = ",".join(f"{name}:{type(module).__qualname__}" for name, module in model.named_modules())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "the logits": attacked.truth(images)}
    return hashlib.sha256(f"{layers};{tensors_sha256(tensors)}".encode()).hexdigest()


def _misclassified(attacked: Attacked, data: Images, *, batch_size: int) -> FinishedBatch:
    """Find the images that need no attack."""
    started = time.perf_counter()

    def wrong() -> Tensor:
        batches = zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True)
        return torch.cat([attacked.truth(as_float_images(images)).argmax(1) != labels for images, labels in batches])

    broken = attacked.compute.until_it_fits(wrong).nonzero().flatten().cpu()
    none = torch.empty(0, *data.images.shape[1:])
    return FinishedBatch(broken, none, forwarded=len(data), seconds=time.perf_counter() - started)


def _attacked(
    adversary: Any, attacked: Attacked, data: Images, rows: Tensor, place: Place, *, epsilon: float, progress: Progress
) -> FinishedBatch:
    """Run one attack on some rows, in the way of a plain call of the package."""
    progress.begin(place)
    here = rows.to(data.images.device)
    images, labels = as_float_images(data.images[here]), data.labels[here]
    white_box = {"apgd-ce": adversary.apgd, "apgd-t": adversary.apgd_targeted, "fab-t": adversary.fab}
    attacks = {**white_box, "square": adversary.square}
    perturbed = attacks[place.attack].perturb(images.clone(), labels.clone())
    progress.forward(len(perturbed), 1.0)
    broken = attacked.truth(perturbed).max(dim=1)[1] != labels
    _check_in_ball(perturbed[broken], images[broken], epsilon, place.attack)
    adversarial = perturbed[broken].detach().cpu()
    return FinishedBatch(rows[broken.cpu()], adversarial, forwarded=progress.forwarded, seconds=progress.seconds)


def _check_in_ball(perturbed: Tensor, images: Tensor, epsilon: float, attack: str) -> None:
    if not len(perturbed):
        return
    distance, low, high = float((perturbed - images).abs().max()), float(perturbed.min()), float(perturbed.max())
    if not (distance <= epsilon + BALL_TOLERANCE and low >= 0 and high <= 1):  # so put, it refuses NaN too
        raise RuntimeError(
            f"{attack} returned an image {distance:.6f} away (epsilon {epsilon:.6f}), "
            f"with pixels in [{low:.6f}, {high:.6f}]"
        )
