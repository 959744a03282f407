"""The networks have the published structure and counts, and normalise their input."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from benchmark.data.load import DataInfo
from benchmark.errors import UserError
from benchmark.networks.resnet import convolutions, network_plan, plain_conv, prunable_sizes
from benchmark.networks.shapes import SHAPES, get_shape
from benchmark.suite.experiment import ArchitectureSpec

RESNET34_GROUPS = {
    "conv1": (1, 1_728),
    "layer1 3x3": (6, 221_184),
    "layer2 first": (1, 73_728),
    "layer2 3x3": (7, 1_032_192),
    "layer2 shortcut": (1, 8_192),
    "layer3 first": (1, 294_912),
    "layer3 3x3": (11, 6_488_064),
    "layer3 shortcut": (1, 32_768),
    "layer4 first": (1, 1_179_648),
    "layer4 3x3": (5, 11_796_480),
    "layer4 shortcut": (1, 131_072),
    "fc": (1, 5_120),
}


@pytest.fixture
def build(make_plan):
    """Return a function that builds a small network of ordinary layers in eval mode."""
    return lambda **changes: make_plan(**changes)(conv=plain_conv, norm=nn.BatchNorm2d).eval()


@pytest.mark.parametrize(
    ("name", "layers", "ten_classes", "hundred_classes"),
    [
        ("resnet6", 7, 306_112, 317_632),
        ("resnet10", 13, 4_897_472, 4_943_552),
        ("resnet18", 21, 11_164_352, 11_210_432),
        ("resnet34", 37, 21_265_088, 21_311_168),
        ("resnet50", 54, 23_467_712, 23_652_032),
        ("resnet34-narrow-p1.0", 37, 214_652, 219_242),
        ("resnet34-narrow-p0.5", 37, 212_021, 215_621),
        ("resnet34-narrow-p0.1", 37, 199_198, 201_808),
        ("resnet34-narrow-p0.0", 37, 197_678, 200_018),
    ],
)
@pytest.mark.parametrize("last_norm", [True, False], ids=["lbn", "no lbn"])
def test_prunable_weights_are_the_golden_counts(make_plan, name, layers, ten_classes, hundred_classes, last_norm):
    ten, hundred = (
        prunable_sizes(make_plan(name=name, width=1.0, num_classes=classes, last_norm=last_norm))
        for classes in (10, 100)
    )

    assert (len(ten), sum(ten.values())) == (layers, ten_classes)
    assert (len(hundred), sum(hundred.values())) == (layers, hundred_classes)


def test_every_group_of_resnet34_has_its_golden_size(make_plan):
    groups: dict[str, list[int]] = {}

    for name, size in prunable_sizes(make_plan(name="resnet34", width=1.0)).items():
        stage = name.partition(".")[0]
        kind = "shortcut" if "shortcut" in name else "first" if name.endswith(".0.conv1") else "3x3"
        kind = "3x3" if stage == "layer1" else kind
        groups.setdefault(stage if stage in ("conv1", "fc") else f"{stage} {kind}", []).append(size)

    assert {group: (len(sizes), sum(sizes)) for group, sizes in groups.items()} == RESNET34_GROUPS
    assert all(len(set(sizes)) == 1 for sizes in groups.values())


def test_module_order_is_stem_then_blocks_with_the_shortcut_last_then_classifier(make_plan):
    names = list(prunable_sizes(make_plan(name="resnet18")))

    assert names[:5] == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2"]
    assert names[5:8] == ["layer2.0.conv1", "layer2.0.conv2", "layer2.0.shortcut.0"]
    assert names[-2:] == ["layer4.1.conv2", "fc"]


def test_bottleneck_blocks_order_three_convolutions_before_the_shortcut(make_plan):
    names = list(prunable_sizes(make_plan(name="resnet50")))

    assert names[1:5] == ["layer1.0.conv1", "layer1.0.conv2", "layer1.0.conv3", "layer1.0.shortcut.0"]


@pytest.mark.parametrize("name", SHAPES)
def test_no_convolution_has_a_bias_and_the_classifier_is_one_by_one(build, name):
    model = build(name=name)

    layers = convolutions(model)

    assert all(conv.bias is None for conv in layers.values())
    assert layers["fc"].weight.shape[0] == 10 and layers["fc"].kernel_size == (1, 1)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())


def test_strides_are_one_two_two_two_and_the_stem_does_not_pool(build):
    model = build(name="resnet34")

    strided = {name for name, conv in convolutions(model).items() if conv.stride != (1, 1)}
    subsampled = {name for name, module in model.named_modules() if getattr(module, "stride", 1) == 2}

    assert strided == {f"layer{stage}.0.conv1" for stage in (2, 3, 4)}
    assert subsampled == {f"layer{stage}.0.shortcut" for stage in (2, 3, 4)}
    assert Counter(type(module) for module in model.modules())[nn.MaxPool2d] == 0


def test_batch_norm_channels_of_resnet34_are_the_golden_counts(make_plan):
    with torch.device("meta"):
        without, with_lbn = (
            make_plan(name="resnet34", width=1.0, last_norm=last_norm)(conv=plain_conv, norm=nn.BatchNorm2d)
            for last_norm in (False, True)
        )

    channels = [
        sum(norm.num_features for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))
        for model in (without, with_lbn)
    ]

    assert channels == [8_512, 8_522]
    assert sum(parameter.numel() for parameter in with_lbn.parameters()) == 21_282_132


def test_the_last_norm_is_a_norm_of_the_logits(build, make_batch):
    model, images = build(last_norm=True), make_batch().images
    plain = build(last_norm=False)
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "last_norm" not in name})
    nn.init.normal_(model.last_norm.running_mean)
    nn.init.uniform_(model.last_norm.running_var, 0.5, 2.0)

    logits = model(images)

    expected = (plain(images) - model.last_norm.running_mean) / (model.last_norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(logits, expected)
    assert model.last_norm.num_features == 10


def test_the_last_norm_gives_every_class_mean_zero_and_variance_one_over_a_batch(build, make_batch):
    model = build(width=1 / 4).train()

    logits = model(make_batch(32).images)

    torch.testing.assert_close(logits.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    assert bool((logits.var(0, unbiased=False) > 0.5).all())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32, 64])
def test_images_of_several_sizes_grey_or_coloured_give_one_row_of_logits_each(build, channels, size):
    model = build(mean=(0.5,) * channels, std=(0.25,) * channels, num_classes=7)

    logits = model(torch.rand(2, channels, size, size))

    assert logits.shape == (2, 7)
    assert model.conv1.weight.shape[1] == channels


def test_images_are_normalised_inside_by_mean_and_deviation_of_each_channel(build, make_batch):
    model, images = build(), make_batch().images
    raw = build(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("normalize.")}
    raw.load_state_dict(own, strict=False)

    logits = model(images)

    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    by_hand = (images - mean[None, :, None, None]) / std[None, :, None, None]
    torch.testing.assert_close(logits, raw(by_hand))
    assert not torch.allclose(logits, raw(images))


def test_the_normalisation_is_part_of_the_state_and_not_trained(build):
    model = build()

    names = {name for name in model.state_dict() if name.startswith("normalize.")}

    assert names == {"normalize.mean", "normalize.std"}
    assert not any(name.startswith("normalize.") for name, _ in model.named_parameters())


def test_a_block_adds_its_shortcut_before_the_last_relu(build):
    block, x = build().layer1[0], torch.randn(2, 4, 8, 8)

    out = block(x)

    inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    assert torch.equal(out, torch.relu(inner + x))


def test_width_multiplies_every_stage_but_leaves_at_least_one_channel():
    shape = get_shape("resnet34")

    assert shape.scaled(0.25) == (16, 32, 64, 128)
    assert shape.scaled(0.001) == (1, 1, 1, 1)


def test_a_plan_combines_the_architecture_with_the_facts_about_the_data():
    info = DataInfo("grey", 7, 1, 28, 28, None, (), mean=(0.3,), std=(0.2,), flip=True, crop_padding=2)

    plan = network_plan(ArchitectureSpec(name="resnet18", width=0.5, last_norm=False), info)

    assert (plan.name, plan.num_classes, plan.width, plan.last_norm) == ("resnet18", 7, 0.5, False)
    assert (plan.mean, plan.std, plan.in_channels) == ((0.3,), (0.2,), 1)


def test_an_unknown_architecture_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r"unknown architecture 'resnet43'. Did you mean resnet34\? Known: resnet"):
        get_shape("resnet43")


@pytest.mark.parametrize("size", [8, 9])
def test_a_shortcut_is_a_strided_convolution(build, size):
    """The weight gradient of torch's own may write out of bounds."""
    shortcut = build(name="resnet10", width=0.25).to(memory_format=torch.channels_last).layer2[0].shortcut
    convolution, norm = shortcut
    strided = nn.Conv2d(convolution.in_channels, convolution.out_channels, 1, 2, bias=False)
    strided.weight = nn.Parameter(convolution.weight.detach().clone())
    images = torch.randn(5, convolution.in_channels, size, size).contiguous(memory_format=torch.channels_last)
    images.requires_grad_()

    output, expected = shortcut(images), norm(strided(images))
    gradient = torch.randn_like(output)
    gradients = torch.autograd.grad(output, [images, convolution.weight], gradient)
    expected_gradients = torch.autograd.grad(expected, [images, strided.weight], gradient)

    assert torch.equal(output, expected)
    torch.testing.assert_close(gradients, expected_gradients)
