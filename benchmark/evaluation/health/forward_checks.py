"""Gradient-health checks of the forward pass: the logits of an image must depend on that image alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmark.data.load import Images
from benchmark.evaluation.accuracy import as_float_images
from benchmark.evaluation.health.verdict import Check, Limits, judge_number
from benchmark.evaluation.probes import PROBE_IMAGES, Attackable, Probe, logit_spread
from benchmark.evaluation.restored import left_as_found
from benchmark.runtime.devices import out_of_memory
from benchmark.runtime.seeding import generator_for

# A single module in train mode can make logits depend on chance or on the other images.
TRAINING_MODULES = Limits(suspect=0, fail=0)
# Differences are relative to the spread of an image's logits. The same batch twice is bit-identical except for kernels
# that sum in arbitrary order; other batch sizes use other kernels. Batch statistics and noise differ by whole percents.
REPEAT_DIFFERENCE = Limits(suspect=1e-5, fail=1e-5)
BATCH_DIFFERENCE = Limits(suspect=1e-3, fail=1e-3)
ALONE = 8  # images that are also passed one by one
ODD_BATCH = 7  # divides neither the probe nor usual batch sizes


def eval_mode(model: nn.Module, data: Images) -> Check:
    """Count modules in train mode at first, after `.eval()` or in a forward pass, or with batch statistics.

    A train flag that does not affect the logits, such as a container's, does not count. Puts the network into eval mode
    as far as possible.
    """
    images = as_float_images(data.images[:PROBE_IMAGES])
    before = sum(_trains(module) for module in model.modules())
    logits_before = _logits_or_none(model, images) if before else None
    model.eval()
    refusing = {id(module) for module in model.modules() if _trains(module)}
    after = {id(module) for module in model.modules() if _needs_batch(module)}
    with torch.no_grad(), left_as_found(model):
        logits_after = _logits_or_none(model, images) if refusing else None
        for module in model.modules():
            module.training = False
        with _collect_training(model, after):
            logits = Attackable(model)(images)
        after |= {id(module) for module in model.modules() if _trains(module)}
    after |= set() if _same(logits_after, logits) else refusing
    before = 0 if _same(logits_before, logits) else before
    return judge_number(
        "eval_mode",
        max(before, len(after)),
        TRAINING_MODULES,
        observation=f"{before} modules were passed in train mode, {len(after)} train or use batch statistics after "
        ".eval()",
        advice="call .eval() before the evaluation, and keep running statistics in batch norms",
    )


def deterministic(probe: Probe) -> Check:
    """Measure the largest relative difference of a logit between passes of the same batch, also with gradients."""
    images = as_float_images(probe.usual().images[: probe.batch_size])
    model = probe.attackable()
    with torch.no_grad():
        first, *others = [model(images) for _ in range(3)]
    with torch.enable_grad():
        others.append(model(images.clone().requires_grad_(True)).detach())
    difference = max(_difference(first, other) for other in others)
    return judge_number(
        "deterministic",
        difference,
        REPEAT_DIFFERENCE,
        observation=f"passes over the same images differ by {difference:.1e} of the logits' spread",
        advice="remove the randomness, or attack the expectation over many passes (EOT)",
    )


def batch_independent(probe: Probe) -> Check:
    """Compare a full batch with a shuffled one, with small batches and with single images."""
    images = as_float_images(probe.usual().images[: probe.batch_size])
    order = torch.randperm(len(images), generator=generator_for(torch.device("cpu"), "health-order", probe.seed))
    order = order.to(images.device)
    model = probe.attackable()
    with torch.no_grad():
        full = model(images)
        shuffled = model(images[order])
        small = torch.cat([model(part) for part in images.split(ODD_BATCH)])
        alone = torch.cat([model(image) for image in images[:ALONE].split(1)])
    pairs = [(full[order], shuffled), (full, small), (full[:ALONE], alone)]
    difference = max(_difference(first, second) for first, second in pairs)
    changed = sum(int((first.argmax(1) != second.argmax(1)).sum()) for first, second in pairs)
    return judge_number(
        "batch_independent",
        difference,
        BATCH_DIFFERENCE,
        observation=f"logits differ by {difference:.1e} of their spread with the batch's order and size, "
        f"and {changed} of {sum(len(first) for first, _ in pairs)} predictions change",
        advice="make an image's logits independent of the other images, say by running statistics in batch norms",
    )


def _difference(first: Tensor, second: Tensor) -> float:
    """Return the largest difference relative to the spread of the logits; infinite if a logit is not finite."""
    largest = float((first - second).abs().max())
    if largest == 0:
        return 0.0
    spread = logit_spread(first)
    return largest / spread if spread > 0 and largest < float("inf") else float("inf")


def _trains(module: nn.Module) -> bool:
    return getattr(module, "training", False)  # frozen TorchScript has no mode


def _logits_or_none(model: nn.Module, images: Tensor) -> Tensor | None:
    """Return the logits in the modules' current modes, without updating statistics; None if the network fails."""
    with torch.no_grad(), left_as_found(model):
        try:
            logits: Tensor = Attackable(model)(images)
        except Exception as error:  # the network's own code
            if out_of_memory(error):
                raise
            return None
    return logits


def _same(other: Tensor | None, logits: Tensor) -> bool:
    return other is not None and other.shape == logits.shape and _difference(logits, other) <= REPEAT_DIFFERENCE.suspect


def _needs_batch(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None


@contextmanager
def _collect_training(model: nn.Module, ids: set[int]) -> Iterator[None]:
    """Add the ids of the network's modules that are called in train mode inside the block."""
    own = {id(module) for module in model.modules()}

    def collect(module: nn.Module, arguments: object) -> None:
        if _trains(module) and id(module) in own:
            ids.add(id(module))

    handle = register_module_forward_pre_hook(collect)
    try:
        yield
    finally:
        handle.remove()
