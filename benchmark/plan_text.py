"""What `plan` prints: every experiment with state, cost and reported number, then totals and how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmark.cost import training_images
from benchmark.grid import Planned

INDENT = " " * 8
SUSTAINED = 1e14  # FLOP/s of one current data-centre GPU in practice


def plan_lines(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield the lines of a plan."""
    for item in planned:
        yield f"{item.state:<8}{item.experiment.run}"
        if item.state != "refused":
            yield INDENT + _numbers(item)
        if item.reason:
            yield INDENT + item.reason
        if item.warning:
            yield f"{INDENT}warning: {item.warning}"
        if item.reported is not None and item.reported.note:
            yield f"{INDENT}note: {item.reported.note}"
    yield ""
    yield _summary(planned)
    accepted = [item for item in planned if item.state != "refused"]
    if accepted:
        yield f"all together: {_total(accepted)}"
        missing = [item for item in accepted if item.state != "done"]
        if 0 < len(missing) < len(accepted):
            yield f"still to run: {_total(missing)}"
        yield ""
        yield from _legend(accepted[0])


def _numbers(item: Planned) -> str:
    epochs = item.experiment.training.epochs
    reported = "n/a"
    if item.reported is not None:
        reported = f"{100 * item.reported.robust:.2f} robust"
        if item.reported.clean is not None:
            reported += f", {100 * item.reported.clean:.2f} clean"
    return (
        f"{epochs:>4} epochs {_amount(item.passes_per_image):>8} passes {_flops(item.flops):>8} FLOPs"
        f"   reported: {reported}"
    )


def _summary(planned: Sequence[Planned]) -> str:
    states = [item.state for item in planned]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    reported = sum(item.reported is not None for item in planned)
    return f"{len(planned)} experiments: {counts}; {reported} with a reported number"


def _total(planned: Sequence[Planned]) -> str:
    passes = _amount(sum(item.passes_per_image for item in planned))
    known = [item.flops for item in planned if item.flops is not None]
    if len(known) < len(planned):
        return f"{passes} passes"
    return f"{passes} passes, {_flops(sum(known))} FLOPs ({_duration(sum(known) / SUSTAINED)} at 100 TFLOP/s)"


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


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else "under a minute"
