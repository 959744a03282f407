"""Runs the opponent's attacks in stages, each on the images that survived those before it.

Finished stages are kept in a journal, so that a killed evaluation resumes after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, frozen_eval, misclassified
from benchmark.evaluation.fast import AttackedNetwork, ComputeBatch
from benchmark.evaluation.journal import FinishedBatch, Journal
from benchmark.evaluation.opponent.hard_label import ORDERS, pixel_ranks, rays
from benchmark.evaluation.opponent.leaky_bpda import STEP_SIZES, STEPS, VARIANTS, leaky_bpda
from benchmark.evaluation.probes import Attackable
from benchmark.evaluation.progress import LINE_SECONDS
from benchmark.runtime.hashing import tensors_sha256
from benchmark.runtime.progress import Ticker, duration

LEAKY, HARD_LABEL = "leaky_bpda", "hard_label"  # the checks' names
# Forward-equivalents for an image that survives: a step costs a forward and a backward pass.
COSTS = {LEAKY: 2 * (STEPS + 1) * len(VARIANTS), HARD_LABEL: sum(ORDERS.values())}


@dataclass(frozen=True)
class Broken:
    """The outcome of an attack on B images.

    Attributes:
        broken: (B,) bool on the CPU.
        adversarial: (B, C, H, W) float32 on the CPU; the image itself if it is not broken.
    """

    broken: Tensor
    adversarial: Tensor


def stages_of(check: str) -> tuple[str, ...]:
    """Return the attacks of a check in order: RayS has one for each order of the pixels."""
    return (LEAKY,) if check == LEAKY else tuple(f"{HARD_LABEL}-{order}" for order in ORDERS)


def opponent_attacks(
    network: nn.Module,
    data: Images,
    places: Tensor,
    *,
    epsilon: float,
    seed: int,
    compute: ComputeBatch,
    report: Callable[[str], None],
    stages: Sequence[str],
    journal: Path | None = None,
) -> Broken:
    """Attack images in stages, each on the images that survived those before it.

    A point counts only if the network itself misclassifies it.

    Args:
        network: on the device of `data`.
        data: N images.
        places: (B,) int64 on the CPU: the images to attack, all classified correctly.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        seed: of the random order of pixels.
        compute: how many images go through the network at once.
        report: receives a line for each stage, and more within long ones.
        stages: see `stages_of`.
        journal: folder for finished stages; None keeps none.
    """
    broken = torch.zeros(len(places), dtype=torch.bool)
    images = as_float_images(data.images[places])
    labels, adversarial = data.labels[places], images.cpu().clone()
    with frozen_eval(network):
        attacked = AttackedNetwork(network, compute)
        attacked.choose_rows(images[:1])
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        settings: dict[str, str | int | float] = {
            "epsilon": epsilon,
            "seed": seed,
            "way": _way(),
            "torch": torch.__version__,
            "network": tensors_sha256(tensors),
            "data": tensors_sha256({"images": images, "labels": labels}),
        }
        finished = Journal(journal, settings, report=report)
        for stage in stages:
            survivors = (~broken).nonzero().flatten()
            if not len(survivors):
                break
            run = _Stage(attacked, stage, images[survivors], labels[survivors], epsilon, seed, report)
            name = f"{stage}-{int(places[survivors[0]]):06d}"
            batch = finished.once(name, places[survivors], partial(compute.until_it_fits, run))
            broken[survivors[batch.broken]] = True
            adversarial[survivors[batch.broken]] = batch.adversarial
            report(f"opponent   {stage}: {len(batch.broken)} of {len(survivors)} broken   {duration(batch.seconds)}")
    return Broken(broken, adversarial)


def _way() -> str:
    return f"{ORDERS} {STEPS} {STEP_SIZES} {[(slope, loss.__name__) for slope, loss in VARIANTS]}"


@dataclass
class _Stage:
    """One attack on images that are not broken yet."""

    attacked: AttackedNetwork
    name: str
    images: Tensor
    labels: Tensor
    epsilon: float
    seed: int
    report: Callable[[str], None]
    forwarded: int = field(default=0, init=False)

    def __call__(self) -> FinishedBatch:
        """Run the attack; rows in the batch are those of `images`."""
        ticker = Ticker(LINE_SECONDS)
        wrong = torch.zeros(len(self.labels), dtype=torch.bool, device=self.labels.device)
        adversarial, turns = self.images.clone(), self._turns()
        for turn, (rows, points) in enumerate(self._attack(), 1):
            if len(rows):
                confirmed = misclassified(self.attacked.stored_logits(points), self.labels[rows])
                wrong[rows[confirmed]] = True
                adversarial[rows[confirmed]] = points[confirmed]
            if ticker.due():
                done = f"{turn}/{turns} turns, {int(wrong.sum())} of {len(wrong)} broken"
                self.report(f"opponent   {self.name}: {done}   {ticker.times(turn / turns)}")
        broken = wrong.nonzero().flatten()
        return FinishedBatch(broken.cpu(), adversarial[broken].cpu(), self.forwarded, ticker.seconds)

    def _turns(self) -> int:
        return (STEPS + 1) * len(VARIANTS) if self.name == LEAKY else ORDERS[self._order]

    @property
    def _order(self) -> str:
        return self.name.removeprefix(f"{HARD_LABEL}-")

    def _attack(self) -> Iterable[tuple[Tensor, Tensor]]:
        if self.name == LEAKY:
            return leaky_bpda(self.attacked, self.images, self.labels, epsilon=self.epsilon, forward=self._passed)
        ranks, queries = pixel_ranks(self.images.shape[1:], self._order, self.seed), ORDERS[self._order]
        return rays(self._classes, self.images, self.labels, epsilon=self.epsilon, ranks=ranks, queries=queries)

    def _passed(self, images: Tensor) -> Tensor:
        self.forwarded += len(images)
        return self.attacked.through(Attackable, images)

    def _classes(self, images: Tensor) -> Tensor:
        self.forwarded += len(images)
        logits: Tensor = self.attacked(images)
        return logits.argmax(1)
