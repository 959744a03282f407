"""A challenge lowers the best-known accuracy of its record and nothing else; a tampered one is refused."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save

from benchmark.errors import UserError
from benchmark.results.challenges import Challenge, challenged, load_challenges, save_challenge


def images_at(places: list[int]) -> bytes:
    return save({"x_adv": np.zeros((len(places), 1, 2, 2), np.float32), "index": np.array(places, np.int64)})


IMAGES = images_at([3, 5])


def challenge_to(record, broken: list[int], **changes: Any) -> Challenge:
    settings: dict[str, Any] = {
        "schema_version": 1,
        "run": record.run,
        "protocol": record.protocol,
        "artifact_sha256": record.artifact.sha256,
        "images_sha256": hashlib.sha256(IMAGES).hexdigest(),
        "credit": "Ada",
        "date": date(2026, 1, 2),
        "broken": broken,
    }
    return Challenge(**(settings | changes))


def test_broken_images_lower_the_best_known_accuracy_and_no_other_number(make_record):
    record = make_record(right=(80, 50, 45))
    (after,) = challenged([record], [challenge_to(record, [0, 44, 45, 99]), challenge_to(record, [0, 1])])
    assert after.evaluation.best_known_accuracy == 0.42  # 0, 1 and 44 were robust; 45 and 99 were not
    assert after.evaluation.right("robust").sum() == 42
    assert after.evaluation.autoattack == record.evaluation.autoattack
    assert after.evaluation.pgd == record.evaluation.pgd


def test_other_records_stay_as_they_are(make_record):
    record, other = make_record(), make_record(seed=1)
    assert challenged([record, other], [challenge_to(other, [0])])[0] == record


def test_a_challenge_to_another_artifact_is_refused(make_record):
    record = make_record()
    with pytest.raises(UserError, match="another artifact"):
        challenged([record], [challenge_to(record, [0], artifact_sha256="0" * 64)])
    with pytest.raises(UserError, match="another artifact"):
        challenged([record], [challenge_to(record, [100])])


def test_a_challenge_to_a_run_without_a_record_is_refused(make_record):
    with pytest.raises(UserError, match="which has no record"):
        challenged([make_record()], [challenge_to(make_record(seed=1), [0])])


def test_a_challenge_survives_its_files(make_record, tmp_path: Path):
    challenge = challenge_to(make_record(), [3, 5])
    path = save_challenge(challenge, IMAGES, tmp_path)
    assert load_challenges(tmp_path) == [challenge]
    assert path.with_suffix(".safetensors").read_bytes() == IMAGES


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda path: path.with_suffix(".safetensors").write_bytes(b"other"), "it is missing or not the file"),
        (lambda path: path.with_suffix(".safetensors").unlink(), "it is missing or not the file"),
        (lambda path: path.write_text("{}", encoding="utf-8"), "Field required"),
        (lambda path: edited(path, "broken", [5, 3]), "ascending order"),
        (lambda path: edited(path, "broken", [3, 6]), "its places are not those"),
        (
            lambda path: exchanged(path, {"index": np.array([3, 5])}),
            "it holds index; a challenge holds x_adv and index",
        ),
        (lambda path: exchanged(path, x_adv(1) | {"index": np.array([3, 5])}), "one image in float32 for each"),
        (lambda path: edited(path, "credit", "two\nlines"), "not a printable name"),
        (lambda path: edited(path, "run", "other/seed0-3f9a1c"), "its content belongs to"),
        (lambda path: edited(path, "date", "2025-01-01"), "its content belongs to"),
        (lambda path: edited(path, "run", "../../x"), "cannot be a file name"),
    ],
)
def test_a_tampered_challenge_is_refused(make_record, tmp_path: Path, tamper, message):
    tamper(save_challenge(challenge_to(make_record(), [3, 5]), IMAGES, tmp_path))
    with pytest.raises(UserError, match=message):
        load_challenges(tmp_path)


def x_adv(count: int) -> dict[str, Any]:
    return {"x_adv": np.zeros((count, 1, 2, 2), np.float32)}


def exchanged(path: Path, tensors: dict[str, Any]) -> None:
    """Give a challenge another file of images, and its hash and name."""
    content = save(tensors)
    digest = hashlib.sha256(content).hexdigest()
    edited(path, "images_sha256", digest)
    new = path.with_stem(f"{path.stem[:10]}-{digest[:8]}")
    path.with_suffix(".safetensors").unlink()
    path.rename(new).with_suffix(".safetensors").write_bytes(content)


def edited(path: Path, key: str, value: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {key: value}), encoding="utf-8")


@pytest.mark.parametrize("changes", [{"credit": ""}, {"credit": "x" * 101}, {"broken": []}, {"broken": [-1]}])
def test_a_challenge_out_of_range_cannot_exist(make_record, changes):
    with pytest.raises(ValidationError):
        challenge_to(make_record(), **({"broken": [0]} | changes))
