"""The convolutions of an artifact: which weights are kept, and their values or the seed that gives these again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.artifact import patterns, rans
from benchmark.artifact.container import Tensors, check_shape, refused
from benchmark.artifact.groups import BadGroups, Bits, group_bits, group_count, mask_of, spread
from benchmark.artifact.manifest import Layout, Manifest
from benchmark.artifact.measure import BadExport
from benchmark.results.fields import Granularity
from methods.counted import draw_weights
from methods.granularity import two_of_four_budget

Floats = NDArray[np.float32]
_ZERO = np.float32(0.0)


def weight_tensors(weights: Mapping[str, Floats], manifest: Manifest) -> Tensors:
    """Return the tensors of a file for the weights (out, in, k, k) of all convolutions by name, in their order.

    Raises:
        BadExport: if the weights are in no groups of the granularity, or the kept ones are not those of the seed.
    """
    masks = [_mask(name, weight, manifest.granularity) for name, weight in weights.items()]
    values = [weight[mask] for weight, mask in zip(weights.values(), masks, strict=True)]
    for kept in values:
        kept[kept == 0.0] = 0.0  # a group may hold -0.0
    counts, positions = _positions(masks, manifest.granularity)
    if manifest.weights == "stored":
        stored = _stored_values(values)
    else:
        stored = _drawn_values(dict(zip(weights, values, strict=True)), masks, manifest)
    return {"kept": np.array(counts, "<u4"), **stored, "positions": np.frombuffer(positions, np.uint8)}


def check_layers(tensors: Tensors, shapes: Layout, manifest: Manifest) -> None:
    """Raise UserError for tensors of another number of layers than the network has."""
    count = len(shapes.convolutions)
    check_shape(tensors, "kept", (count,))
    check_shape(tensors, "levels", (count, manifest.levels_per_layer))


def check_counts(tensors: Tensors, shapes: Layout, manifest: Manifest) -> None:
    """Raise UserError for counts that do not fit the network or the lengths of the other tensors."""
    layers = list(shapes.convolutions.values())
    kept, levels = tensors["kept"].astype(np.int64), tensors["levels"]
    if manifest.granularity == "2:4":
        if kept.tolist() != [two_of_four_budget(shape) for shape in layers]:
            raise refused("a layer does not keep two of every four weights")
    elif (kept > [group_count(shape, manifest.granularity) for shape in layers]).any():
        what = "weights" if manifest.granularity == "weight" else "groups"
        raise refused(f"a layer keeps more {what} than it has")
    if not np.isfinite(levels).all():
        raise refused("a level is not finite")
    floats = bits = 0
    if manifest.weights == "stored":
        filled = np.count_nonzero(levels, axis=1)
        if (filled[kept == 0] > 0).any() or ((levels[:, 0] == 0) & (levels[:, 1] != 0)).any():
            raise refused("a level is zero or belongs to no weight")
        counts = np.array(_kept_weights(tensors, layers, manifest.granularity))
        floats, bits = int(counts[filled == 0].sum()), int(counts[filled == 2].sum())
    check_shape(tensors, "values", (floats,))
    check_shape(tensors, "signs", (math.ceil(bits / 8),))
    if tensors["positions"].ndim != 1:
        raise refused("tensor positions has more than one dimension")


def read_weights(tensors: Tensors, shapes: Layout, manifest: Manifest) -> dict[str, Floats]:
    """Return the weight of every convolution by name, of tensors that the checks have passed.

    Raises:
        UserError: if no masks are encoded as these bytes, or unused bits are set.
    """
    layers = list(shapes.convolutions.values())
    masks = _masks(tensors, layers, manifest.granularity)
    if manifest.weights == "stored":
        values = _read_values(tensors, _kept_weights(tensors, layers, manifest.granularity))
    else:
        values = _draw_again(tensors["levels"], masks, manifest)
    weights = {}
    for (name, shape), mask, kept in zip(shapes.convolutions.items(), masks, values, strict=True):
        weight = np.zeros(shape, np.float32)
        weight[mask] = kept
        weights[name] = weight
    return weights


def distinct(values: Floats) -> list[np.float32]:
    """Return the distinct numbers of an array in ascending order, or any three of them if there are more than two."""
    numbers: list[np.float32] = []
    rest = values
    while len(rest) and len(numbers) < 3:
        numbers.append(rest[0])
        rest = rest[rest != rest[0]]
    return sorted(numbers)


def _mask(name: str, weight: Floats, granularity: Granularity) -> Bits:
    try:
        return mask_of(weight, granularity)
    except BadGroups as error:
        raise BadExport(f"exported layer {name}: {error}") from None


def _positions(masks: Sequence[Bits], granularity: Granularity) -> tuple[list[int], bytes]:
    """Return the groups that each layer keeps, of 2:4 the weights, and the code of the masks."""
    if granularity == "2:4":
        return [int(mask.sum()) for mask in masks], patterns.encode(masks)
    bits = [group_bits(mask, granularity) for mask in masks]
    return [int(part.sum()) for part in bits], rans.encode([part for part in bits if part.any() and not part.all()])


def _stored_values(values: Sequence[Floats]) -> Tensors:
    levels, signs, floats = [], [], []
    for kept in values:
        numbers = distinct(kept)
        few = len(numbers) < 3 and 0.0 not in numbers  # a group may hold zeros, which are no level
        levels.append((numbers + [_ZERO] * 2)[:2] if few else [_ZERO] * 2)
        if not few:
            floats.append(kept)
        elif len(numbers) == 2:
            signs.append(kept == numbers[1])
    return {
        "levels": np.array(levels, "<f4"),
        "values": np.concatenate([np.empty(0, "<f4"), *floats]).astype("<f4"),
        "signs": np.packbits(np.concatenate([np.empty(0, np.bool_), *signs])),
    }


def _drawn_values(values: Mapping[str, Floats], masks: Sequence[Bits], manifest: Manifest) -> Tensors:
    """Return what a file needs beside the seed, once every kept weight has been compared with it."""
    levels = np.zeros((len(values), manifest.levels_per_layer), "<f4")
    if manifest.weights == "signs":
        levels[:, 0] = [np.abs(kept).max(initial=0.0) for kept in values.values()]
    for (name, kept), drawn in zip(values.items(), _draw_again(levels, masks, manifest), strict=True):
        if not np.array_equal(kept, drawn):
            raise BadExport(f"the weights of {name} are not those of seed {manifest.seed}: training has changed them")
    return {"levels": levels, "values": np.empty(0, "<f4"), "signs": np.empty(0, np.uint8)}


def _draw_again(levels: Floats, masks: Sequence[Bits], manifest: Manifest) -> list[Floats]:
    """Return the kept weights of every layer from the seed; `levels` holds the magnitudes of signs."""
    assert manifest.drawn is not None, "only called for such files"
    draw, seed = manifest.drawn
    values = []
    for number, (mask, level) in enumerate(zip(masks, levels, strict=True)):
        if not mask.any():
            values.append(np.empty(0, np.float32))
            continue
        drawn = draw_weights(seed, number, mask.size, draw)[mask.reshape(-1)]
        values.append(drawn * level[0] if draw == "signs" else drawn)
    return values


def _kept_weights(tensors: Tensors, shapes: Sequence[tuple[int, ...]], granularity: Granularity) -> list[int]:
    """Return the number of kept weights of every convolution."""
    kept: list[int] = tensors["kept"].tolist()
    if granularity == "2:4":
        return kept
    sizes = [math.prod(shape) // group_count(shape, granularity) for shape in shapes]
    return [count * size for count, size in zip(kept, sizes, strict=True)]


def _masks(tensors: Tensors, shapes: Sequence[tuple[int, ...]], granularity: Granularity) -> list[Bits]:
    """Return the mask of every convolution; full and empty ones of groups are not in the stream."""
    stream = tensors["positions"].tobytes()
    try:
        if granularity == "2:4":
            return patterns.decode(stream, shapes)
        layers = [
            (group_count(shape, granularity), int(kept)) for shape, kept in zip(shapes, tensors["kept"], strict=True)
        ]
        coded = [(count, kept) for count, kept in layers if 0 < kept < count]
        decoded = iter(rans.decode(stream, [count for count, _ in coded], [kept for _, kept in coded]))
    except (rans.BadStream, patterns.BadPatterns) as error:
        raise refused(f"its masks cannot be decoded ({error})") from None
    return [
        spread(next(decoded) if 0 < kept < count else np.full(count, kept == count), shape, granularity)
        for shape, (count, kept) in zip(shapes, layers, strict=True)
    ]


def _read_values(tensors: Tensors, counts: Sequence[int]) -> list[Floats]:
    """Return the kept weights of every layer from levels, signs and floats."""
    filled = np.count_nonzero(tensors["levels"], axis=1).tolist()
    signs = np.unpackbits(tensors["signs"])
    if signs[sum(count for count, levels in zip(counts, filled, strict=True) if levels == 2) :].any():
        raise refused("unused bits of tensor signs are set")
    floats, sign, position, values = tensors["values"], 0, 0, []
    for count, pair, levels in zip(counts, tensors["levels"], filled, strict=True):
        if levels == 0:
            values.append(floats[position : position + count])
            position += count
        elif levels == 1:
            values.append(np.full(count, pair[0]))
        else:
            values.append(pair[signs[sign : sign + count]])
            sign += count
    return values
