"""The sparse form of a network on a CPU: a program that visits only the weights that are not zero."""

from __future__ import annotations

from torch import nn

from benchmark.errors import UserError
from benchmark.evaluation.fast.folding import FoldedResNet, fold
from methods.sparse.network import SparseNetwork, share_of_dense
from methods.sparse.program import unsupported
from methods.sparse.support import MISSING, kernels

MAX_SHARE = 0.4  # see `share_of_dense`; above it dense convolutions are about as fast


def sparse_copy(folded: nn.Module) -> tuple[SparseNetwork | None, str]:
    """Return the sparse form of a folded network on the CPU, or None where the folded one is to be attacked.

    The second result says why a network with few weights has no sparse form here; it is empty otherwise.
    """
    if not isinstance(folded, FoldedResNet) or folded.mean.device.type != "cpu" or share_of_dense(folded) > MAX_SHARE:
        return None, ""
    if reason := unsupported(folded):
        return None, f"attacked with dense convolutions, because the network has {reason}"
    compiled = kernels()
    return (None, MISSING) if compiled is None else (SparseNetwork(folded, compiled), "")


def sparse_form(network: nn.Module) -> SparseNetwork:
    """Return the sparse form of a network of this project on the CPU, however many weights it keeps.

    Raises:
        UserError: if numba is missing, or the network has no such form.
    """
    folded, compiled = fold(network), kernels()
    if compiled is None:
        raise UserError("the sparse runtime needs numba, which is not installed; run: pip install -e '.[fast]'")
    if folded is None:
        raise UserError(f"only residual networks of this project have a sparse form, not a {type(network).__name__}")
    if reason := unsupported(folded):
        raise UserError(f"the network has no sparse form, because of {reason}; use the runtime torch")
    return SparseNetwork(folded, compiled)
