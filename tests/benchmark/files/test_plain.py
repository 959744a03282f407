"""Files below a folder are opened only if regular, small enough and behind no link; nothing is written elsewhere."""

from __future__ import annotations

import os
import socket

import pytest
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.errors import CannotWrite, UserError
from benchmark.files.plain import files_below, is_below, read_below, read_plain, refuse_links
from benchmark.launch.lease import Lease
from benchmark.launch.lease_file import lease_path
from benchmark.launch.order import work_folder
from benchmark.results.store import make_folders
from benchmark.training import history

SUITE = """
name: small
dataset: digits
train_images: 384
epsilon: 16/255
architecture: {name: resnet6, width: 0.125}
grid: {weights: fp, objective: pgd}
methods: [{method: at}]
training: {epochs: 1, batch_size: 32}
evaluation: {images: 8}
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a file in a subfolder, beside another folder."""
    (tmp_path / "board" / "a").mkdir(parents=True)
    (tmp_path / "board" / "a" / "file").write_bytes(b"12345")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"secret")
    return tmp_path / "board"


def test_a_regular_file_is_read_up_to_the_limit(folder):
    path = folder / "a" / "file"

    assert read_below(path, folder, 5) == b"12345" and is_below(path, folder, 5)
    with pytest.raises(UserError, match="file has 5 bytes, but at most 4 are allowed; replace or remove it"):
        read_below(path, folder, 4)


@pytest.mark.parametrize("name", ["b", "a/b", "b/c/d"])
def test_a_missing_file_is_none(folder, name):
    assert read_below(folder / name, folder, 5) is None and not is_below(folder / name, folder, 5)
    assert files_below(folder / name, folder, "") == []


@pytest.mark.parametrize(
    ("link", "target"),
    [("a/link", "file"), ("a/link", "/etc/passwd"), ("a/link", "nowhere"), ("link", "../outside"), ("link", "nowhere")],
)
def test_a_link_anywhere_below_the_folder_is_named(folder, link, target):
    (folder / link).symlink_to(target)
    path = folder / link if link == "a/link" else folder / link / "file"

    for function in (
        lambda: read_below(path, folder, 100),
        lambda: is_below(path, folder, 100),
        lambda: refuse_links(path, folder),
        lambda: files_below(folder, folder, ""),
    ):
        with pytest.raises(UserError, match=f"{folder / link} is a symbolic link, which is not allowed below {folder}"):
            function()


@pytest.mark.hangs_after(60)
def test_pipes_sockets_and_folders_are_not_opened(folder, monkeypatch):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)  # the path of a socket must be short
        listener.bind("socket")
    for name, kind in {"pipe": "a pipe", "socket": "a socket", "a": "a folder"}.items():
        with pytest.raises(UserError, match=f"{name} is {kind}, not a regular file; remove it"):
            read_below(folder / name, folder, 100)
        assert read_plain(folder / name, 100) is None


def test_the_folder_itself_may_be_reached_by_links(folder, tmp_path):
    (tmp_path / "runs").symlink_to(folder)
    path = tmp_path / "runs" / "a" / "file"

    assert read_below(path, tmp_path / "runs", 5) == b"12345"
    assert files_below(tmp_path / "runs", tmp_path / "runs", "") == [path]
    assert refuse_links(path, tmp_path / "runs") == path


def link_to_outside(path, tmp_path):
    """Create a link to a file or folder outside and return that target."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = tmp_path / "outside" / path.name
    if path.suffix in (".md", ".html", ".txt", ".jsonl") or path.name.startswith("lease-"):
        target.write_bytes(b"mine")
    else:
        target.mkdir()
    path.symlink_to(target)
    return target


@pytest.mark.parametrize(
    "name", ["records", "work/digits", "site", "site/rows", "site/index.html", "boards.md", "CHANGELOG.md"]
)
def test_run_writes_nothing_behind_a_link_below_its_folder(folder, tmp_path, name):
    target = link_to_outside(folder / name, tmp_path)
    (tmp_path / "small.yaml").write_text(SUITE, encoding="utf-8")

    result = CliRunner().invoke(app, ["run", str(tmp_path / "small.yaml"), "--out", str(folder)])

    assert f"{folder / name} is a symbolic link" in str(result.exception)
    assert target.read_bytes() == b"mine" if target.is_file() else list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["work", "artifacts"])
def test_folders_are_not_made_behind_a_link(folder, tmp_path, name):
    target = link_to_outside(folder / name, tmp_path)

    with pytest.raises(UserError, match=f"{name} is a symbolic link"):
        make_folders(folder, name)
    assert list(target.iterdir()) == []


def test_a_lease_and_a_history_are_not_written_through_links(folder, tmp_path):
    work = work_folder(folder, "digits/seed0-000000")
    for name in ("lease-run.json", "history.jsonl"):
        link_to_outside(work / name, tmp_path)

    with pytest.raises(CannotWrite, match=r"lease-run\.json cannot be written .*it is a symbolic link, remove it"):
        Lease(lease_path(work, "whole"), "whole", 60)
    line = history.EpochLine("dense", 1, *[0.5] * (len(history.EpochLine.__dataclass_fields__) - 2))
    with pytest.raises(CannotWrite, match=r"history\.jsonl cannot be written"):
        history.append(work / "history.jsonl", line)
    assert all((tmp_path / "outside" / name).read_bytes() == b"mine" for name in ("lease-run.json", "history.jsonl"))
