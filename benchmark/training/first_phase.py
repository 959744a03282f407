"""Reuses a dense training for methods that begin with one, such as pruning methods on top of an AT run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.runtime.hashing import tensors_sha256
from benchmark.suite.experiment import FirstPhaseSpec
from benchmark.training.checkpoint import OtherTraining, TrainingKey, has_network, load_network, save_network
from benchmark.training.state import FirstPhase, TrainingFailed

# The last parts of state dict names that only a compressible layer has.
ADDED = frozenset({"scores", "mask", "_extra_state"})


def trained_path(folder: Path) -> Path:
    """Return the file in which a dense run leaves its network after the last epoch, latent weights included."""
    return folder / "trained.safetensors"


def save_trained(folder: Path, model: nn.Module, passes: int, key: TrainingKey) -> None:
    """Write the file that `load_first_phase` reads."""
    tensors = {name: value.cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    save_network(trained_path(folder), tensors, {"passes": passes}, key)


def is_handed_over(folder: Path, key: TrainingKey) -> bool:
    """Return whether a dense run has left its last network in its work folder, trained according to `key`.

    Reads only the file's header.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        return has_network(trained_path(folder), key)
    except OtherTraining:
        return False


def load_first_phase(folder: Path, spec: FirstPhaseSpec, train_sha256: str) -> FirstPhase:
    """Read the network that a dense run left in its work folder.

    Args:
        folder: of the dense run.
        spec: names the dense run.
        train_sha256: of the training images that the method continues with.

    Raises:
        UserError: if the file is missing or damaged, belongs to another run, or was trained on other images.
    """
    path = trained_path(folder)
    try:
        loaded = load_network(path, TrainingKey(spec.run_hash, train_sha256))
    except OtherTraining as error:
        raise UserError(f"the first phase is that of {spec.run}, but {error}; run that method again") from None
    if loaded is None:
        raise UserError(f"the first phase is that of {spec.run}, but {path} is missing; run it first")
    tensors, facts = loaded
    return FirstPhase(spec, tensors, int(facts["passes"]), tensors_sha256(tensors))


def take_over(model: nn.Module, first_phase: FirstPhase) -> None:
    """Load a dense training into `model`, which keeps its scores and masks.

    Raises:
        TrainingFailed: if the two networks differ in anything else.
    """
    try:
        missing, unexpected = model.load_state_dict(first_phase.tensors, strict=False)
    except RuntimeError as error:  # other shapes
        raise TrainingFailed(f"the network of {first_phase.spec.run} does not fit: {error}") from error
    different = [*unexpected, *(name for name in missing if name.rpartition(".")[2] not in ADDED)]
    if different:
        raise TrainingFailed(f"the network of {first_phase.spec.run} differs from this method's in {different[0]}")


def check_taken_over(folder: Path, first_phase_sha256: str | None, first_phase: FirstPhase | None) -> None:
    """Check that the training in `folder` began with the network that its record will name.

    Raises:
        OtherTraining: if the dense run has been trained again since then and ended with other weights.
    """
    if first_phase is not None and first_phase_sha256 != first_phase.weights_sha256:
        raise OtherTraining(f"{first_phase.spec.run} has other weights than those that {folder} started from")
