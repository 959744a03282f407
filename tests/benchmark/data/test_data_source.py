"""Where data sets are looked for, and what happens when they are not there. Nothing here uses the network."""

import hashlib
import io
import logging
import pickle
import tarfile

import numpy as np
import pytest

from benchmark.data import source
from benchmark.data.download import DOWNLOADS, Download
from benchmark.data.load import load_test, load_training
from benchmark.errors import UserError


@pytest.fixture
def no_network(monkeypatch):
    """Refuse connections at once, also on machines that have a network; return the list of those attempted."""
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(kwargs)
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("requests.sessions.Session.send", refuse)
    return attempts


@pytest.fixture
def server(monkeypatch):
    """Answer every download from a dictionary of URL to content."""
    contents = {}

    def fetch(self, url, output_file, pooch, check_only=False):
        with open(output_file, "wb") as stream:
            stream.write(contents[url])

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", fetch)
    return contents


def archive_of_cifar100(extra=None):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for part in ("train", "test"):
            content = pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "fine_labels": [1, 2, 3]})
            member = tarfile.TarInfo(f"cifar-100-python/{part}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if extra:
            archive.addfile(tarfile.TarInfo(extra))
    return stream.getvalue()


def serve(monkeypatch, server, content, md5=None):
    what = DOWNLOADS["cifar100"]
    (name,) = what.files
    md5 = md5 or hashlib.md5(content).hexdigest()
    monkeypatch.setitem(source.DOWNLOADS, "cifar100", Download(what.address, {name: md5}, what.wanted))
    server[what.address + name] = content


@pytest.mark.parametrize("name", DOWNLOADS)
def test_without_files_and_network_one_sentence_says_what_to_put_where(tmp_path, name, no_network, caplog, capfd):
    folder = tmp_path / "new" / "folder"

    with pytest.raises(UserError) as caught:
        load_training(name, folder)

    message = str(caught.value)
    what = DOWNLOADS[name]
    for needed in (what.wanted, what.origin, str(folder), "does not exist", "ConnectionError", "--data-dir"):
        assert needed in message
    assert "\n" not in message
    assert len(no_network) == 1  # attempts: the error comes at once
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == "" and capfd.readouterr() == ("", "")


def test_the_default_folder_is_data_in_the_current_folder(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError, match="in data, which does not exist"):
        load_test("cifar10", None)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_an_existing_folder_as_it_was(tmp_path, no_network):
    (tmp_path / "mine.txt").write_text("hello")

    with pytest.raises(UserError, match="download failed"):
        load_training("svhn", tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["mine.txt"]


def test_a_download_is_checked_extracted_and_found_again(tmp_path, monkeypatch, server):
    serve(monkeypatch, server, archive_of_cifar100())

    first = load_training("cifar100", tmp_path / "data")
    server.clear()

    assert [item.name for item in (tmp_path / "data").iterdir()] == ["cifar-100-python"]
    assert load_training("cifar100", tmp_path / "data").sha256 == first.sha256
    assert logging.getLogger("pooch").level == logging.NOTSET


def test_a_download_with_a_wrong_checksum_is_refused(tmp_path, monkeypatch, server):
    serve(monkeypatch, server, archive_of_cifar100(), md5="0" * 32)

    with pytest.raises(UserError, match=r"download failed \(wrong checksum\)"):
        load_training("cifar100", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_would_write_outside_the_data_folder_is_refused(tmp_path, monkeypatch, server):
    serve(monkeypatch, server, archive_of_cifar100(extra="../../../escaped"))

    with pytest.raises(UserError, match="OutsideDestinationError"):
        load_training("cifar100", tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_archive_is_refused(tmp_path, monkeypatch, server):
    serve(monkeypatch, server, archive_of_cifar100()[:-50])

    with pytest.raises(UserError, match="download failed"):
        load_training("cifar100", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_without_a_folder_lists_the_known_names():
    with pytest.raises(
        UserError, match=r"unknown data set 'cifra10'.*digits.*cifar10.*Did you mean cifar10\?.*--data-dir"
    ):
        load_training("cifra10", None)


def test_ones_own_name_with_an_empty_folder_says_what_to_put_there(tmp_path):
    with pytest.raises(UserError, match=r"found no pets in .*put there parquet files"):
        load_training("pets", tmp_path)


def test_cifar10_jpeg_is_not_downloaded(tmp_path):
    with pytest.raises(UserError, match=r"found no cifar10-jpeg in .*Its source: CIFAR-10"):
        load_training("cifar10-jpeg", tmp_path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "a b"])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="must consist of letters"):
        load_training(name, tmp_path)


def test_a_file_in_place_of_the_data_folder_is_reported(tmp_path):
    (tmp_path / "data").write_text("hello")

    with pytest.raises(UserError, match="data is a file"):
        load_training("cifar10", tmp_path / "data")
