"""The standalone reader in docs/artifact-format.md reads what `pack` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from benchmark.artifact.container import DTYPES, read
from benchmark.artifact.manifest import Manifest
from benchmark.artifact.unpack import unpack
from benchmark.networks.shapes import SHAPES
from methods.counted import Drawn

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "artifact-format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page():
    """Return the names that the page's last Python block, the reader, defines."""
    *_, code = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "docs/artifact-format.md", "exec"), names)
    return names


KINDS = [(2, 0.1, False, "float16"), (1, 0.6, True, "float32"), (2, 1.0, False, "float32")]


@pytest.mark.parametrize(
    ("name", "levels", "density", "affine", "statistics"),
    [*((name, None, 0.3, True, "float16") for name in SHAPES), *(("resnet6", *kind) for kind in KINDS)],
)
def test_the_reader_of_the_page_reads_every_number(
    page, make_plan, random_network, small_pack, name, levels, density, affine, statistics
):
    plan = make_plan(name=name, width=1 / 32, last_norm=affine)
    network = random_network(plan, levels=levels, density=density, affine=affine)
    content = small_pack(network, plan, statistics=statistics)

    manifest, state = page["read"](content)

    expected = {
        key: value
        for key, value in unpack(content).network.state_dict().items()
        if value.is_floating_point() and not key.startswith("normalize.")
    }
    assert list(state) == list(expected)
    assert all(torch.equal(torch.from_numpy(state[key]), value) for key, value in expected.items())
    assert manifest == json.loads(read(content)[0])


@pytest.mark.parametrize("statistics", ["float32", "float16", "int8"])
@pytest.mark.parametrize("draw", [None, "signs", "uniform"])
@pytest.mark.parametrize("granularity", ["weight", "kernel", "channel", "2:4"])
def test_the_reader_of_the_page_reads_every_file_of_version_2(
    page, make_plan, in_groups, small_pack, granularity, draw, statistics
):
    plan, drawn = make_plan(name="resnet6", width=1 / 16), None if draw is None else Drawn(draw, 7)
    network = in_groups(plan, granularity=granularity, drawn=drawn)
    content = small_pack(network, plan, statistics=statistics, granularity=granularity, drawn=drawn)

    manifest, state = page["read"](content)

    restored = unpack(content).network.state_dict()
    assert all(torch.equal(torch.from_numpy(value), restored[key]) for key, value in state.items())
    assert manifest == json.loads(read(content)[0])


def test_the_tables_of_the_page_name_every_tensor_and_field():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)

    assert rows == [*DTYPES, *Manifest.model_fields]
