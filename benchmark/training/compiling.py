"""Compiles the network on a GPU, where training launches thousands of small kernels per step; eager where that fails.

`forward` and its backward are compiled in place, without any effect on state dict, modules or `Method.export`. The
optimiser, the choice of masks and the attack's arithmetic stay eager; they are few kernels on large tensors.
Nothing is compiled on a CPU, where compiled code measured no faster and took 40 to 55 seconds to compile.
`TORCH_COMPILE_DISABLE=1`, torch's own switch, keeps a GPU run eager too.

CUDA graphs (mode "reduce-overhead") are not used. Effective weights are new tensors in every step, which a graph would
copy at every replay; batch norm writes its running statistics during the passes, which makes torch discard its graphs;
an attack keeps a pass's gradient while the next pass runs; and batch sizes differ by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmark.attacks import input_gradients_only
from benchmark.training.objectives import PgdObjective, autocast
from methods.holding import held_effective_weights

# Kinds of pass (attack, update, clean prediction, with and without autocast) times phases times two batch sizes.
VARIANTS = 32
WORTHWHILE_STEPS = 500  # compiling takes a minute or two, longer than a shorter phase


def compile_network(
    model: nn.Module,
    images: Tensor,
    objective: PgdObjective,
    *,
    steps: int,
    report: Callable[[str], None],
    backend: str | Callable[..., object] = "inductor",
    devices: tuple[str, ...] = ("cuda",),
) -> bool:
    """Compile a network in place if it is on a GPU and the phase is long enough, and try it once.

    Call it at the beginning of every phase, because each phase trains different parameters, which needs different
    code. The trial makes the objective's passes for an attack and an update. It changes no parameter, buffer, gradient,
    mode or random stream. A failure costs only speed: the network stays eager, and one sentence reports it.

    Args:
        model: the network, on its device and in its memory layout.
        images: (B, C, H, W) images like those of training, on the same device; B as in training.
        objective: determines mode and precision of the passes.
        steps: updates in the phase.
        report: receives the sentence.
        backend: of torch.compile.
        devices: kinds of device to compile on.

    Returns:
        Whether the network is compiled now.
    """
    if images.device.type not in devices or steps < WORTHWHILE_STEPS:
        return False
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    try:
        model.compile(backend=backend)
        with _unchanged(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as the compiler's on held weights, which are not leaves
            _try_passes(model.train(), images, objective)
    except Exception as error:  # a compiler may raise anything
        model._compiled_call_impl = None  # set by nn.Module.compile
        reason = " ".join(str(error).split("\n")[:2]).strip()
        report(f"torch.compile failed ({type(error).__name__}: {reason}), so training continues uncompiled")
        return False
    return True


def _try_passes(model: nn.Module, images: Tensor, objective: PgdObjective) -> None:
    with held_effective_weights(model):
        with objective.attacking(model, images), input_gradients_only(model):
            if not objective.train_mode_attack:  # TRADES computes the clean prediction first
                with torch.no_grad():
                    model(images)
            point = images.detach().clone().requires_grad_(True)
            torch.autograd.grad(model(point).float().sum(), point)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        with autocast(images, objective.update_bf16):
            logits = model(images)
        torch.autograd.grad(logits.float().sum(), trained, allow_unused=True)


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Restore buffers, modes and random streams at the end of the block, bit for bit."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({buffer.device.index or 0 for buffer, _ in buffers if buffer.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)
        for module, training in modes:
            module.training = training
