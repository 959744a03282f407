"""The model card of a row: README.md with the Hub's metadata, the numbers, how to load it, and its licence."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from markupsafe import Markup

from benchmark.data.catalog import DATASETS
from benchmark.errors import UserError
from benchmark.leaderboard.formats import amount, percent, short
from benchmark.leaderboard.pages.markdown_text import environment, table
from benchmark.results.protocol import Protocol
from benchmark.results.record import Record
from benchmark.results.statistics import wilson

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_HEALTH = {"pass": "no check found a problem", "suspect": "a check raises a doubt", "fail": "a check failed"}


def checked_licence(licence: object) -> str:
    """Return the Hub's identifier of a licence; raises UserError for other spellings."""
    if not isinstance(licence, str) or not _LICENCE.fullmatch(licence):
        raise UserError(f"the licence must be an identifier of the Hub, such as mit or cc-by-4.0; got {licence!r}")
    return licence


def model_card(record: Record, repo: str, licence: str) -> str:
    """Return the card of a row in Markdown; everything from the record is escaped.

    Args:
        record: of the row.
        repo: user/name, where the card will be.
        licence: identifier of the network's licence, as the Hub spells it.
    """
    facts = DATASETS.get(record.dataset.name)
    template = environment(Path(__file__).parent / "templates").get_template("card.md")
    return template.render(
        metadata=Markup(yaml.safe_dump(_metadata(record, licence), sort_keys=False, allow_unicode=False)),
        record=record,
        repo=repo,
        licence=licence,
        numbers=table(("measured", "% correct", "95% interval"), _accuracies(record)),
        facts=table(("", ""), _facts(record)),
        data_source=None if facts is None else facts.source,
        health=_HEALTH.get(record.evaluation.health_verdict, record.evaluation.health_verdict),
    )


def _accuracies(record: Record) -> list[tuple[str, str, str]]:
    evaluation, lines = record.evaluation, []
    titles = {"clean": "clean", "pgd": "PGD", "autoattack": "AutoAttack", "robust": "robust, under every attack"}
    for name, title in titles.items():
        right = int(evaluation.right(name).sum())
        low, high = wilson(right, evaluation.n_images)
        lines.append((title, percent(right / evaluation.n_images), f"{percent(low)} to {percent(high)}"))
    return lines


def _facts(record: Record) -> list[tuple[str, str]]:
    protocol, compression = Protocol.parse(record.protocol), record.compression
    channels, height, width = record.dataset.image_shape
    return [
        ("protocol", record.protocol),
        ("epsilon", f"{protocol.epsilon}, l-infinity, of pixels in [0, 1]"),
        ("test images", f"{record.evaluation.n_images:,}"),
        ("images", f"{channels} x {height} x {width}, {record.dataset.num_classes} classes, {record.dataset.name}"),
        ("network", f"{record.architecture.name}, width {record.architecture.width:g}"),
        ("method", f"{record.method.name}, objective {record.method.objective}"),
        ("weights", "binary" if compression.weights == "binary" else "full precision"),
        ("kept weights", f"{compression.kept_weights:,} of {record.architecture.prunable_weights:,}"),
        ("density", short(compression.density)),
        ("file", amount(record.artifact.size_bytes, "B")),
        ("training", f"{amount(record.training.passes)} passes, seed {record.seed}, preset {record.preset}"),
        ("run", record.run),
        ("SHA-256 of the file", record.artifact.sha256),
    ]


def _metadata(record: Record, licence: str) -> dict[str, object]:
    """Return the head of the card, which the Hub reads."""
    metrics = [
        {"type": "accuracy", "name": name, "value": round(100 * value, 2)}
        for name, value in (
            ("Clean accuracy", record.evaluation.clean_accuracy),
            (f"Robust accuracy ({record.protocol})", record.evaluation.best_known_accuracy),
        )
    ]
    dataset = {"name": record.dataset.name, "type": record.dataset.name, "split": "test"}
    task = {"type": "image-classification"}
    return {
        "license": licence,
        "library_name": "robust-compression-benchmark",
        "pipeline_tag": "image-classification",
        "tags": ["adversarial-robustness", "model-compression", record.method.name],
        "model-index": [{"name": record.run, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}],
    }
