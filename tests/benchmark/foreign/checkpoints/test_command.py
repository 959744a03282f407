"""The command `import`, as a user types it."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

onnxruntime = pytest.importorskip("onnxruntime")


def test_other_networks_become_onnx_files_with_the_normalisation_inside(command, tmp_path, colours, settled, tiny_wide):
    """A dense WRN in HYDRA's layout: with k = 1 every mask is full, so the plain network is the original."""
    images, labels = (part[:16] for part in colours)
    mean, std = torch.tensor((0.491, 0.482, 0.447)), torch.tensor((0.247, 0.243, 0.262))
    normalised = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    original = settled(tiny_wide, normalised)
    scores = {
        f"{name}.popup_scores": torch.rand_like(module.weight)
        for name, module in original.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    torch.save({"arch": "wrn_10_1", "state_dict": {**original.state_dict(), **scores}}, tmp_path / "model.pth.tar")
    settings = Namespace(k=1.0, normalize=True, dataset="CIFAR10", arch="wrn_10_1")
    (tmp_path / "setup.log").write_text(f"{settings}\n", encoding="utf-8")

    code, out, _ = command("import", "model.pth.tar", "--from", "hydra", "--out", "network.onnx")

    assert code == 0
    assert "wrn-10-1 for cifar10 (32x32), 100% of the masked layers' weights kept; settings from setup.log" in out
    assert "mean 0.491, 0.482, 0.447, std 0.247, 0.243, 0.262" in out
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = original(normalised)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4)
    assert (logits.argmax(1) == labels.numpy()).tolist() == (expected.argmax(1) == labels).tolist()


@pytest.fixture
def small(tmp_path, small_net, settled, digits):
    """Return the path of a state dict of the small network, trained on raw digits."""
    torch.save(settled(small_net(), digits[0]).state_dict(), tmp_path / "small.pth")
    return "small.pth"


PLAIN = ("--from", "torchvision", "--arch", "resnet6", "--dataset", "digits", "--mean", "0", "--std", "1")


def test_an_artifact_can_be_exported_and_measured_like_any_other(command, small, tmp_path):
    code, out, _ = command("import", small, *PLAIN, "--out", "small.safetensors")
    assert code == 0 and "wrote an artifact: small.safetensors" in out

    code, out, _ = command("evaluate", "small.safetensors", "--provisional", "--images", "8")

    assert code == 0 and "clean" in out


FACTORY = """
from torch import nn

def network(num_classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_classes))
"""


def test_a_network_of_one_s_own_is_imported_through_a_function(imports, save_run, tmp_path, digits, agrees):
    (tmp_path / "mine.py").write_text(FACTORY, encoding="utf-8")
    original = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    prune.l1_unstructured(original[3], "weight", amount=0.75)

    imported = imports(
        save_run(original.state_dict()), "torch-prune", arch=f"{tmp_path}/mine.py:network", mean=(0.0,), std=(1.0,)
    )

    agrees(imported, original, *digits)
    assert imported.plan is None and imported.density == 0.25


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("--out", "small.onnx"), "must end with .safetensors, because resnet6 becomes an artifact"),
        (("--out", "small.safetensors", "--from", "hidra"), "Did you mean hydra?"),
        (("--out", "small.safetensors", "--k", "0.1"), "the layout torchvision has no masks"),
        (("--out", "small.safetensors", "--set", "alpha"), "is not NAME=VALUE"),
        (("--out", "small.safetensors", "--set", "alpha=1"), "torchvision has no such setting"),
        (("--out", "small.safetensors", "--mean", "a,b"), "is not numbers separated by commas"),
        (("--out", "small.safetensors", "--config", "none.yaml"), "no setting decides anything in this layout"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(change, reason, command, small, tmp_path):
    code, _, err = command("import", small, *PLAIN, *change)

    assert code == 2 and reason in err and "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.pth"]


def test_the_checkpoint_is_not_overwritten(command, small, tmp_path):
    save_file(torch.load(tmp_path / small, weights_only=True), tmp_path / "small.safetensors")
    before = (tmp_path / "small.safetensors").read_bytes()

    code, _, err = command("import", "small.safetensors", *PLAIN, "--out", "small.safetensors")

    assert code == 2 and "is the checkpoint itself" in err
    assert (tmp_path / "small.safetensors").read_bytes() == before
