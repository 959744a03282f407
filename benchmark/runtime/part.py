"""The part of a batch that one of several processes computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor


class BatchPart:
    """Which images of a batch are computed here: all of them, unless the block of `only` says otherwise.

    Random numbers are drawn for the whole batch, by every process alike, and each takes those of its own images. So
    what an image gets does not depend on the number of processes.
    """

    def __init__(self) -> None:
        self._whole: int | None = None
        self._places: Tensor | None = None

    @contextmanager
    def only(self, whole: int, places: Tensor) -> Iterator[None]:
        """Inside, batches are the images at `places` (B,) of a batch of `whole` images."""
        self._whole, self._places = whole, places
        try:
            yield
        finally:
            self._whole = self._places = None

    def drawn(self, draw: Callable[[int], Tensor], images: int, *, dim: int = 0) -> Tensor:
        """Return random numbers for the `images` computed here.

        Args:
            draw: returns those of a number of images, which it draws anew.
            images: computed here.
            dim: of the images in what `draw` returns.
        """
        if self._whole is None or self._places is None:
            return draw(images)
        return draw(self._whole).index_select(dim, self._places)


WHOLE = BatchPart()  # where one process computes all
