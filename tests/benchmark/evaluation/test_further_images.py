"""PGD on more images than the protocol's: accepted settings, measured verdicts, and the files of a run."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.evaluation import further_images as wide_module
from benchmark.evaluation.accuracy import clean_verdicts, pgd_verdicts
from benchmark.evaluation.evaluate import PGD_SEED
from benchmark.evaluation.further_images import widen
from benchmark.launch.remeasured import is_measured
from benchmark.networks.resnet import plain_conv
from benchmark.results.evaluation import CASCADE, CHECKS, EvaluationPart
from benchmark.results.record import Record
from benchmark.results.store import load_records
from benchmark.results.verdicts import pack_verdicts
from benchmark.suite.presets import apply_preset
from benchmark.suite.suite import load_suite

SUITE = """
name: tiny
dataset: digits
train_images: 48
epsilon: {epsilon}
architecture: {{name: resnet10, width: 0.0625}}
grid: {{weights: fp}}
methods: [{{method: at}}]
training: {{epochs: 3, batch_size: 16, attack: {{num_steps: 2}}, selection_steps: 2}}
evaluation: {{images: 8, pgd: {{steps: 5, images: 16}}}}
"""
EPSILON, STEP = 8 / 255, 2 / 255


@pytest.fixture
def suite(tmp_path):
    """Return a suite with PGD on twice as many images; at this epsilon AutoAttack has no work."""
    path = tmp_path / "tiny.yaml"
    path.write_text(SUITE.format(epsilon="200/255"), encoding="utf-8")
    return path


@pytest.fixture
def model(make_plan):
    """Return a small random network with statistics of its own."""
    model = make_plan(width=1 / 4)(conv=plain_conv, norm=nn.BatchNorm2d)
    for _ in range(20):
        model(torch.rand(32, 3, 8, 8))
    return model.eval()


def evaluation_of(model, data, *, steps=4, restarts=2):
    """Return an evaluation in which AutoAttack breaks the same images as PGD."""
    settings = {"epsilon": EPSILON, "step_size": STEP, "steps": steps, "restarts": restarts, "seed": PGD_SEED}
    clean = clean_verdicts(model, data, batch_size=8)
    pgd = pgd_verdicts(model, data, **settings, batch_size=8)
    share = {"clean": float(clean.sum()) / len(data), "pgd": float(pgd.sum()) / len(data)}
    verdicts = dict.fromkeys(("pgd", *CASCADE), pack_verdicts(pgd.numpy())) | {"clean": pack_verdicts(clean.numpy())}
    return EvaluationPart(
        n_images=len(data),
        epsilon="8/255",
        norm="linf",
        clean_accuracy=share["clean"],
        pgd={"steps": steps, "restarts": restarts, "step_size": "2/255", "accuracy": share["pgd"]},
        autoattack={
            **{"version": "standard", "package": "pyautoattack", "package_version": "0.2.0", "seed": 0},
            **{"batch_size": 8, "shards": 1, "accuracy": share["pgd"], "seconds": 1.0},
            "attacks": dict.fromkeys(CASCADE, share["pgd"]),
        },
        best_known_accuracy=share["pgd"],
        verdicts=verdicts,
        health=[{"name": name, "value": 0.0, "verdict": "pass", "reason": "None."} for name in CHECKS],
    )


def test_wide_verdicts_are_those_of_one_pgd_over_all_images(model, make_images):
    data = make_images(40, model=model)
    data.labels[::5] = (data.labels[::5] + 1) % 10
    narrow, whole = evaluation_of(model, data.first(12)), evaluation_of(model, data)

    evaluation = widen(model, narrow, data, device="cpu", batch_size=7)

    wide = evaluation.wide
    assert (wide.n_images, wide.test_sha256) == (40, data.sha256())
    for name in ("clean", "pgd"):
        assert wide.right(name).tolist() == whole.right(name).tolist()
        assert 0 < wide.right(name)[12:].sum() < 28, "images of both kinds"
        assert wide.right(name)[:12].tolist() == narrow.right(name).tolist()
    assert 0 < wide.pgd_accuracy < wide.clean_accuracy == whole.clean_accuracy < 1
    assert evaluation.model_copy(update={"wide": None}) == narrow


def test_only_further_images_are_attacked(model, make_images, monkeypatch):
    data, masks = make_images(20, model=model), []
    narrow = evaluation_of(model, data.first(12))
    monkeypatch.setattr(
        wide_module, "pgd_verdicts", lambda *arguments, among, **settings: masks.append(among) or torch.zeros(20).bool()
    )

    widen(model, narrow, data, device="cpu", batch_size=7)

    assert [among.tolist() for among in masks] == [[False] * 12 + [True] * 8]


def test_progress_reports_the_share_done_and_the_time_left(model, make_images, monkeypatch):
    clock = itertools.count(step=30)  # seconds, at the start and at every step of the attack
    monkeypatch.setattr("benchmark.runtime.progress.perf_counter", lambda: next(clock))
    data, lines = make_images(20, model=model), []

    widen(
        model, evaluation_of(model, data.first(12), restarts=1), data, device="cpu", batch_size=4, report=lines.append
    )

    assert lines[0] == "wide       pgd-4   10% of 8 further images   30s, about 4 min left"
    shares = [int(line.split()[2].removesuffix("%")) for line in lines[:-1]]
    assert shares == sorted(shares) and 0 < shares[0] <= 13 and shares[-1] == 100
    assert lines[-1].startswith("wide       clean ") and lines[-1].endswith(" of 20 images")


def test_a_run_measures_the_further_images_and_records_them(tmp_path, suite):
    suite.write_text(SUITE.format(epsilon="24/255"), encoding="utf-8")
    out = tmp_path / "out"

    result = CliRunner().invoke(app, ["run", str(suite), "--out", str(out), "--jobs", "2"])

    assert result.exit_code == 0, result.output
    (record,) = load_records(out)
    assert record.protocol == "digits-linf-24_255-pgd5x1-aa-standard-8"
    evaluation, wide = record.evaluation, record.evaluation.wide
    assert (evaluation.n_images, record.dataset.test_images, wide.n_images) == (8, 8, 16)
    data = load_test("digits", None)
    assert record.dataset.test_sha256 == data.sha256
    assert wide.test_sha256 == data.test.first(16).sha256() != data.test.first(8).sha256()
    for name in ("clean", "pgd"):
        assert wide.right(name)[:8].tolist() == evaluation.right(name).tolist()
    assert record.provenance.config["evaluation"]["pgd"]["images"] == 16
    assert "1 done, 0 to run" in CliRunner().invoke(app, ["run", str(suite), "--out", str(out)]).output
    without = CliRunner().invoke(app, ["run", str(suite), "--out", str(out), "--set", "evaluation.pgd.images=null"])
    assert "1 done, 0 to run" in without.output, "the record has all that is asked for"
    assert load_records(out) == [record]
    page = next(out.glob("*.md")) and (out / f"{record.protocol}.md").read_text(encoding="utf-8")
    assert "## Clean and PGD accuracy on more images" in page


def test_the_hash_of_a_whole_part_is_that_of_its_images():
    data = load_test("digits", None)

    unsorted = data.index.argsort()
    assert data.sha256 == type(data.test)(data.test.images[unsorted], data.test.labels[unsorted]).sha256()
    assert data.first(5).index.tolist() == data.index[:5].tolist() and len(data.first(5).test) == 5


def test_a_missing_setting_is_absent_from_the_config_and_changes_no_hash(make_experiment):
    plain, wide = make_experiment(), make_experiment(evaluation={"images": 100, "pgd": {"images": 2000}})

    assert "images" not in plain.model_dump(mode="json")["evaluation"]["pgd"]
    assert wide.model_dump(mode="json")["evaluation"]["pgd"]["images"] == 2000
    assert wide.run_hash == plain.run_hash
    assert wide.protocol(100, 10) == make_experiment(evaluation={"images": 100}).protocol(100, 10)


@pytest.mark.parametrize(
    ("images", "wide", "whole", "expected"),
    [(8, None, 360, None), (8, 16, 360, 16), (8, 8, 360, None), (8, 360, 360, 360), (None, 360, 360, None)],
)
def test_pgd_has_further_images_only_beyond_the_protocols(make_experiment, images, wide, whole, expected):
    experiment = make_experiment(evaluation={"images": images, "pgd": {"images": wide}})

    assert experiment.evaluation.wide_images(whole) == expected


@pytest.mark.parametrize(("images", "wide"), [(8, 361), (None, 359), (None, 361), (1000, 2000)])
def test_more_images_than_exist_or_fewer_than_the_protocols_are_refused(make_experiment, images, wide):
    experiment = make_experiment(evaluation={"images": images, "pgd": {"images": wide}})

    with pytest.raises(UserError, match=f"pgd.images is {wide}, .* the test part 360; give a number from"):
        experiment.evaluation.wide_images(360)


def test_fewer_images_than_the_protocols_are_refused_in_one_sentence(suite):
    with pytest.raises(UserError, match=r"pgd.images is 5, fewer than the protocol's 8 images; give more, or none"):
        load_suite(suite, ["evaluation.pgd.images=5"])


@pytest.mark.parametrize("command", ["run", "plan"])
def test_more_images_than_the_test_part_has_are_refused_before_anything_runs(suite, tmp_path, command):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [command, str(suite), "--out", str(out), "--set", "evaluation.pgd.images=2000"])

    assert isinstance(result.exception, UserError)
    assert "evaluation.pgd.images is 2000, the protocol has 8 images and the test part 360" in str(result.exception)
    assert not list(out.glob("work/*"))


def test_smoke_keeps_the_further_images_few_and_adds_none(make_experiment):
    wide = make_experiment(evaluation={"images": 200, "pgd": {"images": 2000}})

    scaled = apply_preset(wide, "smoke").evaluation

    assert (scaled.images, scaled.pgd.images) == (8, 16)
    assert apply_preset(make_experiment(), "smoke").evaluation.pgd.images is None


def test_a_record_without_further_images_does_not_count_for_a_run_with_them(make_experiment, tmp_path):
    plain, as_many, wide, wider = (
        make_experiment(evaluation={"images": 8, "pgd": {"images": number}}) for number in (None, 8, 16, 20)
    )

    def record(experiment):
        config = json.loads(experiment.model_dump_json())
        images = experiment.evaluation.pgd.images
        evaluation = SimpleNamespace(n_images=8, wide=None if images is None else SimpleNamespace(n_images=images))
        return Record.model_construct(provenance=SimpleNamespace(config=config), evaluation=evaluation)

    assert is_measured(record(plain), plain) and is_measured(record(wide), wide)
    assert is_measured(record(wide), plain) and not is_measured(record(plain), wide)
    assert is_measured(record(wider), wide) and not is_measured(record(wide), wider)
    assert is_measured(record(plain), as_many)
