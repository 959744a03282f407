"""What is planned here is drawn in the tests of `benchmark.figures`, whose fixtures these are."""

from __future__ import annotations

from tests.benchmark.figures.conftest import (
    board_of,
    drawn,
    drawn_once,
    edit_json,
    fill_folder,
    make_curve,
    make_short,
)

__all__ = ["board_of", "drawn", "drawn_once", "edit_json", "fill_folder", "make_curve", "make_short"]
