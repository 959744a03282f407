"""Fixtures for random plain networks and tampered files."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from functools import partial

import pytest
import torch
from torch import nn

from benchmark.artifact import container
from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import unpack
from benchmark.errors import UserError
from benchmark.networks.resnet import convolutions, plain_conv
from methods.counted import draw_weights
from methods.granularity import score_shape, two_of_four_mask


@pytest.fixture(scope="session")
def random_network():
    """Return a function that makes networks with random weights, masks, levels and batch-norm tensors.

    Every convolution keeps about `density` of its weights; with `levels` it has at most that many nonzero values.
    """

    @torch.no_grad()
    def make(plan, *, density=0.3, levels=None, affine=False, seed=0):
        generator = torch.Generator().manual_seed(seed)
        network = plan(conv=plain_conv, norm=partial(nn.BatchNorm2d, affine=affine))
        for conv in convolutions(network).values():
            shape = conv.weight.shape
            conv.weight.copy_(torch.randn(shape, generator=generator))
            if levels is not None:
                values = torch.randn(levels, generator=generator)
                conv.weight.copy_(values[torch.randint(levels, shape, generator=generator)])
            conv.weight.mul_(torch.rand(shape, generator=generator) < density)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_(generator=generator)
                norm.running_var.uniform_(0.1, 30.0, generator=generator)
                if affine:
                    norm.weight.normal_(generator=generator)
                    norm.bias.normal_(generator=generator)
        return network.requires_grad_(False).eval()

    return make


@pytest.fixture(scope="session")
def in_groups(random_network):
    """Return a function that makes random networks of which each mask keeps about a third of its groups, or 2:4."""

    def make(plan, *, granularity, drawn=None, seed=0):
        network = random_network(plan, density=1.0, levels=2, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for number, conv in enumerate(convolutions(network).values()):
            weight = conv.weight
            if drawn is not None:
                numbers = draw_weights(drawn.seed, number, weight.numel(), drawn.draw)
                weight.copy_(torch.from_numpy(numbers).view_as(weight))
            scores = torch.rand(score_shape(weight.shape, granularity), generator=generator)
            weight.mul_(two_of_four_mask(scores) if granularity == "2:4" else scores < 0.4)
        return network

    return make


@pytest.fixture(scope="session")
def small_pack():
    """Return `pack` for small images."""
    return partial(pack, dataset="digits", image_size=(8, 8))


@pytest.fixture(scope="session")
def reseal():
    """Return a function that gives a file a matching seal."""

    def seal(content):
        body = bytes(content)[: -container.SEAL_BYTES]
        return body + hashlib.sha256(body).digest()

    return seal


@pytest.fixture(scope="session")
def rewrite():
    """Return a function that rewrites a file with other tensors or manifest fields."""

    def write(content, *, architecture=None, tensors=None, **fields):
        text, old = container.read(content)
        manifest = json.loads(text)
        manifest = manifest | fields | {"architecture": manifest["architecture"] | (architecture or {})}
        return container.write(
            json.dumps(manifest, sort_keys=True, separators=(",", ":")),
            {name: value for name, value in (old | (tensors or {})).items() if name != "sha256"},
        )

    return write


@pytest.fixture(scope="session")
def refusal():
    """Return a function that checks that a content is refused, with little memory, and returns the sentence."""

    def refuse(content, reading=unpack):
        tracemalloc.start()
        try:
            with pytest.raises(UserError) as caught:
                reading(content)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        sentence = str(caught.value)
        assert re.fullmatch(r"[^\n]{20,600}\.", sentence) and ". " not in sentence, sentence
        assert re.search(r": (fetch|give|check) ", sentence), "no next step"
        assert peak < 4 * 2**20, "too much memory was allocated"
        return sentence

    return refuse


@pytest.fixture(scope="session")
def with_header():
    """Return a function that edits the text of a file's header and fixes its length and seal."""

    def exchange(content, edit):
        end = 8 + int.from_bytes(content[:8], "little")
        text = edit(content[8:end].decode().rstrip()).encode()
        text += b" " * (-len(text) % 8)
        body = len(text).to_bytes(8, "little") + text + content[end : -container.SEAL_BYTES]
        return body + hashlib.sha256(body).digest()

    return exchange
