"""Ten thousand mutated files a version: each is refused by `UserError`, or is exactly the file of its network."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmark.artifact import container
from benchmark.artifact.pack import pack
from benchmark.artifact.unpack import unpack
from benchmark.errors import UserError
from benchmark.networks.resnet import NetworkPlan
from methods.counted import Drawn

FILES = 10_000
NUMBERS = (0, 1, 2, 7, 127, 128, 255, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 65_504.0, 3e38, np.inf, -np.inf, np.nan)
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    4.0,
    1e300,
    10**30,
    "",
    "resnet34",
    "resnet50",
    "float16",
    "int8",
    "kernel",
    "2:4",
    "signs",
    "uniform",
    "../x",
    [],
    [1],
    {},
)
LETTERS = b'0123456789"{}[]:,.-\\ea'


@pytest.fixture(scope="module")
def originals(random_network, small_pack, in_groups):
    """Return small files of every kind, by version."""
    plan = NetworkPlan("resnet6", 4, (0.5,), (0.25,), 1 / 32)
    kinds = [
        ({"levels": 2}, "float32"),
        ({"levels": 2, "affine": True}, "float16"),
        ({"levels": 1, "density": 0.05}, "float16"),
        ({"density": 0.5}, "float32"),
        ({"levels": 2, "density": 1.0}, "float32"),
    ]
    first = [small_pack(random_network(plan, **kind), plan, statistics=statistics) for kind, statistics in kinds]
    signs, uniform = Drawn("signs", 3), Drawn("uniform", 4)
    kinds_of_groups = [
        ({"granularity": "kernel", "drawn": signs}, "int8"),
        ({"granularity": "channel", "drawn": uniform}, "float16"),
        ({"granularity": "2:4"}, "float32"),
        ({"granularity": "2:4", "drawn": signs}, "int8"),
        ({"granularity": "kernel"}, "float16"),
        ({"granularity": "weight", "drawn": signs}, "float16"),
    ]
    wider = NetworkPlan("resnet6", 4, (0.5,), (0.25,), 1 / 16)
    second = [
        small_pack(in_groups(wider, **kind), wider, statistics=statistics, **kind)
        for kind, statistics in kinds_of_groups
    ]
    return {1: first, 2: second}


def mutated_bytes(content, others, generator):
    """Return a file with one to three changed byte ranges; changes of the header's text are likely to parse."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        at, width = int(generator.integers(len(data))), int(generator.integers(1, 9))
        match generator.integers(7):
            case 0:
                data[at] ^= 1 << int(generator.integers(8))
            case 1:
                data[at : at + width] = generator.bytes(width)
            case 2:
                del data[at : at + width]
            case 3:
                data[at:at] = generator.bytes(width)
            case 4:
                number = int(generator.choice(NUMBERS))
                data[at // 4 * 4 : at // 4 * 4 + 4] = number.to_bytes(4, "little")
            case 5:
                data[min(at, 700)] = int(generator.choice(list(LETTERS)))
            case 6:
                other = others[int(generator.integers(len(others)))]
                data[at:] = other[at:]
        if len(data) < 64:
            break
    return bytes(data)


def mutated_parts(content, generator):
    """Return a file with a valid header and seal, in which one tensor or one manifest value is changed."""
    text, tensors = container.read(content)
    parts = {name: value.copy() for name, value in tensors.items() if name != "sha256"}
    manifest = json.loads(text)
    if generator.random() < 0.25:
        fields = manifest if generator.random() < 0.5 else manifest["architecture"]
        fields[generator.choice(list(fields))] = VALUES[generator.integers(len(VALUES))]
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
        return container.write(text, parts)
    name = generator.choice(list(parts))
    tensor = parts[name]
    match generator.integers(6) if tensor.size else 3:
        case 0 | 1:
            floating = np.issubdtype(tensor.dtype, np.floating)
            value = generator.choice(FLOATS) if floating else generator.choice(NUMBERS)
            with np.errstate(over="ignore"):
                tensor.flat[generator.integers(tensor.size)] = np.array(value).astype(tensor.dtype)
        case 2:
            parts[name] = tensor[: generator.integers(len(tensor))]
        case 3:
            parts[name] = np.append(tensor, np.ones(generator.integers(1, 5), tensor.dtype)).astype(tensor.dtype)
        case 4:
            parts[name] = generator.permutation(tensor)
        case 5:
            raw = bytearray(tensor.tobytes())
            raw[generator.integers(len(raw))] ^= 1 << int(generator.integers(8))
            parts[name] = np.frombuffer(bytes(raw), tensor.dtype).reshape(tensor.shape)
    return container.write(text, parts)


def mutated(number, originals, generator, reseal):
    """Return the mutated file of a number; every second one has a valid seal."""
    content = originals[int(generator.integers(len(originals)))]
    match number % 4:
        case 0 | 2:
            return mutated_bytes(content, originals, generator)
        case 1:
            return reseal(mutated_bytes(content, originals, generator))
        case _:
            return mutated_parts(content, generator)


def peak_memory(*, reset=False):
    """Return the peak memory of this process in bytes since the last reset; 0 if the system does not report it."""
    if sys.platform != "linux":
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_ten_thousand_mutated_files_are_refused_or_exact(originals, reseal, version):
    originals = originals[version]
    generator = np.random.default_rng(20261122)
    outcomes = Counter()
    before = peak_memory(reset=True)
    for number in range(FILES):
        content = mutated(number, originals, generator, reseal)
        try:
            artifact = unpack(content)
        except UserError as error:
            sentence = str(error)
            assert "\n" not in sentence and len(sentence) < 400
            outcomes[sentence.partition("because ")[2][:14]] += 1
        else:
            names = ("dataset", "image_size", "statistics", "granularity", "drawn")
            fields = {name: getattr(artifact, name) for name in names}
            assert pack(artifact.network, artifact.plan, **fields) == content
            outcomes["valid"] += content not in originals

    assert peak_memory() - before < 64 * 2**20
    # About half of the files reached the checks after the seal, including all of these.
    assert outcomes["its SHA-256 doe"[:14]] < 0.6 * FILES
    assert outcomes["valid"] > 100
    for reason in ("its header is ", "its manifest i", "its masks cann", "its network is", "it writes its "):
        assert outcomes[reason] > 50, outcomes
