"""How many images go through a network at once: as many as suit the machine, and half whenever memory runs out.

This is not an attack's batch size, which is in the record because random draws depend on it. No verdict depends on the
number here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmark.errors import UserError
from benchmark.evaluation.fast.folding import FoldedResNet
from benchmark.runtime.devices import out_of_memory

Result = TypeVar("Result")

# A CPU slows down when the maps of a layer are too large for the allocator to keep (32 MiB in glibc), or when batches
# are too small for any layer to fill the cores; in between, the size makes no difference.
LAYER_BYTES = 8 * 2**20
DEVICE_SHARE = 0.25  # of a GPU's memory, for the maps kept for the backward pass; the rest is for attacks


class ComputeBatch:
    """Rows per pass, lowered when memory runs out; one object serves all passes of an evaluation.

    Attributes:
        rows: at most per pass; None for any number.
        notes: a sentence for the record each time `rows` was lowered.
    """

    def __init__(self, report: Callable[[str], None], rows: int | None = None) -> None:
        """Start with at most `rows` per pass, any number if None; `report` receives each note."""
        self.report, self.rows = report, rows
        self.notes: list[str] = []
        self._largest = 0  # pass since the last failure, in rows
        self._said = {""}

    def say(self, sentence: str) -> None:
        """Report a sentence about the passes, unless it is empty or was reported before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.report(f"evaluate   {sentence}")

    def choose_rows(self, network: nn.Module, image: Tensor, *, unit: int = 1) -> None:
        """Choose the rows for a folded network on images like this one (1, C, H, W), unless they are chosen already.

        On a CPU they are a multiple of `unit`.
        """
        if self.rows is not None or not isinstance(network, FoldedResNet):
            return
        sizes = [maps.numel() * maps.element_size() for maps in network.maps(image)]
        if image.device.type == "cuda":
            memory = torch.cuda.get_device_properties(image.device).total_memory
            self.rows = max(1, int(DEVICE_SHARE * memory) // sum(sizes))
        else:
            self.rows = -(-max(1, LAYER_BYTES // max(sizes)) // unit) * unit

    def at_most(self, rows: int) -> int:
        """Return how many of `rows` rows may go at once, at least one."""
        return max(1, rows if self.rows is None else min(rows, self.rows))

    def outside_batch(self, batch_size: int) -> int:
        """Return the batch size for passes made outside `forward`: the one given, until memory has run out."""
        self._largest = self.at_most(batch_size) if self.notes else batch_size
        return self._largest

    def forward(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return the network's output for (B, C, H, W) images, at most `rows` of them at once.

        Once memory has run out, nothing is kept for the backward pass, which computes every part again.
        """
        size = self.at_most(len(images))
        self._largest = max(self._largest, size)
        if len(images) <= size:
            return network(images)
        if self.notes and torch.is_grad_enabled() and images.requires_grad:
            parts = [checkpoint(network, part, use_reentrant=False) for part in images.split(size)]
        else:
            parts = [network(part) for part in images.split(size)]
        return torch.cat(parts)

    def until_it_fits(self, run: Callable[[], Result]) -> Result:
        """Return what `run` returns; when memory runs out, halve the rows and call it again.

        Raises:
            UserError: if not even one row fits.
        """
        while True:
            self._largest = 0
            try:
                return run()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                failed = self._largest  # 0 if memory ran out before any pass; the retry has one row per pass
                if failed == 1 or (failed == 0 and self.rows == 1):
                    raise UserError(
                        "a single image does not fit into memory beside the network; free memory on this machine or "
                        "choose another device"
                    ) from error
            self._halve(failed)  # outside the handler, which keeps the tensors of the failed pass alive

    def _halve(self, failed: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.rows = self.at_most(failed // 2 if failed else 1)
        where = f"with {failed} images at once" if failed else "before the first pass"
        self.notes.append(f"out of memory {where}; went on with {self.rows}")
        self.report(f"evaluate   {self.notes[-1]}")
