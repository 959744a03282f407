"""`evaluate` gives a file's numbers, alone and in shards, and reports what is wrong with a request."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmark import evaluate
from benchmark.artifact.unpack import read_artifact
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.results.evaluated import load_evaluated
from benchmark.results.protocol import Protocol
from benchmark.results.store import artifact_path, write_model
from tests.short_attacks import short_attacks

ROOT = Path(__file__).resolve().parents[3]
HARD = "200/255"  # nothing survives, so that AutoAttack is over at once


def test_the_file_measured_again_has_the_verdicts_of_its_record(out, record, run_command):
    path = artifact_path(out, record.run)
    result = run_command("evaluate", path, "--protocol", record.protocol, "--out", out)
    assert result.exit_code == 0, result.output
    (file,) = (out / "evaluations").glob("*.json")
    evaluated = load_evaluated(file)
    assert evaluated.artifact == record.artifact
    for name in ("clean", "pgd", "apgd-ce", "square"):
        assert (evaluated.evaluation.right(name) == record.evaluation.right(name)).all()
    assert f"{record.artifact.size_bytes:,} bytes" in result.output
    assert path.stat().st_size == record.artifact.size_bytes
    assert not (out / "evaluations" / "journal" / file.stem).exists()

    again = run_command("evaluate", path, "--protocol", record.protocol, "--out", out)
    assert "already measured" in again.output


@pytest.mark.parametrize("name", ["evaluations", "evaluations/journal"])
def test_a_result_is_not_written_behind_a_link(out, record, run_command, tmp_path, name):
    (tmp_path / "outside").mkdir()
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(tmp_path / "outside")

    result = run_command("evaluate", artifact_path(out, record.run), "--images", "9", "--epsilon", HARD, "--out", out)

    assert f"{out / name} is a symbolic link" in str(result.exception)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_result_on_other_test_images_is_kept_beside_the_new_one(out, record, run_command):
    asked = ("evaluate", artifact_path(out, record.run), "--images", "9", "--epsilon", HARD, "--out", out)
    assert run_command(*asked).exit_code == 0
    (file,) = (out / "evaluations").glob("*.json")
    other = load_evaluated(file).model_copy(update={"test_sha256": "0" * 64})
    write_model(file, other)

    result = run_command(*asked)

    assert result.exit_code == 0 and "was measured on other test images or labels" in result.output
    assert load_evaluated(file).test_sha256 == load_test("digits", None).sha256
    assert load_evaluated(file.with_name(f"{file.stem}__data-{'0' * 12}.json")) == other


KILLED = """
import os, signal, sys
from pathlib import Path
from benchmark.__main__ import app
from benchmark.evaluation.progress import Progress
from tests.short_attacks import short_attacks

journal, files, forward = Path(sys.argv.pop(1)), int(sys.argv.pop(1)), Progress.forward

def killed(*args):
    forward(*args)
    if len(list(journal.rglob("*.safetensors"))) == files:
        os.kill(os.getpid(), signal.SIGKILL)

Progress.forward = killed
with short_attacks():
    app()
"""


@pytest.mark.slow
def test_a_command_killed_twice_inside_autoattack_leaves_one_result_with_the_same_verdicts(out, record, run_command):
    journal = out / "evaluations" / "journal"
    asked = ("evaluate", artifact_path(out, record.run), "--protocol", record.protocol, "--out", out)
    for files in (1, 3):  # finished before each kill: the first one is in APGD, the second one in FAB
        command = [sys.executable, "-c", KILLED, str(journal), str(files), *map(str, asked)]
        killed = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        assert killed.returncode == -signal.SIGKILL
        assert len(list(journal.rglob("*.safetensors"))) == files
        assert not list(out.glob("evaluations/*.json"))
    finished = run_command(*asked)
    assert finished.exit_code == 0, finished.output
    assert "resumes from 3 batches" in finished.output
    (file,) = (out / "evaluations").glob("*.json")
    assert load_evaluated(file).evaluation.verdicts.items() >= record.evaluation.verdicts.items()


def test_shards_merge_to_all_images(out, record, run_command):
    path = artifact_path(out, record.run)
    asked = ("evaluate", path, "--images", "9", "--epsilon", HARD, "--out", out)
    for shard in ("1/2", "2/2"):
        assert run_command(*asked, "--shard", shard).exit_code == 0
    files = sorted((out / "evaluations").glob("*shard*.json"))
    result = run_command("merge", *files)
    assert result.exit_code == 0, result.output
    (file,) = (out / "evaluations").glob("*__merged-2.json")
    whole = load_evaluated(file)
    assert (whole.evaluation.n_images, whole.evaluation.autoattack.shards) == (9, 2)
    clean = [load_evaluated(path).evaluation.right("clean") for path in files]
    assert [len(bits) for bits in clean] == [4, 5]
    assert (whole.evaluation.right("clean") == np.concatenate(clean)).all()


def test_the_security_curve_falls_from_clean_accuracy(out, record, run_command):
    path = artifact_path(out, record.run)
    result = run_command("evaluate", path, "--images", "8", "--epsilon", HARD, "--out", out, "--curve")
    assert result.exit_code == 0, result.output
    (file,) = (out / "evaluations").glob("*.json")
    evaluated = load_evaluated(file)
    accuracies = [point.accuracy for point in evaluated.curve]
    assert accuracies[0] == evaluated.evaluation.clean_accuracy
    assert accuracies == sorted(accuracies, reverse=True)
    assert "area under the curve" in result.output


def test_a_result_is_one_of_its_batch_size_and_a_curve_is_added_to_it(out, record, run_command):
    asked = ("evaluate", artifact_path(out, record.run), "--images", "8", "--epsilon", HARD, "--out", out)
    assert run_command(*asked).exit_code == 0
    assert run_command(*asked, "--batch-size", "4").exit_code == 0
    assert len(list((out / "evaluations").glob("*.json"))) == 2
    again = run_command(*asked, "--curve")
    assert "already measured" in again.output and "autoattack" not in again.output
    assert "area under the curve" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "digits"], "not a protocol id"),
        (["--protocol", "digits-linf-16_255-aa-standard-8", "--images", "8"], "--protocol already says"),
        (["--protocol", "digits-linf-16_255-aa-standard-100000"], "asks for 100000 images"),
        (["--protocol", "digits-linf-16_255-aa-standard-t3-8"], "AutoAttack is standard, not standard-t3"),
        (["--dataset", "nothing"], "no default epsilon"),
        (["--dataset", "digist"], "Did you mean digits?"),
        (["--dataset", "cifar10", "--data-dir", "EMPTY"], "cifar10"),
        (["--epsilon", "2"], "not a perturbation size"),
        (["--shard", "3/2"], "3/2"),
        (["--shard", ""], "'' is not a shard"),
        (["--protocol", ""], "'' is not a protocol id"),
        (["--dataset", ""], "'' is not a known data set"),
        (["--epsilon", ""], "'' is not a perturbation size"),
        (["--images", "100000"], "--images 100000: the test part of digits has 360"),
        (["--images", "1", "--shard", "2/8"], "cannot be cut into 8 shards"),
        (["--shard", "1/2", "--curve"], "--curve is measured on all images"),
        (["--device", "tpu"], "auto, cpu or cuda"),
        (["--parent", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_a_wrong_request_is_told_in_one_sentence(out, record, run_command, arguments, message, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a download would fail at once
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    arguments = [str(out / "empty") if each == "EMPTY" else each for each in arguments]
    result = run_command("evaluate", artifact_path(out, record.run), *arguments, "--out", out)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(out.glob("evaluations/*.json"))


def test_a_data_set_whose_images_the_network_cannot_take_is_refused(out, record, run_command):
    generator = np.random.default_rng(0)
    for number in range(16):
        path = out / "own" / ("train", "test")[number % 2] / f"class{number // 2 % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    asked = ["--dataset", "own", "--epsilon", "8/255", "--data-dir", out / "own", "--out", out]
    result = run_command("evaluate", artifact_path(out, record.run), *asked)
    assert isinstance(result.exception, UserError)
    expected = "own has images of 3x8x8 in 4 classes, the network, made for digits, takes 1x8x8 in 10"
    assert expected in str(result.exception)


def test_a_place_where_nothing_can_be_written_is_found_before_the_work(out, record, run_command):
    (out / "file").touch()
    result = run_command("evaluate", artifact_path(out, record.run), "--images", "8", "--out", out / "file")
    assert isinstance(result.exception, UserError)
    assert "cannot write into" in str(result.exception) and result.output == ""


class TwoLayers(nn.Module):
    """A network built elsewhere."""

    def __init__(self, classes: int = 10, *, size: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def test_any_module_can_be_evaluated_in_python():
    part = evaluate(TwoLayers().eval(), "digits", "digits-linf-200_255-pgd5x1-aa-standard-8")
    assert part.n_images == 8
    assert part.best_known_accuracy <= part.autoattack.accuracy <= part.clean_accuracy


class Odd(nn.Module):
    """An honest network inside a module that is not."""

    def __init__(self, network: nn.Module, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.answer = network, forward

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answer(self.network, images)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("zero_gradients", lambda net, x: net((x > 0.5).float())),  # sign activations
        ("zero_gradients", lambda net, x: net(torch.round(x * 8) / 8)),  # quantised input
        ("deterministic", lambda net, x: net(x) + 0.1 * torch.randn(len(x), 10)),
        ("eval_mode", lambda net, x: net.train()(x)),
        ("zero_gradients", lambda net, x: 1e4 * net(x)),
        ("zero_gradients", lambda net, x: net(x.detach())),
    ],
    ids=["signs", "quantised", "noise", "train mode", "large logits", "detached"],
)
def test_planted_cheats_fail_a_named_check(measured: Path, check, answer):
    (path,) = (measured / "artifacts").glob("*.safetensors")
    module = Odd(read_artifact(path).network, answer).eval()
    with short_attacks():
        part = evaluate(module, "digits", "digits-linf-200_255-pgd5x1-aa-standard-24")
    verdicts = {each.name: each.verdict for each in part.health}
    assert (part.health_verdict, verdicts[check]) == ("fail", "fail")


@pytest.mark.parametrize(
    "answer",
    [lambda net, x: net(x.mul_(1)), lambda net, x: net(x).double(), lambda net, x: net.bfloat16()(x.bfloat16())],
    ids=["writes into its input", "double logits", "half precision inside"],
)
def test_odd_modules_are_measured_to_the_end(measured: Path, answer):
    (path,) = (measured / "artifacts").glob("*.safetensors")
    module = Odd(read_artifact(path).network, answer).eval()
    assert evaluate(module, "digits", "digits-linf-200_255-pgd5x1-aa-standard-4").n_images == 4


def test_another_module_of_the_same_class_and_weights_is_not_taken_for_the_first(measured: Path, tmp_path: Path):
    (path,) = (measured / "artifacts").glob("*.safetensors")
    protocol = "digits-linf-200_255-pgd5x1-aa-standard-8"
    parts = [
        evaluate(Odd(read_artifact(path).network, answer).eval(), "digits", protocol, journal=tmp_path)
        for answer in (lambda net, x: net(x), lambda net, x: -net(x))
    ]
    assert len(list(tmp_path.iterdir())) == 2
    assert parts[1].autoattack.accuracy <= parts[1].clean_accuracy < parts[0].clean_accuracy


def test_loaded_images_may_be_given_instead_of_a_name():
    data = load_test("digits", None, limit=4)
    protocol = Protocol("digits", HARD, 4, pgd_steps=2)
    assert evaluate(TwoLayers().eval(), data, protocol).n_images == 4


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (TwoLayers(size=65), "cannot be run on images of 1x8x8"),
        (TwoLayers(7), r"must return logits of shape \(2, 10\)"),
        (nn.Sequential(TwoLayers(), nn.Threshold(float("inf"), float("nan"))), "not finite"),
    ],
)
def test_a_module_that_does_not_fit_the_images_is_refused(module, message):
    with pytest.raises(UserError, match=message):
        evaluate(module, "digits", "digits-linf-200_255-aa-standard-8")


def test_an_artifact_is_measured_by_its_own_preprocessing(measured: Path):
    """Pixels go in as [0, 1]; what the network subtracts and divides by comes from the file."""
    (path,) = (measured / "artifacts").glob("*.safetensors")
    artifact = read_artifact(path)
    assert torch.equal(artifact.network.normalize.mean.flatten(), torch.tensor(artifact.plan.mean))
    assert torch.equal(artifact.network.normalize.std.flatten(), torch.tensor(artifact.plan.std))


def test_an_artifact_becomes_an_onnx_file_with_the_same_logits(out, record, run_command):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = artifact_path(out, record.run)
    result = run_command("export", path, "--onnx", out / "network.onnx")
    assert result.exit_code == 0, result.output
    assert f"the artifact has {record.artifact.size_bytes:,}" in result.output
    images = load_test("digits", None, limit=16).test.images.float() / 255
    session = onnxruntime.InferenceSession(out / "network.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    assert np.allclose(logits, read_artifact(path).network(images).numpy(), rtol=0, atol=1e-4)


def test_export_into_a_missing_folder_is_refused(out, record, run_command):
    result = run_command("export", artifact_path(out, record.run), "--onnx", out / "no" / "network.onnx")
    assert isinstance(result.exception, UserError)


def test_a_provisional_look_stores_no_result_and_the_whole_evaluation_goes_on_from_it(out, record, run_command):
    path = artifact_path(out, record.run)
    asked = ("evaluate", path, "--protocol", record.protocol, "--out", out)
    look = run_command(*asked, "--provisional")

    assert look.exit_code == 0, look.output
    both = record.evaluation.right("clean") & record.evaluation.right("pgd") & record.evaluation.right("apgd-t")
    last = look.output.strip().splitlines()[-4:]
    assert [line.split()[0] for line in last] == ["clean", "pgd-5", "at", "PROVISIONAL:"]
    assert f" {int(both.sum())}/16 " in last[2] and "95% interval (Wilson)" in last[2]
    assert "upper bound, which no board ranks" in last[3]
    assert not list((out / "evaluations").glob("*.json"))

    whole = run_command(*asked)
    (file,) = (out / "evaluations").glob("*.json")
    assert "resumes from" in whole.output
    assert load_evaluated(file).evaluation.verdicts.items() >= record.evaluation.verdicts.items()


def test_a_provisional_look_takes_no_curve(out, record, run_command):
    result = run_command("evaluate", artifact_path(out, record.run), "--out", out, "--provisional", "--curve")

    assert isinstance(result.exception, UserError)
    assert "leave --curve and --parent out" in str(result.exception)
