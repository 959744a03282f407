"""A copy of a network of this project for attacks: batch norms folded into convolutions, hand-written passes.

It computes what the stored network computes, up to the rounding of float32 sums. Its backward pass computes gradients
for the images only, and overwrites tensors that are no longer needed. Only networks of this project are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.fusion import fuse_conv_bn_weights

from benchmark.evaluation.fast.thinning import FoldedBlock, FoldedConv, thinned
from benchmark.networks.resnet import BasicBlock, Bottleneck, Normalize, ResNet, Shortcut


class FoldedResNet(nn.Module):
    """A `ResNet` in eval mode, to be attacked. It has no parameters: only images get gradients."""

    def __init__(self, network: ResNet) -> None:
        """Copy a network for which `can_fold` holds."""
        super().__init__()
        self.mean, self.std = network.normalize.mean, network.normalize.std
        stem, classifier = _folded(network.conv1, network.bn1), _folded(network.fc, network.last_norm)
        blocks = [_block(block) for block in _blocks(network)]
        self.stem, self.blocks, self.classifier = thinned(stem, blocks, classifier)
        self.leak = 0.0  # slope of a ReLU below zero in the backward pass, see `leaking`

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images in [0, 1] to (B, classes) logits."""
        if torch.is_grad_enabled() and images.requires_grad:
            logits: Tensor = _ToImages.apply(images, self)  # type: ignore[no-untyped-call]
            return logits
        return self.run(images, [])

    def standardised(self, images: Tensor) -> Tensor:
        """Return what the first convolution sees."""
        return (images.contiguous(memory_format=torch.channels_last) - self.mean) / self.std

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return all maps that a forward pass keeps for the backward pass."""
        kept: list[Tensor] = []
        with torch.no_grad():
            self.run(images, kept)
        return kept

    def run(self, images: Tensor, kept: list[Tensor]) -> Tensor:
        """Return the logits; add to `kept` what the backward pass needs: every ReLU's output, then the pooled maps."""
        maps = self.stem.forward(self.standardised(images)).relu_()
        kept.append(maps)
        for block in self.blocks:
            before = maps
            for conv in block.convs[:-1]:
                maps = conv.forward(maps).relu_()
                kept.append(maps)
            maps = block.convs[-1].forward(maps)
            if block.shortcut is None:
                maps += before
            else:
                maps += block.shortcut.forward(before[..., :: block.stride, :: block.stride])
            kept.append(maps.relu_())
        kept.append(F.adaptive_avg_pool2d(maps, 1))
        return self.classifier.forward(kept[-1]).flatten(1)

    def run_back(self, gradient: Tensor, kept: list[Tensor], images: Tensor) -> Tensor:
        """Return the gradient of the images from that of the logits (B, classes); `kept` is what `run` kept."""
        remaining = list(kept)
        pooled = self.classifier.backward(gradient[:, :, None, None].contiguous(), remaining.pop())
        maps = remaining.pop()
        gradient = (pooled / maps[0, 0].numel()).expand_as(maps).contiguous(memory_format=torch.channels_last)
        for block in reversed(self.blocks):
            _relu_back(gradient, maps, self.leak)
            inner = gradient
            for conv in reversed(block.convs):
                maps = remaining.pop()
                inner = conv.backward(inner, maps)
                if conv is not block.convs[0]:
                    _relu_back(inner, maps, self.leak)
            if block.shortcut is None:
                inner += gradient
            else:
                strided = inner[..., :: block.stride, :: block.stride]
                strided += block.shortcut.backward(gradient, maps[..., :: block.stride, :: block.stride])
            gradient = inner
        _relu_back(gradient, maps, self.leak)
        return self.stem.backward(gradient, images.contiguous(memory_format=torch.channels_last)) / self.std


class _ToImages(torch.autograd.Function):
    """The whole network as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, network: FoldedResNet) -> Tensor:
        ctx.network, ctx.kept, ctx.images = network, [], images.detach()
        return network.run(ctx.images, ctx.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.network.run_back(gradient, ctx.kept, ctx.images), None


def can_fold(model: nn.Module) -> bool:
    """Return whether a network is one of this project, made of plain parts only and without hooks.

    A part with its own forward, a subclass or patched, could compute anything.
    """
    if type(model) is not ResNet or any(_hooked(module) for module in model.modules()):
        return False
    if type(model.normalize) is not Normalize or any(type(stage) is not nn.Sequential for stage in _stages(model)):
        return False
    for block in _blocks(model):
        if type(block) not in (BasicBlock, Bottleneck) or type(block.shortcut) not in (nn.Identity, Shortcut):
            return False
    pairs = [(model.conv1, model.bn1), (model.fc, model.last_norm)]
    for block in _blocks(model):
        pairs += _pairs(block)
        if not isinstance(block.shortcut, nn.Identity):
            pairs.append(_shortcut(block))
    return all(_plain(conv, norm) for conv, norm in pairs)


def fold(model: nn.Module) -> FoldedResNet | None:
    """Return the copy of a network for attacks; None if it must be attacked as it is."""
    return FoldedResNet(model) if isinstance(model, ResNet) and can_fold(model) else None


def _hooked(module: nn.Module) -> bool:
    forward = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    return bool(forward or module._backward_hooks or module._backward_pre_hooks)


def _plain(conv: nn.Module, norm: nn.Module) -> bool:
    if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros":
        return False
    usual = (conv.kernel_size, conv.padding) in (((1, 1), (0, 0)), ((3, 3), (1, 1)))
    square = usual and len({*conv.stride}) == 1 and conv.dilation == (1, 1) and conv.groups == 1
    normed = type(norm) is nn.BatchNorm2d and norm.running_mean is not None
    return square and (normed or type(norm) is nn.Identity)


def _stages(network: ResNet) -> tuple[nn.Sequential, ...]:
    return network.layer1, network.layer2, network.layer3, network.layer4


def _blocks(network: ResNet) -> Iterator[BasicBlock | Bottleneck]:
    for stage in _stages(network):
        yield from stage  # type: ignore[misc]


def _pairs(block: BasicBlock | Bottleneck) -> list[tuple[nn.Module, nn.Module]]:
    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    return [*pairs, (block.conv3, block.bn3)] if isinstance(block, Bottleneck) else pairs


def _shortcut(block: BasicBlock | Bottleneck) -> tuple[nn.Module, nn.Module]:
    convolution, norm = block.shortcut.children()
    return convolution, norm


def _block(block: BasicBlock | Bottleneck) -> FoldedBlock:
    convs = tuple(_folded(conv, norm) for conv, norm in _pairs(block))
    if isinstance(block.shortcut, nn.Identity):
        return FoldedBlock(convs, None, stride=1)
    stride = block.shortcut.stride
    assert isinstance(stride, int)
    return FoldedBlock(convs, _folded(*_shortcut(block)), stride)


@torch.no_grad()
def _folded(conv: nn.Module, norm: nn.Module) -> FoldedConv:
    """Fold in float64, so that only the result rounds."""
    assert isinstance(conv, nn.Conv2d)
    weight, bias = conv.weight.double(), _double(conv.bias)
    if isinstance(norm, nn.BatchNorm2d):
        mean, variance = _double(norm.running_mean), _double(norm.running_var)
        assert mean is not None and variance is not None  # see `_plain`
        weight, bias = fuse_conv_bn_weights(
            weight, bias, mean, variance, norm.eps, _double(norm.weight), _double(norm.bias)
        )
    bias = torch.zeros(conv.out_channels, device=conv.weight.device) if bias is None else bias
    weight = weight.detach().float().contiguous(memory_format=torch.channels_last)
    assert not isinstance(conv.padding, str)  # see `_plain`
    return FoldedConv(weight, bias.detach().float(), conv.stride[0], conv.padding[0])


def _double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()


def _relu_back(gradient: Tensor, output: Tensor, leak: float) -> None:
    """Multiply the gradient by `leak`, in place, where a ReLU let nothing through."""
    if leak:
        gradient.mul_((output > 0).to(gradient.dtype).clamp_(min=leak))
    else:
        torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
