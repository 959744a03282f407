"""Finished batches of an attack on disk, so that a killed evaluation resumes where it was.

Used by AutoAttack and by the opponent's attacks. A batch's file is written completely or not at all, and read only if
its digest matches the images and settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmark.results.store import write_atomic
from benchmark.runtime.hashing import tensors_sha256


@dataclass(frozen=True)
class FinishedBatch:
    """What one attack did to one batch of images.

    Attributes:
        broken: (K,) int64; rows, in the whole set of images, that count as misclassified from now on.
        adversarial: (K, C, H, W) float32 in [0, 1]; the misclassified images, or none for the clean images.
        forwarded: images sent through the network, counted once per forward pass.
        seconds: wall time.
    """

    broken: Tensor
    adversarial: Tensor
    forwarded: int
    seconds: float


class Journal:
    """Files of finished batches in a subfolder named by a hash of the settings."""

    def __init__(
        self, folder: Path | None, settings: Mapping[str, str | int | float], *, report: Callable[[str], None]
    ) -> None:
        """Open the journal of these settings; nothing is written yet.

        Args:
            folder: of the journals of all settings; None keeps no journal.
            settings: everything that a batch's outcome depends on, except its images.
            report: receives a line if there are batches already, and one per damaged file.
        """
        self.hash = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.folder = None if folder is None else folder / self.hash[:16]
        self.report = report
        if self.folder is not None and (batches := len(list(self.folder.glob("*.safetensors")))):
            report(f"autoattack  resumes from {batches} batch{'es' if batches > 1 else ''} in {self.folder}")

    def once(self, name: str, rows: Tensor, run: Callable[[], FinishedBatch]) -> FinishedBatch:
        """Return a batch from the journal, or run and save it; arguments as for `load`."""
        batch = self.load(name, rows)
        if batch is None:
            batch = run()
            self.save(name, rows, batch)
        return batch

    def load(self, name: str, rows: Tensor) -> FinishedBatch | None:
        """Read a finished batch.

        Args:
            name: of the batch, such as "apgd-t-0003".
            rows: (B,) int64; its images.

        Returns:
            What was saved for these rows; None if there is no file, or a damaged one, which is reported.
        """
        if self.folder is None or not (path := self.folder / f"{name}.safetensors").exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                broken, adversarial = file.get_tensor("broken"), file.get_tensor("adversarial")
            batch = FinishedBatch(broken, adversarial, int(facts["forwarded"]), float(facts["seconds"]))
            intact = facts["digest"] == self._digest(name, rows, batch)
        except (SafetensorError, OSError, ValueError, KeyError):
            intact = False
        if not intact:
            self.report(f"autoattack  {path} is damaged or holds other images; this batch runs again")
            return None
        return batch

    def save(self, name: str, rows: Tensor, batch: FinishedBatch) -> None:
        """Write a finished batch atomically and durably; `name` and `rows` as for `load`."""
        if self.folder is None:
            return
        facts = {
            "forwarded": str(batch.forwarded),
            "seconds": repr(batch.seconds),
            "digest": self._digest(name, rows, batch),
        }
        tensors = {"broken": batch.broken.contiguous(), "adversarial": batch.adversarial.contiguous()}
        path = self.folder / f"{name}.safetensors"
        write_atomic(path, save(tensors, metadata=facts))

    def _digest(self, name: str, rows: Tensor, batch: FinishedBatch) -> str:
        tensors = tensors_sha256({"rows": rows, "broken": batch.broken, "adversarial": batch.adversarial})
        facts = [self.hash, name, tensors, batch.forwarded, batch.seconds]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
