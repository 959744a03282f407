"""Nothing of an archive of torch.export is executed but torch's own operators."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.foreign.exported_program import network_from_exported


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


@pytest.fixture(scope="module")
def archive():
    """Return the members of an archive of a network for any number of images, by name."""
    free = ({0: torch.export.Dim("batch")},)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)).eval()
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=free), file)
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def written(members):
    """Write an archive as torch does: nothing compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def changed(members, ending, change):
    """Return the archive with a changed JSON member."""
    (name,) = (name for name in members if name.endswith(ending))
    document = json.loads(members[name])
    change(document)
    return written({**members, name: json.dumps(document)})


def nodes(document):
    return document["graph_module"]["graph"]["nodes"]


def rename(document, old, new):
    """Give a value of the graph another name wherever it occurs."""
    text = json.dumps(document).replace(json.dumps(old), json.dumps(new))
    document.clear()
    document.update(json.loads(text))


def first_size(document):
    (size,) = (
        side for side in document["graph_module"]["graph"]["tensor_values"]["input"]["sizes"] if "as_expr" in side
    )
    return size["as_expr"]


def pickled(document):
    next(iter(document["config"].values()))["use_pickle"] = True


HOSTILE = {
    "a function of the system": (
        "model.json",
        lambda d: nodes(d)[0].update(target="torch.os.system"),
        "uses 'torch.os.system'",
    ),
    "a function that unpickles": ("model.json", lambda d: nodes(d)[0].update(target="torch.load"), "uses 'torch.load'"),
    "an operator that writes a file": (
        "model.json",
        lambda d: nodes(d)[0].update(target="torch.ops.aten.save.default"),
        "uses 'torch.ops.aten.save.default'",
    ),
    "an operator that reads a file": (
        "model.json",
        lambda d: nodes(d)[0].update(target="torch.ops.aten.from_file.default"),
        "uses 'torch.ops.aten.from_file.default'",
    ),
    "a size": ("model.json", lambda d: first_size(d).update(expr_str="{touch}"), "as a size, which would be executed"),
    "a name": ("model.json", lambda d: rename(d, "input", "input={touch}"), "which would be executed"),
    "pickled weights": ("model_weights_config.json", pickled, "holds pickled objects, which would run code"),
    "a container": (
        "model.json",
        lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(
            out_spec='[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
        ),
        "takes or returns 'collections.defaultdict'",
    ),
}


@pytest.mark.parametrize(("member", "change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_torch_would_execute_is_refused(member, change, message, archive, tmp_path, hostile):
    def with_touch(document):
        change(document)
        text = json.dumps(document).replace("{touch}", hostile)
        document.clear()
        document.update(json.loads(text))

    with pytest.raises(UserError) as refusal:
        network_from_exported(changed(archive, member, with_touch))

    assert message in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "trap").exists()


def test_the_size_that_is_refused_would_be_executed_by_torch(archive, tmp_path, hostile):
    """Else the check would guard nothing."""
    content = changed(archive, "model.json", lambda document: first_size(document).update(expr_str=hostile))
    with pytest.raises(Exception):  # noqa: B017 - whatever torch makes of the result
        torch.export.load(io.BytesIO(content))
    assert (tmp_path / "trap").exists()


def test_guards_are_python_code_that_is_not_executed(archive, tmp_path, hostile):
    content = changed(archive, "model.json", lambda document: document.update(guards_code=[f"{hostile} is None"]))

    network = network_from_exported(content)

    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("plain", [True, False])
def test_no_member_is_unpickled(plain, archive, tmp_path):
    trap = Touch(tmp_path / "trap")
    file = io.BytesIO()
    torch.save((trap,), file)
    (name,) = (name for name in archive if name.endswith("sample_inputs/model.pt"))

    with pytest.raises(UserError, match=r"torch\.export\.load cannot read the program"):
        network_from_exported(written({**archive, name: pickle.dumps(trap) if plain else file.getvalue()}))

    assert not (tmp_path / "trap").exists()


def test_compiled_libraries_and_two_formats_are_refused(archive):
    top = next(iter(archive)).partition("/")[0]
    for name, message in (("data/aotinductor/model/x.so", "compiled libraries"), ("version", "two formats at once")):
        with pytest.raises(UserError, match=message):
            network_from_exported(written({**archive, f"{top}/{name}": b""}))
    with pytest.raises(UserError, match="is damaged"):
        network_from_exported(written(archive)[:-30])


def test_another_number_of_inputs_is_refused():
    class Two(nn.Module):
        def forward(self, images, others):
            return images + others

    file = io.BytesIO()
    torch.export.save(torch.export.export(Two(), (torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))), file)
    with pytest.raises(UserError, match="the program has 2 inputs and 1 outputs"):
        network_from_exported(file.getvalue())
