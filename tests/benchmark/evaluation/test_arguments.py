"""`evaluate` accepts all sensible arguments and refuses others in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import evaluate
from benchmark.data.load import Images, load_test
from benchmark.errors import UserError

PROTOCOL = "digits-linf-250_255-pgd1x1-aa-standard-4"
DATA = load_test("digits", None, limit=4)
PIXELS, LABELS = DATA.test.images, DATA.test.labels
FLOATS = PIXELS.float() / 255


def with_images(images, labels=LABELS):
    return replace(DATA, test=Images(images, labels))


def refusal(*arguments, **settings):
    """Return the error message of `evaluate`."""
    with pytest.raises(UserError) as caught:
        evaluate(*arguments, **settings)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    "images",
    [FLOATS, FLOATS.double(), PIXELS.numpy(), FLOATS.numpy(), FLOATS.clone().requires_grad_()],
    ids=["float32", "float64", "numpy uint8", "numpy float32", "with gradients"],
)
def test_8_bit_images_in_other_types_have_the_same_verdicts(images, viewed):
    expected = evaluate(viewed, DATA, PROTOCOL)

    evaluation = evaluate(viewed, with_images(images), PROTOCOL)

    assert evaluation.verdicts == expected.verdicts and expected.clean_accuracy > 0.5


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (PIXELS.float(), "float images must lie in [0, 1], but these go up to 255; divide them by 255, or pass uint8"),
        ((FLOATS - 0.5) / 0.5, "these range from -1 to 1; pass them without normalisation"),
        (FLOATS / 255, "these lie between the grey levels"),
        (0.77 * FLOATS, "these lie between the grey levels"),
        (FLOATS.half(), "these lie between the grey levels"),
        (PIXELS.long(), "got int64; pass uint8 from 0 to 255"),
        (PIXELS > 100, "got bool; pass uint8 from 0 to 255"),
        (
            (PIXELS > 100).to(torch.uint8),
            "uint8 images must range from 0 to 255, but no pixel of these exceeds 1; pass",
        ),
        ((PIXELS // 16), "uint8 images must range from 0 to 255, but no pixel of these exceeds 15; pass uint8"),
        (torch.where(torch.arange(4).view(4, 1, 1, 1) == 2, torch.nan, FLOATS), "image 2 has NaN or infinite pixels"),
        (PIXELS.permute(0, 2, 3, 1), "the channels come last: pass images.permute(0, 3, 1, 2)"),
        (PIXELS[:, 0], "the channel axis is missing: pass images.unsqueeze(1)"),
        (PIXELS.repeat(1, 3, 1, 1), "images of digits must have shape (N, 1, 8, 8), got (4, 3, 8, 8)"),
        (PIXELS.tolist(), "images must be a tensor or a numpy array; got list"),
    ],
)
def test_images_of_other_ranges_types_and_shapes_are_refused(images, sentence, viewed):
    assert sentence in refusal(viewed, with_images(images), PROTOCOL)


@pytest.mark.parametrize("labels", [LABELS.int(), LABELS.to(torch.uint8), LABELS.numpy()])
def test_whole_labels_of_any_type_are_accepted(labels, viewed):
    assert evaluate(viewed, with_images(PIXELS, labels), PROTOCOL).verdicts == evaluate(viewed, DATA, PROTOCOL).verdicts


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (LABELS.float(), "labels must be whole numbers from 0 to 9, got float32; pass labels.long()"),
        (torch.tensor([1, 2, 10, 3]), "image 2 has 10; they begin at 1: pass labels - 1"),
        (torch.tensor([0, 2, 10, 3]), "labels must be from 0 to 9, image 2 has 10; pass the class numbers"),
        (torch.tensor([0, -1, 2, 3]), "image 1 has -1"),
        (nn.functional.one_hot(LABELS, 10), "got one-hot (4, 10); pass labels.argmax(1)"),
        (LABELS[:, None], "labels must have shape (4,) for 4 images, got (4, 1); pass labels.flatten()"),
        (LABELS[:3], "labels must have shape (4,) for 4 images, got (3,); pass one label per image"),
    ],
)
def test_labels_of_other_ranges_types_and_shapes_are_refused(labels, sentence, viewed):
    assert sentence in refusal(viewed, with_images(PIXELS, labels), PROTOCOL)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Linear(1, 1).state_dict(), "module is a state dict or checkpoint with 'weight', 'bias', not a network"),
        ({"epoch": 1, "state_dict": {}}, "module is a state dict or checkpoint with 'epoch', 'state_dict'"),
        ("net.pt", "net.pt is not a file: give the path of an artifact"),
        (nn.Flatten, "module is the class Flatten, not a network; pass an instance: Flatten()"),
        (torch.optim.SGD([torch.zeros(1)]), "module is of type SGD; pass an nn.Module in eval mode, or a function"),
        (None, "module is of type NoneType; pass an nn.Module"),
        (torch.zeros(1), "module is of type Tensor; pass an nn.Module"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "1.weight of the network has no shape yet; run the"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, device="meta")), "1.weight of the network has no values"),
    ],
)
def test_things_that_are_no_network_are_refused(module, sentence):
    assert sentence in refusal(module, DATA, PROTOCOL)


@dataclass
class Output:
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda logits: (logits, logits), "got a tuple of 2: wrap the network and return the logits alone"),
        (lambda logits: [logits], "got a list of 1: wrap the network and return the logits alone"),
        (
            lambda logits: {"out": logits, "aux": 0},
            "got a dict with 'out', 'aux': wrap the network and return one of them",
        ),
        (Output, "got a Output: wrap the network and return its `logits`"),
        (lambda logits: None, "got NoneType"),
        (lambda logits: logits.repeat(1, 100), "got (2, 1000): it was made for another number of classes"),
        (lambda logits: logits.argmax(1), "the network returns int64, not logits; return floating-point scores"),
        (lambda logits: logits.unsqueeze(2), "got (2, 10, 1)"),
        (lambda logits: logits / 0, "logits are not finite (NaN or infinite) for 2 of 2 images"),
    ],
)
def test_outputs_that_are_no_logits_are_refused_with_advice(change, sentence, viewed):
    assert sentence in refusal(lambda images: change(viewed(images)), DATA, PROTOCOL)


def test_logits_that_are_not_finite_on_some_images_only_are_refused(viewed):
    dark = float(FLOATS[2:].sum((1, 2, 3)).min())  # an image after the first two, on which a network is tried

    def network(images):
        return torch.where(images.sum((1, 2, 3))[:, None] == dark, torch.nan, viewed(images))

    assert "logits are not finite (NaN or infinite) for 1 of " in refusal(network, DATA, PROTOCOL)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"device": "cuda:7"}, "device 'cuda:7': torch "),
        ({"device": "mps"}, "device takes 'cpu', 'cuda', 'cuda:<number>' or 'auto'; got 'mps'"),
        ({"device": "gpu"}, "device takes 'cpu', 'cuda', 'cuda:<number>' or 'auto'; got 'gpu'"),
        ({"device": None}, "device takes 'cpu', 'cuda', 'cuda:<number>' or 'auto'; got 'None'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1; got 2.5"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 1; got True"),
        ({"journal": ""}, "journal must be a folder, as text or as a Path, or None; got ''"),
        ({"journal": __file__}, "is a file; pass a folder"),
        ({"data_dir": 5}, "data_dir must be a folder, as text or as a Path, or None; got 5"),
        ({"report": True}, "report must be a function that takes a line, such as print; got True"),
        ({"parent": {}}, "parent is a state dict or checkpoint"),
        ({"parent": nn.Flatten()}, "the parent must return logits of shape (2, 10) for 2 images; got (2, 64)"),
        (
            {"protocol": None},
            "protocol must be an id such as 'cifar10-linf-8_255-aa-standard-1000', or a Protocol; got NoneType",
        ),
        ({"dataset": (PIXELS, LABELS)}, "dataset must be a name such as 'cifar10', or test images as"),
    ],
)
def test_other_arguments_are_refused_before_any_work(settings, sentence, viewed):
    lines = []
    arguments = {"module": viewed, "dataset": DATA, "protocol": PROTOCOL, "report": lines.append} | settings
    assert sentence in refusal(**arguments)
    assert not lines


def test_a_device_that_is_not_there_is_refused(viewed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refusal(viewed, DATA, PROTOCOL, device="cuda") == (
        "device 'cuda': torch finds no CUDA device; use device='cpu' or 'auto'"
    )
    assert evaluate(viewed, DATA, PROTOCOL, device="auto").n_images == 4


def test_paths_and_numbers_may_be_of_other_types(viewed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    evaluate(viewed, "digits", PROTOCOL, data_dir=str(tmp_path), journal="~/journal", batch_size=np.int64(4))
    assert list((tmp_path / "journal").iterdir())


class BreaksLater(nn.Module):
    """Runs in the trials and raises after a number of calls."""

    def __init__(self, network, calls):
        super().__init__()
        self.network, self.remaining = network, calls

    def forward(self, images):
        self.remaining -= 1
        if not self.remaining:
            raise ValueError("no more")
        return self.network(images)


@pytest.mark.parametrize("calls", [12, 40])
def test_a_network_that_fails_later_is_refused_in_one_sentence(calls, viewed):
    message = refusal(BreaksLater(viewed, calls), "digits", PROTOCOL)

    assert "the network ran in the first trials but failed later: ValueError: no more; make it map any" in message


def test_transposed_and_sparse_logits_are_named(viewed):
    assert "got (10, 2): transpose them" in refusal(lambda images: viewed(images).T, "digits", PROTOCOL)
    assert "got a sparse tensor" in refusal(lambda images: viewed(images).to_sparse(), "digits", PROTOCOL)
