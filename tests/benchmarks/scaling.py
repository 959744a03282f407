"""Prints how runs scale: the smoke preset with one and with two workers in turn, and many GPUs from `bench`'s numbers.

    python tests/benchmarks/scaling.py [--rounds 3] [--measured runs] [--suite cifar10] [--shards 1 8]

The first table runs things and takes minutes; `--rounds 0` leaves it out. The second needs a folder with `bench.json`,
which `python -m benchmark bench SUITE --out FOLDER` writes; without `--measured` it is left out.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# ruff: noqa: E402
from benchmark.api.planning import plan
from benchmark.planning.workers import schedule_of
from benchmark.runtime.progress import duration

WORKERS = (1, 2)
GPUS = (1, 8, 64)
SMOKE = ("quickstart", "--preset", "smoke", "--device", "cpu")


def timed_run(workers: int) -> tuple[float, float]:
    """Run the smoke preset in an empty folder; return its seconds and CPU-seconds."""
    with tempfile.TemporaryDirectory() as out:
        before, started = _cpu_seconds(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "benchmark", "run", *SMOKE, "--jobs", str(workers), "--out", out],
            check=True,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - started, _cpu_seconds() - before


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured_lines(rounds: int) -> Iterator[str]:
    """Yield a table of the rounds, one worker and two in turn, and the median ratio."""
    yield "| workers | seconds | CPU-seconds |"
    yield "| --- | --- | --- |"
    ratios = []
    for _ in range(rounds):
        seconds = {}
        for workers in WORKERS:
            seconds[workers], cpu = timed_run(workers)
            yield f"| {workers} | {seconds[workers]:.1f} | {cpu:.1f} |"
        ratios.append(seconds[WORKERS[0]] / seconds[WORKERS[-1]])
    yield ""
    yield f"two workers against one: {statistics.median(ratios):.2f}x (median of {rounds})"


def predicted_lines(suite: str, measured: Path, shards: Sequence[int]) -> Iterator[str]:
    """Yield a table of a suite's time on many GPUs like the measured one, with the serial part of each."""
    planned = plan(suite, out=measured)
    if planned.measurement is None:
        sys.exit(f"{measured} has no bench.json; run `python -m benchmark bench {suite} --out {measured}` first")
    machine = planned.measurement.machine
    yield f"{suite} on workers like {machine.name}, calculated:"
    yield ""
    yield "| workers | shards | time | busy | against one | serial part |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for count in shards:
        one = schedule_of(planned.experiments, planned.measurement, workers=1, shards=count)
        if one is None:
            sys.exit(f"nothing of {suite} is left to run in {measured}, or nothing measured fits it")
        for workers in GPUS:
            result = schedule_of(planned.experiments, planned.measurement, workers=workers, shards=count)
            parts = [name.partition(" ")[2] or "whole" for name in result.chain]
            yield (
                f"| {workers} | {count} | {duration(result.makespan)} | {result.busy:.0%} "
                f"| {one.makespan / result.makespan:.1f}x "
                f"| {duration(result.chain_seconds)}: {result.chain[-1].partition(' ')[0]}, {', '.join(parts)} |"
            )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measured", type=Path)
    parser.add_argument("--suite", default="cifar10")
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    for line in measured_lines(options.rounds) if options.rounds else ():
        print(line, flush=True)
    if options.measured is not None:
        print()
        for line in predicted_lines(options.suite, options.measured, options.shards):
            print(line)


if __name__ == "__main__":
    main()
