"""Counts in a record, other than accuracies, counted again from its artifact: they must agree exactly."""

from __future__ import annotations

from benchmark.artifact.measure import measure_export
from benchmark.artifact.operations import operations
from benchmark.artifact.unpack import Artifact
from benchmark.foreign.onnx_artifact import OnnxArtifact
from benchmark.networks.resnet import convolutions
from benchmark.results.external import AnyRecord, ExternalRecord
from benchmark.results.record import Record
from benchmark.runtime.hashing import tensors_sha256
from methods.counted import Drawn, drawn_from


def recount(record: Record, artifact: Artifact) -> list[str]:
    """Return one sentence for every count of a record that its artifact contradicts; empty if all agree."""
    network, compression = artifact.network, record.compression
    sizes = {name: conv.weight.numel() for name, conv in convolutions(network).items()}
    measured = measure_export(
        network,
        sizes,
        budget=sum(sizes.values()),
        binary=compression.weights == "binary",
        granularity=compression.granularity,
        seeded=record.artifact.weights == "seed",
    )
    counted = operations(network, artifact.plan.in_channels, artifact.image_size)
    pairs: dict[str, tuple[object, object]] = {
        "network": (record.architecture.name, artifact.plan.name),
        "LBN": (record.architecture.last_norm, artifact.plan.last_norm),
        "prunable weights": (record.architecture.prunable_weights, measured.prunable_weights),
        "parameters": (record.architecture.all_parameters, measured.all_parameters),
        "weights kept by layer": (
            [(layer.name, layer.weights, layer.kept) for layer in compression.layers],
            [(layer.name, layer.weights, layer.kept) for layer in measured.layers],
        ),
        "kept weights": (compression.kept_weights, measured.kept_weights),
        "density of all": (compression.density_all, measured.density_all),
        "entropy bound": (compression.entropy_bound_bytes, measured.entropy_bound_bytes),
        "file size": (record.artifact.size_bytes, artifact.size_bytes),
        "type of the statistics": (record.artifact.statistics, artifact.statistics),
        "granularity": (compression.granularity, artifact.granularity),
        "seed of the weights": (_drawn(record), artifact.drawn),
        "dense MACs": (record.cost.dense_macs, counted.dense_macs),
        "sparse MACs": (record.cost.sparse_macs, counted.sparse_macs),
        "bit-operations": (record.cost.bit_operations, counted.bit_operations),
        "hash of the weights": (record.weights_sha256, tensors_sha256(network.state_dict())),
    }
    return _differing(pairs)


def _drawn(record: Record) -> Drawn | None:
    return None if record.artifact.weights == "stored" else drawn_from(record.compression.weights, record.seed)


def recount_external(record: ExternalRecord, artifact: OnnxArtifact) -> list[str]:
    """Return one sentence for every count of a record that its ONNX file contradicts; empty if all agree."""
    claimed, counted = record.graph.model_dump(), artifact.graph.model_dump()
    pairs: dict[str, tuple[object, object]] = {name: (claimed[name], counted[name]) for name in claimed}
    pairs |= {
        "file size": (record.artifact.size_bytes, artifact.size_bytes),
        "image shape": (record.dataset.image_shape, artifact.image_shape),
        "hash of the weights": (record.weights_sha256, artifact.weights_sha256),
    }
    return _differing(pairs)


def recount_any(record: AnyRecord, artifact: Artifact | OnnxArtifact) -> list[str]:
    """Return what `recount` or `recount_external` does, by the kind of the record."""
    if isinstance(record, ExternalRecord):
        assert isinstance(artifact, OnnxArtifact), "that of the record"
        return recount_external(record, artifact)
    assert isinstance(artifact, Artifact), "that of the record"
    return recount(record, artifact)


def _differing(pairs: dict[str, tuple[object, object]]) -> list[str]:
    return [
        f"{what}: the record says {claimed}, the artifact has {counted_value}"
        for what, (claimed, counted_value) in pairs.items()
        if claimed != counted_value
    ]
