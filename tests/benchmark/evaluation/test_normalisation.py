"""A network at chance on images in [0, 1] but accurate on normalised ones gets a hint; others do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmark import evaluate
from benchmark.data.load import Images, load_test
from benchmark.evaluation.normalisation import normalisation_hint

MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


class Expecting(nn.Module):
    """Reads the class that `coded` writes into the pixels, once `back` maps them to [0, 1]; else answers class 0."""

    def __init__(self, back):
        super().__init__()
        self.back = back

    def forward(self, images):
        levels = self.back(images) * 255
        classes = levels.mean((1, 2, 3)) / 20
        whole = ((levels / 20) - classes.round()[:, None, None, None]).abs().flatten(1).amax(1) < 1e-2
        scores = -(classes[:, None] - torch.arange(10.0)).abs()
        return torch.where(whole[:, None], scores, torch.eye(10)[0] + 0 * scores)


def coded(count=60):
    labels = torch.arange(count) % 10
    return Images((20 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8).contiguous(), labels)


def hint(back):
    network, data = Expecting(back).eval(), coded()
    clean = network(data.images.float() / 255).argmax(1) == data.labels
    return normalisation_hint(network, data, clean, classes=10, batch_size=16)


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        (
            lambda x: x * STD[:, None, None] + MEAN[:, None, None],
            "normalised by the mean and standard deviation of ImageNet",
        ),
        (lambda x: (x + 1) / 2, "scaled to [-1, 1]"),
        (lambda x: x / 255, "in 0 to 255"),
        (lambda x: 1 - x, "with black and white exchanged"),
    ],
)
def test_the_hint_names_the_images_that_the_network_seems_to_expect(back, expected):
    sentence = hint(back)

    assert sentence is not None and f"100.0% on images {expected}: the network seems to expect these" in sentence
    assert "is 10.0% on images in [0, 1], no better than chance" in sentence


def test_a_network_above_chance_that_is_far_better_on_other_images_gets_a_hint_too():
    network, data = Expecting(lambda x: x / 255).eval(), coded()
    clean = torch.arange(60) < 30

    sentence = normalisation_hint(network, data, clean, classes=10, batch_size=16)

    assert sentence is not None and "is 50.0% on images in [0, 1] and 100.0% on images in 0 to 255" in sentence
    assert normalisation_hint(network, data, torch.arange(60) < 55, classes=10, batch_size=16) is None


def test_a_network_accurate_on_its_images_or_on_none_gets_no_hint():
    assert hint(lambda images: images) is None
    assert hint(lambda images: images + 0.123) is None


def test_the_hint_is_noted_and_reported(viewed):
    class ExpectsBytes(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = viewed

        def forward(self, images):
            return self.part(images / 255)

    network, data, lines = ExpectsBytes().eval(), load_test("digits", None), []
    wrong = network(data.test.images.float() / 255).argmax(1) != data.test.labels  # images that need no attack
    rows = wrong.nonzero().flatten()[:40]
    data = replace(data, test=Images(data.test.images[rows], data.test.labels[rows]))

    evaluation = evaluate(network, data, "digits-linf-250_255-pgd1x1-aa-standard-40", report=lines.append)

    (note,) = evaluation.notes
    assert "on images in 0 to 255: the network seems to expect these; wrap it" in note
    assert f"evaluate   note: {note}" in lines
