"""Prepares a network for measurement: on its device, and with the batch sizes and image type that it accepts.

Networks of this project are cast to float32 and channels last, and attacked through their folded copy. Any other
network is changed only if it does not run: it is tried on a few images, then with other batch sizes, then in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from benchmark.errors import UserError
from benchmark.evaluation.accuracy import frozen_eval, prepare
from benchmark.evaluation.fast import can_fold
from benchmark.evaluation.foreign import Foreign
from benchmark.evaluation.probes import check_finite
from benchmark.evaluation.restored import Snapshot, left_as_found
from benchmark.runtime.devices import out_of_memory

# Batch sizes that a network may have been fixed to, in the order of trial.
FIXED_SIZES = tuple(dict.fromkeys((1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1, 65), 96, 100, 200, 250, 500)))
OTHER_TYPES = (torch.float64, torch.float16, torch.bfloat16)
TRIED = 16  # images whose logits are looked at; few, as some networks take one at a time
PROBABILITY_ROUNDING = 1e-3  # of the sum of a row of probabilities, in any type


@contextmanager
def measurable(
    called: Callable[[Tensor], Tensor],
    images: Tensor,
    classes: int,
    note: Callable[[str], None],
    name: str = "network",
) -> Iterator[nn.Module]:
    """Yield a network that maps any batch of float32 images to logits; afterwards restore it exactly.

    Args:
        called: network or function.
        images: (B, C, H, W) float32 in [0, 1], a full batch, on the device of the measurement.
        classes: logits per image.
        note: receives a sentence about each way in which the network is treated differently from others.
        name: of the network in messages.

    Raises:
        UserError: if a forward or backward pass on the images fails, or if the network does not return logits.
    """
    network = called if isinstance(called, nn.Module) and can_fold(called) else Foreign(called)
    _check_tensors(network, name)
    with left_as_found(network):
        trials = _Trials(network, images, classes, name)
        if isinstance(network, Foreign):
            trials.move()
            for sentence in (*trials.adapt(network), *trials.doubts()):
                note(sentence)
        else:
            kinds = _float_types(network)
            prepare(network, images.device)
            if problem := trials.problem(2):
                raise UserError(problem)
            if kinds - {torch.float32}:
                note(_cast_note(kinds, name))
        yield network


class _Trials:
    """Trial passes of a network: how many images it takes at once, and in which type."""

    def __init__(self, network: nn.Module, images: Tensor, classes: int, name: str) -> None:
        self.network, self.images, self.classes, self.name = network, images, classes, name

    def move(self) -> None:
        """Move the network to the images' device."""
        try:
            self.network.to(self.images.device)
        except Exception as error:  # the network's own code
            raise UserError(f"the {self.name} cannot be moved to {self.images.device}: {cause_of(error)}") from None

    def adapt(self, network: Foreign) -> list[str]:
        """Set the batch size and image type that the network takes; return a note for each that is not the usual."""
        problem = self._set_batch_sizes(network)
        if problem is None:
            return _batch_notes(network, self.name)
        kinds = _float_types(network)
        if len(kinds) == 1 and kinds != {torch.float32}:
            snapshot = Snapshot(network)
            network.to(torch.float32)
            if self._set_batch_sizes(network) is None:
                return [_cast_note(kinds, self.name), *_batch_notes(network, self.name)]
            snapshot.restore()
        for kind in OTHER_TYPES:
            network.image_type = kind
            if self._set_batch_sizes(network) is None:
                note = f"the {self.name} was measured on {_type(kind)} images, the only ones that it takes"
                return [note, *_batch_notes(network, self.name)]
        raise UserError(problem)

    def _set_batch_sizes(self, network: Foreign) -> str | None:
        """Set how many images the network takes at once; if none, return the problem with two of them."""
        network.least, network.most = 1, None
        full = len(self.images)
        if problem := self.problem(2):
            for size in (full, *FIXED_SIZES):
                if size != 2 and self._accepts(size):
                    network.least = network.most = size
                    return None
            return problem
        if self.problem(3):
            network.least = network.most = 2
            return None
        most = full
        while most > 3 and self.problem(most):
            most //= 2
        network.least, network.most = (2 if self.problem(1) else 1), (None if most == full else most)
        return None

    def _accepts(self, count: int) -> bool:
        try:
            return self.problem(count) is None
        except UserError:  # the message for two images is the better one
            return False

    def problem(self, count: int) -> str | None:
        """Return why the network does not run on `count` images at once; None if it does.

        Raises:
            UserError: if it runs, but does not return finite logits.
        """
        images = self.images[torch.arange(count, device=self.images.device) % len(self.images)]
        try:
            with torch.no_grad(), frozen_eval(self.network):
                output = self.network(images)
        except Exception as error:  # whatever the network's own code raises
            if out_of_memory(error):
                return None  # the measurement will try fewer at once
            shape = "x".join(str(side) for side in images.shape[1:])
            return f"the {self.name} cannot be run on images of {shape}: {cause_of(error)}"
        expected = f"the {self.name} must return logits of shape {(count, self.classes)} for {count} images"
        if not isinstance(output, Tensor) or output.layout != torch.strided:
            raise UserError(f"{expected}; got {_described(output)}")
        if not output.is_floating_point():
            raise UserError(f"the {self.name} returns {_type(output.dtype)}, not logits; return floating-point scores")
        if count != self.classes and tuple(output.shape) == (self.classes, count):
            raise UserError(f"{expected}; got {tuple(output.shape)}: transpose them")
        if output.ndim != 2 or len(output) != count:
            return f"{expected}; got {tuple(output.shape)}"
        if output.shape[1] != self.classes:
            raise UserError(f"{expected}; got {tuple(output.shape)}: it was made for another number of classes")
        check_finite(output)
        return None

    def doubts(self) -> list[str]:
        """Return a sentence for each property of the network that weakens attacks.

        Raises:
            UserError: if the backward pass to the images fails.
        """
        images = self.images[:2].clone()
        with torch.no_grad(), frozen_eval(self.network):
            output = self.network(self.images[:TRIED]).float()
        doubts = []
        if bool(((output >= 0) & (output <= 1 + PROBABILITY_ROUNDING)).all()):
            softmax = bool(((output.sum(1) - 1).abs() < PROBABILITY_ROUNDING).all())
            what, last = ("probabilities", "softmax") if softmax else ("numbers from 0 to 1 only", "sigmoid")
            doubts.append(
                f"the {self.name} returns {what}, which weaken gradient attacks; return the logits before the {last} "
                "and evaluate again"
            )
        try:
            with torch.enable_grad(), frozen_eval(self.network):
                point = images.requires_grad_(True)
                logits = self.network(point.clone())  # a copy, because the network may write into it
                has_gradient = logits.requires_grad
                if has_gradient:
                    (gradient,) = torch.autograd.grad(logits.float().sum(), point, allow_unused=True)
                    has_gradient = gradient is not None
        except Exception as error:  # the network's own code
            if out_of_memory(error):
                return doubts
            raise UserError(
                f"the {self.name} has no backward pass to its images, which attacks need: {cause_of(error)}"
            ) from None
        if not has_gradient:
            doubts.append(
                f"the {self.name}'s logits have no gradient with respect to its images (detached, quantised, or "
                "computed without gradients), so that only Square is a serious attack on it"
            )
        return doubts


def _check_tensors(network: nn.Module, name: str) -> None:
    """Raise UserError for tensors that can never take part in a pass with gradients."""
    for key, tensor in [*network.named_parameters(), *network.named_buffers()]:
        key = key.removeprefix("called.")
        if is_lazy(tensor):
            raise UserError(f"{key} of the {name} has no shape yet; run the network once on images, then evaluate it")
        if tensor.is_meta:
            raise UserError(f"{key} of the {name} has no values (device meta); load the network's weights first")
        if tensor.is_inference():
            raise UserError(
                f"{key} of the {name} was made inside torch.inference_mode() and supports no gradients; build the "
                "network outside it"
            )


def _float_types(network: nn.Module) -> set[torch.dtype]:
    return {tensor.dtype for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()}


def _cast_note(kinds: set[torch.dtype], name: str) -> str:
    types = " and ".join(sorted(map(_type, kinds)))
    return f"the {name} has type {types} and was measured in float32, as on the boards"


def _batch_notes(network: Foreign, name: str) -> list[str]:
    if network.most is None:
        return []
    limit = "exactly" if network.least == network.most else "at most"
    images = "image" if network.most == 1 else "images"
    return [f"the {name} takes {limit} {network.most} {images} at once, so batches were split or padded"]


def _type(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def cause_of(error: Exception) -> str:
    """Return the line of an exception that names the cause; in TorchScript, the last one, after the stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = (lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]).removeprefix("RuntimeError: ")
    return line if isinstance(error, RuntimeError) else f"{type(error).__name__}: {line}"


def _described(output: object) -> str:
    """Describe what a network returned instead of logits, and what to return."""
    if isinstance(output, Tensor):
        return "a sparse tensor: return it dense, by to_dense()"
    if hasattr(output, "logits"):
        return f"a {type(output).__name__}: wrap the network and return its `logits`"
    if isinstance(output, dict):
        return f"a dict with {', '.join(map(repr, list(output)[:4]))}: wrap the network and return one of them"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}: wrap the network and return the logits alone"
    return type(output).__name__
