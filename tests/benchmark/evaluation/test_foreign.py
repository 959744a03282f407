"""Networks of any kind are measured as they are and are unchanged afterwards."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from benchmark import evaluate
from benchmark.data.load import load_test
from benchmark.errors import UserError

COUNT = 8
PROTOCOL = f"digits-linf-128_255-pgd3x1-aa-standard-{COUNT}"  # nothing survives, so that AutoAttack is over at once


class ChannelsLast(nn.Module):
    """Works on (B, H, W, C) inside, as networks from Keras do."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(1, 16), nn.Linear(1024, 10)

    def forward(self, images):
        pixels = images.permute(0, 2, 3, 1).contiguous()
        return self.head(torch.tanh(self.hidden(pixels)).view(len(pixels), -1))


class Attention(nn.Module):
    """A tiny vision transformer: patches, a class token, one layer of attention."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 2, stride=2)
        self.token, self.place = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(0.1 * torch.randn(1, 17, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.place
        return self.head(self.layer(tokens)[:, 0])


class HalfInside(nn.Module):
    """Casts its images to the type of a part, and the logits back."""

    def __init__(self, part, kind):
        super().__init__()
        self.part, self.kind = part.to(kind), kind

    def forward(self, images):
        return self.part(images.to(self.kind)).float()


class Autocast(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, images):
        with torch.autocast("cpu", torch.bfloat16):
            return self.part(images)


class Around(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, images):
        return self.part(images)


class Squeezed(Around):
    def forward(self, images):
        return self.part(images)[:, :, None, None].squeeze()


class Listed(nn.Module):
    """Keeps its parts in a list, where `modules()` does not see them."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = list(parts)

    def forward(self, images):
        return sum(part(images) for part in self.parts)


def with_fixed_batch(network, size):
    network.fixed = size
    return network


def mlp(norm=None, layer=lambda linear: linear):
    parts = [nn.Flatten(), layer(nn.Linear(64, 32)), *([] if norm is None else [norm]), nn.Tanh()]
    return nn.Sequential(*parts, layer(nn.Linear(32, 10)))


def example(count=2):
    return torch.rand(count, 1, 8, 8)


def exported(network, count=2, **settings):
    return torch.export.export(network, (example(count),), **settings)


def function_of(network):
    return lambda images: network(images)


OF_VIEWED = {
    "view head": lambda net: net,
    "fixed batch of one": lambda net: with_fixed_batch(net, 1),
    "fixed batch of seven": lambda net: with_fixed_batch(net, 7),
    "half inside": lambda net: HalfInside(net, torch.float16),
    "double inside": lambda net: HalfInside(net, torch.float64),
    "autocast inside": Autocast,
    "scripted": torch.jit.script,
    "traced": lambda net: torch.jit.trace(net, example()),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(net)),
    "exported": exported,
    "exported module": lambda net: exported(net).module(),
    "exported module for one image": lambda net: exported(net, 1).module(),
    "exported module in a container": lambda net: nn.Sequential(nn.Identity(), exported(net).module()),
    "exported module for few images": lambda net: exported(
        net, dynamic_shapes=({0: torch.export.Dim("batch", max=5)},)
    ).module(),
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "graph module": torch.fx.symbolic_trace,
    "function": function_of,
    "partial": lambda net: functools.partial(nn.Module.__call__, net),
    "bound method": lambda net: net.forward,
    "data parallel": nn.DataParallel,
    "train flag on a container": Around,
    "squeezed": Squeezed,
    "in a list": Listed,
}
TRAINED = {
    "NHWC": ChannelsLast,
    "ViT": Attention,
    "group norm": lambda: mlp(nn.GroupNorm(4, 32)),
    "weight norm": lambda: mlp(layer=parametrizations.weight_norm),
    "former weight norm": lambda: mlp(layer=torch.nn.utils.weight_norm),
    "spectral norm": lambda: mlp(layer=parametrizations.spectral_norm),
    "former spectral norm": lambda: mlp(layer=torch.nn.utils.spectral_norm),
}
ROUNDING = {"half inside", "autocast inside"}  # their logits are staircases, which gradient health reports


def clean_by_a_plain_loop(called, data):
    """Classify image by image, or with the batch size that the network is made for."""
    called = called.module() if isinstance(called, torch.export.ExportedProgram) else called
    images = data.test.images.float() / 255
    for count in (1, 2, 7):
        padded = torch.cat([images, images[: -len(images) % count]])
        try:
            with torch.no_grad():
                logits = torch.cat([torch.atleast_2d(called(part)) for part in padded.split(count)])
        except (RuntimeError, AssertionError):
            continue
        return (logits[: len(images)].argmax(1) == data.test.labels).tolist()
    raise AssertionError("no loop fits the network")


@pytest.mark.parametrize("kind", [*OF_VIEWED, *TRAINED])
@pytest.mark.filterwarnings("ignore")  # from torch, which deprecates some of these kinds of networks
def test_a_network_of_any_kind_has_the_verdicts_of_a_plain_loop_and_is_unchanged(kind, viewed, train_briefly, state_of):
    data = load_test("digits", None, limit=COUNT)
    network = viewed if kind in OF_VIEWED else train_briefly(TRAINED[kind](), steps=120 if kind == "ViT" else 60)
    called = OF_VIEWED[kind](network) if kind in OF_VIEWED else network
    expected = clean_by_a_plain_loop(called, data)
    module = called if isinstance(called, nn.Module) else network
    before = state_of(module)

    evaluation = evaluate(called, "digits", PROTOCOL)

    assert evaluation.right("clean").tolist() == expected
    assert sum(expected) >= COUNT // 2  # a network that answers anything at all would prove little
    assert state_of(module) == before
    assert evaluation.pgd.accuracy < evaluation.clean_accuracy  # attacks get their gradients
    failed = {check.name for check in evaluation.health if check.verdict == "fail"}
    assert failed <= ({"true_gradients"} if kind in ROUNDING else set()), evaluation.health


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("fixed batch of one", "the network takes exactly 1 image at once, so batches were split or padded"),
        ("fixed batch of seven", "the network takes exactly 7 images at once, so batches were split or padded"),
        (
            "exported module for few images",
            "the network takes at most 4 images at once, so batches were split or padded",
        ),
    ],
)
def test_the_result_notes_that_batches_were_split(kind, sentence, viewed):
    lines = []

    evaluation = evaluate(OF_VIEWED[kind](viewed), "digits", PROTOCOL, report=lines.append)

    assert evaluation.notes == [sentence]
    assert f"evaluate   note: {sentence}" in lines


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_one_other_type_throughout_is_measured_in_float32_and_keeps_its_type(kind, viewed, state_of):
    network = viewed.to(kind)
    before = state_of(network)

    evaluation = evaluate(network, "digits", PROTOCOL)

    assert evaluation.notes == [f"the network has type {str(kind)[6:]} and was measured in float32, as on the boards"]
    assert evaluation.health_verdict == "pass"
    assert state_of(network) == before


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_frozen_network_that_takes_another_type_gets_it(viewed):
    frozen = torch.jit.freeze(torch.jit.script(viewed.double()))

    evaluation = evaluate(frozen, "digits", PROTOCOL)

    assert evaluation.notes == ["the network was measured on float64 images, the only ones that it takes"]
    assert evaluation.health_verdict == "pass"


def test_modules_that_a_function_names_are_put_into_eval_mode_and_restored(viewed, state_of):
    viewed.train()
    images = load_test("digits", None, limit=COUNT)
    before = state_of(viewed)

    evaluation = evaluate(lambda images: viewed(images), "digits", PROTOCOL)

    assert state_of(viewed) == before  # batch norms in train mode would have updated their statistics
    assert evaluation.right("clean").tolist() == clean_by_a_plain_loop(viewed.eval(), images)
    assert [check.name for check in evaluation.health if check.verdict == "fail"] == ["eval_mode"]


class Interrupted(Around):
    """Changes its own state and fails in the middle of an attack."""

    def __init__(self, part, error):
        super().__init__(part)
        self.error, self.calls, self.last = error, 0, torch.zeros(1)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images):
        self.calls += 1
        self.last = images.detach().mean()[None]
        self.seen += 1
        self.part.train()
        with torch.no_grad():
            self.part.head.weight.mul_(1.001)
        if self.calls == 20:
            raise self.error
        return self.part(images)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("lost"), None])
def test_a_network_that_changes_itself_is_restored_also_after_an_error(error, viewed, state_of):
    viewed.head.weight.data = viewed.head.weight.data.t().contiguous().t()  # a layout of its own
    network = Interrupted(viewed, error).eval()
    network.conv = viewed.conv  # a second name for the same part
    before = state_of(network)

    if error is None:
        network.calls = 1000
        evaluate(network, "digits", PROTOCOL)
        network.calls = 0
    else:
        with pytest.raises((KeyboardInterrupt, UserError)) as failure:
            evaluate(network, "digits", PROTOCOL)
        assert error in (failure.value, failure.value.__cause__)

    assert state_of(network) == before
    assert network.calls == 0


def test_a_network_of_this_project_keeps_its_layout_too(make_plan, state_of):
    from benchmark.networks.resnet import plain_conv

    network = make_plan(mean=(0.3,), std=(0.4,))(conv=plain_conv, norm=nn.BatchNorm2d).eval()
    before = state_of(network)

    evaluate(network, "digits", PROTOCOL)

    assert state_of(network) == before


def test_tensors_of_unusual_kinds_are_accepted(viewed, state_of):
    viewed.register_buffer("shared", torch.full((1,), torch.nan).expand(4))
    viewed.register_buffer("small", torch.ones(3).to(torch.float8_e4m3fn))
    viewed.register_buffer("empty", None)
    before = state_of(viewed)

    assert evaluate(viewed, "digits", PROTOCOL).health_verdict == "pass"
    assert state_of(viewed) == before


class OffTheData(nn.Module):
    """Has logits that are NaN wherever a pixel is no grey level of 8 bits."""

    def __init__(self, part, rows):
        super().__init__()
        self.part, self.rows = part, rows

    def forward(self, images):
        between = ((images * 255).round() / 255 != images).flatten(1).any(1) & self.rows(images)
        return torch.where(between[:, None], torch.nan, self.part(images))


@pytest.mark.parametrize("rows", [lambda images: images[:, 0, 4, 4] > 0.5, lambda images: images.sum((1, 2, 3)) > 0])
def test_logits_that_are_not_finite_off_the_data_end_in_one_sentence(rows, viewed):
    message = (
        r"^on the test images all logits are finite, but within 128/255 of them the network's logits are not finite"
    )
    with pytest.raises(UserError, match=message):
        evaluate(OffTheData(viewed, rows).eval(), "digits", PROTOCOL)


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images):
        return images.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("there is no derivative")


def test_a_network_without_a_backward_pass_is_refused_before_any_attack(viewed):
    with pytest.raises(UserError, match="has no backward pass to its images, which attacks need: there is no"):
        evaluate(lambda images: viewed(NoBackward.apply(images)), "digits", PROTOCOL)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda net: lambda images: net(images.detach()), "the network's logits have no gradient with respect to its"),
        (lambda net: nn.Sequential(net, nn.Softmax(1)).eval(), "the network returns probabilities, which weaken"),
    ],
    ids=["detached", "probabilities"],
)
def test_doubts_about_the_numbers_are_noted(change, sentence, viewed):
    (note,) = evaluate(change(viewed), "digits", "digits-linf-250_255-pgd2x1-aa-standard-4").notes
    assert note.startswith(sentence)
