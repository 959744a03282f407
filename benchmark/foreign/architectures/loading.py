"""Loads a state dict so that every tensor has one place and every place one tensor.

Released evaluators load with `strict=False` or drop what does not fit, and then measure another network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from benchmark.errors import UserError

NAMED = 4  # keys in a message


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Copy a state dict into a network.

    Two kinds of keys may differ: step counters of batch norms may be missing, as the forward pass in eval mode never
    reads them, and stages that the architecture declares as unused copies may be present.

    Args:
        network: the network, changed in place.
        state: its parameters and buffers by key; floating-point tensors are converted to the network's type.
        name: the architecture's name, for messages.

    Raises:
        UserError: if a key is missing, unused or of another shape, or a value is not finite; it names the keys.
    """
    places = network.state_dict()
    state = _without_unused_copies(network, state, places, name)
    missing = [key for key in places if key not in state and not key.endswith("num_batches_tracked")]
    unused = [key for key in state if key not in places]
    if missing or unused:
        parts = [f"{_keys(missing)} missing"] if missing else []
        parts += [f"{_keys(unused)} unused"] if unused else []
        raise UserError(
            f"the checkpoint does not fit the architecture {name}: {' and '.join(parts)}; give the architecture that "
            "it was trained with, because a network with other tensors is another network"
        )
    for key, value in state.items():
        if value.shape != places[key].shape:
            raise UserError(
                f"the checkpoint does not fit the architecture {name}: {key} has shape {_shape(value)} instead of "
                f"{_shape(places[key])}; give the architecture and the data set that it was trained with"
            )
        if value.is_floating_point() != places[key].is_floating_point():
            raise UserError(
                f"the checkpoint does not fit the architecture {name}: {key} is of type {value.dtype}, but "
                f"{places[key].dtype} is needed; give a checkpoint of ordinary weights"
            )
        if not torch.isfinite(value).all():
            raise UserError(f"the checkpoint is damaged: {key} holds values that are not finite; fetch it again")
    network.load_state_dict({key: state.get(key, value) for key, value in places.items()})


def _without_unused_copies(
    network: nn.Module, state: Mapping[str, Tensor], places: Mapping[str, Tensor], name: str
) -> dict[str, Tensor]:
    """Return the state dict without stages that no forward pass calls; they must look like the stage they copy."""
    copies: Mapping[str, str] = getattr(network, "unused_copies", {})
    kept = dict(state)
    for copy, original in copies.items():
        shapes = {key: value.shape for key, value in state.items() if key.startswith(f"{copy}.")}
        expected = {
            f"{copy}.{key.removeprefix(f'{original}.')}": value.shape
            for key, value in places.items()
            if key.startswith(f"{original}.")
        }
        wrong = [key for key in expected.keys() | shapes.keys() if expected.get(key) != shapes.get(key)]
        wrong = sorted(key for key in wrong if key in shapes or not key.endswith("num_batches_tracked"))
        if shapes and wrong:
            raise UserError(
                f"the checkpoint does not fit the architecture {name}: {_keys(wrong)} missing, unused or of another "
                f"shape in {copy}, which should look like {original}; give the architecture that it was trained with"
            )
        for key in shapes:
            del kept[key]
    return kept


def _keys(keys: Iterable[str]) -> str:
    """Return the first keys with the verb, such as 'the keys a and b are'."""
    keys = list(keys)
    if len(keys) == 1:
        return f"the key {keys[0]} is"
    named = ", ".join(keys[:NAMED])
    return f"{len(keys)} keys ({named}{', ...' if len(keys) > NAMED else ''}) are"


def _shape(value: Tensor) -> str:
    return "x".join(str(size) for size in value.shape) or "()"
