"""A small network as the repositories build theirs, around any layer; runs written as they write them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.foreign.architectures import build, named, wrn
from benchmark.foreign.checkpoints import hydra
from benchmark.foreign.checkpoints.importing import ImportRequest, import_checkpoint

IMAGES = 96
DIGITS = {"mean": (0.305,), "std": (0.3759,)}


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, under the key names of kuangliu's networks."""

    def __init__(self, conv, norm, channels, width, stride):
        super().__init__()
        self.conv1 = conv(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = conv(width, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = norm(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            projection = conv(channels, width, kernel_size=1, stride=stride, padding=0, bias=False)
            self.shortcut = nn.Sequential(projection, norm(width))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class SmallNet(nn.Module):
    """Seven convolutions, the last of them the classifier: the suite's resnet6 at a quarter of its width."""

    def __init__(self, conv=nn.Conv2d, *, channels=1, affine=False, last=False):
        super().__init__()

        def norm(width):
            return nn.BatchNorm2d(width, affine=affine)

        self.conv1 = conv(channels, 16, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = norm(16)
        self.layer1 = nn.Sequential(Block(conv, norm, 16, 16, 1))
        self.layer2 = nn.Sequential(Block(conv, norm, 16, 32, 2))
        self.fc = conv(32, 10, kernel_size=1, stride=1, padding=0, bias=False)
        self.last = norm(10) if last else None

    def forward(self, x):
        out = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        out = self.fc(F.avg_pool2d(out, out.shape[-1]))
        return (out if self.last is None else self.last(out)).flatten(1)


class Normaliser(nn.Module):
    """(x - mean) / std without a parameter or buffer."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))

    def forward(self, x):
        return (x - self.mean) / self.std


@pytest.fixture(scope="session")
def small_net():
    """Return the class of the small network."""
    return SmallNet


@pytest.fixture(scope="session")
def normaliser():
    """Return the class of a normalisation without state."""
    return Normaliser


@pytest.fixture(scope="session")
def digits():
    """Return images (96, 1, 8, 8) in [0, 1] of the digits, and their labels."""
    test = load_test("digits", None).test.first(IMAGES)
    return test.images / 255, test.labels


@pytest.fixture(scope="session")
def colours():
    """Return images (32, 3, 32, 32) in [0, 1] with the colours of CIFAR-10, and labels."""
    generator = torch.Generator().manual_seed(0)
    noise = F.interpolate(torch.randn(32, 3, 8, 8, generator=generator), scale_factor=4, mode="bilinear")
    mean, std = torch.tensor((0.4914, 0.4822, 0.4465)), torch.tensor((0.2023, 0.1994, 0.2010))
    images = noise * std.view(3, 1, 1) + mean.view(3, 1, 1)
    return images.clamp(0, 1), torch.randint(10, (32,), generator=generator)


@pytest.fixture(scope="session")
def settled():
    """Return what gives a network the batch-norm statistics of images, as training would, and eval mode."""

    @torch.no_grad()
    def settle(network, images):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                if module.affine:
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.2)
        network.train()(images)
        return network.eval()

    return settle


@pytest.fixture(scope="session")
def agrees():
    """Return what checks an imported network against the original module, image by image in a plain loop."""

    @torch.no_grad()
    def check(imported, original, images, labels):
        verdicts, expected = [], []
        for image, label in zip(images, labels, strict=True):
            logits, reference = imported.network(image[None])[0], original(image[None])[0]
            torch.testing.assert_close(logits, reference, rtol=1e-4, atol=1e-4)
            verdicts.append(bool(logits.argmax() == label))
            expected.append(bool(reference.argmax() == label))
        assert verdicts == expected
        assert len({tuple(row.tolist()) for row in original(images).softmax(1)}) == len(images), (
            "the logits are constant"
        )

    return check


@pytest.fixture
def tiny_wide(monkeypatch):
    """Return a wide residual network of three blocks, which HYDRA would call wrn_10_1, as an architecture here."""
    monkeypatch.setitem(named._BUILDERS, "wrn-10-1", wrn.build)
    monkeypatch.setitem(hydra.ARCHITECTURES, "wrn_10_1", "wrn-10-1")
    return build("wrn-10-1", 10)


@pytest.fixture
def save_run(tmp_path):
    """Return what writes a checkpoint and its settings as a run of a repository does; returns the checkpoint's path."""

    def save(state, *, arch=None, file="setup.log", **settings):
        folder = tmp_path / "run" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        for old in ("setup.log", "settings.txt"):
            (folder.parent / old).unlink(missing_ok=True)
        if settings:
            (folder.parent / file).write_text(f"{Namespace(**settings)}\nepoch 1\n", encoding="utf-8")
        path = folder / "model_best.pth"
        torch.save({"epoch": 1, "arch": arch, "state_dict": state, "optimizer": {"param_groups": []}}, path)
        return path

    return save


@pytest.fixture
def imports():
    """Return what imports a checkpoint as the small network for the digits, unless the request says otherwise."""

    def run(path, layout, **request):
        defaults = {"arch": "resnet6", "dataset": "digits", **DIGITS}
        return import_checkpoint(replace(ImportRequest(path, layout), **{**defaults, **request}))

    return run


@pytest.fixture
def refused(imports):
    """Return what checks that an import is refused in one line, and returns it."""

    def run(path, layout, **request):
        with pytest.raises(UserError) as caught:
            imports(path, layout, **request)
        sentence = str(caught.value)
        assert "\n" not in sentence and len(sentence) > 20
        return sentence

    return run
