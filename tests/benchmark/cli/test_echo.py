"""Control characters in errors, arguments and results are escaped on the terminal."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.__main__ import app, main

# Test folders are not packages (importmode=importlib), so they cannot be imported.
record_fields = runpy.run_path(str(Path(__file__).parents[1] / "results" / "conftest.py"))["record_fields"]
ROOT = Path(__file__).resolve().parents[3]
EVIL = "x\x1b[2J\x9b1m\u202e\r\nok       verify: accepted"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", EVIL),
        ("plan", "quickstart", "--set", EVIL),
        ("plan", "quickstart", "--methods", EVIL),
        ("verify", EVIL),
        ("merge", EVIL),
        ("compare", EVIL, "b", "--out", str(ROOT / "leaderboards")),
        ("leaderboard", "--out", EVIL),
        (EVIL,),
        ("list", EVIL),
        ("list", f"--{EVIL}"),
    ],
)
def test_an_error_shows_hidden_characters_as_escapes(capsys, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert "\\x1b[2J" in printed.err
    assert not [line for line in (printed.out + printed.err).split("\n") if not line.isprintable()]
    assert not any(line.startswith("ok ") for line in printed.err.splitlines())


def test_merge_escapes_the_text_of_a_shard(tmp_path):
    record = record_fields(right=(8, 6, 5), n=10)
    for check in record["evaluation"]["health"]:
        check["reason"] = EVIL
    record["evaluation"]["notes"] = [EVIL]
    machine = {"torch": "2.6.0", "device": EVIL, "threads": 1, "started": "2025-01-01T00:00:00+00:00", "seconds": 2.0}
    shard = {
        "schema_version": 1,
        "artifact": record["artifact"],
        "protocol": record["protocol"].removesuffix("10") + "20",
        "test_sha256": "b" * 64,
        "evaluation": record["evaluation"],
        "curve": None,
        "curve_area": None,
        "machine": machine,
    }
    files = []
    for index in (1, 2):
        files.append(tmp_path / f"{index}.json")
        files[-1].write_text(json.dumps(shard | {"shard": {"index": index, "count": 2}}), encoding="utf-8")

    result = CliRunner().invoke(app, ["merge", *map(str, files)])

    assert result.exit_code == 0, result.output
    assert "note: x\\x1b[2J" in result.output
    assert all(line.isprintable() for line in result.output.split("\n"))
    assert not any(line.startswith("ok ") for line in result.output.splitlines())
