"""Clean and PGD verdicts on more test images than AutoAttack can afford, added to a finished evaluation.

Test subsets are nested: the protocol's images are the first of the larger subset. Their verdicts are reused, and only
the further images are measured. Random starts are drawn for all images at once, as in any PGD of this benchmark, so
the verdicts are those of one PGD over the whole subset.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts, prepare
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import ComputeBatch
from benchmark.evaluation.progress import LINE_SECONDS
from benchmark.results.evaluation import EvaluationPart, WidePart
from benchmark.results.verdicts import pack_verdicts
from benchmark.runtime.progress import Ticker


def widen(
    network: nn.Module,
    evaluation: EvaluationPart,
    images: Images,
    *,
    device: torch.device | str,
    batch_size: int,
    report: Callable[[str], None] = lambda line: None,
) -> EvaluationPart:
    """Return an evaluation with clean and PGD verdicts on all `images`, under its own PGD settings and seed.

    Args:
        network: of this project, the one that was evaluated; moved and cast as in `evaluate`.
        evaluation: of the first of the images.
        images: more of the same test part.
        device: where to run.
        batch_size: images per call of the attack.
        report: receives progress lines.
    """
    data, n, pgd = images.to(device), evaluation.n_images, evaluation.pgd
    network = prepare(network, device)
    further = torch.arange(len(data)) >= n
    compute = ComputeBatch(report)
    line = _Line(f"wide       pgd-{pgd.steps}", int(further.sum()), report)
    measured = {
        "clean": clean_verdicts(network, data, batch_size=batch_size, compute=compute),
        "pgd": pgd_verdicts(
            network,
            data,
            epsilon=float(Fraction(evaluation.epsilon)),
            step_size=float(Fraction(pgd.step_size)),
            steps=pgd.steps,
            restarts=pgd.restarts,
            seed=PGD_SEED,
            batch_size=batch_size,
            among=further,
            compute=compute,
            progress=line.show,
        ),
    }
    right = {name: np.concatenate([evaluation.right(name), bits.numpy()[n:]]) for name, bits in measured.items()}
    shares = {name: int(np.count_nonzero(bits)) / len(data) for name, bits in right.items()}
    accuracies = ", ".join(f"{name} {100 * share:.2f}" for name, share in shares.items())
    report(f"wide       {accuracies} of {len(data)} images")
    wide = WidePart(
        n_images=len(data),
        test_sha256=images.sha256(),
        clean_accuracy=shares["clean"],
        pgd_accuracy=shares["pgd"],
        verdicts={name: pack_verdicts(bits) for name, bits in right.items()},
    )
    return EvaluationPart(**{**dict(evaluation), "wide": wide, "notes": [*evaluation.notes, *compute.notes]})


class _Line:
    """Reports every few seconds how much of an attack is done and how long it still takes."""

    def __init__(self, name: str, images: int, report: Callable[[str], None]) -> None:
        self.name, self.images, self.report = name, images, report
        self.ticker = Ticker(LINE_SECONDS)

    def show(self, share: float) -> None:
        """Report the share that is done, in (0, 1], if a line is due."""
        if self.ticker.due():
            done = f"{share:.0%} of {self.images} further images"
            self.report(f"{self.name}   {done}   {self.ticker.times(share)}")
