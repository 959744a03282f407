"""How every figure looks and how it becomes bytes: nothing of a user's matplotlibrc, no dates, fixed ids."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.leaderboard.formats import printable
from methods import BUILT_IN

WIDTH = 7.0  # inches; 700 pixels at NOMINAL_DPI
NOMINAL_DPI = 100
PNG_DPI = 2 * NOMINAL_DPI

# Okabe and Ito's palette without its yellow, which is too light on white, and a grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
INK, FAINT, GRID = "#222222", "#666666", "#E3E3E3"

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # names of methods come from records: a dollar sign is one
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # the same letters wherever it is shown
    "svg.hashsalt": "robust-compression-benchmark",
}


@dataclass(frozen=True)
class Look:
    """Colour and marker of a method."""

    colour: str
    marker: str

    def face(self, weights: str) -> str:
        """Return the colour inside a marker: binary networks are filled, full-precision ones hollow."""
        return self.colour if weights == "binary" else "white"


@contextmanager
def house_style() -> Iterator[None]:
    """Make figures look alike on every machine within the context."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return each method's colour and marker: built-in ones the same in every figure, others from what is left."""
    order = [*BUILT_IN, *sorted({*methods} - {*BUILT_IN})]
    all_looks = {name: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(order)}
    return {name: all_looks[name] for name in order if name in methods}


def pale(colour: str) -> str:
    """Return a colour mixed with white: opaque, so that nothing shows through a marker."""
    red, green, blue = (0.5 + part / 2 for part in to_rgb(colour))
    return to_hex((red, green, blue))


def look_number(place: int) -> Look:
    """Return the colour and marker of the series at a place."""
    return Look(PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)])


def drawable(text: str, limit: int = 60) -> str:
    """Make foreign text safe to draw: one line, glyphs that the font has, at most `limit` characters."""
    safe = "".join(char if ord(char) < 0x180 or char == "…" else "?" for char in printable(text))
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def new_figure(height: float) -> Figure:
    """Return an empty figure of the common width, `height` inches high, which keeps its parts from overlapping."""
    figure = Figure(figsize=(WIDTH, height), dpi=NOMINAL_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def set_title(axes: Axes, text: str) -> None:
    """Write a title above axes of the common width, on as many lines as it needs."""
    axes.set_title(wrapped(text), pad=8)


def wrapped(text: str) -> str:
    """Break a title into the lines that fit the common width."""
    return "\n".join(textwrap.wrap(drawable(text, 200), 84))


def accuracy_axis(axes: Axes, chance: float, top: float, label: str) -> None:
    """Make y an accuracy in percent from 0 up to a little above `top` in [0, 1], with a line at chance."""
    limit = min(103.0, max(100 * top * 1.06 + 1, 100 * chance * 1.5))
    axes.set_ylim(-0.025 * limit, limit)  # a marker at 0 shows whole
    axes.set_ylabel(label)
    axes.axhline(100 * chance, color=FAINT, linewidth=1, linestyle=(0, (1, 2)), zorder=1)


def chance_key(chance: float) -> Line2D:
    """Return the legend's entry for the line at chance."""
    return Line2D([], [], color=FAINT, linewidth=1, linestyle=(0, (1, 2)), label=f"chance, {100 * chance:.3g}%")


def marker_key(look: Look, label: str, *, face: str | None = None, line: Literal["-", "none"] = "none") -> Line2D:
    """Return a legend entry with a marker."""
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.colour if face is None else face,
        markeredgewidth=1.4,
        linestyle=line,
        label=drawable(label),
    )


def legend_below(figure: Figure, handles: Sequence[Line2D], *, columns: int) -> None:
    """Put a legend under the axes."""
    figure.legend(handles=list(handles), loc="outside lower left", ncols=columns, columnspacing=1.6, handlelength=2.2)


def to_png(figure: Figure) -> bytes:
    """Return the picture at twice its nominal resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure) -> bytes:
    """Return the picture as SVG without date and version."""
    buffer = io.BytesIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    # A mask shown smaller than it is must be averaged: a browser asked for crisp edges leaves pixels out.
    return buffer.getvalue().replace(b"image-rendering:crisp-edges;image-rendering:pixelated", b"")
