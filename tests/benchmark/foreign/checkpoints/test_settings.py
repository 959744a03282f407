"""The settings of a run: found beside the checkpoint, read as text only, never contradicted silently."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.foreign.checkpoints.namespace import read_namespaces
from benchmark.foreign.checkpoints.settings import NAMES, parse_given, read_settings

VALUES = {"k": 0.05, "normalize": True, "arch": "wrn_28_4", "name": 'it\'s (a) "test", k=0.9', "list": [1, (2,)]}
WANTED = ("k", "normalize")


def refusal(*arguments):
    with pytest.raises(UserError) as caught:
        read_settings(*arguments)
    return str(caught.value)


def text_of(name, values=VALUES):
    """Return the settings as the repositories write a file of this name."""
    if name.endswith(".json"):
        return json.dumps(values)
    if name.endswith((".yaml", ".yml")):
        return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items() if key != "list")
    return f"{Namespace(**values)}2022/05/01, 12:00:00['run/train.py', '--k', '0.7']"


@pytest.mark.parametrize("folder", ["checkpoint", "checkpoints", "elsewhere"])
@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_found_beside_the_checkpoint_and_above_its_folder(name, folder, tmp_path):
    (tmp_path / folder).mkdir()
    checkpoint = tmp_path / folder / "model.pth"
    (tmp_path / name).write_text(text_of(name), encoding="utf-8")

    above = read_settings(checkpoint, None, WANTED)
    (tmp_path / folder / name).write_text(text_of(name), encoding="utf-8")
    (tmp_path / name).unlink()
    beside = read_settings(checkpoint, None, WANTED)

    assert above.source == (None if folder == "elsewhere" else tmp_path / name)
    assert (beside.number("k"), beside.flag("normalize"), beside.text("arch")) == (0.05, True, "wrn_28_4")


def test_a_file_about_something_else_is_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text("colour: red\n", encoding="utf-8")

    assert read_settings(tmp_path / "model.pth", None, WANTED).source is None
    assert "holds none of k, normalize" in refusal(tmp_path / "model.pth", tmp_path / "config.yaml", WANTED)


def test_a_config_that_is_not_there_is_refused(tmp_path):
    assert "is not a file" in refusal(tmp_path / "model.pth", tmp_path / "config.yaml", WANTED)


def test_two_configs_need_a_choice(tmp_path):
    for name in ("config.json", "settings.txt"):
        (tmp_path / name).write_text(text_of(name), encoding="utf-8")

    assert "name one by --config" in refusal(tmp_path / "model.pth", None, WANTED)
    assert read_settings(tmp_path / "model.pth", tmp_path / "settings.txt", WANTED).number("k") == 0.05


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("settings.txt", "Namespace(k=0.1"),
        ("settings.txt", "Namespace(k=<object at 0x7f>)"),
        ("config.yaml", "k: [1"),
        ("settings.txt", "Namespace(k=" + "(" * 100_000),
    ],
)
def test_a_damaged_config_is_refused(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")

    assert "cannot be read" in refusal(tmp_path / "model.pth", tmp_path / name, WANTED)


def test_a_namespace_is_read_and_not_evaluated(tmp_path):
    marker = tmp_path / "executed"
    text = f"Namespace(k=__import__('pathlib').Path({str(marker)!r}).touch(), path=PosixPath('a'), p=-0.5, s='\\'(')"

    (settings,) = read_namespaces(text)

    assert settings == {"p": -0.5, "s": "'("}
    assert not marker.exists()


def test_a_log_with_two_runs_counts_where_they_agree():
    first, second = Namespace(k=0.1, normalize=False), Namespace(k=0.2, normalize=False)

    assert list(read_namespaces(f"{first}\nepoch 1\n{second}\n")) == [vars(first), vars(second)]


def test_settings_on_which_two_runs_disagree_are_unknown(tmp_path):
    lines = [str(Namespace(k=k, normalize=False)) for k in (0.1, 0.2)]
    (tmp_path / "setup.log").write_text("\n".join(lines), encoding="utf-8")

    settings = read_settings(tmp_path / "model.pth", None, WANTED)

    assert (settings.number("k"), settings.flag("normalize")) == (None, False)


def test_the_logs_of_robust_binary_subnet_hold_the_config_inside(tmp_path):
    (tmp_path / "logs.json").write_text(json.dumps({"config": {"k": "0.01"}, "lr": {}}), encoding="utf-8")

    assert read_settings(tmp_path / "model.pth", tmp_path / "logs.json", WANTED).number("k") == 0.01


@pytest.mark.parametrize("text", ["alpha", "=0.1", "alpha=", "al pha=1", ""])
def test_a_given_setting_is_a_name_and_a_value(text):
    with pytest.raises(UserError, match="is not NAME=VALUE"):
        parse_given(text)


def test_a_number_must_be_one(tmp_path):
    (tmp_path / "config.json").write_text('{"k": "many"}', encoding="utf-8")

    with pytest.raises(UserError, match="k must be a number, got 'many'"):
        read_settings(tmp_path / "model.pth", None, WANTED).number("k")


def test_an_equal_value_is_no_contradiction(tmp_path):
    (tmp_path / "config.json").write_text('{"k": "0.10"}', encoding="utf-8")
    settings = read_settings(tmp_path / "model.pth", None, WANTED)

    assert settings.with_given("k", 0.1, "--k 0.1").number("k") == 0.1
    assert Path(str(settings.source)).name == "config.json"
