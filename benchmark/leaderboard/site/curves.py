"""Pictures on a row's page as inline SVG and HTML: the history of training, and the density of each layer."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from benchmark.leaderboard.formats import short
from benchmark.leaderboard.site.svg_axes import Box, grid, linear, polyline
from benchmark.leaderboard.ticks import ticks
from benchmark.results.parts import EpochPart, LayerPart, TrainingPart

MOST_POINTS = 100  # of a curve: more are indistinguishable at this width
_DIVERGED = 1e9  # a loss from here on, or one that is no number, would leave the others on one line
_WIDTH, _HEIGHT = 380, 216
_BOX = Box(left=40, top=28, right=_WIDTH - 8, bottom=_HEIGHT - 40)

Curve = tuple[str, Sequence[float]]  # class in the style sheet, one value per epoch drawn


def accuracy_curve(training: TrainingPart) -> Markup:
    """Return the validation accuracies, clean and robust, over the epochs; the selected epoch is marked."""
    drawn = thinned(training.history)
    curves: list[Curve] = [
        ("clean", [line.validation_clean_accuracy for line in drawn]),
        ("robust", [line.validation_robust_accuracy for line in drawn]),
    ]
    top = max(0.05, *(value for _, values in curves for value in values))
    return _picture(
        [line.epoch for line in drawn],
        curves,
        bounds=(0.0, min(1.0, top * 1.08)),
        factor=100,
        y_title="validation accuracy, %",
        selected=training.selected_epoch,
    )


def loss_curve(training: TrainingPart) -> Markup:
    """Return the mean training loss over the epochs; without those that have none to draw, where training diverged."""
    drawn = [line for line in thinned(training.history) if abs(line.loss) < _DIVERGED]
    if not drawn:
        return Markup("")
    losses = [line.loss for line in drawn]
    low, high = min(losses), max(losses)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return _picture(
        [line.epoch for line in drawn],
        [("loss", losses)],
        bounds=(low - margin, high + margin),
        factor=1,
        y_title="training loss",
        selected=training.selected_epoch,
    )


def thinned(history: Sequence[EpochPart]) -> list[EpochPart]:
    """Return at most MOST_POINTS epochs at even distances, the first and the last among them."""
    if len(history) <= MOST_POINTS:
        return list(history)
    last = len(history) - 1
    return [history[round(place * last / (MOST_POINTS - 1))] for place in range(MOST_POINTS)]


def _picture(
    epochs: Sequence[int],
    curves: Sequence[Curve],
    *,
    bounds: tuple[float, float],
    factor: float,
    y_title: str,
    selected: int,
) -> Markup:
    to_x = linear(epochs[0], epochs[-1], _BOX.left + 4, _BOX.right - 4)
    to_y = linear(*bounds, _BOX.bottom, _BOX.top)
    x_ticks = [(to_x(tick), f"{tick:g}") for tick in ticks(epochs[0], epochs[-1]) if tick == int(tick)]
    y_ticks = [(to_y(tick), f"{factor * tick:.4g}") for tick in ticks(*bounds, most=5)]
    parts = [
        f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{y_title} over the epochs">',
        grid(_BOX, x_ticks, y_ticks, x_title="epoch", y_title=y_title),
    ]
    if epochs[0] <= selected <= epochs[-1]:
        parts.append(f'<path class="selected" d="M{to_x(selected):.1f} {_BOX.bottom}V{_BOX.top}"/>')
    for name, values in curves:
        points = [(to_x(epoch), to_y(value)) for epoch, value in zip(epochs, values, strict=True)]
        if len(points) == 1:
            parts.append(f'<circle class="{name}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="4"/>')
        else:
            parts.append(f'<path class="line {name}" d="{polyline(points)}"/>')
    return Markup("".join(parts) + "</svg>")


def layer_lines(layers: Sequence[LayerPart]) -> Markup:
    """Return the lines of the table of layers: name, weights, kept, density as number and as bar."""
    return Markup(
        "".join(
            f'<tr><th scope="row">{escape(layer.name)}</th><td>{layer.weights:,}</td><td>{layer.kept:,}</td>'
            f"<td>{short(layer.kept / layer.weights)}</td>"
            f'<td class="bar"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<path d="M0 4H100"/><path class="kept" d="M0 4H{100 * layer.kept / layer.weights:.2f}"/></svg></td></tr>'
            "\n"
            for layer in layers
        )
    )
