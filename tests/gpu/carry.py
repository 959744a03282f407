"""Packs the work folder of `first_hour.sh` into few small files, unpacks them elsewhere, and says what has come of it.

    python tests/gpu/carry.py pack WORK OUT
    python tests/gpu/carry.py unpack FROM WORK
    python tests/gpu/carry.py entries SUITE           one line of JSON per entry, for --set methods=[...]
    python tests/gpu/carry.py summary WORK SUITE [--dataset NAME] [--preset NAME]

OUT gets at most seven files of at most 16 MiB, together below 60 MB. What does not fit is named, and stays in WORK.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LARGEST, TOTAL = 16 * 2**20 - 65_536, 60_000_000  # bytes: of a file, with room for tar's own, and of all
MOST = 3  # files of artifacts, and of states to resume from
SMALL = 2**20  # a file of records, logs and histories; larger ones are networks
STATE = ("network.safetensors", "trained.safetensors", "checkpoint.pt")


def pack(work: Path, out: Path) -> list[str]:
    """Replace the packed files in `out` by those of `work`, and return a sentence on each thing that is left out."""
    left: list[str] = []
    plan: list[tuple[str, list[Path]]] = [("records.tar.gz", [path for path in files(work) if is_small(path, work)])]
    bins: list[list[Path]] = [[] for _ in range(MOST)]
    for path in sorted((work / "runs" / "artifacts").glob("*")):
        size = path.stat().st_size
        fitting = next((each for each in bins if size + sum(one.stat().st_size for one in each) < LARGEST), None)
        if fitting is None:
            left.append(f"not carried: {path.name} ({size / 1e6:.0f} MB)")
        else:
            fitting.append(path)
    plan += [(f"artifacts-{number}.tar", each) for number, each in enumerate(bins, 1) if each]
    plan += [(f"resume-{number}.tar.gz", each) for number, each in enumerate(unfinished(work)[:MOST], 1)]
    left += [f"not carried: the state of {each[0].parent.name}" for each in unfinished(work)[MOST:]]
    out.mkdir(parents=True, exist_ok=True)
    total, made = 0, set()
    for name, paths in plan:
        temporary = out / f"{name}.part"
        size = write(temporary, paths, work)
        if size is None or total + size > TOTAL:
            temporary.unlink()
            left.append(f"not carried: {name}, with {', '.join(sorted({path.parent.name for path in paths}))}")
            continue
        os.replace(temporary, out / name)
        total, made = total + size, made | {name}
    for old in {*out.glob("*.tar"), *out.glob("*.tar.gz")}:
        if old.name not in made:
            old.unlink()
    return left


def files(work: Path) -> list[Path]:
    """Return the files below `work` that may be carried, sorted; not links, pages, packages or leases."""
    places = ("stages", "logs", "bench", "runs/records", "runs/work")
    below = [path for place in places for path in (work / place).rglob("*")]
    return sorted(path for path in below if path.is_file() and not path.is_symlink() and "lease-" not in path.name)


def is_small(path: Path, work: Path) -> bool:
    """Return whether a file belongs into the first pack; attacked images of finished rows are gone by then."""
    return path.stat().st_size <= SMALL and path.name not in STATE


def unfinished(work: Path) -> list[list[Path]]:
    """Return for every run without a record what it resumes from: its networks, or its checkpoint."""
    runs = work / "runs"
    recorded = {path.stem for path in (runs / "records").rglob("*.json")}
    states = []
    for order in sorted((runs / "work").rglob("order.json")):
        name = order.parent.relative_to(runs / "work").as_posix().replace("/", "__")
        state = [path for path in (order.parent / each for each in STATE) if path.exists()]
        if state and name not in recorded:
            states.append(state)
    return states


def write(path: Path, members: Sequence[Path], work: Path) -> int | None:
    """Write a tar file and return its size; None, and an incomplete file, as soon as it is too large."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode=mode(path)) as tar:
        for member in members:
            tar.add(member, str(member.relative_to(work)))
            if file.tell() > LARGEST:
                return None
    return None if path.stat().st_size > LARGEST else path.stat().st_size


def mode(path: Path) -> str:
    """Return the mode to write a file: networks that keep few weights are mostly zeros, artifacts are compressed."""
    return "w:gz" if ".gz" in path.suffixes else "w"


def unpack(source: Path, work: Path) -> list[str]:
    """Unpack what `pack` made; refuses members outside of `work`, links and devices."""
    packs = sorted({*source.glob("*.tar"), *source.glob("*.tar.gz")})
    for path in packs:
        with tarfile.open(path) as tar:
            tar.extractall(work, filter="data")
    return [f"unpacked {len(packs)} files of {source}"] if packs else []


def entries(suite: str) -> list[str]:
    """Return the entries of a suite in `configs/`, each as JSON."""
    from benchmark.files.yaml_file import read_mapping

    document = read_mapping(ROOT / "configs" / f"{suite}.yaml", "name, dataset and methods")
    return [json.dumps(entry) for entry in document["methods"]]


def summary(work: Path, suite: str, dataset: str | None, preset: str | None) -> Iterator[str]:
    """Yield what `bench` measured, the finished rows, those that have begun and how many are missing."""
    from benchmark.bench.text import measurement_lines
    from benchmark.planning.measured import load_measurement
    from benchmark.results.store import load_records
    from benchmark.session import Request, resolve_request

    if (measured := load_measurement(work / "bench")) is not None:
        yield from measurement_lines(measured)
    wanted = [each.run for each in resolve_request(Request(suite, None, dataset, preset, None, (), None, work))[0]]
    records = {record.run: record for record in load_records(work / "runs")}
    yield "clean    PGD     AA   train s   AA s  row"
    for run in (run for run in wanted if run in records):
        record = records[run]
        autoattack, training = record.evaluation.autoattack, record.training
        shares = (record.evaluation.clean_accuracy, record.evaluation.pgd.accuracy, autoattack.accuracy)
        numbers = " ".join(f"{100 * share:6.2f}" for share in shares)
        yield f"{numbers} {training.seconds:8.0f} {autoattack.seconds:6.0f}  {run}"
    for order in sorted((work / "runs" / "work").rglob("order.json")):
        run = order.parent.relative_to(work / "runs" / "work").as_posix()
        if run not in records:
            yield f"begun: {run}, {progress(order.parent)}"
    missing = [run for run in wanted if run not in records]
    following = f"; the next is {missing[0]}" if missing else ""
    yield f"{len(wanted) - len(missing)} of {len(wanted)} rows have a record{following}"


def progress(folder: Path) -> str:
    """Return how far a run has come, from what lies in its work folder."""
    if (folder / "network.safetensors").exists():
        return "trained, not yet attacked to the end"
    history = folder / "history.jsonl"
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    last = json.loads(lines[-1]) if lines else {"epoch": 0, "validation_robust_accuracy": 0.0}
    failed = ", failed" if (folder / "failed.txt").exists() else ""
    return f"{last['epoch']} epochs, PGD on validation {100 * last['validation_robust_accuracy']:.1f}%{failed}"


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, places in {"pack": ("work", "out"), "unpack": ("source", "work")}.items():
        command = commands.add_parser(name)
        for place in places:
            command.add_argument(place, type=Path)
    commands.add_parser("entries").add_argument("suite")
    command = commands.add_parser("summary")
    command.add_argument("work", type=Path)
    command.add_argument("suite")
    command.add_argument("--dataset")
    command.add_argument("--preset")
    options = vars(parser.parse_args())
    action = {"pack": pack, "unpack": unpack, "entries": entries, "summary": summary}[options.pop("command")]
    for line in action(**options):
        print(line)


if __name__ == "__main__":
    main()
