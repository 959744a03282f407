"""A network of a board as Python users get it, with its record."""

from __future__ import annotations

from torch import Tensor, nn

from benchmark.results.external import AnyRecord


class LoadedModel(nn.Module):
    """A network as it was measured: float32, in eval mode, its parameters without gradients.

    Maps images in [0, 1], (B, C, H, W), to (B, classes) logits; the normalisation is inside. Gradients flow to the
    images, so that it can be attacked. `benchmark.evaluate` measures the network in it.

    Attributes:
        network: the network itself, with its layers.
        record: the row's record; None for a file that belongs to no record.
        classes: names of the classes in the order of the logits; "0", "1", ... where the data set names none.
    """

    def __init__(self, network: nn.Module, record: AnyRecord | None, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.record = record
        self.classes = classes
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) images in [0, 1] to (B, classes) logits."""
        logits: Tensor = self.network(images)
        return logits
