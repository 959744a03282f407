"""The gradient of a convolution's weights from maps: as exact as torch's, and the same for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st


class Pair:
    """Random images and a gradient, as tensors and as maps in arenas, one group's after the other."""

    def __init__(self, lanes, count, inputs, outputs, size, kernel, stride, seed):
        from methods.sparse.layout import Map
        from methods.sparse.network import zeros

        generator = torch.Generator().manual_seed(seed)
        out_size = [-(-length // stride) for length in size]
        self.images = torch.randn(count, inputs, *size, generator=generator)
        self.pull = torch.randn(count, outputs, *out_size, generator=generator)
        self.geometry = {"size": kernel, "stride": stride, "padding": kernel // 2}
        self.source = Map(0, inputs, *size, lanes)
        self.gradient = Map(self.source.size, outputs, *out_size, lanes)
        self.groups = -(-count // lanes)
        self.arenas = zeros(self.groups, self.gradient.start + self.gradient.size)
        self._fill(self.source, self.images)
        self._fill(self.gradient, self.pull)

    def _fill(self, place, maps):
        for image, each in enumerate(maps):
            group, lane = divmod(image, place.lanes)
            arena = self.arenas[group, place.start : place.start + place.size]
            whole = arena.reshape(place.rows + 2, place.channels, place.cols + 2, place.lanes)
            whole[1:-1, :, 1:-1, lane] = each.permute(1, 0, 2).numpy()

    def ours(self):
        """Return the kernel's gradient."""
        from methods.sparse.weight_gradient import weight_gradient

        return weight_gradient(self.arenas, self.groups, self.source, self.gradient, **self.geometry)

    def torchs(self, dtype):
        """Return the gradient that torch computes in a number format."""
        shape = (self.pull.shape[1], self.images.shape[1], *[self.geometry["size"]] * 2)
        images, pull = self.images.to(dtype), self.pull.to(dtype)
        padding, stride = self.geometry["padding"], self.geometry["stride"]
        return torch.nn.grad.conv2d_weight(images, shape, pull, stride=stride, padding=padding).numpy()

    def errors(self):
        """Return our error and torch's, by norm, and four roundings of the exact gradient."""
        exact = self.torchs(torch.float64)
        ours, torchs = (np.linalg.norm(each - exact) for each in (self.ours(), self.torchs(torch.float32)))
        return ours, torchs, 4 * np.finfo(np.float32).eps * np.linalg.norm(exact)


@settings(max_examples=25)
@given(
    count=st.integers(1, 35),
    channels=st.tuples(st.one_of(st.integers(1, 9), st.just(19)), st.integers(1, 13)),
    size=st.tuples(st.integers(4, 33), st.integers(4, 33)),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**20),
)
def test_the_gradient_is_as_exact_as_torchs(compiled, count, channels, size, kernel, stride, seed):
    ours, torchs, rounding = Pair(compiled.LANES, count, *channels, size, kernel, stride, seed).errors()

    assert ours <= max(4 * torchs, rounding)


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_gradient_does_not_depend_on_the_number_of_threads(compiled, kernel):
    pair, before = Pair(compiled.LANES, 20, 7, 13, (9, 11), kernel, 2, 0), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(pair.ours().tobytes())
    finally:
        torch.set_num_threads(before)

    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("kernel", [1, 3])
def test_one_wrong_pixel_of_a_map_is_noticed(compiled, kernel):
    pair = Pair(compiled.LANES, 9, 3, 5, (8, 8), kernel, 1, 0)
    pair.arenas[1, pair.source.inner] += 0.1
    ours, torchs, rounding = pair.errors()

    assert ours > 10 * max(4 * torchs, rounding)


def test_a_gradient_of_another_shape_is_refused(compiled):
    pair = Pair(compiled.LANES, 9, 3, 5, (8, 8), 3, 1, 0)
    pair.geometry["stride"] = 2

    with pytest.raises(AssertionError, match="not those of one convolution"):
        pair.ours()
