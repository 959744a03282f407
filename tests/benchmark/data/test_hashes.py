"""A data set is decoded only once for its hashes and its checks."""

from __future__ import annotations

from benchmark.data import hashes
from benchmark.data.hashes import LocalData
from benchmark.data.load import load_test, load_training


def test_a_data_set_is_decoded_once_for_its_hashes_and_checks(monkeypatch):
    decoded = []
    monkeypatch.setattr(hashes, "load_training", lambda *where: decoded.append("training") or load_training(*where))
    monkeypatch.setattr(hashes, "load_test", lambda *where: decoded.append("test") or load_test(*where))
    local, training, test = LocalData(None), load_training("digits", None), load_test("digits", None)

    assert local.check("digits") == len(test.test)
    assert local.hashes("digits") == (training.sha256, test.sha256)
    assert local.check("digits") == len(test.test)
    assert decoded == ["training", "test"]


def test_missing_data_have_no_hashes(tmp_path):
    assert LocalData(tmp_path).hashes("cifar10") is None
