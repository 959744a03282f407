"""What `bench` prints: aligned tables with units, and how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from benchmark.evaluation.progress import attack_costs
from benchmark.leaderboard.formats import measured_time
from benchmark.planning.machine import threads_text
from benchmark.planning.measured import EvaluationEntry, Measurement, TrainingEntry
from benchmark.results.protocol import STANDARD_TARGETS
from benchmark.suite.objectives import forward_runs


def measurement_lines(measured: Measurement) -> Iterator[str]:
    """Yield the tables of a measurement."""
    machine = measured.machine
    yield ""
    yield f"{machine.name}, {threads_text(machine.threads)}, torch {machine.torch}, {measured.date}"
    if measured.convolutions:
        yield from _convolutions(measured)
    if measured.training:
        yield from _training(measured)
    if measured.evaluation:
        yield from _evaluation(measured)
    if measured.inference:
        yield from _inference(measured)
    if measured.coder:
        yield f"coder of masks: {measured.coder.encoded:.3g} weights/s written, {measured.coder.decoded:.3g} read"
    yield ""


def _convolutions(measured: Measurement) -> Iterator[str]:
    rows = []
    rates = {(rate.precision, rate.channels, rate.side): rate for rate in measured.convolutions}
    for channels, side in dict.fromkeys((rate.channels, rate.side) for rate in measured.convolutions):
        cells = [f"{channels} channels, {side}x{side}"]
        for precision in ("fp32", "bf16"):
            rate = rates.get((precision, channels, side))
            cells += ["-", "-"] if rate is None else [f"{rate.forward:,.0f}", f"{rate.backward:,.0f}"]
        rows.append(cells)
    yield ""
    yield "3x3 convolutions, GFLOP/s"
    yield from _table(["", "fp32 forward", "backward", "bf16 forward", "backward"], rows)
    if measured.memory is not None:
        yield f"memory: {measured.memory:,.0f} GB/s"


def _training(measured: Measurement) -> Iterator[str]:
    header = ["step", "weights", "precision", "network", "batch", "a step", "images/s", "of peak"]
    compared = any(entry.plain_seconds is not None for entry in measured.training)
    rows = []
    for entry in measured.training:
        key = entry.key
        cells = [f"{key.method}/{key.objective}", key.weights, key.precision, str(key.network), str(key.batch_size)]
        cells += [measured_time(entry.seconds), f"{entry.images_per_second:,.1f}", peak_share(entry, measured)]
        rows.append(cells + (_against(entry.plain_seconds, entry.seconds) if compared else []))
    yield ""
    yield "training steps, attack and update"
    yield from _table(header + (["plain", "ratio"] if compared else []), rows, words=4)
    yield "of peak: FLOPs of its convolutions against the fastest convolution above, bf16 for both kinds of bf16"
    if compared:
        yield "plain: a straightforward implementation, timed in turn; ratio: its time over that of the step"


def _evaluation(measured: Measurement) -> Iterator[str]:
    compared = any(entry.plain_pgd_seconds is not None for entry in measured.evaluation)
    header = ["network", "batch", "clean/s", "PGD-20/s", "PGD-50/s", *attack_costs(STANDARD_TARGETS), "AutoAttack"]
    rows = []
    for entry in measured.evaluation:
        cells = [str(entry.network), str(entry.images), f"{1 / entry.clean_seconds:,.0f}"]
        cells += [f"{1 / ((steps + 1) * entry.pgd_seconds):,.1f}" for steps in (20, 50)]
        cells += [measured_time(value) for value in entry.autoattack.values()]
        cells.append(measured_time(sum(entry.autoattack.values())))
        rows.append(cells + (_against(entry.plain_pgd_seconds, entry.pgd_seconds)[1:] if compared else []))
    yield ""
    yield "evaluation: images per second, clean and under PGD; time of AutoAttack for an image that survives it"
    yield from _table(header + (["PGD ratio"] if compared else []), rows)
    yield "each attack is timed for some seconds on images that always survive, and scaled to all passes of one image"
    if measured.machine.device == "cuda":
        for entry in measured.evaluation:
            yield f"{entry.network}: AutoAttack of 1,000 surviving images takes {measured_time(1000 * total(entry))}"


def _inference(measured: Measurement) -> Iterator[str]:
    rows = []
    for entry in measured.inference:
        cells = [f"{entry.network}, {entry.kept:.0%} kept", str(entry.images), measured_time(entry.seconds)]
        sparse = entry.sparse_seconds
        rows.append(
            cells + (["-", "-"] if sparse is None else [measured_time(sparse), f"{entry.seconds / sparse:.2f}"])
        )
    yield ""
    yield "inference on a CPU: a forward pass of torch, batch norms folded, and of the sparse runtime (extra fast)"
    yield from _table(["network", "batch", "torch", "sparse", "ratio"], rows)


def total(entry: EvaluationEntry) -> float:
    """Return the seconds of AutoAttack for an image that survives it."""
    return sum(entry.autoattack.values())


def peak_share(entry: TrainingEntry, measured: Measurement) -> str:
    """Return the FLOP/s of a training step as a share of the fastest convolution's; '-' if none was measured."""
    precision: Literal["fp32", "bf16"] = "fp32" if entry.key.precision == "fp32" else "bf16"
    peak = measured.peak(precision)
    if peak is None:
        return "-"
    runs = forward_runs(entry.key.objective, entry.key.attack_steps)
    return f"{runs * entry.forward_flops * entry.images_per_second / peak / 1e9:.0%}"


def _against(plain: float | None, ours: float) -> list[str]:
    return ["-", "-"] if plain is None else [measured_time(plain), f"{plain / ours:.2f}"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> Iterator[str]:
    """Yield aligned lines: the first `words` columns on the left, numbers on the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()
