"""Whether a normalisation can be the one that a checkpoint was trained with, from the first batch norm.

A bias-free convolution is linear. If a batch norm follows it directly, the running mean of channel c is close to the
sum over input channels i of the filter's total weight w[c, i] times the mean of input channel i, and that mean
follows from the normalisation and the data set's mean. A filter whose weights do not cancel thus shows whether images
came in [0, 1] or standardised. Padding and attacks shift it a little; a wrong normalisation shifts it by a large part
of the running standard deviation. It distinguishes these two only: another standard deviation with the right mean
passes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.data.catalog import DatasetFacts
from benchmark.errors import UserError
from benchmark.foreign.checkpoints.layout import Statistics

# Mean squared distance of the running means, in running variances. Over the 75 networks on the committed boards, with
# their own normalisation it is 0.0001 to 0.055 and at least 4.5 times as far with none.
DOUBTFUL = 0.02
BETTER = 3.0  # how much closer the other one must be


def check_normalisation(network: nn.Module, statistics: Statistics, facts: DatasetFacts) -> None:
    """Refuse a normalisation that the first batch norm contradicts, while another agrees with it.

    Args:
        network: a network with a normalisation inside, in eval mode, with the checkpoint's tensors.
        statistics: mean and standard deviation per channel of that normalisation.
        facts: the data set that it was trained for.

    Raises:
        UserError: if so.
    """
    pair = _first_pair(network, facts)
    if pair is None:
        return
    weight, norm = pair
    running_mean, running_var = norm.running_mean, norm.running_var
    assert running_mean is not None and running_var is not None
    if not running_mean.any():
        return  # never trained
    data = torch.tensor(facts.mean)

    def distance(candidate: Statistics) -> float:
        mean, std = (torch.tensor(values).expand(len(data)) for values in candidate)
        expected = weight.sum((2, 3)) @ ((data - mean) / std)
        deviations: Tensor = (running_mean - expected).square() / (running_var + norm.eps)
        return float(deviations.mean())

    own = distance(statistics)
    others = {name: distance(candidate) for name, candidate in _usual(facts).items()}
    best = min(others, key=lambda name: others[name])
    if own > DOUBTFUL and others[best] * BETTER < own:
        raise UserError(
            f"the normalisation by mean {_text(statistics[0])} and std {_text(statistics[1])} cannot be the "
            f"checkpoint's: with the first convolution's weights, its first batch norm has the running means of images "
            f"{best}; give {_options(_usual(facts)[best])}, or another k if the masks are not the checkpoint's"
        )


def _usual(facts: DatasetFacts) -> dict[str, Statistics]:
    return {
        "in [0, 1], without normalisation": ((0.0,), (1.0,)),
        f"normalised by the mean and standard deviation of {facts.name}": (facts.mean, facts.std),
    }


def _options(statistics: Statistics) -> str:
    mean, std = (",".join(f"{value:g}" for value in values) for values in statistics)
    return f"--mean {mean} --std {std}"


def _first_pair(network: nn.Module, facts: DatasetFacts) -> tuple[Tensor, nn.BatchNorm2d] | None:
    """Return the weight of the convolution that sees the images, and the batch norm that follows it directly."""
    outputs: list[tuple[Tensor, Tensor]] = []
    pairs: list[tuple[Tensor, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        if not outputs and module.bias is None and module.groups == 1:
            outputs.append((output, module.weight.detach()))

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if outputs and not pairs and inputs[0] is outputs[0][0]:
            assert isinstance(module, nn.BatchNorm2d)
            pairs.append((outputs[0][1], module))

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        with torch.no_grad():
            network(torch.zeros(1, facts.channels, facts.size, facts.size))
    finally:
        for hook in hooks:
            hook.remove()
    return pairs[0] if pairs else None


def _text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
