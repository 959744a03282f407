"""The per-epoch history: one JSON object per line, never more lines than finished epochs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.files.plain import no_link
from benchmark.files.writing import writing
from benchmark.results.store import write_atomic


@dataclass(frozen=True)
class EpochLine:
    """Measurements of one epoch; accuracies are fractions of the validation part."""

    epoch: int  # over all phases, from 1
    phase: str
    lr: float
    loss: float  # mean training loss
    validation_clean_accuracy: float  # of the exported network
    validation_robust_accuracy: float
    kept_weights: int
    seconds: float  # of training so far
    validation_seconds: float = 0.0  # of this epoch: export, recalibration and attack; not in older histories

    def text(self, total_epochs: int) -> str:
        """Return the fixed-width log line; `total_epochs` serves to predict the time left."""
        seconds_left = self.seconds / self.epoch * (total_epochs - self.epoch)
        return (
            f"{self.phase:<9}{self.epoch:>4}/{total_epochs:<4} lr {self.lr:.4f}  loss {self.loss:.3f}  "
            f"val clean {100 * self.validation_clean_accuracy:4.1f}  "
            f"val pgd {100 * self.validation_robust_accuracy:4.1f}  "
            f"kept {self.kept_weights:,}  {self.seconds:.0f}s  "
            f"validation {self.validation_seconds:.1f}s  training ends in {seconds_left:.0f}s"
        )


def append(path: Path, line: EpochLine) -> None:
    """Add one epoch to the file.

    Raises:
        UserError: if writing fails, for example because the disk is full.
    """
    with writing(path), open(path, "a", encoding="utf-8", opener=no_link) as file:
        file.write(json.dumps(asdict(line)) + "\n")


def read(path: Path) -> tuple[EpochLine, ...]:
    """Return all epochs of a file, in order."""
    return tuple(EpochLine(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())


def truncate(path: Path, epochs: int) -> None:
    """Keep the first `epochs` lines; later ones belong to epochs that were lost when a run was killed.

    Raises:
        UserError: if writing fails, for example because the disk is full; the file is then unchanged.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    write_atomic(path, "".join(lines[:epochs]))
