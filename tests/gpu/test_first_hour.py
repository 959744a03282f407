"""The script for a leased GPU, rehearsed on a CPU: killed in a training and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("first_hour.sh")
RUN = ("--rehearse", "--rows", "1")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}


def first_hour(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL)


def end_session(leader: int) -> None:
    """Kill all processes of a session; `timeout` gives each command a group of its own."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader:
            os.kill(int(stat.parent.name), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ends the processes that /proc names")
def test_a_rehearsal_killed_in_a_training_goes_on_to_its_record(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    (work / "stages").mkdir(parents=True)
    for stage in ("bench", "variants"):  # take half a minute, and have tests of their own
        (work / "stages" / stage).write_text("done before\n")
    command = [str(SCRIPT), *RUN, "--out", str(out), "--work", str(work), "--time-limit", "10"]
    process = subprocess.Popen(command, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list((work / "runs" / "work").rglob("checkpoint.pt")):
        time.sleep(0.1)
    assert process.poll() is None, "it has not ended by itself"
    end_session(process.pid)
    process.wait()
    assert not list((work / "runs" / "records").rglob("*.json"))

    resumed = first_hour(*RUN, "--out", out, "--work", work, "--time-limit", "10")

    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "FAILED" not in resumed.stdout
    assert "resumed" in (work / "logs" / "row-01.txt").read_text()
    assert "1 of 29 rows have a record; the next is digits/resnet34-w0.125/at" in resumed.stdout
    assert {path.name for path in out.iterdir()} == {"summary.txt", "records.tar.gz", "artifacts-1.tar"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--out is missing"),
        (("--out", "{tmp}/out"), "--data-dir is missing"),
        (
            ("--out", "{tmp}/out", "--rehearse", "--time-limit", "8m"),
            "--time-limit takes minutes such as 8 or 2.5",
        ),
        (("--out", "{tmp}/out", "--data-dir", "{tmp}/none"), "there is no folder {tmp}/none"),
        (("--out", "{tmp}/out", "--fast"), "--fast is no option"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(tmp_path, arguments, sentence):
    done = first_hour(*(argument.format(tmp=tmp_path) for argument in arguments))

    assert done.returncode == 2
    assert sentence.format(tmp=tmp_path) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
