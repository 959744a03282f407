"""How many images go through a network at once: what suits the machine, and half of it whenever memory runs out.

That is not the batch size of an attack, which its random draws depend on and a record tells: verdicts do not depend on
the number here.
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

# On a CPU a pass slows down once the maps of a layer are too long for the allocator to keep (32 MiB in glibc), and with
# the batches that are so short that no layer fills the cores; in between it makes no difference.
LAYER_BYTES = 8 * 2**20
DEVICE_SHARE = 0.25  # of a GPU's memory for what a pass keeps for the way back; attacks and their copies need the rest


class ComputeBatch:
    """Rows per pass, found by trying: shared by all passes of an evaluation, and by what it tells at the end."""

    def __init__(self, report: Callable[[str], None], rows: int | None = None) -> None:
        """Start with at most `rows` per pass, any number if None; `report` receives a line for each time it shrinks."""
        self.report, self.rows = report, rows
        self.notes: list[str] = []  # for the record
        self.tried = 0  # rows of the largest pass since the last that failed

    def suit(self, network: nn.Module, images: Tensor) -> None:
        """Choose the rows for a folded network on images like these (1, C, H, W), unless they are chosen already."""
        if self.rows is not None or not isinstance(network, FoldedResNet):
            return
        sizes = [maps.numel() * maps.element_size() for maps in network.maps(images)]
        if images.device.type == "cuda":
            memory = torch.cuda.get_device_properties(images.device).total_memory
            self.rows = max(1, int(DEVICE_SHARE * memory) // sum(sizes))
        else:
            self.rows = max(1, LAYER_BYTES // max(sizes))

    def at_most(self, rows: int) -> int:
        """Return how many of so many rows may go at once, at least one."""
        return max(1, rows if self.rows is None else min(rows, self.rows))

    def forward(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return the network's output for (B, C, H, W) images, at most `rows` of them at once.

        Once memory has run out, nothing is kept for the way back: every part is computed again there.
        """
        size = self.at_most(len(images))
        self.tried = max(self.tried, size)
        if len(images) <= size:
            return network(images)
        if self.notes and torch.is_grad_enabled() and images.requires_grad:
            parts = [checkpoint(network, part, use_reentrant=False) for part in images.split(size)]
        else:
            parts = [network(part) for part in images.split(size)]
        return torch.cat(parts)

    def until_it_fits(self, run: Callable[[], Result]) -> Result:
        """Return what `run` returns; where memory runs out, half as many rows go at once and it begins anew.

        Raises:
            UserError: if not even one row fits.
        """
        while True:
            self.tried = 0
            try:
                return run()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                failed = self.tried  # 0 if memory ran out before any pass; the retry has one row per pass
                if failed == 1 or (failed == 0 and self.rows == 1):
                    raise UserError(
                        "a single image does not fit into memory beside the network; free memory on this machine or "
                        "choose another device"
                    ) from error
            self._halve(failed)  # outside of the handler, which holds on to the tensors of the failed pass

    def _halve(self, failed: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.rows = self.at_most(failed // 2 if failed else 1)
        where = f"with {failed} images at once" if failed else "before the first pass"
        self.notes.append(f"out of memory {where}; went on with {self.rows}")
        self.report(f"evaluate   {self.notes[-1]}")
