"""Makes valid records; the leaderboard's tests use the same maker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmark.results.evaluation import CASCADE, CHECKS, OPPONENT, OPPONENT_CHECKS
from benchmark.results.protocol import Protocol
from benchmark.results.rechecks import Rechecked
from benchmark.results.record import Record
from benchmark.results.verdicts import pack_verdicts

RecordFields = Callable[..., dict[str, Any]]


def health_fields(name: str = "transfer", verdict: str = "not run", reason: str = "No parent.") -> list[dict[str, Any]]:
    """Return the checks of gradient health, all passed but the named one."""
    passed = {"value": 0.0, "verdict": "pass", "reason": "Nothing was found."}
    judged = {"value": None, "verdict": verdict, "reason": reason}
    return [{"name": each, **(judged if each == name else passed)} for each in CHECKS]


@pytest.fixture
def health() -> Callable[..., list[dict[str, Any]]]:
    """Return the maker of gradient-health checks."""
    return health_fields


def opponent_fields(hard_label: str = "pass", share: float = 0.0) -> list[dict[str, Any]]:
    """Return the checks that came later, all passed unless the verdict of the opponent's attacks says otherwise."""
    return [
        {"name": name, "value": value, "verdict": verdict, "reason": "Nothing was found."}
        for name, value, verdict in zip(OPPONENT_CHECKS, (0.0, share, 0.25), ("pass", hard_label, "pass"), strict=True)
    ]


@pytest.fixture
def opponent() -> Callable[..., list[dict[str, Any]]]:
    """Return the maker of the checks that came later."""
    return opponent_fields


def history_line(epoch: int, robust: float) -> dict[str, Any]:
    """Return what a record says about one epoch."""
    return {
        "epoch": epoch,
        "phase": "train",
        "lr": 0.1,
        "loss": 1 / epoch,
        "validation_clean_accuracy": 0.8,
        "validation_robust_accuracy": robust,
        "kept_weights": 100,
        "seconds": 9.0 * epoch,
    }


def record_fields(
    *,
    method: str = "edge_popup",
    dataset: str = "cifar10",
    epsilon: str = "8/255",
    preset: str = "paper",
    seed: int = 0,
    right: tuple[int, int, int] = (80, 50, 45),
    n: int = 100,
    **changes: Any,
) -> dict[str, Any]:
    """Return the fields of a record; the first right[i] of n images survive clean, PGD and AutoAttack.

    APGD-CE alone leaves as many as PGD, or as AutoAttack if those are more.

    A change such as compression__keep_ratio=0.5 replaces a nested field after everything else was derived.
    """
    pgd_step = {"8/255": "2/255", "4/255": "1/255"}[epsilon]
    clean, pgd, auto = right
    counts = {"clean": clean, "pgd": pgd, "apgd-ce": max(pgd, auto), "apgd-t": auto, "fab-t": auto, "square": auto}
    verdicts = {name: pack_verdicts([index < count for index in range(n)]) for name, count in counts.items()}
    fields: dict[str, Any] = {
        "schema_version": 3,
        "protocol_version": 1,
        "run": f"{dataset}/resnet34-lbn/{method}/binary-keep0.01-p0.1-pgd/seed{seed}-3f9a1c",
        "run_hash": "3f9a1c000000",
        "protocol": Protocol(dataset, epsilon, n).id,
        "suite": "main",
        "preset": preset,
        "seed": seed,
        "dataset": {
            "name": dataset,
            "num_classes": 10,
            "image_shape": (3, 32, 32),
            "train_images": 49_000,
            "validation_images": 1_000,
            "test_images": 10_000,
            "train_sha256": "a" * 64,
            "test_sha256": "b" * 64,
        },
        "architecture": {
            "name": "resnet34",
            "width": 1.0,
            "last_norm": True,
            "prunable_weights": 10_000,
            "all_parameters": 10_100,
        },
        "method": {
            "name": method,
            "target": f"methods.{method}:Method",
            "options": {"scale": 0.01, "layers": [1, 2]},
            "objective": "pgd",
            "deviations": [f"{method} clips earlier.", "Shared deviation."],
            "source_sha256": "c" * 64,
        },
        "compression": {
            "weights": "binary",
            "keep_ratio": 0.01,
            "allocation": 0.1,
            "budget": 100,
            "kept_weights": 100,
            "density": 0.01,
            "density_all": 0.02,
            "entropy_bound_bytes": 26_000,
        },
        "artifact": {"sha256": "e" * 64, "size_bytes": 27_100, "statistics": "float32"},
        "cost": {
            "dense_macs": 1_000_000,
            "sparse_macs": 10_000,
            "bit_operations": 320_000,
            "latency_seconds": {"1": 0.004, "64": 0.1},
        },
        "training": {
            "epochs": 400,
            "batch_size": 256,
            "passes": 215_600_000.0,
            "seconds": 3600.5,
            "phases": [{"name": "train", "epochs": 400}],
            "selected_epoch": 390,
            "validation_robust_accuracy": 0.47,
            "frozen_parts_unchanged": True,
        },
        "evaluation": {
            "n_images": n,
            "epsilon": epsilon,
            "norm": "linf",
            "clean_accuracy": clean / n,
            "pgd": {"steps": 50, "restarts": 1, "step_size": pgd_step, "accuracy": pgd / n},
            "autoattack": {
                "version": "standard",
                "package": "pyautoattack",
                "package_version": "0.2.0",
                "seed": 0,
                "batch_size": 500,
                "shards": 1,
                "accuracy": auto / n,
                "attacks": {name: counts[name] / n for name in CASCADE},
                "seconds": 60.0,
            },
            "best_known_accuracy": min(right) / n,
            "verdicts": verdicts,
            "health": health_fields(),
        },
        "weights_sha256": "d" * 64,
        "provenance": {
            "config": {"suite": "main", "seed": seed, "epsilon": epsilon, "training": {"epochs": 400}},
            "command": "python -m benchmark run main",
            "git_commit": "0" * 40,
            "git_dirty": False,
            "python": "3.11.9",
            "torch": "2.6.0",
            "platform": "Linux",
            "device": "cpu",
            "threads": 2,
            "started": "2025-01-01T00:00:00+00:00",
            "seconds": 3700.0,
        },
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        part = fields
        for name in parents:
            part = part[name]
        part[last] = value
    # What a change does not name fits the rest.
    prunable, kept = fields["architecture"]["prunable_weights"], fields["compression"]["kept_weights"]
    fields["compression"].setdefault(
        "layers",
        [{"name": "conv1", "weights": 1, "kept": 0}, {"name": "linear", "weights": prunable - 1, "kept": kept}],
    )
    training = fields["training"]
    robust = training["validation_robust_accuracy"]
    training.setdefault("history", [history_line(epoch + 1, robust) for epoch in range(int(training["epochs"]))])
    return fields


@pytest.fixture
def fields() -> RecordFields:
    """Return the maker of fields, valid unless a change breaks them."""
    return record_fields


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Return the maker of records."""
    return lambda **changes: Record(**record_fields(**changes))


def rechecked_for(record: Record, broken: list[int], *, hard_label: str = "pass", **changes: Any) -> Rechecked:
    """Return checks made later on a record, whose opponent's attacks broke the named images."""
    right = [index not in broken for index in range(record.evaluation.n_images)]
    fields: dict[str, Any] = {
        "schema_version": 1,
        "run": record.run,
        "protocol": record.protocol,
        "artifact_sha256": record.artifact.sha256,
        "test_sha256": record.dataset.test_sha256,
        "checks": opponent_fields(hard_label, len(broken) / min(64, int(record.evaluation.right("robust").sum()))),
        "verdicts": {OPPONENT: pack_verdicts(right)},
        "seconds": 3.5,
        "machine": {
            "torch": "2.6.0",
            "device": "cpu",
            "threads": 1,
            "started": "2026-01-02T00:00:00+00:00",
            "seconds": 4.0,
        },
    }
    return Rechecked.model_validate(fields | changes)


@pytest.fixture(scope="session")
def make_rechecked() -> Callable[..., Rechecked]:
    """Return the maker of checks that lie beside a record."""
    return rechecked_for


@pytest.fixture
def make_speed() -> Callable[..., Any]:
    """Return the maker of a file of measured times: seconds by runtime of batch 1, ten times those for 64."""
    from benchmark.results.speed import Speed

    def make(*records: Any, **seconds: float) -> Speed:
        def spread(median: float) -> dict[str, Any]:
            return {"lower": 0.5 * median, "median": median, "upper": 2 * median, "runs": 5}

        chosen = seconds or {"torch": 0.008, "onnxruntime": 0.004, "sparse": 0.001}
        rows = [
            {
                "run": record.run,
                "artifact_sha256": record.artifact.sha256,
                "git_commit": None,
                "git_dirty": None,
                "measured": "2026-12-01T01:00:00+00:00",
                "seconds": {name: {"1": spread(value), "64": spread(10 * value)} for name, value in chosen.items()},
                "memory": {name: {"libraries": 200_000_000, "peak": 300_000_000} for name in chosen},
            }
            for record in sorted(records, key=lambda record: record.run)
        ]
        machine = {
            "device": "cpu (some)",
            "instructions": "AVX2",
            "python": "3.11.7",
            "torch": "2.13.0",
            "onnxruntime": "1.32.0",
            "kernels": "sparse 1, 8 lanes, numba 0.68.1",
            "threads": 1,
        }
        return Speed.model_validate({"schema_version": 1, "machine": machine, "rows": rows})

    return make
