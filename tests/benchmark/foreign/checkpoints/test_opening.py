"""Checkpoints are opened without running anything in them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.errors import UserError
from benchmark.foreign.checkpoints.opening import open_checkpoint

STATE = {"conv1.weight": torch.ones(2, 1, 3, 3), "bn1.weight": torch.ones(2)}


class Marks:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refusal(path):
    with pytest.raises(UserError) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("where", ["alone", "beside", "within", "in the optimizer", "a plain pickle", "old torch"])
def test_a_hostile_pickle_is_refused_and_not_run(where, tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "model.pth"
    hostile = Marks(marker)
    content = {
        "beside": {"state_dict": STATE, "best_acc1": hostile},
        "within": {"state_dict": {**STATE, "fc.weight": hostile}},
        "in the optimizer": {"state_dict": STATE, "optimizer": {"state": {0: [hostile]}}},
    }.get(where, hostile)
    if where == "a plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=where != "old torch")

    sentence = refusal(path)

    assert not marker.exists(), "the checkpoint was executed"
    assert "not opened" in sentence and "save its state_dict() alone" in sentence
    pickle.loads(pickle.dumps(hostile))
    assert marker.exists(), "this would have been executed, had it been unpickled"


def test_a_harmless_object_is_named(tmp_path):
    torch.save({"state_dict": STATE, "best": np.float64(0.5)}, tmp_path / "model.pth")

    assert "an object of numpy" in refusal(tmp_path / "model.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "module.1.", "_orig_mod.module."])
@pytest.mark.parametrize("place", [None, "state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_is_found_and_unwrapped(place, prefix, tmp_path):
    state = OrderedDict((prefix + key, value) for key, value in STATE.items())
    torch.save(state if place is None else {"epoch": 3, "arch": "wrn_28_4", place: state}, tmp_path / "model.pth")

    checkpoint = open_checkpoint(tmp_path / "model.pth", wrappers=("1.",))

    assert list(checkpoint.state) == list(STATE)
    assert checkpoint.arch == (None if place is None else "wrn_28_4")


def test_a_prefix_that_not_all_keys_have_stays(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "model.pth")

    assert list(open_checkpoint(tmp_path / "model.pth").state) == ["module.a", "b"]


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")

    assert open_checkpoint(tmp_path / "model.safetensors").state.keys() == STATE.keys()


def test_what_is_no_state_dict_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    assert "is not a file" in refusal(path)
    path.write_bytes(b"")
    assert "cannot be read as a PyTorch checkpoint" in refusal(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    assert "cannot be read as a PyTorch checkpoint" in refusal(path)
    torch.save([torch.ones(1)], path)
    assert "holds no state dict" in refusal(path)
    torch.save({"epoch": 3}, path)
    assert "holds no state dict" in refusal(path)
    torch.save({"model": STATE, "net": STATE}, path)
    assert "several state dicts (model, net)" in refusal(path)
    torch.save({"state_dict": {**STATE, "version": 3}}, path)
    assert "version of type int" in refusal(path)
    save_file(STATE, tmp_path / "model.safetensors")
    path.write_bytes((tmp_path / "model.safetensors").read_bytes()[:-8])
    assert "cannot be read as safetensors" in refusal(path)
