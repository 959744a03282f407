"""Reports classes without images, which the results do not show.

Readers refuse gaps that may be mistakes in numbering the classes. The classes here were declared: by names in the
files' metadata, by folders, or by images of the other part.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmark.files.text import terminal_line

_MAX_NAMES = 5


def report_empty_classes(part: str, labels: NDArray[np.int64], class_names: tuple[str, ...]) -> None:
    """Print a note on stderr, once per process, if a part has no image of some classes.

    Args:
        part: the part and its data set, for the note.
        labels: labels of the whole part, 0 to number of classes - 1.
        class_names: names of all classes.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [class_names[number] for number in np.flatnonzero(counts == 0)]
    if empty:
        more = f" and {len(empty) - _MAX_NAMES} more" if len(empty) > _MAX_NAMES else ""
        classes = f"{len(empty)} of {len(class_names)} classes"
        _print_once(f"note: the {part} has no image of {classes}: {', '.join(empty[:_MAX_NAMES])}{more}")


@cache
def _print_once(note: str) -> None:
    print(terminal_line(note), file=sys.stderr)
