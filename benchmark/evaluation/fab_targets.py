"""FAB-T on all target classes at once: full batches, where the package takes one target after another.

FAB-T draws no random numbers and its rows do not influence each other, so the same targets break an image either way.
The package skips targets after the first that breaks an image; here they run until one of them breaks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyautoattack import fab_base
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from benchmark.evaluation.fast import AllBroken, AttackedNetwork, Rows

NEWTON_STEPS = 50  # four to eight were enough in all measurements


class FabTargets(FABAttack_PT):  # type: ignore[misc]
    """The package's FAB-T with the settings of one of its instances, on an `AttackedNetwork`."""

    def __init__(self, settings: FABAttack_PT, attacked: AttackedNetwork) -> None:
        names = ("norm", "n_restarts", "n_iter", "eps", "alpha_max", "eta", "beta", "seed", "device")
        super().__init__(attacked, targeted=True, **{name: getattr(settings, name) for name in names})
        self.n_target_classes = settings.n_target_classes

    def perturb(self, x: Tensor, y: Tensor) -> Tensor:
        """Return an adversarial image within epsilon of each of (B, C, H, W) images, or the image itself."""
        adversarial = x.clone()
        with torch.no_grad(), quick_projection():
            logits = self.predict(x)
            correct = (logits.max(1)[1] == y).nonzero().flatten()
            # The rows of an image are adjacent, so that few images are split between groups.
            targets = logits[correct].sort(dim=1)[1][:, -(self.n_target_classes + 1) : -1].flip(1).flatten()
            places = correct.repeat_interleave(self.n_target_classes)
            open_rows = torch.ones_like(places, dtype=torch.bool)
            size = self.predict.at_most(len(places)) if len(places) else 1
            while open_rows.any():
                group = open_rows.nonzero().flatten()[:size]
                open_rows[group] = False
                rows = Rows(labels=y[places[group]], images=x[places[group]], places=places[group], radius=self.eps)
                self._run(rows, targets[group], share=len(group) / len(x))
                adversarial[rows.places[rows.broken]] = rows.adversarial[rows.broken]
                open_rows &= ~torch.isin(places, rows.places[rows.broken])
        return adversarial

    def _run(self, rows: Rows, targets: Tensor, *, share: float) -> None:
        self._rows, self._targets, self._begun = rows, targets, False
        self.target_class = 1  # the package sorts logits for its target; ours are in `_targets`
        try:
            with self.predict.watching(rows, share=share):
                self.attack_single_run(rows.images, rows.labels, is_targeted=True)
        except AllBroken:
            pass

    def _get_predicted_label(self, x: Tensor) -> Tensor:
        """Return predictions; in the first call, for the clean images, their labels: only correct ones are attacked."""
        if not self._begun:
            self._begun = True
            return self._rows.labels
        predicted: Tensor = self.predict(x).max(1)[1]
        return predicted

    def _predict_fn(self, x: Tensor) -> Tensor:
        """Return logits from which the package picks our targets."""
        return torch.nn.functional.one_hot(self._targets).to(x.dtype)

    def get_diff_logits_grads_batch_targeted(self, imgs: Tensor, la: Tensor, la_target: Tensor) -> tuple[Tensor, ...]:
        """Return each target's logit minus the label's, (R, 1), and the gradient of that (R, 1, C, H, W)."""
        points = imgs.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = self.predict.unjudged(points)
            above = logits.gather(1, self._targets[:, None]) - logits.gather(1, la[:, None])
            (gradient,) = torch.autograd.grad(above.sum(), points)
        return above.detach(), gradient.unsqueeze(1)


@contextmanager
def quick_projection() -> Iterator[None]:
    """Let the package's FAB use `project_to_plane` inside the block."""
    module: Any = fab_base
    before = module.projection_linf
    module.projection_linf = project_to_plane
    try:
        yield
    finally:
        module.projection_linf = before


def project_to_plane(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """Return the step of least Linf norm from each point onto its plane, within [0, 1].

    The step moves every pixel towards the plane by the same length, but not out of [0, 1]; the room of a pixel is how
    far it can move. The length solves a concave, piecewise linear equation, on which Newton's method from below
    converges after a few pieces; the package sorts instead.

    Args:
        points: (R, D) in [0, 1].
        normals: (R, D) w and
        offsets: (R,) b of the planes w x = b.

    Returns:
        (R, D); if the plane cannot be reached, the step to the corner nearest to it.
    """
    height = (normals * points).sum(1) - offsets
    steepness = normals.abs()
    upwards = (normals < 0) == (height >= 0)[:, None]  # pixels that must grow
    room = torch.where(upwards, 1 - points, points)
    height, total = height.abs(), steepness.sum(1)
    length = height / total
    for _ in range(NEWTON_STEPS):
        free = room > length[:, None]
        slope = (steepness * free).sum(1)
        longer = (height - (steepness * room.masked_fill(free, 0)).sum(1)) / slope
        if not (moved := (longer > length) & (slope > 0)).any():
            break
        length = torch.where(moved, longer, length)
    reached = (steepness * room).sum(1) > height
    length = torch.where(reached, length, torch.inf)
    step = torch.minimum(room, length[:, None])
    return torch.where(upwards, step, -step) * (normals != 0)
