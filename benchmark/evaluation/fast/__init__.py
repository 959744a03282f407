"""Attacks on a network of this project, for less work and with the same verdicts.

`AttackedNetwork` queries a copy of the network, folded or sparse, and leaves out images that are already broken
(`Rows`); the stored network decides what counts as broken. `ComputeBatch` chooses how many images go through a network
at once. Other modules import these names from here, not from the files behind them.
"""

from benchmark.evaluation.fast.attacked import AllBroken, AttackedNetwork, Rows
from benchmark.evaluation.fast.compute_batch import ComputeBatch
from benchmark.evaluation.fast.folding import can_fold, fold
from benchmark.evaluation.fast.sparse import sparse_copy, sparse_form

__all__ = ["AllBroken", "AttackedNetwork", "ComputeBatch", "Rows", "can_fold", "fold", "sparse_copy", "sparse_form"]
