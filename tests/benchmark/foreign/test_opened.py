"""A file of any kind is the network that was saved, whatever its name; contradictions are refused in one sentence."""

from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmark import evaluate
from benchmark.errors import UserError
from benchmark.foreign.opened import open_network
from benchmark.foreign.preprocessing import Reading

FACTORY = """
from torch import nn

def other(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

def nothing():
    return None

def failing():
    raise RuntimeError("no disk")
"""


def opened(path, digits, **options):
    return open_network(path, Reading(**options), digits.info, digits.test.images[:8].float() / 255)


def linear(classes=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval()


def exported_onnx(network, path, example, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (example,), path, dynamo=False, **settings)


def scripted(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), path)


def traced(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, torch.rand(1, 1, 8, 8)), path)


def exported_for_one(network, path):
    torch.export.save(torch.export.export(network, (torch.rand(1, 1, 8, 8),)), path)


def exported_for_any(network, path):
    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=free), path)


WRITERS = {
    "onnx for one": lambda network, path: exported_onnx(network, path, torch.rand(1, 1, 8, 8)),
    "scripted": scripted,
    "traced": traced,
    "exported for one": exported_for_one,
    "exported for any": exported_for_any,
    "state dict": lambda network, path: torch.save(network.state_dict(), path),
    "old state dict": lambda network, path: torch.save(
        network.state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "wrapped": lambda network, path: torch.save(
        {"epoch": 3, "model": {f"module.{key}": value for key, value in network.state_dict().items()}}, path
    ),
    "safetensors": lambda network, path: save_file(network.state_dict(), path),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_file_is_the_network_that_was_saved(kind, cnn, digits, tmp_path):
    path = tmp_path / "file.bin"  # kinds are recognised by content
    path_for_export = tmp_path / "file.pt2" if kind.startswith("exported") else path
    WRITERS[kind](cnn, path_for_export)
    path_for_export.rename(path)
    (tmp_path / "mine.py").write_text("import torch\nfrom torch import nn\n" + CNN, encoding="utf-8")
    arch = f"{tmp_path / 'mine.py'}:Cnn" if "state" in kind or kind in ("wrapped", "safetensors") else None
    images = digits.test.images.float() / 255

    network = opened(path, digits, arch=arch)

    images.requires_grad_()
    logits, expected = network.network(images), cnn(images)
    assert torch.allclose(logits, expected, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert torch.allclose(gradient, torch.autograd.grad(expected.sum(), images)[0], atol=1e-4)
    assert (network.foreign_part.arch_sha256 is None) == (arch is None)
    takes_one = kind == "exported for one"  # its graph holds the number of images in a `view`
    assert network.notes == (("the file takes exactly 1 image at once, so batches were split or padded",) * takes_one)


CNN = """
class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.head = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Linear(128, 10)

    def forward(self, images):
        features = torch.relu(self.down(torch.relu(self.norm(self.conv(images)))))
        return self.head(features.flatten(1))
"""


def test_python_takes_the_same_files_and_options(digits, tmp_path):
    inner, mean, std = linear(), 0.25, 0.5
    save_file(inner.state_dict(), tmp_path / "weights")
    (tmp_path / "mine.py").write_text(FACTORY, encoding="utf-8")
    protocol = "digits-linf-128_255-pgd2x1-aa-standard-4"

    class Outer(nn.Module):
        def forward(self, images):
            return inner((images - mean) / std)

    file = evaluate(
        str(tmp_path / "weights"), "digits", protocol, arch=f"{tmp_path}/mine.py:other", mean=[mean], std=[std]
    )

    assert file.verdicts == evaluate(Outer().eval(), "digits", protocol).verdicts
    with pytest.raises(UserError, match="mean, std and nhwc say how to read a file, but the network is given as an"):
        evaluate(inner, "digits", protocol, nhwc=True)


def test_a_named_architecture_is_loaded_strictly(tmp_path, digits):
    from benchmark.foreign.architectures import build

    state = build("resnet6", 10, channels=1).state_dict()
    torch.save(state, tmp_path / "whole.pt")
    torch.save({**state, "extra": torch.zeros(1)}, tmp_path / "more.pt")

    assert opened(tmp_path / "whole.pt", digits, arch="resnet6").kind == "state dict"
    with pytest.raises(UserError, match="extra"):
        opened(tmp_path / "more.pt", digits, arch="resnet6")


def weights(path, classes=10):
    save_file(linear(classes).state_dict(), path)


def shaped_onnx(path, *shape):
    exported_onnx(nn.Flatten(), path, torch.rand(*shape))


MISTAKES = {
    "no architecture": (weights, {}, "the file holds weights without a network; name its architecture by --arch"),
    "unknown architecture": (weights, {"arch": "resnet9"}, "unknown architecture 'resnet9'"),
    "no such file": (weights, {"arch": "no.py:net"}, "there is no file"),
    "no such module": (weights, {"arch": "nothing_here:net"}, "importing nothing_here failed"),
    "no such function": (weights, {"arch": "mine.py:net"}, "has no function 'net'"),
    "no network": (weights, {"arch": "mine.py:nothing"}, "the factory returned a NoneType; return the network"),
    "failing factory": (weights, {"arch": "mine.py:failing"}, "the factory failed (no disk)"),
    "wrong shape": (lambda path: weights(path, 7), {"arch": "mine.py:other"}, "1.bias has shape 7 instead of 10"),
    "architecture of a whole network": (
        lambda path: shaped_onnx(path, 2, 1, 8, 8),
        {"arch": "resnet6"},
        "this file holds the network itself; leave it out",
    ),
    "mean of three channels": (
        lambda path: shaped_onnx(path, 2, 1, 8, 8),
        {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        "mean has 3 numbers, but images of digits have 1 channel",
    ),
    "channels last without nhwc": (lambda path: shaped_onnx(path, 2, 8, 8, 1), {}, "give --nhwc"),
    "nhwc without channels last": (lambda path: shaped_onnx(path, 2, 1, 8, 8), {"nhwc": True}, "leave --nhwc out"),
    "other images": (lambda path: shaped_onnx(path, 2, 3, 32, 32), {}, "but digits has images of 1x8x8"),
    "two axes": (lambda path: shaped_onnx(path, 2, 64), {}, "a batch of images has four axes"),
    "pickled network": (
        lambda path: torch.save(linear(), path),
        {"arch": "mine.py:other"},
        "is not opened, because it holds an object of",
    ),
    "text": (lambda path: path.write_text("epochs: 3\n"), {}, "is a text file, not a network: give another file"),
    "nothing": (lambda path: None, {}, "file.bin is not a file"),
}


def test_the_weights_beside_an_onnx_file_lead_to_that_file(digits, tmp_path):
    (tmp_path / "net.onnx.data").write_bytes(bytes(range(256)))

    with pytest.raises(UserError, match="holds the weights of an ONNX file; give that file"):
        opened(tmp_path / "net.onnx.data", digits)


@pytest.mark.parametrize(("write", "options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_contradictions_and_mistakes_are_one_sentence(write, options, message, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY, encoding="utf-8")
    write(tmp_path / "file.bin")

    with pytest.raises(UserError) as refusal:
        opened(tmp_path / "file.bin", digits, **options)

    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_an_artifact_takes_no_options_and_a_foreign_file_needs_a_data_set(command, tmp_path, make_plan):
    from benchmark.artifact.pack import pack, write_artifact
    from benchmark.networks.resnet import plain_conv

    plan = make_plan(mean=(0.3,), std=(0.4,))
    network = plan(conv=plain_conv, norm=nn.BatchNorm2d).eval()
    write_artifact(tmp_path / "artifact", pack(network, plan, dataset="digits", image_size=(8, 8)))
    scripted(linear(), tmp_path / "scripted")

    code, _, errors = command("evaluate", "artifact", "--mean", "0.5", "--std", "0.5")
    assert code == 2 and "which has its architecture and normalisation inside" in errors
    code, _, errors = command("evaluate", "scripted", "--images", "4")
    assert code == 2 and "scripted does not say which data set its network is for; give --dataset" in errors
    code, _, errors = command(
        "evaluate", "scripted", "--dataset", "digits", "--protocol", "cifar10-linf-8_255-aa-standard-8"
    )
    assert code == 2 and "--protocol already says data set" in errors
