"""Measures a submission's network on the record's images: clean verdicts and the cheap checks of gradient health.

Both also show whether this machine computes bit for bit as the record's did; `replay` is strict only then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, frozen_eval
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.fast import fold, sparse_copy
from benchmark.evaluation.health.health import Check, gradient_health
from benchmark.results.evaluation import HEALTH_ORDER, VERDICTS
from benchmark.runtime.provenance import device_name
from benchmark.submission.claim import Claim

# Checks that cost little and need no new verdicts; `slow_health` runs those that attack.
HEALTH = ("eval_mode", "deterministic", "batch_independent", "zero_gradients", "true_gradients")
# Compared to the last digit: another kind of machine rounds them differently.
_FINGERPRINT = ("deterministic", "batch_independent", "true_gradients")
_SHARES = ("eval_mode", "zero_gradients")
SHARE_TOLERANCE = 0.1  # between shares of at most 64 images, measured on two machines
FOLDED_IMAGES, FOLDED_BATCH = 256, 64
FOLDED_DIFFERENCES = 0.02  # share of images; none was seen on committed rows
MARGIN = 1e-3  # of the logits' spread; rounding moves a logit by less than a thousandth of that


def use_threads_of(claim: Claim) -> bool:
    """Use as many threads as the claim did, since float sums depend on it; return whether there are so many cores."""
    cores = os.cpu_count() or 1
    torch.set_num_threads(min(claim.threads, cores))
    return claim.threads <= cores


def check_wide(claim: Claim, images: Images) -> list[str]:
    """Compare the images of the wide verdicts, which must exist, with those here."""
    wide = claim.evaluation.wide
    assert wide is not None
    if len(images) < wide.n_images:
        return [f"PGD is said to have attacked {wide.n_images} images, the test part has {len(images)}"]
    sha256 = images.sha256()
    if sha256 == wide.test_sha256:
        return []
    return [f"test_sha256 is {wide.test_sha256[:12]}, the first {wide.n_images} test images have {sha256[:12]}"]


def check_clean(claim: Claim, network: nn.Module, images: Images) -> list[str]:
    """Compare the clean verdicts of all images; a difference is accepted only where two classes are nearly equal.

    `images` are those of the wide verdicts if there are any, otherwise the protocol's.
    """
    measured = clean_verdicts(network, images, batch_size=claim.batch_size)
    claimed = claim.widest("clean")
    differs = (measured != torch.from_numpy(claimed.copy())).nonzero().flatten()
    if reason := _other_copy(network, images):
        return [reason]
    if not len(differs):
        return []
    margins = _margins(network, Images(images.images[differs], images.labels[differs]))
    wrong = differs[margins > MARGIN].tolist()
    if not wrong:
        return []
    shown = ", ".join(map(str, wrong[:5]))
    return [
        f"the verdicts of {len(wrong)} clean images are not those of the artifact: {shown}; "
        f"{int(measured.sum())} of {len(images)} are classified correctly"
    ]


@torch.no_grad()
def _other_copy(network: nn.Module, images: Images) -> str:
    """Return why attacks would meet a network other than the artifact's; empty if they meet the same.

    They query a copy with folded batch norms, or its sparse form. Weights can be crafted so that rounding alone
    separates them.
    """
    if (folded := fold(network)) is None:
        return ""
    sparse, _ = sparse_copy(folded)
    copies = {"folded": folded} if sparse is None else {"folded": folded, "sparse": sparse}
    generator = torch.Generator().manual_seed(PGD_SEED)
    for pixels in images.first(FOLDED_IMAGES).images.split(FOLDED_BATCH):
        clean = as_float_images(pixels)
        noisy = torch.rand(clean.shape, generator=generator)
        with frozen_eval(network):
            for points in (clean, noisy):
                stored = network(points)
                spread = (stored.amax(1) - stored.amin(1)).clamp(min=1e-30)
                for name, copy in copies.items():
                    apart = ((stored - copy(points)).abs().amax(1) / spread > MARGIN).sum()
                    if apart > FOLDED_DIFFERENCES * len(points):
                        return f"the {name} copy that attacks query differs on {int(apart)} of {len(points)} images"
    return ""


@torch.no_grad()
def _margins(network: nn.Module, images: Images) -> Tensor:
    """Return (N,) distances between the label's logit and the largest other one, relative to the logits' spread."""
    with frozen_eval(network):
        logits = network(as_float_images(images.images))
    label = logits.gather(1, images.labels[:, None])
    other = logits.scatter(1, images.labels[:, None], float("-inf")).amax(1, keepdim=True)
    spread = (logits.amax(1) - logits.amin(1)).clamp(min=1e-30)
    margins: Tensor = (label - other).abs().flatten() / spread
    return margins


def measure_health(claim: Claim, network: nn.Module, images: Images) -> list[Check]:
    """Repeat the cheap checks of gradient health on the protocol's images, as for the record."""
    return health_of(claim, network, images, np.arange(len(images)), HEALTH)


def health_of(
    claim: Claim, network: nn.Module, images: Images, places: NDArray[np.int64], names: Sequence[str]
) -> list[Check]:
    """Run some checks of gradient health on some of the protocol's images, selected by the claimed verdicts."""
    rows = torch.from_numpy(places)
    return gradient_health(
        network,
        Images(images.images[rows], images.labels[rows]),
        {name: torch.from_numpy(claim.right(name)[places]) for name in VERDICTS},
        epsilon=claim.epsilon,
        pgd_step_size=claim.step_size,
        pgd_steps=claim.evaluation.pgd.steps,
        seed=PGD_SEED,
        batch_size=claim.batch_size,
        only=names,
        report=lambda line: None,
    )


def check_health(claim: Claim, measured: list[Check]) -> list[str]:
    """Return where the claimed health differs from the measured one."""
    claimed = {check.name: check for check in claim.evaluation.health}
    reasons = []
    for check in measured:
        stated = claimed[check.name]
        if check.verdict in HEALTH_ORDER and stated.verdict != check.verdict:
            reasons.append(f"{check.name}: the record says {stated.verdict}, measured {check.verdict}: {check.reason}")
        elif check.name in _SHARES and abs((check.value or 0.0) - (stated.value or 0.0)) > SHARE_TOLERANCE:
            reasons.append(f"{check.name}: the record says {stated.value}, measured {check.value}")
    return reasons


def same_machine(claim: Claim, measured: list[Check]) -> bool:
    """Return whether this machine, by its name and torch, gives the claimed numbers to the last bit, if kernels do."""
    stated = {check.name: check.value for check in claim.evaluation.health}
    release = [text.partition("+")[0] for text in (claim.torch, torch.__version__)]
    return (
        claim.device == device_name(torch.device("cpu"))
        and release[0] == release[1]
        and all(stated[check.name] == check.value for check in measured if check.name in _FINGERPRINT)
    )
