"""Measures a submission's network on the record's images: clean verdicts and the cheap checks of gradient health.

Both also tell whether this machine computes as the record's did, bit for bit; `replay` is strict only then.
"""

from __future__ import annotations

import os
from fractions import Fraction

import torch
from torch import Tensor, nn

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images, clean_verdicts, frozen_eval
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.health import Check, gradient_health
from benchmark.launch.provenance import device_name
from benchmark.results.evaluation import HEALTH_ORDER, VERDICTS
from benchmark.results.record import Record

# Checks that cost little and need no verdict measured anew; `black_box` follows from the verdicts.
HEALTH = ("eval_mode", "deterministic", "batch_independent", "zero_gradients", "true_gradients", "logit_scale")
# Numbers with all their digits, which another kind of machine rounds in another way.
_FINGERPRINT = ("deterministic", "batch_independent", "true_gradients")
_SHARES = ("eval_mode", "zero_gradients", "logit_scale")
_NEEDS = {"more_steps": "pgd", "unbounded": "clean"}  # not measured here, but run wherever images are left
SHARE_TOLERANCE = 0.1  # between shares of at most 64 images, measured on two machines
MARGIN = 1e-3  # of the logits' spread; rounding moves a logit by less than a thousandth of that
LONG_PGD = 2_000  # steps times restarts; above, logit_scale would take minutes


def settle_threads(record: Record) -> bool:
    """Take as many threads as the record, since float sums depend on it; return whether there are so many cores."""
    cores = os.cpu_count() or 1
    torch.set_num_threads(min(record.provenance.threads, cores))
    return record.provenance.threads <= cores


def check_wide(record: Record, images: Images) -> list[str]:
    """Compare the images of a record's wide verdicts, which it must have, with those found here."""
    wide = record.evaluation.wide
    assert wide is not None
    if len(images) < wide.n_images:
        return [f"PGD is said to have met {wide.n_images} images, the test part has {len(images)}"]
    found = images.sha256()
    if found == wide.test_sha256:
        return []
    return [f"test_sha256 is {wide.test_sha256[:12]}, the first {wide.n_images} test images have {found[:12]}"]


def check_clean(record: Record, network: nn.Module, images: Images) -> list[str]:
    """Compare the clean verdicts of all images; a difference is believed only where two classes are nearly equal.

    `images` are those of the wide verdicts if the record has them, the protocol's otherwise.
    """
    size = record.evaluation.autoattack.batch_size
    measured = clean_verdicts(network, images, batch_size=size)
    claimed = (record.evaluation.wide or record.evaluation).right("clean")
    differs = (measured != torch.from_numpy(claimed.copy())).nonzero().flatten()
    if not len(differs):
        return []
    margins = _margins(network, Images(images.images[differs], images.labels[differs]))
    wrong = differs[margins > MARGIN].tolist()
    if not wrong:
        return []
    shown = ", ".join(map(str, wrong[:5]))
    return [
        f"the verdicts of {len(wrong)} clean images are not those of the artifact: {shown}; "
        f"{int(measured.sum())} of {len(images)} are right"
    ]


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


def measure_health(record: Record, network: nn.Module, images: Images) -> list[Check]:
    """Repeat the cheap checks of gradient health, on the images that the record's verdicts choose."""
    evaluation = record.evaluation
    long = evaluation.pgd.steps * evaluation.pgd.restarts > LONG_PGD
    return gradient_health(
        network,
        images,
        {name: torch.from_numpy(evaluation.right(name).copy()) for name in VERDICTS},
        epsilon=float(Fraction(evaluation.epsilon)),
        pgd_step_size=float(Fraction(evaluation.pgd.step_size)),
        pgd_steps=evaluation.pgd.steps,
        seed=PGD_SEED,
        batch_size=evaluation.autoattack.batch_size,
        only=[name for name in HEALTH if not (long and name == "logit_scale")],
        report=lambda line: None,
    )


def check_health(record: Record, measured: list[Check]) -> list[str]:
    """Return where the record's health is better than what was measured, or numbers differ that should not."""
    claimed = {check.name: check for check in record.evaluation.health}
    reasons = []
    for name, needs in _NEEDS.items():
        if claimed[name].verdict == "not run" and record.evaluation.right(needs).any():
            reasons.append(f"{name}: the record says not run, but there are images to run it on")
    for check in measured:
        told = claimed[check.name]
        if check.verdict == "fail":
            reasons.append(f"{check.name}: {check.reason}")
        elif check.verdict in HEALTH_ORDER and told.verdict != check.verdict:
            reasons.append(f"{check.name}: the record says {told.verdict}, measured {check.verdict}: {check.reason}")
        elif check.name in _SHARES and abs((check.value or 0.0) - (told.value or 0.0)) > SHARE_TOLERANCE:
            reasons.append(f"{check.name}: the record says {told.value}, measured {check.value}")
    return reasons


def same_machine(record: Record, measured: list[Check]) -> bool:
    """Tell whether this machine gives the record's numbers to the last bit, as far as it says what it is."""
    told = {check.name: check.value for check in record.evaluation.health}
    release = [text.partition("+")[0] for text in (record.provenance.torch, torch.__version__)]
    return (
        record.provenance.device == device_name(torch.device("cpu"))
        and release[0] == release[1]
        and all(told[check.name] == check.value for check in measured if check.name in _FINGERPRINT)
    )
