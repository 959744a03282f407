"""Where data sets are searched for, and what happens if they are missing. Nothing here uses the network."""

import hashlib
import io
import logging
import pickle
import tarfile
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from benchmark.data import source
from benchmark.data.download import DOWNLOADS, Published
from benchmark.data.load import load_test, load_training
from benchmark.data.source import find_local
from benchmark.errors import UserError

pytestmark = pytest.mark.usefixtures("small_sets")


@pytest.fixture
def no_network(monkeypatch):
    """Refuse all connections; return the list of those attempted."""
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


def archive_of_cifar100(extra=None, first_label=1):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for part in ("train", "test"):
            content = pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "fine_labels": [first_label, 2, 3]})
            member = tarfile.TarInfo(f"cifar-100-python/{part}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if extra:
            archive.addfile(tarfile.TarInfo(extra))
    return stream.getvalue()


def published(content):
    return Published(hashlib.sha256(content).hexdigest(), len(content))


def serve(monkeypatch, server, content, expected=None):
    download = DOWNLOADS["cifar100"]
    (name,) = download.files
    files = {name: expected or published(content)}
    monkeypatch.setitem(source.DOWNLOADS, "cifar100", replace(download, files=files))
    server[download.address + name] = content


@pytest.mark.parametrize("name", DOWNLOADS)
def test_without_files_and_network_one_sentence_says_what_to_put_where(tmp_path, name, no_network, caplog, capfd):
    folder = tmp_path / "new" / "folder"

    with pytest.raises(UserError) as caught:
        load_training(name, folder)

    message = str(caught.value)
    download = DOWNLOADS[name]
    for needed in (download.content, download.origin, str(folder), "does not exist", "ConnectionError", "--data-dir"):
        assert needed in message
    assert "\n" not in message
    assert len(no_network) == 1  # no retries
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
    serve(monkeypatch, server, archive_of_cifar100(), Published("0" * 64, 10**6))

    with pytest.raises(UserError, match=r"download failed \(wrong checksum\)"):
        load_training("cifar100", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DOWNLOADS)
def test_downloads_use_https_and_have_a_sha256(name):
    assert DOWNLOADS[name].address.startswith("https://")
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size_bytes > 0 for file in DOWNLOADS[name].files.values())


class Endless:
    """A server's reply that never ends."""

    headers: ClassVar = {}

    def __init__(self):
        self.sent = 0

    def raise_for_status(self):
        pass

    def iter_content(self, chunk_size):
        while True:
            self.sent += chunk_size
            yield bytes(chunk_size)


@pytest.mark.hangs_after(60)
def test_a_download_larger_than_the_file_is_stopped(tmp_path, monkeypatch):
    reply = Endless()
    monkeypatch.setattr("requests.get", lambda *args, **kwargs: reply)
    download = replace(DOWNLOADS["cifar100"], files={"cifar-100-python.tar.gz": Published("0" * 64, 10_000)})
    monkeypatch.setitem(source.DOWNLOADS, "cifar100", download)

    with pytest.raises(UserError, match=r"download failed \(more than 10,000 bytes\)"):
        load_training("cifar100", tmp_path / "data")
    assert reply.sent < 20_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.hangs_after(60)
def test_a_download_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("requests.get", lambda *args, **kwargs: Endless())
    monkeypatch.setattr("benchmark.data.download._SECONDS", -1)

    with pytest.raises(UserError, match=r"download failed \(it took too long\)"):
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


def test_an_unknown_name_without_a_folder_lists_the_catalog():
    with pytest.raises(
        UserError, match=r"unknown data set 'cifra10'.*digits.*cifar10.*Did you mean cifar10\?.*--data-dir"
    ):
        load_training("cifra10", None)


def test_ones_own_name_with_an_empty_folder_says_what_to_put_there(tmp_path):
    with pytest.raises(UserError, match=r"found no pets in .*put parquet files .* there"):
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


def put_archive(monkeypatch, folder, content, official=True):
    """Put an archive where a browser would, with the publisher's checksum if `official`."""
    download = DOWNLOADS["cifar100"]
    (name,) = download.files
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    if official:
        files = {name: published(content)}
        monkeypatch.setitem(source.DOWNLOADS, "cifar100", replace(download, files=files))


@pytest.mark.parametrize("subfolder", ["", "cifar100"])
def test_the_publishers_archive_is_unpacked(tmp_path, monkeypatch, no_network, subfolder):
    put_archive(monkeypatch, tmp_path / subfolder, archive_of_cifar100())
    assert find_local("cifar100", tmp_path) is None

    assert sorted(load_test("cifar100", tmp_path).test.labels.tolist()) == [1, 2, 3]
    names = ["cifar-100-python", "cifar-100-python.tar.gz"]
    assert sorted(item.name for item in (tmp_path / subfolder).iterdir()) == names


def test_an_archive_that_is_not_the_publishers_is_not_unpacked(tmp_path, monkeypatch, no_network):
    put_archive(monkeypatch, tmp_path, archive_of_cifar100(), official=False)

    with pytest.raises(
        UserError, match=r"tar\.gz was not unpacked because its checksum differs .*unpack it yourself so that"
    ):
        load_training("cifar100", tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]


@pytest.mark.parametrize("extra", ["../../../escaped", "/tmp/../../escaped"])
def test_an_archive_in_the_folder_that_would_write_elsewhere_is_refused(tmp_path, monkeypatch, no_network, extra):
    put_archive(monkeypatch, tmp_path / "a", archive_of_cifar100(extra))

    with pytest.raises(UserError, match=r"tar\.gz could not be unpacked \(OutsideDestinationError"):
        load_training("cifar100", tmp_path / "a")
    assert [item.name for item in (tmp_path / "a").iterdir()] == ["cifar-100-python.tar.gz"]


def test_an_archive_that_cannot_be_unpacked_in_its_folder_is_reported_in_one_sentence(
    tmp_path, monkeypatch, no_network
):
    put_archive(monkeypatch, tmp_path, archive_of_cifar100())
    (tmp_path / "cifar-100-python").write_text("a file where the folder should be")

    with pytest.raises(UserError, match=r"could not be unpacked \(NotADirectoryError.*unpack it yourself and pass"):
        load_training("cifar100", tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cifar-100-python", "cifar-100-python.tar.gz"]


def test_a_folder_that_another_process_unpacks_in_the_meantime_is_read(tmp_path, monkeypatch, no_network):
    put_archive(monkeypatch, tmp_path, archive_of_cifar100())

    def unpack_twice(archive, sha256, content, unpack=source.unpack):
        unpack(archive, sha256, content)
        unpack(archive, sha256, content)  # the folder exists, so the move fails

    monkeypatch.setattr(source, "unpack", unpack_twice)

    assert len(load_test("cifar100", tmp_path).test) == 3


@pytest.mark.parametrize("name", ["tiny-imagenet-200.zip", "pets.tgz", "images.tar"])
def test_other_archives_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(UserError, match=f"{name} is an archive: unpack it there first"):
        load_training("pets", tmp_path)


def unpack_cifar100(folder, first_label=1):
    with tarfile.open(fileobj=io.BytesIO(archive_of_cifar100(first_label=first_label))) as archive:
        archive.extractall(folder, filter="data")


def test_the_folder_named_like_the_data_set_is_searched_before_its_parent(tmp_path):
    unpack_cifar100(tmp_path, first_label=7)
    unpack_cifar100(tmp_path / "cifar100", first_label=8)

    assert sorted(load_test("cifar100", tmp_path).test.labels.tolist()) == [2, 3, 8]


def write_parquet(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        (folder / f"{part}-0.parquet").write_bytes(b"")


def write_images(folder):
    for part in ("train", "test"):
        (folder / part / "cat").mkdir(parents=True)
        (folder / part / "cat" / "0.png").write_bytes(b"")


def write_idx(folder):
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "makers", "message"),
    [
        (
            "cifar100",
            {"": unpack_cifar100, ".": write_parquet},
            "pickled batches in .* and parquet files in .* both be cifar1",
        ),
        (
            "cifar100",
            {"": unpack_cifar100, ".": write_images},
            "pickled batches in .* and image folders in .* both be cifar1",
        ),
        ("pets", {"": write_parquet, ".": write_images}, "parquet files in .* and image folders in .* both be pets"),
        (
            "pets",
            {"": write_parquet, "data": write_parquet},
            "parquet files in .* and parquet files in .*/data could both",
        ),
        (
            "pets",
            {"pets": write_parquet, "pets/default": write_parquet},
            "/pets and parquet files in .*/pets/default could",
        ),
        (
            "my-pets",
            {"my-pets": write_parquet, "my_pets": write_images},
            "/my-pets and image folders in .*/my_pets could",
        ),
        (
            "cifar10",
            {"data": write_parquet, "plain_text": write_parquet},
            "/data and parquet files in .*/plain_text could",
        ),
        (
            "fashion-mnist",
            {"raw": write_idx, "FashionMNIST/raw": write_idx},
            "idx files in .* and idx files in .*/raw could",
        ),
    ],
)
def test_two_candidates_in_one_place_are_refused(tmp_path, name, makers, message):
    for folder, make in makers.items():
        make(tmp_path / folder)

    with pytest.raises(UserError, match=message):
        find_local(name, tmp_path)


def test_folders_called_train_and_test_without_images_are_no_candidates_beside_others(tmp_path):
    unpack_cifar100(tmp_path)
    (tmp_path / "test" / "unit").mkdir(parents=True)
    (tmp_path / "test" / "unit" / "test_a.py").write_text("")

    assert len(load_test("cifar100", tmp_path).test) == 3


@pytest.mark.parametrize("place", [".", "cifar-100-python", "cifar100"])
def test_a_broken_link_in_place_of_a_folder_is_named(tmp_path, place):
    (tmp_path / "data").mkdir()
    link = tmp_path / "data" / place if place != "." else tmp_path / "link"
    link.symlink_to("nowhere")

    with pytest.raises(UserError, match=f"{link.name} is a broken link: nowhere does not exist"):
        load_training("cifar100", link if place == "." else tmp_path / "data")


@pytest.mark.parametrize("alias", ["my_pets", "my-pets/data"])
def test_a_second_name_of_the_same_folder_is_no_second_candidate(tmp_path, alias):
    write_parquet(tmp_path / "my-pets")
    (tmp_path / alias).symlink_to(tmp_path / "my-pets")

    assert find_local("my-pets", tmp_path).folder == tmp_path / "my-pets"


def test_a_data_set_one_folder_further_down_is_named(tmp_path):
    write_images(tmp_path / "pets" / "pets-v2")

    with pytest.raises(UserError, match="pets/pets-v2 holds a data set: pass it as --data-dir"):
        load_training("pets", tmp_path)


def test_an_archive_as_data_folder_is_refused(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")

    with pytest.raises(
        UserError, match=r"tar\.gz is a file; the data folder must be a folder\. Unpack the archive first"
    ):
        load_training("cifar10", tmp_path / "cifar-10-python.tar.gz")


def test_finding_locally_downloads_nothing(tmp_path, monkeypatch, server):
    serve(monkeypatch, server, archive_of_cifar100())

    assert find_local("cifar100", tmp_path / "new") is None
    assert find_local("cifar100", None) is None
    assert find_local("pets", None) is None
    assert find_local("digits", None) is not None
    assert list(tmp_path.iterdir()) == []
