"""Reports in one sentence that training ran out of memory, and which settings need less.

The batch size is never changed silently, since that would be a different training. Nor are gradients accumulated over
parts of a batch: batch norm takes its statistics from the images of a pass, and the attack depends on them too, so that
the sum over the parts is not the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmark.errors import UserError
from benchmark.runtime.devices import out_of_memory
from benchmark.suite.experiment import Experiment


@contextmanager
def memory_errors_explained(experiment: Experiment, device: torch.device) -> Iterator[None]:
    """Turn a failed allocation of torch or Python into a UserError.

    Raises:
        UserError: if training needs more memory than there is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        training = experiment.training
        smaller = f"--set training.batch_size={max(2, training.batch_size // 2)}"
        bf16 = " or --set training.precision=bf16" if training.precision != "bf16" else ""
        raise UserError(
            f"training {experiment.cell} ran out of memory on {device} with batches of {training.batch_size} images in "
            f"{training.precision}; {smaller}{bf16} needs less, but is another experiment, so it is not done "
            "automatically; ending other processes or running fewer --jobs may free enough"
        ) from error
