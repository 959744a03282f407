"""Shards join to the evaluation of the whole, and to nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.results.evaluated import Evaluated, load_evaluated, merge
from benchmark.results.store import write_model
from benchmark.results.verdicts import pack_verdicts

MakeShard = Callable[..., Evaluated]


@pytest.fixture
def make_shard(fields) -> MakeShard:
    """Return the maker of shards of 10 images of a protocol on 30; its first `right` images survive each attack."""

    def make(
        index: int | None, right: tuple[int, int, int] = (8, 6, 5), *, count: int = 3, n: int = 10, **changes: Any
    ) -> Evaluated:
        record = fields(right=right, n=n, **changes)
        return Evaluated.model_validate(
            {
                "schema_version": 1,
                "artifact": record["artifact"],
                "protocol": record["protocol"].removesuffix(str(n)) + "30",
                "test_sha256": record["dataset"]["test_sha256"],
                "shard": None if index is None else {"index": index, "count": count},
                "evaluation": record["evaluation"],
                "curve": None,
                "curve_area": None,
                "machine": {
                    "torch": "2.6.0",
                    "device": "cpu",
                    "threads": 1,
                    "started": "2025-01-01T00:00:00+00:00",
                    "seconds": 2.0,
                },
            }
        )

    return make


def test_shards_in_any_order_join_to_the_whole(make_shard):
    shards = {1: make_shard(1, (10, 9, 3)), 2: make_shard(2, (8, 6, 5)), 3: make_shard(3, (0, 0, 0))}
    whole = merge([shards[3], shards[1], shards[2]])
    assert whole.shard is None
    assert (whole.evaluation.n_images, whole.evaluation.autoattack.shards) == (30, 3)
    assert whole.evaluation.clean_accuracy == 18 / 30
    assert whole.evaluation.pgd.accuracy == 15 / 30
    assert whole.evaluation.autoattack.accuracy == 8 / 30
    for name in ("clean", "pgd", "apgd-ce", "square", "robust"):
        parts = [shards[index].evaluation.right(name) for index in (1, 2, 3)]
        assert (whole.evaluation.right(name) == np.concatenate(parts)).all()
    assert whole.machine.seconds == 6.0


def test_the_worst_verdict_of_each_health_check_is_kept(make_shard, health):
    shards = [
        make_shard(index + 1, evaluation__health=health("black_box", verdict))
        for index, verdict in enumerate(["pass", "fail", "suspect"])
    ]
    merged = {check.name: check.verdict for check in merge(shards).evaluation.health}
    assert (merged.pop("black_box"), set(merged.values())) == ("fail", {"pass"})


@pytest.fixture
def make_opposed(make_shard, opponent) -> MakeShard:
    """Return the maker of shards whose first image fell to the opponent's attacks alone."""

    def make(index: int, verdict: str = "pass") -> Evaluated:
        shard = make_shard(index).model_dump(mode="json")
        evaluation = shard["evaluation"]
        evaluation["verdicts"]["opponent"] = pack_verdicts([False] + [True] * 9)
        evaluation["health"] += opponent(verdict)
        evaluation["best_known_accuracy"] = 4 / 10
        return Evaluated.model_validate(shard)

    return make


def test_shards_join_with_the_hard_label_attack_and_its_checks(make_opposed):
    whole = merge([make_opposed(1), make_opposed(2, "fail"), make_opposed(3)]).evaluation
    assert np.flatnonzero(~whole.right("opponent")).tolist() == [0, 10, 20]
    assert whole.best_known_accuracy == 12 / 30
    assert {check.name: check.verdict for check in whole.health}["hard_label"] == "fail"


def test_shards_with_and_without_the_hard_label_attack_do_not_join(make_shard, make_opposed):
    with pytest.raises(
        UserError, match=r"shards \[2\] of 3 were measured before the opponent's attacks .* these again"
    ):
        merge([make_opposed(1), make_shard(2), make_opposed(3)])


def test_an_evaluation_survives_its_file(make_shard, tmp_path: Path):
    shard = make_shard(2)
    write_model(tmp_path / "deep" / "shard.json", shard)
    assert load_evaluated(tmp_path / "deep" / "shard.json") == shard


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ("{}", "is not a result of"), ("<html>", "is not a result of")]
)
def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path, text, message):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_evaluated(path)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([(1, {}), (3, {})], r"shards \[2\] of 3 are missing"),
        ([(1, {}), (2, {}), (2, {}), (3, {})], r"are \[1, 2, 2, 3\], which has a duplicate"),
        ([(1, {"count": 2}), (2, {}), (3, {})], r"cut into \[2, 3\]"),
        ([(None, {"n": 30})], "a whole evaluation"),
        ([(1, {}), (2, {"artifact__sha256": "f" * 64}), (3, {})], "differ in the artifact"),
        ([(1, {}), (2, {}), (3, {"dataset__test_sha256": "f" * 64})], "differ in the test images"),
        ([(1, {}), (2, {"evaluation__autoattack__batch_size": 7}), (3, {})], "differ in AutoAttack's settings"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(make_shard, chosen, message):
    with pytest.raises(UserError, match=message):
        merge([make_shard(index, **changes) for index, changes in chosen])


def test_a_whole_evaluation_has_all_images_of_its_protocol(make_shard):
    with pytest.raises(ValidationError, match="10 images were measured"):
        make_shard(None)
