"""Gradient-health checks of the backward pass: there is an input gradient, and it is correct."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from benchmark.attacks import summed_cross_entropy
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.health.verdict import Check, Limits, judge_number, judge_share
from benchmark.evaluation.probes import Attackable, Probe, input_gradient, logit_spread
from benchmark.runtime.seeding import generator_for

# An image of an honest network lacks a gradient only if its margin is extreme (100 logits), or if the network is
# constant around it: a pruned network may have so few connections that most images activate none.
ZERO_GRADIENTS = Limits(suspect=0.05, fail=0.25)
# A fake gradient is off by tens of percents. Finite differences in float64 agree with honest ones to 1e-6; in float32,
# for a network that cannot be copied to float64, rounding and the kinks of ReLU disturb them by up to 3e-2.
WRONG_GRADIENTS = {torch.float64: Limits(suspect=0.01, fail=0.1), torch.float32: Limits(suspect=0.1, fail=0.3)}
# Steps of a finite difference in pixels, of which the better one counts. The shorter rarely meets a kink; the longer is
# for networks that round more than their type does, such as float64 ones that cast their input to float32.
STEPS = {torch.float64: (1e-7, 1e-5), torch.float32: (3e-5, 3e-4)}
GRADIENT_IMAGES = 32
DIRECTIONS = 4  # random directions per image
INSIDE = 2e-3  # distance kept from 0 and 1, where a clamp in the network has two slopes
SAME_LOGITS = 1e-3  # of their spread: a float64 copy that differs more is another network


def zero_gradients(probe: Probe) -> Check:
    """Count images whose input gradient is zero, missing or not finite, for the worse of two losses.

    An image whose margin is constant in the whole ball does not count: its true gradient is zero.
    """
    data, model = probe.usual(), probe.attackable()
    losses = {"cross-entropy": summed_cross_entropy, "the margin": summed_margin}
    gradients = {
        name: torch.cat([input_gradient(model, *batch, loss) for batch in probe.batches(data)]).flatten(1)
        for name, loss in losses.items()
    }
    unusable = {name: (flat == 0).all(1) | ~flat.isfinite().all(1) for name, flat in gradients.items()}
    constant = torch.zeros(len(data), dtype=torch.bool, device=data.labels.device)
    if any(rows.any() for rows in unusable.values()):
        constant = torch.cat([_constant(probe, model, *batch) for batch in probe.batches(data)])
    counts = {name: int((rows & ~constant).sum()) for name, rows in unusable.items()}
    worst = max(counts, key=lambda name: counts[name])
    fixed = int((unusable[worst] & constant).sum())
    exempt = f", besides {fixed} whose margin did not change anywhere in the ball" if fixed else ""
    return judge_share(
        "zero_gradients",
        counts[worst],
        len(data),
        ZERO_GRADIENTS,
        observation=f"have no usable input gradient of {worst}{exempt}",
        advice="attack a smooth replacement of what blocks the gradient (BPDA), or scale saturated logits down",
    )


def true_gradients(probe: Probe) -> Check:
    """Compare autograd's directional derivatives of a random mix of logits with central finite differences."""
    generator = generator_for(torch.device("cpu"), "health-directions", probe.seed)
    device = probe.data.labels.device
    data = probe.usual()
    images = as_float_images(data.images[: min(GRADIENT_IMAGES, probe.batch_size)].cpu())
    noise = 2.0 * torch.rand(images.shape, generator=generator) - 1.0
    images = (images + probe.epsilon * noise).clamp(INSIDE, 1.0 - INSIDE).to(device)
    with torch.no_grad():
        logits = probe.attackable()(images)
    mix = torch.randn(logits.shape, generator=generator).to(device)
    gradient = input_gradient(probe.attackable(), images, mix, lambda logits, mix: (logits * mix).sum())
    precise = _float64_copy(probe.model, images, logits)
    model, dtype = (precise, torch.float64) if precise is not None else (probe.attackable(), torch.float32)
    mismatches = []
    for _ in range(DIRECTIONS):
        direction = torch.randint(2, images.shape, generator=generator).to(device) * 2.0 - 1.0
        slope = (gradient.double() * direction).flatten(1).sum(1)
        arguments = images.to(dtype), direction.to(dtype), mix.to(dtype)
        by_step = [_mismatch(slope, *_finite_difference(model, *arguments, step)) for step in STEPS[dtype]]
        mismatches.append(torch.stack(by_step).amin(0))
    mismatch = float(torch.cat(mismatches).median())
    return judge_number(
        "true_gradients",
        mismatch,
        WRONG_GRADIENTS[dtype],
        observation=f"autograd's derivatives differ from finite differences in {str(dtype).removeprefix('torch.')} by "
        f"{mismatch:.1e} in the median",
        advice="look for rounding in the network (half precision, autocast, a straight-through gradient) or a detached "
        "branch, and evaluate in float32 or attack what is computed",
    )


def summed_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit minus the label's, summed over the batch; (B, classes) logits, (B,) labels."""
    return margins(logits, labels).sum()


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) margins by which the largest other logit exceeds the label's."""
    label = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return others.amax(1) - label[:, 0]


def _constant(probe: Probe, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) bool: the margin is the same number at random corners of the ball.

    A corner has one random sign per channel and square of 1, 2, 4 pixels and so on, up to the whole image: a network
    that blurs or rounds its input reacts to the coarse ones, if to anything in the ball.
    """
    generator = generator_for(torch.device("cpu"), "health-constant", probe.seed)
    height, width = images.shape[2:]
    with torch.no_grad():
        before = margins(model(images), labels)
        same = torch.ones_like(labels, dtype=torch.bool)
        for power in range(math.ceil(math.log2(max(height, width))) + 1):
            side = 2**power
            coarse = (*images.shape[:2], math.ceil(height / side), math.ceil(width / side))
            signs = 2.0 * torch.randint(2, coarse, generator=generator) - 1.0
            fine = signs.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width]
            shift = probe.epsilon * fine.to(images)
            for corner in (images + shift, images - shift):
                same &= margins(model(corner.clamp(0, 1)), labels) == before
    return same


def _float64_copy(model: nn.Module, images: Tensor, logits: Tensor) -> nn.Module | None:
    """Return a copy that computes the same logits in float64; None if device or network do not support it."""
    try:
        copied = Attackable(copy.deepcopy(model).double()).eval()
        with torch.no_grad():
            precise = copied(images.double())
    except Exception:  # whatever the network's own code raises for a type it does not expect
        return None
    same = float((precise - logits).abs().max()) <= SAME_LOGITS * logit_spread(logits)
    return copied if same and precise.dtype == torch.float64 else None


def _finite_difference(
    model: nn.Module, images: Tensor, direction: Tensor, mix: Tensor, step: float
) -> tuple[Tensor, Tensor]:
    """Return (B,) central differences of the mixed logits, and (B,) how much of each may be rounding."""
    with torch.no_grad():
        ahead = model(images + step * direction) * mix
        behind = model(images - step * direction) * mix
    difference = (ahead - behind).double().sum(1) / (2 * step)
    return difference, ahead.double().abs().sum(1) * torch.finfo(images.dtype).eps / step


def _mismatch(slope: Tensor, difference: Tensor, rounding: Tensor) -> Tensor:
    """Return (B,) differences of two derivatives relative to the larger one; 1 where that is not a number."""
    wrong = (slope - difference).abs()
    scale = torch.stack([slope.abs(), difference.abs(), rounding]).amax(0)
    return torch.where(wrong == 0, 0.0, wrong / scale).nan_to_num(nan=1.0, posinf=1.0)
