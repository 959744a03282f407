"""What a row's networks cost to store, to run and to train: means over its seeds, from their records."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.fields import StoredWeights
from benchmark.results.record import Record

FLOAT_BYTES = 4  # of a float32


@dataclass(frozen=True)
class Costs:
    """Sizes in bytes, operations of one image, times in seconds. Its fields are columns of the CSV pages."""

    size_bytes: int  # of the artifact's file
    entropy_bound_bytes: int  # what an ideal coder would need
    dense_bytes: int  # all parameters in float32
    bits_per_weight: float  # bits of the file over prunable weights
    statistics: str | None  # type in which the file holds the batch-norm statistics; None: in an ONNX file
    stored_weights: StoredWeights  # what the file holds of the kept weights
    density: float  # kept over prunable weights
    density_all: float  # kept weights and everything that is not pruned, over all parameters
    dense_macs: int
    sparse_macs: int
    bit_operations: int
    passes: float | None  # images sent forward and backward in training; None: it was trained elsewhere
    train_seconds: float | None  # likewise
    latency_1: float | None  # seconds of a forward run in the dense runtime, batch 1; None: not measured
    latency_64: float | None  # likewise, batch 64
    device: str
    threads: int


def mean(values: Iterable[float]) -> float:
    """Return the mean, correctly rounded whatever the order; at least one value.

    Seeds mostly share their costs, and the exact mean of equal values needs no fractions.
    """
    values = list(values)
    return values[0] if values.count(values[0]) == len(values) else statistics.mean(values)


def costs_of(group: Sequence[AnyRecord]) -> Costs:
    """Return the costs of records that share a row; device and threads are those of the first."""
    own = [record for record in group if isinstance(record, Record)]
    external = [record for record in group if isinstance(record, ExternalRecord)]
    return _costs_elsewhere(external[0]) if external else _costs_here(own)


def _costs_elsewhere(record: ExternalRecord) -> Costs:
    graph, size = record.graph, record.artifact.size_bytes
    return Costs(
        size_bytes=size,
        entropy_bound_bytes=graph.entropy_bound_bytes,
        dense_bytes=FLOAT_BYTES * graph.all_parameters,
        bits_per_weight=8 * size / graph.prunable_weights,
        statistics=None,
        stored_weights="stored",
        density=graph.density,
        density_all=graph.density_all,
        dense_macs=graph.dense_macs,
        sparse_macs=graph.sparse_macs,
        bit_operations=graph.bit_operations,
        passes=None,
        train_seconds=None,
        latency_1=None,
        latency_64=None,
        device=record.measured.device,
        threads=record.measured.threads,
    )


def _costs_here(group: Sequence[Record]) -> Costs:
    first = group[0]
    return Costs(
        size_bytes=round(mean(record.artifact.size_bytes for record in group)),
        entropy_bound_bytes=round(mean(record.compression.entropy_bound_bytes for record in group)),
        dense_bytes=round(mean(FLOAT_BYTES * record.architecture.all_parameters for record in group)),
        bits_per_weight=mean(8 * record.artifact.size_bytes / record.architecture.prunable_weights for record in group),
        statistics=first.artifact.statistics,
        stored_weights=first.artifact.weights,
        density=mean(record.compression.density for record in group),
        density_all=mean(record.compression.density_all for record in group),
        dense_macs=round(mean(record.cost.dense_macs for record in group)),
        sparse_macs=round(mean(record.cost.sparse_macs for record in group)),
        bit_operations=round(mean(record.cost.bit_operations for record in group)),
        passes=mean(record.training.passes for record in group),
        train_seconds=mean(record.training.seconds for record in group),
        latency_1=_latency(group, "1"),
        latency_64=_latency(group, "64"),
        device=first.provenance.device,
        threads=first.provenance.threads,
    )


def _latency(group: Sequence[Record], batch: str) -> float | None:
    latencies = [record.cost.latency_seconds.get(batch) for record in group]
    measured = [seconds for seconds in latencies if seconds is not None]
    return mean(measured) if len(measured) == len(latencies) else None
