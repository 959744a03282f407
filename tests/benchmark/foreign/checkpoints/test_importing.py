"""What all layouts share: strictness, normalisation, and the files that are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.artifact.unpack import read_artifact
from benchmark.foreign.checkpoints.importing import ImportRequest, write_imported
from benchmark.foreign.checkpoints.named_layouts import LAYOUTS

ROOT = Path(__file__).resolve().parents[4]
SETTINGS = {
    "hydra": {"k": 0.2, "normalize": False},
    "harp": {"k": 0.2, "alpha": 0.1, "exp_mode": "score_finetune", "prune_reg": "weight", "normalize": False},
    "hidden-networks": {"prune_rate": 0.2, "conv_type": "SubnetConv"},
    "robustbinarysubnet": {"prune_rate": 0.2, "pr_scale": 1.0, "normalize": None},
    "torch-prune": {},
    "torchvision": {},
}
RAW = {"mean": (0.0,), "std": (1.0,)}


@pytest.fixture
def state_of(small_net, settled, digits):
    """Return the state dict of the small network in a layout, with random scores and masks."""

    def make(layout):
        state = settled(small_net(), digits[0]).state_dict()
        for key in [key for key, value in state.items() if value.ndim == 4]:
            layer, shape = key.removesuffix(".weight"), state[key].shape
            if layout in ("hydra", "harp"):
                state[f"{layer}.popup_scores"] = torch.rand(shape)
                state |= {f"{layer}.k_score": torch.tensor(-1.0)} if layout == "harp" else {}
            elif layout in ("hidden-networks", "robustbinarysubnet"):
                state[f"{layer}.scores"] = torch.rand(shape)
            elif layout == "torch-prune":
                state |= {f"{key}_orig": state.pop(key), f"{key}_mask": (torch.rand(shape) < 0.2).float()}
        return state

    return make


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_key_must_have_a_place_and_every_place_a_key(layout, state_of, save_run, imports, refused):
    state, settings = state_of(layout), SETTINGS[layout]
    assert imports(save_run(state, **settings), layout, **RAW).arch == "resnet6"

    one_more = save_run(state | {"layer1.0.conv3.weight": torch.zeros(16, 16, 3, 3)}, **settings)
    assert "the key layer1.0.conv3.weight is unused" in refused(one_more, layout, **RAW)

    lost = {key: value for key, value in state.items() if key != "layer2.0.bn2.running_var"}
    one_less = save_run(lost, **settings)
    assert "the key layer2.0.bn2.running_var is missing" in refused(one_less, layout, **RAW)

    other = save_run(state | {"layer2.0.bn2.running_var": torch.ones(31)}, **settings)
    assert "layer2.0.bn2.running_var has shape 31 instead of 32" in refused(other, layout, **RAW)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(value, state_of, save_run, refused):
    state = state_of("hydra")
    state["bn1.running_mean"][3] = value
    assert "bn1.running_mean holds values that are not finite" in refused(
        save_run(state, **SETTINGS["hydra"]), "hydra", **RAW
    )

    state = state_of("hydra")
    state["conv1.popup_scores"][0, 0, 0, 0] = value
    assert "conv1.popup_scores holds values that are not finite" in refused(
        save_run(state, **SETTINGS["hydra"]), "hydra", **RAW
    )


def test_scores_of_another_shape_or_without_a_weight_are_refused(state_of, save_run, refused):
    state = state_of("hydra")
    odd = save_run(state | {"conv1.popup_scores": torch.rand(16, 1, 5, 5)}, **SETTINGS["hydra"])
    assert "conv1.popup_scores has shape (16, 1, 5, 5)" in refused(odd, "hydra", **RAW)

    lonely = save_run(state | {"extra.popup_scores": torch.rand(3)}, **SETTINGS["hydra"])
    assert "the key extra.weight is missing" in refused(lonely, "hydra", **RAW)


def test_the_architecture_is_not_guessed(state_of, save_run, refused, imports):
    path = save_run(state_of("hydra"), **SETTINGS["hydra"])
    assert "give --arch" in refused(path, "hydra", arch=None, **RAW)
    assert "Did you mean resnet6?" in refused(path, "hydra", arch="resnet66", **RAW)

    path = save_run(state_of("hydra"), arch="wrn_28_4", **SETTINGS["hydra"])
    assert "--arch resnet6 contradicts the checkpoint, whose architecture is wrn_28_4" in refused(path, "hydra", **RAW)

    path = save_run(state_of("hydra"), arch="vgg16_bn", **SETTINGS["hydra"])
    assert "32x32" in refused(path, "hydra", arch="vgg16-bn", **RAW)


def test_the_data_set_must_fit_and_not_contradict_the_config(state_of, save_run, refused):
    path = save_run(state_of("hydra"), **SETTINGS["hydra"])
    assert "give --dataset" in refused(path, "hydra", dataset=None, **RAW)
    assert "images of 1 channels, but those of svhn have 3" in refused(path, "hydra", dataset="svhn", **RAW)
    assert "also give --image-size" in refused(path, "hydra", dataset="my-digits", **RAW)
    assert "contradicts the data set digits" in refused(path, "hydra", image_size=9, **RAW)

    path = save_run(state_of("hydra"), dataset="SVHN", **SETTINGS["hydra"])
    assert "--dataset digits contradicts" in refused(path, "hydra", **RAW)


def test_another_number_of_classes_is_refused(state_of, save_run, refused):
    state = state_of("torchvision")
    state["fc.weight"] = torch.rand(7, 32, 1, 1)

    assert "7 outputs, but digits has 10" in refused(save_run(state), "torchvision", **RAW)


def test_a_data_set_of_one_s_own_needs_its_size(state_of, save_run, imports):
    imported = imports(save_run(state_of("torchvision")), "torchvision", dataset="my-digits", image_size=8, **RAW)

    assert (imported.dataset, imported.image_size) == ("my-digits", (8, 8))


def test_mean_and_std_are_numbers_for_every_channel(state_of, save_run, refused):
    path = save_run(state_of("torchvision"))

    assert "belong together" in refused(path, "torchvision", mean=(0.5,), std=None)
    assert "has 3 numbers, but the number of channels is 1" in refused(
        path, "torchvision", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert "--std above 0" in refused(path, "torchvision", mean=(0.5,), std=(0.0,))
    assert "--mean must be finite" in refused(path, "torchvision", mean=(float("nan"),), std=(1.0,))


@pytest.mark.parametrize("artifact", sorted((ROOT / "docs" / "demo" / "artifacts").glob("*.safetensors")), ids=str)
def test_the_first_batch_norm_of_a_trained_network_betrays_a_wrong_normalisation(artifact, save_run, imports, refused):
    """Trained networks of the demonstration, without a word about their normalisation."""
    trained = read_artifact(artifact)
    state = {key: value for key, value in trained.network.state_dict().items() if not key.startswith("normalize.")}
    path = save_run(state)
    own = {"mean": trained.plan.mean, "std": trained.plan.std}

    imported = imports(path, "torchvision", **own)

    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(imported.network(images), trained.network(images))
    sentence = refused(path, "torchvision", **RAW)
    assert (
        "cannot be the checkpoint's" in sentence
        and "mean and standard deviation of digits; give --mean 0.3" in sentence
    )


def test_a_network_trained_on_raw_images_betrays_a_normalisation_too(small_net, settled, digits, save_run, refused):
    path = save_run(settled(small_net(), digits[0]).state_dict())

    assert "images in [0, 1], without normalisation" in refused(path, "torchvision")


def test_the_suite_s_networks_become_artifacts(state_of, save_run, imports, tmp_path):
    path = save_run(state_of("hydra"), **SETTINGS["hydra"])
    imported = imports(path, "hydra", **RAW)
    file = tmp_path / "network.safetensors"

    write_imported(imported, ImportRequest(path, "hydra"), file)

    images = torch.rand(4, 1, 8, 8)
    artifact = read_artifact(file)
    assert torch.equal(artifact.network(images), imported.network(images))
    assert (artifact.dataset, artifact.image_size) == ("digits", (8, 8))
