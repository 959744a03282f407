"""torch.nn.utils.prune: https://github.com/pytorch/pytorch, `torch/nn/utils/prune.py` of torch 2.

- A pruned parameter NAME is replaced by the parameter `NAME_orig` and the buffer `NAME_mask` of its shape; before every
  forward pass NAME = NAME_mask * NAME_orig. Any parameter can be pruned, biases included.
- After `prune.remove` the state dict has no masks: an ordinary one, whose zeros are the mask.
- Nothing says the architecture or the normalisation.
"""

from __future__ import annotations

from benchmark.errors import UserError
from benchmark.foreign.checkpoints.layout import Folded, Layout
from benchmark.foreign.checkpoints.opening import Checkpoint
from benchmark.foreign.checkpoints.settings import Settings

ORIGINAL, MASK = "_orig", "_mask"
TOLERANCE = 0.5  # weights per layer: `amount` is rounded to whole ones


def fold(checkpoint: Checkpoint, settings: Settings) -> Folded:
    """Multiply every parameter with its mask."""
    state, kept = dict(checkpoint.state), {}
    names = [key.removesuffix(ORIGINAL) for key in state if key.endswith(ORIGINAL)]
    lonely = [key for key in state if key.endswith(MASK) and key.removesuffix(MASK) not in names]
    lonely += [f"{name}{ORIGINAL}" for name in names if f"{name}{MASK}" not in state]
    if lonely or not names:
        what = f"the key {lonely[0]} has no counterpart" if lonely else f"no key ends with {ORIGINAL}"
        raise UserError(
            f"{checkpoint.path}: {what}, so this is not a state dict of pruned modules; give one with {ORIGINAL} and "
            f"{MASK} for each pruned parameter"
        )
    for name in names:
        original, mask = state.pop(f"{name}{ORIGINAL}"), state.pop(f"{name}{MASK}")
        if mask.shape != original.shape or not bool(((mask == 0) | (mask == 1)).all()):
            raise UserError(
                f"{checkpoint.path}: {name}{MASK} is not a mask of zeros and ones in the shape of {name}{ORIGINAL}; "
                "fetch the checkpoint again"
            )
        if name in state:
            raise UserError(
                f"{checkpoint.path}: {name} is there beside {name}{ORIGINAL}, and which of them counts is open; save "
                "the state dict of the pruned module again"
            )
        state[name] = mask.to(original.dtype) * original
        kept[name] = (int(mask.sum()), mask.numel())
    folded = Folded(state, kept)
    _check_density(folded, settings)
    return folded


def _check_density(folded: Folded, settings: Settings) -> None:
    """Refuse a density other than that of the masks, which decide."""
    given, density = settings.number("density"), folded.density
    assert density is not None
    if given is not None:
        total = sum(size for _, size in folded.kept.values())
        if abs(given - density) * total > TOLERANCE * len(folded.kept):
            raise UserError(
                f"the masks keep {density:.6g} of the pruned parameters' weights, not {given:g}; leave --k out, or "
                "give the checkpoint that it belongs to"
            )


LAYOUT = Layout(
    name="torch-prune",
    about="torch.nn.utils.prune: weight_orig and weight_mask",
    settings=("density",),
    density="density",
    fold=fold,
    architectures={},
)
