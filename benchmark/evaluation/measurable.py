"""Makes a network ready to be measured: on its device, tried on images, and fed in the way that it takes them.

Networks of this project are cast to float32 and channels last, and attacked by their folded copy. Any other is left as
it is as far as it runs so: it is tried with several images, then with one batch size after another, then in float32.
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

# Batch sizes that a network may be fixed to, tried in this order.
FIXED_SIZES = tuple(dict.fromkeys((1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1, 65), 96, 100, 200, 250, 500)))
OTHER_TYPES = (torch.float64, torch.float16, torch.bfloat16)
PROBABILITY_ROUNDING = 1e-3  # by which a row of probabilities in any type may miss 1


@contextmanager
def measurable(
    called: Callable[[Tensor], Tensor],
    images: Tensor,
    classes: int,
    note: Callable[[str], None],
    name: str = "network",
) -> Iterator[nn.Module]:
    """Yield a network that maps any batch of float32 images to logits; afterwards it is exactly as it was.

    Args:
        called: network or function.
        images: (B, C, H, W) float32 in [0, 1], on the device where it is to be measured; as many as it gets at once.
        classes: logits per image.
        note: receives a sentence about each way in which it is not fed like others.
        name: of the network in messages.

    Raises:
        UserError: if it cannot be run forwards and back on the images, or returns something else than logits.
    """
    own = isinstance(called, nn.Module) and can_fold(called)
    network = called if isinstance(called, nn.Module) and own else Foreign(called)
    _check_tensors(network, name)
    with left_as_found(network):
        fit = _Fit(network, images, classes, name)
        if isinstance(network, Foreign):
            fit.move()
            for sentence in fit.feed(network):
                note(sentence)
            for sentence in fit.doubts():
                note(sentence)
        else:
            kinds = _float_types(network)
            prepare(network, images.device)
            if problem := fit.problem(2):
                raise UserError(problem)
            if kinds - {torch.float32}:
                note(_cast_note(kinds, name))
        yield network


class _Fit:
    """Trials of a network on images: how many it takes at once, and in which type."""

    def __init__(self, network: nn.Module, images: Tensor, classes: int, name: str) -> None:
        self.network, self.images, self.classes, self.name = network, images, classes, name

    def move(self) -> None:
        """Move the network to the images' device."""
        try:
            self.network.to(self.images.device)
        except Exception as error:  # the network's own code
            raise UserError(f"the {self.name} cannot be moved to {self.images.device}: {cause_of(error)}") from None

    def feed(self, network: Foreign) -> list[str]:
        """Find out how the network takes images, and say in which way it is not fed like others."""
        first = self._batches(network)
        if first is None:
            return _batch_notes(network, self.name)
        kinds = _float_types(network)
        if len(kinds) == 1 and kinds != {torch.float32}:
            snapshot = Snapshot(network)
            network.to(torch.float32)
            if self._batches(network) is None:
                return [_cast_note(kinds, self.name), *_batch_notes(network, self.name)]
            snapshot.restore()
        for kind in OTHER_TYPES:
            network.image_type = kind
            if self._batches(network) is None:
                given = f"the {self.name} takes images in {_type(kind)} only, and was measured so"
                return [given, *_batch_notes(network, self.name)]
        raise UserError(first)

    def _batches(self, network: Foreign) -> str | None:
        """Set how many images the network takes at once; return why it takes none, as seen with two of them."""
        network.least, network.most = 1, None
        whole = len(self.images)
        if first := self.problem(2):
            for size in (whole, *FIXED_SIZES):
                if size != 2 and self._fits(size):
                    network.least = network.most = size
                    return None
            return first
        if self.problem(3):
            network.least = network.most = 2
            return None
        most = whole
        while most > 3 and self.problem(most):
            most //= 2
        network.least, network.most = (2 if self.problem(1) else 1), (None if most == whole else most)
        return None

    def _fits(self, count: int) -> bool:
        try:
            return self.problem(count) is None
        except UserError:  # what it returns for two images is the better sentence
            return False

    def problem(self, count: int) -> str | None:
        """Return why the network cannot be run on so many images at once; None if it can.

        Raises:
            UserError: if it can, but returns something else than finite logits.
        """
        images = self.images[torch.arange(count, device=self.images.device) % len(self.images)]
        try:
            with torch.no_grad(), frozen_eval(self.network):
                output = self.network(images)
        except Exception as error:  # whatever the network's own code raises
            if out_of_memory(error):
                return None  # fewer at once will be tried when it is measured
            shape = "x".join(str(side) for side in images.shape[1:])
            return f"the {self.name} cannot be run on images of {shape}: {cause_of(error)}"
        wanted = f"the {self.name} must return logits of shape {(count, self.classes)} for {count} images"
        if not isinstance(output, Tensor) or output.layout != torch.strided:
            raise UserError(f"{wanted}; got {_described(output)}")
        if not output.is_floating_point():
            raise UserError(f"the {self.name} returns {_type(output.dtype)}, not logits; return floating-point scores")
        if count != self.classes and tuple(output.shape) == (self.classes, count):
            raise UserError(f"{wanted}; got {tuple(output.shape)}: return them transposed")
        if output.ndim != 2 or len(output) != count:
            return f"{wanted}; got {tuple(output.shape)}"
        if output.shape[1] != self.classes:
            raise UserError(f"{wanted}; got {tuple(output.shape)}: it was made for another number of classes")
        check_finite(output)
        return None

    def doubts(self) -> list[str]:
        """Return what attacks have to fear of the network's answers.

        Raises:
            UserError: if the way back to the images fails.
        """
        images = self.images[:2].clone()
        with torch.no_grad(), frozen_eval(self.network):
            output = self.network(images)
        sums = output.float().sum(1)
        doubts = []
        if bool((output >= 0).all()) and bool(((sums - 1).abs() < PROBABILITY_ROUNDING).all()):
            doubts.append(
                f"the {self.name} returns probabilities, on which attacks by gradient are weaker; return the logits "
                "before the softmax and evaluate again"
            )
        try:
            with torch.enable_grad(), frozen_eval(self.network):
                point = images.requires_grad_(True)
                logits = self.network(point.clone())  # which it may write into
                reached = logits.requires_grad
                if reached:
                    (gradient,) = torch.autograd.grad(logits.float().sum(), point, allow_unused=True)
                    reached = gradient is not None
        except Exception as error:  # the network's own code
            if out_of_memory(error):
                return doubts
            raise UserError(
                f"the {self.name} runs forwards, but not back to its images, which attacks need: {cause_of(error)}"
            ) from None
        if not reached:
            doubts.append(
                f"no gradient leads from the {self.name}'s logits to its images (detached, quantised, or computed "
                "without gradients), so that only Square attacks it in earnest"
            )
        return doubts


def _check_tensors(network: nn.Module, name: str) -> None:
    """Raise UserError for tensors that cannot take part in a pass with gradients, whatever is done."""
    for key, tensor in [*network.named_parameters(), *network.named_buffers()]:
        key = key.removeprefix("called.")
        if is_lazy(tensor):
            raise UserError(
                f"{key} of the {name} has no shape yet; pass images through the network once, then evaluate"
            )
        if tensor.is_meta:
            raise UserError(f"{key} of the {name} holds no values (device meta); load the network's weights first")
        if tensor.is_inference():
            raise UserError(
                f"{key} of the {name} was made inside torch.inference_mode() and can take part in no gradient; build "
                "the network outside of it"
            )


def _float_types(network: nn.Module) -> set[torch.dtype]:
    return {tensor.dtype for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()}


def _cast_note(kinds: set[torch.dtype], name: str) -> str:
    given = " and ".join(sorted(map(_type, kinds)))
    return f"the {name}, given in {given}, was measured in float32 as on the boards"


def _batch_notes(network: Foreign, name: str) -> list[str]:
    if network.most is None:
        return []
    few = "exactly" if network.least == network.most else "at most"
    images = "image" if network.most == 1 else "images"
    return [f"the {name} takes {few} {network.most} {images} at once; batches went through it in such parts"]


def _type(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def cause_of(error: Exception) -> str:
    """Return the line of an exception that says what failed: the last one of TorchScript, after its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = (lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]).removeprefix("RuntimeError: ")
    return line if isinstance(error, RuntimeError) else f"{type(error).__name__}: {line}"


def _described(output: object) -> str:
    """Say what a network returned in place of logits, and what to return."""
    if isinstance(output, Tensor):
        return "a sparse tensor: return it to_dense()"
    if hasattr(output, "logits"):
        return f"a {type(output).__name__}: wrap the network and return its `logits`"
    if isinstance(output, dict):
        return f"a dict with {', '.join(map(repr, list(output)[:4]))}: wrap the network and return one of them"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}: wrap the network and return the logits alone"
    return type(output).__name__
