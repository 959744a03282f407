"""Fixed splits: the validation images and the subsets. They never depend on a run's seed.

The order comes from SHA-256 rather than a random generator, so that it is the same on every machine and in every
version of numpy, and can be recomputed in three lines of any language.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

VALIDATION_SHARE = 0.02


def hash_order(tag: str, n: int) -> NDArray[np.int64]:
    """Return `range(n)` sorted by the SHA-256 digest of the text `"{tag}:{i}"`; int64, shape (n,)."""
    digests = [hashlib.sha256(f"{tag}:{i}".encode()).digest() for i in range(n)]
    return np.array(sorted(range(n), key=digests.__getitem__), dtype=np.int64)


def training_split(dataset: str, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the rows of a training part into training and validation rows.

    Args:
        dataset: name of the data set, which is part of the hash.
        n: number of images in the whole training part, at least 2.

    Returns:
        Training rows and validation rows, both in hash order: disjoint, together all n rows. Validation holds
        round(2 %) of them, at least one. The first k training rows are the training subset of size k.
    """
    order = hash_order(f"{dataset}/validation", n)
    num_validation = max(1, round(VALIDATION_SHARE * n))
    return order[num_validation:], order[:num_validation]


def order_of_test(dataset: str, n: int) -> NDArray[np.int64]:
    """Return the n rows of a test part in hash order; the first k are the test subset of size k."""
    return hash_order(f"{dataset}/test", n)
