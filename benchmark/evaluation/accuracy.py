"""Clean and PGD verdicts per image. Used by the evaluation and by model selection during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from benchmark.attacks import ascent_step, input_gradients_only, random_point
from benchmark.data.load import Images
from benchmark.evaluation.fast import AllBroken, AttackedNetwork, ComputeBatch, Rows
from benchmark.runtime.seeding import generator_for


def as_float_images(images: Tensor) -> Tensor:
    """Turn (B, C, H, W) uint8 pixels into float32 in [0, 1]."""
    return images.float() / 255.0


def prepare(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to the device in float32 and channels last, switch TF32 off, and return the network."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return network.to(device=device, dtype=torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """Put the network into eval mode inside the block, with gradients for inputs only; then restore all modes."""
    # Frozen TorchScript has no mode.
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    model.eval()
    try:
        with input_gradients_only(model):
            yield
    finally:
        for module, training in modes:
            module.training = training


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) bool: another class has the largest logit, or a logit is NaN, which names no class."""
    return (logits.argmax(1) != labels) | logits.isnan().any(1)


@torch.no_grad()
def clean_verdicts(model: nn.Module, data: Images, *, batch_size: int, compute: ComputeBatch | None = None) -> Tensor:
    """Return a (N,) bool tensor on the CPU: whether the unperturbed image is classified correctly.

    At most `batch_size` images go through the network at once, fewer if `compute` says so.
    """
    compute = ComputeBatch(_silent) if compute is None else compute

    def verdicts() -> Tensor:
        batches = zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True)
        return torch.cat(
            [~misclassified(compute.forward(model, as_float_images(images)), labels) for images, labels in batches]
        )

    with frozen_eval(model):
        return compute.until_it_fits(verdicts).cpu()


def pgd_verdicts(
    model: nn.Module,
    data: Images,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    restarts: int,
    seed: int,
    batch_size: int,
    among: Tensor | None = None,
    compute: ComputeBatch | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """Attack with PGD and return, per image, whether every point the attack visited is classified correctly.

    The clean image counts as visited, so PGD accuracy never exceeds clean accuracy. Random starts are drawn for all
    images at once, so that verdicts do not depend on the batch size. For a network of this project a folded copy is
    attacked, but only the network itself decides that an image is broken; a broken image is not attacked further.

    Args:
        model: network on [0, 1] images; evaluated in eval mode.
        data: N images.
        epsilon: radius of the Linf ball, in (0, 1) pixels.
        step_size: of one signed step, in pixels.
        steps: gradient steps per restart.
        restarts: independent random starts.
        seed: of the random starts.
        batch_size: images per forward pass.
        among: (N,) bool on the CPU, the images to attack; the others' verdict is False. None for all images.
        compute: how many images go through the network at once, where fewer than `batch_size` are better.
        progress: receives the share of the attack that is done, in (0, 1], after every step.

    Returns:
        (N,) bool tensor on the CPU.
    """
    compute = ComputeBatch(_silent) if compute is None else compute
    robust = clean_verdicts(model, data, batch_size=batch_size, compute=compute)
    if among is not None:
        robust &= among
    device = data.images.device
    with frozen_eval(model):
        attacked = AttackedNetwork(model, compute)
        attacked.choose_rows(as_float_images(data.images[:1]))
        for restart in range(restarts):
            generator = generator_for(torch.device("cpu"), "pgd", seed, restart)
            starts = random_point(as_float_images(data.images.cpu()), epsilon, generator)
            finished, survivors = 0, robust.nonzero().flatten()
            if not len(survivors):
                break
            for rows in survivors.split(batch_size):
                place = rows.to(device)
                images, labels, start = as_float_images(data.images[place]), data.labels[place], starts[rows].to(device)
                batch_progress = partial(_overall, progress, restart, restarts, finished, len(rows), len(survivors))
                attack = partial(
                    _withstood,
                    attacked,
                    start,
                    images,
                    labels,
                    epsilon=epsilon,
                    step_size=step_size,
                    steps=steps,
                    progress=batch_progress,
                )
                robust[rows] &= compute.until_it_fits(attack).cpu()
                batch_progress(1.0)
                finished += len(rows)
    return robust


def _withstood(
    attacked: AttackedNetwork,
    adversarial: Tensor,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    progress: Callable[[float], None],
) -> Tensor:
    """Return (B,) bool: correct at every point of PGD that starts at `adversarial`; all tensors hold B images."""
    rows = Rows(labels=labels, images=images, places=torch.arange(len(labels), device=labels.device))
    with attacked.watching(rows), suppress(AllBroken):
        for step in range(steps):
            adversarial, _ = ascent_step(attacked, adversarial, images, labels, epsilon=epsilon, step_size=step_size)
            progress((step + 1) / (steps + 1))
        with torch.no_grad():
            attacked(adversarial)
    return ~rows.broken


def _overall(
    progress: Callable[[float], None], restart: int, restarts: int, finished: int, rows: int, total: int, share: float
) -> None:
    """Report the share of the whole attack, given that of a batch; `finished` of `total` images came before it."""
    progress((restart + (finished + share * rows) / total) / restarts)


def _silent(line: str) -> None:
    """Report nothing."""
