"""What `plan` prints: every experiment with state, cost and reported number, then totals and how to read them.

Once `bench` has measured a machine, times are printed too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmark.files.text import counted
from benchmark.launch.remeasured import is_attacked
from benchmark.leaderboard.formats import options_text
from benchmark.planning.cost import training_images
from benchmark.planning.machine import is_here, threads_text
from benchmark.planning.measured import Measurement
from benchmark.planning.predict import FIXED, Prediction
from benchmark.planning.states import Planned
from benchmark.planning.times import predictions, robust_share
from benchmark.results.record import Record
from benchmark.runtime.progress import duration

INDENT = " " * 8
SUSTAINED = 1e14  # FLOP/s of one current data-centre GPU in practice


def plan_lines(planned: Sequence[Planned], measured: Measurement | None = None) -> Iterator[str]:
    """Yield the lines of a plan, with times if there is a measurement to predict them from."""
    times = predictions(planned, measured)
    for item, time in zip(planned, times, strict=True):
        yield f"{item.state:<8}{item.experiment.run}"
        if options := options_text(item.experiment.method.options):
            yield f"{INDENT}options: {options}"
        if item.closest_p is not None:
            yield f"{INDENT}allocation: closest to p {item.closest_p:g}"
        if item.state != "refused":
            yield INDENT + _numbers(item, time, timed=measured is not None)
        if item.remeasured is not None:
            yield INDENT + _remeasured_text(item.remeasured, only_further=is_attacked(item.remeasured, item.experiment))
        if item.reason:
            yield INDENT + item.reason
        if item.warning:
            yield f"{INDENT}warning: {item.warning}"
        if item.reported is not None and item.reported.note:
            yield f"{INDENT}note: {item.reported.note}"
    yield ""
    yield _summary(planned)
    if unchecked := _unchecked(planned):
        yield unchecked
    elif any(item.unchecked for item in planned):
        yield "unchecked: the data, as their files are not here; pass their folder as --data-dir"
    accepted = [item for item in planned if item.state != "refused"]
    if accepted:
        yield f"all together: {_total(accepted)}"
        missing = [item for item in accepted if item.state != "done"]
        if 0 < len(missing) < len(accepted):
            yield f"still to run: {_total(missing)}"
        yield ""
        yield from _legend(accepted[0])
        yield ""
        yield from _hours(planned, times, measured)


def remarks(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield what `run` prints before it starts: what is refused, and each warning once for all it applies to."""
    warned: dict[str, list[str]] = {}
    for item in planned:
        if item.state == "refused":
            yield f"skip   {item.experiment.run}: {item.reason}"
        elif item.warning and item.state != "done":
            warned.setdefault(item.warning, []).append(item.experiment.run)
    for warning, runs in warned.items():
        which = runs[0] if len(runs) == 1 else f"{len(runs)} experiments such as {runs[0]}"
        yield f"note   {which}: {warning}"
    if unchecked := _unchecked(planned):
        yield unchecked


def _unchecked(planned: Sequence[Planned]) -> str:
    """Return a note that results were not compared with the data; empty if all were."""
    unchecked = [item for item in planned if item.unchecked and (item.state == "done" or item.remeasured is not None)]
    if not unchecked:
        return ""
    dataset, finished = unchecked[0].experiment.dataset, counted(len(unchecked), "finished experiment")
    return (
        f"unchecked: the data of {finished}, as the files of {dataset} are not here; pass their folder as --data-dir "
        "to compare them"
    )


def _remeasured_text(record: Record, *, only_further: bool) -> str:
    if only_further:
        return f"only PGD on further images is measured: everything else is in its record on {record.protocol}"
    return f"its network is measured and not trained: it already has a record on {record.protocol}"


def _hours(
    planned: Sequence[Planned], times: Sequence[Prediction | None], measured: Measurement | None
) -> Iterator[str]:
    """Yield the predicted time of the whole suite, or how to get one."""
    if measured is None:
        yield "time: `python -m benchmark bench`, with this suite, methods and settings, measures what it takes here."
        return
    timed = [(item, time) for item, time in zip(planned, times, strict=True) if time is not None]
    if not timed:
        yield "time: unknown; nothing was measured to predict it from, or sizes are not known before the data are read."
        return
    machine = measured.machine
    yield from _time("time of all", [time for _, time in timed], machine.jobs)
    missing = [time for item, time in timed if item.state != "done"]
    if 0 < len(missing) < len(timed):
        yield from _time("time still to go", missing, machine.jobs)
    accepted = sum(item.state != "refused" for item in planned)
    if len(timed) < accepted:
        unknown = accepted - len(timed)
        what = "is not in it: its size is" if unknown == 1 else "are not in it: their sizes are"
        yield f"{counted(unknown, 'experiment')} {what} not known before the data are read."
    commit = f" at commit {machine.commit[:7]}" if machine.commit else ""
    threads = threads_text(machine.threads)
    place = "" if is_here(machine) else "another machine, "
    where = f"{place}{machine.name}, {threads} an experiment"
    yield f"measured on {where}, torch {machine.torch}, on {measured.date}{commit}."
    item = timed[0][0]
    source = "assumed" if item.robust_share is None else "as in the records here"
    yield f"AutoAttack: {robust_share(item):.0%} of the test images survive, {source}; those that fall cost little."
    if not all(time.exact for _, time in timed):
        yield "~: scaled by FLOPs from another step, network or batch; `bench` with this suite measures those."


def _time(title: str, times: Sequence[Prediction], jobs: int) -> Iterator[str]:
    whole = sum(time.total for time in times)
    parts = {
        "training": sum(time.training for time in times),
        "validation": sum(time.validation for time in times),
        "clean, PGD and gradient checks": sum(time.evaluation for time in times),
        "AutoAttack": sum(time.autoattack for time in times),
        "start and storing": FIXED * len(times),
    }
    shares = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in parts.items())
    # The longest experiment cannot be shared out.
    wall = max(whole / jobs, max(time.total for time in times))
    mark = "" if all(time.exact for time in times) else "~"
    beside = f", {jobs} experiments side by side" if jobs > 1 else ""
    yield f"{title}: {mark}{duration(wall)}{beside}"
    yield f"  {shares}"


def _numbers(item: Planned, time: Prediction | None, *, timed: bool) -> str:
    epochs = item.experiment.training.epochs
    reported = "n/a"
    if item.reported is not None:
        reported = f"{100 * item.reported.robust:.2f} robust"
        if item.reported.clean is not None:
            reported += f", {100 * item.reported.clean:.2f} clean"
    seconds = f"  {_mark(time):>7}" if timed else ""
    return (
        f"{epochs:>4} epochs {_amount(item.passes_per_image):>8} passes {_flops(item.flops):>8} FLOPs{seconds}"
        f"   reported: {reported}"
    )


def _mark(time: Prediction | None) -> str:
    if time is None:
        return "n/a"
    return f"{'' if time.exact else '~'}{duration(time.total)}"


def _summary(planned: Sequence[Planned]) -> str:
    states = [item.state for item in planned]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    reported = sum(item.reported is not None for item in planned)
    return f"{counted(len(planned), 'experiment')}: {counts}; {reported} with a reported number"


def _total(planned: Sequence[Planned]) -> str:
    passes = _amount(sum(item.passes_per_image for item in planned))
    flops = [item.flops for item in planned if item.flops is not None]
    if len(flops) < len(planned):
        return f"{passes} passes"
    return f"{passes} passes, {_flops(sum(flops))} FLOPs ({duration(sum(flops) / SUSTAINED)} at 100 TFLOP/s)"


def _legend(item: Planned) -> Iterator[str]:
    images = training_images(item.experiment)
    over = f"each of the {images:,} training images" if images else "every training image"
    yield f"passes: forward-and-backward runs over {over}, attack and update, all epochs."
    yield "FLOPs: of training, two per multiply-add; validation and evaluation are not in it."
    yield "reported: the paper's accuracy in this cell, in percent, under AutoAttack and, if given, on clean images."


def _amount(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _flops(value: int | None) -> str:
    if value is None:
        return "n/a"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
