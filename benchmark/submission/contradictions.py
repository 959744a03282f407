"""What a record states more than once must agree: with its resolved experiment, arithmetic and the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pydantic import ValidationError

from benchmark.data.catalog import DATASETS
from benchmark.errors import UserError
from benchmark.evaluation.health.attack_checks import black_box_of
from benchmark.evaluation.opponent.attacks import HARD_LABEL, LEAKY
from benchmark.evaluation.opponent.checks import hard_label_attacked, hard_label_of, leaky_bpda_of
from benchmark.evaluation.probes import PROBE_IMAGES
from benchmark.files.places import CONFIGS
from benchmark.results.evaluation import OPPONENT, VERDICTS, EvaluationPart
from benchmark.results.external import AnyRecord
from benchmark.results.parts import TestDataPart
from benchmark.results.record import Record
from benchmark.submission.budget_claims import check_budget
from benchmark.submission.reading import is_built_in
from benchmark.submission.training_claims import check_training, differing
from benchmark.suite.experiment import Experiment
from benchmark.suite.registry import resolve
from benchmark.suite.suite import expand, load_suite

MAX_CLASSES, MAX_SIDE, MAX_CHANNELS = 100_000, 4096, 16  # as in an artifact
MAX_THREADS = 1024
MAX_SECONDS = 10 * 365 * 86_400.0  # of a duration
EARLIEST = datetime(2022, 1, 1, tzinfo=UTC)
CLOCK_SLACK = timedelta(days=1)
_SHARES = ("zero_gradients", "logit_scale", "more_steps", "unbounded", "transfer")  # of gradient health


def experiment_of(record: Record) -> tuple[Experiment | None, list[str]]:
    """Return the resolved experiment of a record, or why there is none."""
    config = record.provenance.config
    try:
        experiment = Experiment.model_validate(config)
    except (ValidationError, UserError) as error:
        problem = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
        return None, [f"provenance.config is not an experiment: {problem}"]
    if experiment.model_dump(mode="json") != config:
        return None, ["provenance.config is not a resolved experiment: fields are missing or written differently"]
    return experiment, []


def check_numbers(record: Record, experiment: Experiment, *, now: datetime) -> list[str]:
    """Return every contradiction of a record; empty if there is none.

    Args:
        record: one that satisfies its schema.
        experiment: the record's, see `experiment_of`.
        now: a time with its zone; nothing in the record may be later.
    """
    limits = _limits(record)
    if limits:  # what follows computes with these numbers
        return limits
    return [
        *_against_config(record, experiment),
        *check_training(record, experiment),
        *check_budget(record, experiment),
        *_method(record, experiment),
        *_preset(record, experiment),
        *time_contradictions(record, now),
        *health_contradictions(record.evaluation),
    ]


def _limits(record: Record) -> list[str]:
    return limits_exceeded(
        record.dataset,
        {
            "threads": (record.provenance.threads, MAX_THREADS),
            "provenance.seconds": (record.provenance.seconds, MAX_SECONDS),
            "training.seconds": (record.training.seconds, MAX_SECONDS),
            "autoattack.seconds": (record.evaluation.autoattack.seconds, MAX_SECONDS),
        },
    )


def limits_exceeded(dataset: TestDataPart, others: dict[str, tuple[float, float]]) -> list[str]:
    """Return which numbers of a record are too large to compute with: those of its data, and pairs (value, limit)."""
    channels, height, width = dataset.image_shape
    limits = {
        "num_classes": (dataset.num_classes, MAX_CLASSES),
        "image_shape": (max(height, width), MAX_SIDE),
        "channels": (channels, MAX_CHANNELS),
        **others,
    }
    return [
        f"{what} is {value:,}, at most {limit:,} is plausible"
        for what, (value, limit) in limits.items()
        if value > limit
    ]


def _against_config(record: Record, experiment: Experiment) -> list[str]:
    evaluation, asked = record.evaluation, experiment.evaluation
    images = record.dataset.test_images
    pairs: dict[str, tuple[Any, Any]] = {
        "run": (record.run, experiment.run),
        "run_hash": (record.run_hash, experiment.run_hash),
        "suite": (record.suite, experiment.suite),
        "preset": (record.preset, experiment.preset),
        "seed": (record.seed, experiment.seed),
        "data set": (record.dataset.name, experiment.dataset),
        "network": (record.architecture.name, experiment.architecture.name),
        "width": (record.architecture.width, experiment.architecture.width),
        "LBN": (record.architecture.last_norm, experiment.architecture.last_norm),
        "method": (record.method.name, experiment.method.name),
        "target": (record.method.target, experiment.method.target),
        "options": (record.method.options, experiment.method.options),
        "objective": (record.method.objective, experiment.objective),
        "weights": (record.compression.weights, experiment.weights),
        "keep_ratio": (record.compression.keep_ratio, experiment.keep_ratio),
        "allocation": (record.compression.allocation, experiment.allocation),
        "granularity": (record.compression.granularity, experiment.granularity),
        "type of the statistics": (record.artifact.statistics, experiment.artifact.statistics),
        "weights of the file": (record.artifact.weights, experiment.artifact.weights),
        "epochs": (record.training.epochs, experiment.training.epochs),
        "batch_size": (record.training.batch_size, experiment.training.batch_size),
        "protocol": (record.protocol, experiment.protocol(images, record.dataset.num_classes).id),
        "evaluated images": (evaluation.n_images, images),
        "images": (images, min(images, asked.images or images)),
        "batch size of AutoAttack": (evaluation.autoattack.batch_size, asked.autoattack.batch_size),
        "shards of AutoAttack": (evaluation.autoattack.shards, min(evaluation.autoattack.shards, images)),
        "images of PGD": (evaluation.wide.n_images if evaluation.wide else images, asked.pgd.images or images),
    }
    return differing(pairs, "its config gives")


def _method(record: Record, experiment: Experiment) -> list[str]:
    """Compare what the record says about the method with the built-in one, if its source is unchanged."""
    source = experiment.method.source_sha256
    if not is_built_in(record):
        return differing({"source of the method": (record.method.source_sha256, source)}, "its config gives")
    if source is not None:
        return ["config.method.source_sha256 is set, which a built-in method does not have"]
    built_in = resolve(record.method.name)
    try:
        again = built_in.spec(record.method.options, record.method.name)
    except UserError as error:
        return [f"options: {error}"]
    reasons = differing({"options": (record.method.options, again.options)}, "the method's defaults give")
    if built_in.source_sha256() == record.method.source_sha256:
        reasons += differing(
            {"deviations": (record.method.deviations, built_in.deviations())}, "the method's file says"
        )
    return reasons


def _preset(record: Record, experiment: Experiment) -> list[str]:
    """Refuse the preset paper for any other schedule: only its rows are compared with reported numbers."""
    if experiment.preset != "paper":
        return []
    path = CONFIGS / f"{experiment.suite}.yaml"
    suite = load_suite(path) if path.is_file() else None
    if suite is None or suite.preset != "paper":
        return [f"preset: it says paper, but configs/ has no suite {experiment.suite} of that preset"]
    if not is_built_in(record):
        same = (experiment.dataset, experiment.epsilon, experiment.training.attack) == (
            *(suite.dataset, suite.epsilon or DATASETS[suite.dataset].epsilon),
            suite.training.attack,
        )
        return [] if same else [f"preset: it says paper, but the schedule is not that of {experiment.suite}"]
    entries = [(entry, resolve(entry.method)) for entry in suite.methods if entry.method == record.method.name]
    runs = {each.run for each in expand(suite, entries, seeds=[record.seed], preset=None)}
    return [] if experiment.run in runs else [f"preset: it says paper, but {experiment.suite} has no such experiment"]


def time_contradictions(record: AnyRecord, now: datetime) -> list[str]:
    """Return why a record cannot have been made when it says."""
    started = datetime.fromisoformat(record.started)
    if started.isoformat(timespec="seconds") != record.started:
        return [f"started: {record.started!a} is not written as 2026-01-31T12:00:00+00:00"]
    if not EARLIEST <= started <= now + CLOCK_SLACK:
        return [f"started: {record.started} is before {EARLIEST.date()} or in the future"]
    return []


def health_contradictions(evaluation: EvaluationPart) -> list[str]:
    """Compare the one check of gradient health that follows from the verdicts alone, and the range of the shares."""
    stated = {check.name: check for check in evaluation.health}
    white = evaluation.right("clean") & evaluation.right("pgd") & evaluation.right("fab-t")
    check = black_box_of(int((white & ~evaluation.right("square")).sum()), int(white.sum()))
    claimed = stated["black_box"]
    pairs: dict[str, tuple[Any, Any]] = {
        "gradient health, black_box": ((claimed.value, claimed.verdict), (check.value, check.verdict))
    }
    reasons = differing(pairs, "its verdicts give")
    for name in _SHARES:
        if (value := stated[name].value) is not None and not 0 <= value <= 1:
            reasons.append(f"gradient health, {name}: its value is {value}, a share is between 0 and 1")
    return reasons + (opponent_contradictions(evaluation) if evaluation.opposed else [])


def opponent_contradictions(evaluation: EvaluationPart) -> list[str]:
    """Return where the checks of the opponent's attacks do not follow from the verdicts; empty if they do."""
    broken = int((~evaluation.right(OPPONENT)).sum())
    survivors = np.logical_and.reduce([evaluation.right(name) for name in VERDICTS])
    attacked = min(PROBE_IMAGES, int(survivors.sum()))
    if broken > attacked:
        return [f"its verdicts say {broken} images were broken, but the opponent's attacks meet only {attacked} images"]
    stated = {check.name: check for check in evaluation.health}
    if stated["straight_way"].verdict not in ("pass", "not run"):
        return ["gradient health, straight_way: it has no limits, its verdict is pass or not run"]
    for name in (LEAKY, HARD_LABEL):
        if (value := stated[name].value) is not None and not 0 <= value <= 1:
            return [f"gradient health, {name}: its value is {value}, a share is between 0 and 1"]
        if value is None and stated[name].verdict == "fail":  # the network raised an error, which the row shows
            return []
    first = min(broken, round((stated[LEAKY].value or 0.0) * attacked))  # the bits say what both attacks broke
    later = broken - first
    expected = (leaky_bpda_of(first, attacked), hard_label_of(later, hard_label_attacked(later, attacked - first)))
    pairs = {
        f"gradient health, {check.name}": (
            (stated[check.name].value, stated[check.name].verdict),
            (check.value, check.verdict),
        )
        for check in expected
    }
    return differing(pairs, "its verdicts give")
