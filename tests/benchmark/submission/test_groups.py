"""Rows with masks of groups and weights from a seed: honest ones agree with their files, forged ones do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import torch

from benchmark.artifact.measure import BadExport
from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import read_artifact, unpack
from benchmark.leaderboard.board.tables import boards
from benchmark.networks.resnet import convolutions
from benchmark.results.record import Record
from benchmark.results.store import artifact_path, load_records
from benchmark.review.recount import recount
from benchmark.submission.artifact import check_artifact
from benchmark.submission.budget_claims import check_budget
from benchmark.submission.contradictions import check_numbers, experiment_of
from methods.counted import Drawn, draw_weights
from tests.short_attacks import run_in_process

SUITE = """
name: grouped
dataset: digits
train_images: 128
epsilon: 16/255
architecture: {name: resnet6, width: 0.125}
grid: {weights: binary, keep_ratio: 0.4, allocation: 0.7, granularity: kernel}
methods: [{method: edge_popup}]
training: {epochs: 1, batch_size: 64, attack: {num_steps: 1}, selection_steps: 1, selection_images: 20}
artifact: {weights: seed, statistics: int8}
evaluation: {images: 4, pgd: {steps: 2}}
seeds: 7
"""


@pytest.fixture(scope="session")
def trained(made_once):
    """Return a folder with the record and the artifact of a network of kernels from a seed."""

    def fill(folder):
        (folder / "grouped.yaml").write_text(SUITE, encoding="utf-8")
        run_in_process(folder / "grouped.yaml", folder)

    return made_once("grouped_row", fill)


@pytest.fixture
def row(trained):
    """Return the record, its experiment and its artifact."""
    (record,) = load_records(trained)
    experiment, reasons = experiment_of(record)
    assert experiment is not None, reasons
    return record, experiment, read_artifact(artifact_path(trained, record.run))


def changed(record, **changes):
    """Return a record with other values; part__field names a field."""
    fields = record.model_dump(mode="json")
    for place, value in changes.items():
        part, _, name = place.partition("__")
        fields[part][name] = value
    return Record.model_validate(fields)


def test_the_network_was_trained_with_the_weights_of_its_seed(row):
    record, experiment, artifact = row

    assert artifact.drawn == Drawn("signs", 7) and (artifact.granularity, artifact.statistics) == ("kernel", "int8")
    for number, conv in enumerate(convolutions(artifact.network).values()):
        drawn = torch.from_numpy(draw_weights(7, number, conv.weight.numel(), "signs")).view_as(conv.weight)
        kept = conv.weight != 0
        assert torch.equal(conv.weight[kept], drawn[kept])
        assert torch.equal(kept.all(3).all(2), kept.any(3).any(2))
    assert record.artifact.weights == "seed" and record.compression.granularity == "kernel"
    assert recount(record, artifact) == [] == check_artifact(record, experiment, artifact)
    assert check_numbers(record, experiment, now=datetime.now(UTC)) == []
    assert record.compression.kept_weights <= record.compression.budget


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"compression__granularity": "channel"}, "granularity: the record says channel, the artifact has kernel"),
        ({"artifact__weights": "stored"}, "seed of the weights: the record says None, the artifact has Drawn"),
        ({"artifact__statistics": "float16"}, "type of the statistics: the record says float16, the artifact has int8"),
    ],
)
def test_a_record_that_says_otherwise_is_contradicted_by_file_and_experiment(row, changes, why):
    record, experiment, artifact = row
    forged = changed(record, **changes)

    assert any(reason.startswith(why) for reason in recount(forged, artifact))
    (reason,) = [r for r in check_numbers(forged, experiment, now=datetime.now(UTC)) if "its config gives" in r]
    assert next(iter(changes.values())) in reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"allocation": "global"}, "layers: granularity kernel needs a budget per layer"),
        ({"keep_ratio": 1.0}, "layers: granularity kernel says what is dropped together"),
        ({"granularity": "2:4"}, "layers: granularity 2:4 keeps half of every layer"),
        ({"keep_ratio": 0.001}, "layers: a budget of "),
    ],
)
def test_groups_that_cannot_be_had_are_a_reason_and_no_error(row, changes, why):
    record, experiment, artifact = row
    impossible = experiment.model_copy(update=changes)

    for reasons in (check_budget(record, impossible), check_artifact(record, impossible, artifact)):
        assert any(reason.startswith(why) for reason in reasons)


def test_a_file_that_stores_the_same_weights_is_not_that_of_the_record(row):
    record, experiment, artifact = row
    fields = {name: getattr(artifact, name) for name in ("dataset", "image_size", "statistics", "granularity")}
    stored = unpack(pack(artifact.network, artifact.plan, **fields))

    assert any(reason.startswith("seed of the weights") for reason in check_artifact(record, experiment, stored))


def test_a_weight_in_a_kernel_too_many_is_found_in_the_file(row):
    record, experiment, artifact = row
    weight = artifact.network.layer1[0].conv1.weight
    out, inner = (weight == 0).all(3).all(2).nonzero()[0].tolist()
    weight[out, inner, 0, 0] = 1.0
    weight[tuple((weight != 0).nonzero()[-1])] = 0.0
    fields = {name: getattr(artifact, name) for name in ("dataset", "image_size", "statistics", "granularity")}
    other = unpack(pack(artifact.network, artifact.plan, **fields))

    reasons = check_artifact(record, experiment, other)

    assert "layers: layer1.0.conv1 has weights in more groups than its share holds" in reasons


def test_such_rows_have_a_class_of_their_own_and_say_so(row):
    record, _, _ = row
    ((_, board),) = boards([record]).items()
    (ranked,) = [*board.rows, *board.refused]

    assert (ranked.size_class.title, ranked.size_class.name) == ("up to 10 kB, with seed", "10 kB with seed")
    assert ranked.options_text.startswith("granularity=kernel, weights_from=seed")


def test_a_trained_network_never_gets_a_seed(row):
    _, _, artifact = row
    artifact.network.fc.weight[artifact.network.fc.weight != 0] *= -1
    fields = {name: getattr(artifact, name) for name in ("dataset", "image_size", "statistics", "granularity")}

    with pytest.raises(BadExport, match="not those of seed 7"):
        pack(artifact.network, artifact.plan, **fields, drawn=artifact.drawn)
