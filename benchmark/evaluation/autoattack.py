"""AutoAttack standard (Croce and Hein 2020) through the pyautoattack package.

It runs attack by attack and batch by batch, and keeps each finished batch in a journal, so that a killed evaluation
resumes there. Mathematics and random draws are those of one plain call of the package, and so are the verdicts. A
network of this project takes less computation (see `fast`, `fab_targets`); for any other, the adversarial images are
those of the plain call, too.
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
from benchmark.evaluation.fast import AttackedNetwork, ComputeBatch
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

PROBED = 8  # images whose logits identify a network in its journal
BALL_TOLERANCE = 1e-6  # rounding may take the package's images out of the ball by this much


@dataclass(frozen=True)
class AutoAttackResult:
    """Which images survive each attack of the cascade."""

    robust: dict[str, Tensor]  # attack -> (N,) bool: still classified correctly after it and all before it
    adversarial: Tensor  # (N, C, H, W) float32 on the CPU; the clean image where no attack succeeded
    seconds: float  # spent on finished batches, in all sessions that wrote to the journal

    @property
    def verdicts(self) -> Tensor:
        """(N,) bool: classified correctly under all attacks that were run."""
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
    queries: int | None = None,
    compute: ComputeBatch | None = None,
    before_pass: Callable[[int], None] = lambda images: None,
) -> AutoAttackResult:
    """Run AutoAttack standard in the Linf ball on the network as passed, in float32.

    Every attack gets the images still classified correctly, in order, in batches; the package reseeds itself for each
    batch, so that a batch's outcome depends on its images alone. One plain call does the same inside.
    An image counts as broken only if the network as passed misclassifies its adversarial image.

    Args:
        model: network on [0, 1] images that returns logits; attacked in eval mode.
        data: N images; their order matters for the random draws.
        num_classes: with fewer than ten, the targeted attacks use all other classes instead of nine.
        epsilon: radius of the ball, in (0, 1) pixels.
        seed: of every attack; the package's default would be the clock.
        batch_size: images per call of an attack.
        report: receives a progress line after each batch and within long ones, and the package's warnings.
        journal: folder for finished batches, which do not run again; None keeps none.
        attacks: some of the cascade, in its order.
        queries: of Square, fewer than the standard's for a weaker attack; None for the standard's.
        compute: how many images go through the network at once, which changes no verdict; None chooses.
        before_pass: called with the number of images before each pass of an attack; may raise to stop.

    Raises:
        UserError: with fewer than four classes, for which the targeted DLR loss is undefined; if not even one image
            fits into memory; or for logits that are not finite, on which the package's attacks are undefined.
        RuntimeError: if an attack returns an image outside the ball or outside [0, 1].
    """
    if num_classes < MIN_CLASSES:
        raise UserError(f"AutoAttack needs at least {MIN_CLASSES} classes, the data set has {num_classes}")
    targets, device = min(STANDARD_TARGETS, num_classes - 1), data.images.device
    compute = ComputeBatch(report) if compute is None else compute
    progress = Progress(report, total=len(data), targets=targets, queries=queries or QUERIES)

    def count(images: int, passes: float) -> None:
        before_pass(images)
        progress.forward(images, passes)

    with frozen_eval(model), contained(device), logged_warnings(report), torch.no_grad():
        attacked = AttackedNetwork(model, compute, count=count, check=check_finite)
        attacked.choose_rows(as_float_images(data.images[:1]))
        if attacked.folded:
            progress.merge_targets()
        hash_network = partial(_network_hash, model, attacked, as_float_images(data.images[:PROBED]))
        settings: dict[str, str | int | float] = {
            "network": compute.until_it_fits(hash_network),
            "data": tensors_sha256({"images": data.images, "labels": data.labels}),
            "num_classes": num_classes,
            "epsilon": epsilon,
            "seed": seed,
            **({} if queries is None else {"queries": queries}),
            "batch_size": batch_size,
            "package": f"{PACKAGE} {package_version()}",
            "torch": torch.__version__,
            "device": device.type,
            "way": attacked.way,
        }
        finished = Journal(journal, settings, report=report)
        adversary = standard_attack(
            attacked, epsilon=epsilon, seed=seed, targets=targets, queries=queries, device=device
        )
        first, labels = as_float_images(data.images[:batch_size]), data.labels[:batch_size]
        compute.until_it_fits(partial(check_network, adversary, attacked.stored_logits, first, labels))
        cascade = _Cascade(adversary, attacked, data, compute, finished, progress, epsilon, batch_size)
        return cascade.run(attacks)


def _network_hash(model: nn.Module, attacked: AttackedNetwork, images: Tensor) -> str:
    """Hash parameters, buffers, layers and some logits, since two networks may differ in code only.

    A network that answers at random has a different hash every time, so none of its batches is resumed.
    """
    layers = ",".join(f"{name}:{type(module).__qualname__}" for name, module in model.named_modules())
    logits = attacked.stored_logits(images)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "the logits": logits}
    return hashlib.sha256(f"{layers};{tensors_sha256(tensors)}".encode()).hexdigest()


@dataclass(frozen=True)
class _Cascade:
    """The package's attacks one after the other, each on the images that survived those before it."""

    adversary: Any  # the package's AutoAttack
    attacked: AttackedNetwork
    data: Images
    compute: ComputeBatch
    finished: Journal
    progress: Progress
    epsilon: float
    batch_size: int

    def run(self, attacks: Sequence[str]) -> AutoAttackResult:
        """Run some attacks on all images; batches in the journal do not run again."""
        robust = torch.ones(len(self.data), dtype=torch.bool)
        adversarial = as_float_images(self.data.images).cpu()
        robust_after: dict[str, Tensor] = {}
        clean = self.finished.once("clean", torch.arange(len(self.data)), self._misclassified)
        robust[clean.broken] = False
        seconds = clean.seconds
        for attack in attacks:
            batches = [rows for rows in robust.nonzero().flatten().split(self.batch_size) if len(rows)]
            for number, rows in enumerate(batches, 1):
                later = sum(map(len, batches[number:]))
                place = Place(attack, number, len(batches), images=len(rows), later=later, robust=int(robust.sum()))
                run = partial(self.compute.until_it_fits, partial(self._attack, rows, place))
                batch = self.finished.once(f"{attack}-{number:04d}", rows, run)
                robust[batch.broken] = False
                adversarial[batch.broken] = batch.adversarial
                seconds += batch.seconds
                self.progress.end(attack, forwarded=batch.forwarded, seconds=batch.seconds, robust=int(robust.sum()))
            robust_after[attack] = robust.clone()
        check_square(self.adversary, robust_after)
        return AutoAttackResult(robust_after, adversarial, seconds)

    def _misclassified(self) -> FinishedBatch:
        """Find the images that need no attack."""
        started = time.perf_counter()

        def wrong() -> Tensor:
            images, labels = self.data.images.split(self.batch_size), self.data.labels.split(self.batch_size)
            logits = (self.attacked.stored_logits(as_float_images(batch)) for batch in images)
            return torch.cat([batch.argmax(1) != label for batch, label in zip(logits, labels, strict=True)])

        broken = self.compute.until_it_fits(wrong).nonzero().flatten().cpu()
        none = torch.empty(0, *self.data.images.shape[1:])
        return FinishedBatch(broken, none, forwarded=len(self.data), seconds=time.perf_counter() - started)

    def _attack(self, rows: Tensor, place: Place) -> FinishedBatch:
        """Run one attack on some rows, as a plain call of the package does."""
        self.progress.begin(place)
        on_device = rows.to(self.data.images.device)
        images, labels = as_float_images(self.data.images[on_device]), self.data.labels[on_device]
        attacks = {
            "apgd-ce": self.adversary.apgd,
            "apgd-t": self.adversary.apgd_targeted,
            "fab-t": self.adversary.fab,
            "square": self.adversary.square,
        }
        perturbed = attacks[place.attack].perturb(images.clone(), labels.clone())
        self.progress.forward(len(perturbed), 1.0)
        broken = self.attacked.stored_logits(perturbed).max(dim=1)[1] != labels
        _check_in_ball(perturbed[broken], images[broken], self.epsilon, place.attack)
        adversarial = perturbed[broken].detach().cpu()
        forwarded, seconds = self.progress.forwarded, self.progress.seconds
        return FinishedBatch(rows[broken.cpu()], adversarial, forwarded=forwarded, seconds=seconds)


def _check_in_ball(perturbed: Tensor, images: Tensor, epsilon: float, attack: str) -> None:
    if not len(perturbed):
        return
    distance, low, high = float((perturbed - images).abs().max()), float(perturbed.min()), float(perturbed.max())
    if not (distance <= epsilon + BALL_TOLERANCE and low >= 0 and high <= 1):  # written this way, it refuses NaN too
        raise RuntimeError(
            f"{attack} returned an image {distance:.6f} away (epsilon {epsilon:.6f}), "
            f"with pixels in [{low:.6f}, {high:.6f}]"
        )
