"""`challenge` accepts images that break a row within the rules, and no others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.artifact.unpack import read_artifact
from benchmark.attacks import pgd
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.evaluation.accuracy import as_float_images
from benchmark.results.challenges import load_challenges
from benchmark.results.store import artifact_path


@pytest.fixture
def adversarial(out, record) -> dict[str, Tensor]:
    """Return PGD images for every test image of the record."""
    data = load_test("digits", None, limit=record.evaluation.n_images)
    epsilon = float(Fraction(record.evaluation.epsilon))
    adversarial = pgd(
        read_artifact(artifact_path(out, record.run)).network,
        as_float_images(data.test.images),
        data.test.labels,
        epsilon=epsilon,
        step_size=epsilon / 4,
        num_steps=20,
        random_start=False,
        generator=torch.Generator(),
    )
    return {"x_adv": adversarial, "index": torch.arange(len(adversarial))}


def submit(run_command, out: Path, record, tensors: dict[str, Tensor], *, credit: str = "Ada"):
    save_file({name: value.clone() for name, value in tensors.items()}, out / "x_adv.safetensors")
    return run_command("challenge", record.run, out / "x_adv.safetensors", "--credit", credit, "--out", out)


def test_images_that_break_the_row_lower_its_best_known_accuracy_once(out, boast, adversarial, run_command):
    record = boast()
    backwards = {name: value.flip(0) for name, value in adversarial.items()}
    result = submit(run_command, out, record, backwards)
    assert result.exit_code == 0, result.output
    (challenge,) = load_challenges(out)
    assert challenge.credit == "Ada"
    after = record.evaluation.best_known_accuracy - len(challenge.broken) / record.evaluation.n_images
    assert f"to {100 * after:.2f}" in result.output
    (stored,) = (out / "challenges").rglob("*.safetensors")
    kept = load_file(stored)
    assert kept["index"].tolist() == challenge.broken
    assert torch.equal(kept["x_adv"], adversarial["x_adv"][kept["index"]])

    assert run_command("leaderboard", "--out", out).exit_code == 0
    page = (out / f"{record.protocol}.csv").read_text(encoding="utf-8")
    assert f",{after}," in page
    assert "Ada" in (out / f"{record.protocol}.md").read_text(encoding="utf-8")

    again = submit(run_command, out, record, adversarial)
    assert again.exit_code == 1
    assert "nothing was stored" in again.output
    assert load_challenges(out) == [challenge]


def test_without_an_index_the_images_are_all_those_of_the_row(out, boast, adversarial, run_command):
    assert submit(run_command, out, boast(), {"x_adv": adversarial["x_adv"]}).exit_code == 0


def test_an_honest_row_stands_against_a_weaker_attack(out, record, adversarial, run_command):
    result = submit(run_command, out, record, adversarial)
    assert result.exit_code == 1
    assert load_challenges(out) == []


def moved(tensors: dict[str, Tensor], distance: float) -> dict[str, Tensor]:
    images = tensors["x_adv"].clone()
    images[3] += distance
    return tensors | {"x_adv": images}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: moved(t, float("nan")), "image 3 of x_adv is not finite"),
        (lambda t: moved(t, -2.0), "image 3 of x_adv leaves"),
        (lambda t: t | {"x_adv": (t["x_adv"] * 0 + 0.5)}, "leaves the epsilon ball"),
        (lambda t: t | {"x_adv": t["x_adv"].double()}, "must be torch.float32"),
        (lambda t: t | {"x_adv": t["x_adv"][:, :, :4]}, "must be torch.float32"),
        (lambda t: t | {"index": t["index"] * 0}, "without duplicates"),
        (lambda t: t | {"index": t["index"] + 1}, "index has positions from 1"),
        (lambda t: t | {"index": t["index"] - 1}, "index has positions from -1"),
        (lambda t: t | {"index": t["index"].float()}, "index must be int64"),
        (lambda t: t | {"index": torch.tensor(0)}, "index must be int64"),
        (lambda t: {"x_adv": t["x_adv"][:0], "index": t["index"][:0]}, "at least one"),
        (lambda t: {"index": t["index"]}, "must hold x_adv"),
        (lambda t: t | {"labels": t["index"]}, "must hold x_adv"),
    ],
)
def test_images_against_the_rules_are_refused(out, boast, adversarial, run_command, spoil: Any, message):
    result = submit(run_command, out, boast(), spoil(adversarial))
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert load_challenges(out) == []


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"<html>"])
def test_a_file_that_is_not_safetensors_is_refused(out, record, run_command, content):
    path = out / "file"
    if content is not None:
        path.write_bytes(content)
    result = run_command("challenge", record.run, path, "--credit", "Ada", "--out", out)
    assert isinstance(result.exception, UserError)


@pytest.mark.parametrize("credit", ["", "  ", "x" * 101, "a\x1b[31mb"])
def test_a_credit_is_a_short_printable_name(out, boast, adversarial, run_command, credit):
    result = submit(run_command, out, boast(), adversarial, credit=credit)
    assert isinstance(result.exception, UserError)
    assert "--credit" in str(result.exception)
