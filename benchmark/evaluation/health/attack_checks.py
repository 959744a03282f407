"""Gradient-health checks that attack again, each in a way that should break nothing new on an honest network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.attacks import ascent_step, pgd, random_point
from benchmark.data.load import Images
from benchmark.evaluation.accuracy import pgd_verdicts
from benchmark.evaluation.health.verdict import Check, Limits, judge_share
from benchmark.evaluation.probes import Attackable, Probe
from benchmark.evaluation.restored import left_as_found
from benchmark.runtime.seeding import derive_seed, generator_for

# Images that survive AutoAttack survive simpler attacks too: honest networks lose at most 1 or 2 of 64.
NEWLY_BROKEN = Limits(suspect=0.02, fail=0.1)
# PGD is no bound: more of it breaks a few more images of an honest network.
MORE_STEPS = Limits(suspect=0.1, fail=0.25)
# Without a bound any image can become any other, so that only a missing gradient lets an image survive.
LEFT_UNBOUNDED = Limits(suspect=0.02, fail=0.05)
SCALE_FACTORS = {"0.1": 0.1, "10": 10.0}  # of the logits, which logit_scale tries beside 1 / mean |logit|
SCALES = len(SCALE_FACTORS) + 1
STEP_FACTOR, RESTARTS = 4, 2  # more_steps takes so many times the protocol's steps, and so many restarts
UNBOUNDED_STEPS = 50
UNBOUNDED_STEP_SIZE = 0.05  # crosses the pixel range in 20 steps
SQUARE = "square"


def logit_scale(probe: Probe) -> Check:
    """Count images that survived all attacks but are broken by PGD on rescaled logits."""
    size = probe.logit_size()
    factors = SCALE_FACTORS | {"1 / mean |logit|": 1 / size}
    data = probe.first(probe.surviving())
    robust = torch.ones(len(data), dtype=torch.bool)
    for name, factor in factors.items():
        robust &= _pgd(probe, data, probe.attackable(factor), seed=derive_seed(probe.seed, "health-scale", name))
    saturated = _saturated(probe)
    return judge_share(
        "logit_scale",
        int((~robust).sum()),
        len(data),
        NEWLY_BROKEN,
        observation=f"that survived all attacks are broken by PGD on logits times {', '.join(factors)} "
        f"(mean |logit| {size:.3g}, softmax saturated on {saturated:.0%})",
        advice="evaluate the network with its logits divided by their mean magnitude",
    )


def black_box(probe: Probe) -> Check:
    """Count images that survive the white-box attacks but are broken by Square, which uses no gradient."""
    if SQUARE not in probe.verdicts:
        return Check("black_box", None, "not run", "black_box was not run: there are no verdicts of Square.")
    white_box = probe.surviving(without=(SQUARE,))
    return black_box_of(int((white_box & ~probe.verdicts[SQUARE]).sum()), int(white_box.sum()))


def black_box_of(broken: int, survivors: int) -> Check:
    """Judge the number of survivors of the white-box attacks that Square breaks, as `black_box` does."""
    return judge_share(
        "black_box",
        broken,
        survivors,
        NEWLY_BROKEN,
        observation="that survived the white-box attacks are broken by Square, which uses no gradient",
        advice="do not trust the gradients: find what masks them, and attack a smooth replacement (BPDA)",
    )


def more_steps(probe: Probe) -> Check:
    """Count images robust under the protocol's PGD but broken by four times its steps from two other starts."""
    data = probe.first(probe.verdicts["pgd"])
    seed, steps = derive_seed(probe.seed, "health-steps"), STEP_FACTOR * probe.steps
    robust = _pgd(probe, data, probe.attackable(), seed=seed, steps=steps, restarts=RESTARTS)
    return judge_share(
        "more_steps",
        int((~robust).sum()),
        len(data),
        MORE_STEPS,
        observation=f"that survived PGD-{probe.steps} are broken by PGD-{steps} with two restarts",
        advice="increase PGD steps and restarts until the accuracy no longer falls, and trust AutoAttack only",
    )


def unbounded(probe: Probe) -> Check:
    """Count images that unbounded PGD cannot move out of their class.

    It starts at the image, and if it gets stuck there (say, no unit of a sparse network is active), at random pixels.
    """
    data = probe.first(probe.verdicts["clean"])
    model = probe.attackable(1 / probe.logit_size())  # saturation is for logit_scale to find
    generator = generator_for(data.labels.device, "health-unbounded", probe.seed)
    survivors = 0
    for images, labels in probe.batches(data):
        stuck = _stuck(model, images, labels)
        images, labels = images[stuck], labels[stuck]
        survivors += int(_stuck(model, random_point(images, 1.0, generator), labels).sum())
    return judge_share(
        "unbounded",
        survivors,
        len(data),
        LEFT_UNBOUNDED,
        observation="are still classified correctly after unbounded PGD, which should leave none",
        advice="find out why the gradient leads nowhere: rounding, saturation, or the same answer to all images",
    )


def transfer(probe: Probe, parent: nn.Module | None) -> Check:
    """Count images that survive the white-box attacks but are broken by PGD on the dense parent."""
    if parent is None:
        return Check("transfer", None, "not run", "transfer was not run: there is no parent network to attack.")
    data = probe.first(probe.surviving(without=(SQUARE,)))
    try:
        adversarial = _made_on(parent, probe, data)
    except Exception as error:  # the parent's own code
        return Check("transfer", None, "not run", f"transfer was not run: the parent raised {type(error).__name__}.")
    with torch.no_grad():
        broken = [probe.attackable()(images).argmax(1) != labels for images, labels in adversarial]
    return judge_share(
        "transfer",
        sum(int(verdicts.sum()) for verdicts in broken),
        len(data),
        NEWLY_BROKEN,
        observation="that survived the white-box attacks are broken by PGD images made on the parent",
        advice="do not trust the gradients: find what masks them, and attack through the parent as well",
    )


def _stuck(model: nn.Module, starts: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) bool: no step of unbounded PGD leaves the label's class; a start outside it proves nothing."""
    stuck = torch.ones_like(labels, dtype=torch.bool)
    rows, points = torch.arange(len(labels), device=labels.device), starts
    for step in range(UNBOUNDED_STEPS + 1):
        if not len(rows):
            break
        points, logits = ascent_step(
            model, points, starts[rows], labels[rows], epsilon=1.0, step_size=UNBOUNDED_STEP_SIZE
        )  # the logits are those before the step
        correct = logits.argmax(1) == labels[rows]
        if step:
            stuck[rows[~correct]] = False
        rows, points = rows[correct], points[correct]
    return stuck


def _pgd(probe: Probe, data: Images, model: nn.Module, *, seed: int, steps: int = 0, restarts: int = 1) -> Tensor:
    """Return (n,) bool: robust under PGD with the protocol's step size, and its steps unless others are passed."""
    if not len(data):
        return torch.ones(0, dtype=torch.bool)
    return pgd_verdicts(
        model,
        data,
        epsilon=probe.epsilon,
        step_size=probe.step_size,
        steps=steps or probe.steps,
        restarts=restarts,
        seed=seed,
        batch_size=probe.batch_size,
    )


def _made_on(parent: nn.Module, probe: Probe, data: Images) -> list[tuple[Tensor, Tensor]]:
    """Return batches of PGD images (B, C, H, W) made on another network, with their labels (B,)."""
    generator = generator_for(data.labels.device, "health-transfer", probe.seed)
    with left_as_found(parent):
        model = Attackable(parent).eval()
        return [
            (
                pgd(
                    model,
                    images,
                    labels,
                    epsilon=probe.epsilon,
                    step_size=probe.step_size,
                    num_steps=probe.steps,
                    random_start=True,
                    generator=generator,
                ),
                labels,
            )
            for images, labels in probe.batches(data)
        ]


def _saturated(probe: Probe) -> float:
    """Return the share of images whose label has a softmax of exactly 1, where cross-entropy has no gradient."""
    data = probe.usual()
    label = probe.logits(data).softmax(1).gather(1, data.labels[:, None])
    return float((label == 1).float().mean())
