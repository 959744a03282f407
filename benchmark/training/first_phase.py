"""Hands a dense training over to methods that begin with one: HYDRA, or pruning baselines, on top of an AT run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.runtime.hashing import tensors_sha256
from benchmark.suite.experiment import FirstPhaseSpec
from benchmark.training.checkpoint import OtherTraining, TrainingKey, has_network, load_network, save_network
from benchmark.training.state import FirstPhase, TrainingFailed

# What a compressible layer has and a dense one has not, by the last part of its name in the state dict.
ADDED = frozenset({"scores", "mask", "_extra_state"})


def trained_path(folder: Path) -> Path:
    """Return where a dense run leaves its network as it was after the last epoch, latent weights included."""
    return folder / "trained.safetensors"


def save_trained(folder: Path, model: nn.Module, passes: int, key: TrainingKey) -> None:
    """Write what `load_first_phase` reads."""
    tensors = {name: value.cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    save_network(trained_path(folder), tensors, {"passes": passes}, key)


def is_handed_over(folder: Path, key: TrainingKey) -> bool:
    """Return whether a dense run has left its last network in its work folder, trained as `key` says.

    Reads the file's header alone.

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
        train_sha256: of the training images that the method goes on with.

    Raises:
        UserError: if it is not there, is damaged, is another run's, or was trained on other images.
    """
    path = trained_path(folder)
    try:
        loaded = load_network(path, TrainingKey(spec.run_hash, train_sha256))
    except OtherTraining as error:
        raise UserError(f"the first phase is that of {spec.run}, but {error}; run that method again") from None
    if loaded is None:
        raise UserError(f"the first phase is that of {spec.run}, but {path} is not there; run it first")
    tensors, facts = loaded
    return FirstPhase(spec, tensors, int(facts["passes"]), tensors_sha256(tensors))


def take_over(model: nn.Module, first_phase: FirstPhase) -> None:
    """Load a dense training into `model`, whose scores and masks stay as they are.

    Raises:
        TrainingFailed: if the two networks differ in more than that.
    """
    try:
        missing, unexpected = model.load_state_dict(first_phase.tensors, strict=False)
    except RuntimeError as error:  # other shapes
        raise TrainingFailed(f"the network of {first_phase.spec.run} does not fit: {error}") from error
    foreign = [*unexpected, *(name for name in missing if name.rpartition(".")[2] not in ADDED)]
    if foreign:
        raise TrainingFailed(f"the network of {first_phase.spec.run} differs from this method's in {foreign[0]}")


def check_taken_over(folder: Path, first_phase_sha256: str | None, first_phase: FirstPhase | None) -> None:
    """Check that what goes on in `folder` began with the network that its record is going to name.

    Raises:
        OtherTraining: if the dense run has been trained anew since then and ended with other weights.
    """
    if first_phase is not None and first_phase_sha256 != first_phase.weights_sha256:
        raise OtherTraining(f"{first_phase.spec.run} has other weights than when {folder} went on with it")
