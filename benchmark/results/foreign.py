"""What an evaluation says about a network that is no artifact of this project."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from benchmark.results.fields import Name, Sha256, Share
from benchmark.results.parts import Part

ForeignKind = Literal["onnx", "torchscript", "torch.export", "state dict"]
Normalisation = Annotated[tuple[Share, ...], Field(max_length=3)]


class ForeignPart(Part):
    """The kind of a network's file, and how the file was read.

    The `statistics` of its artifact part say nothing: they describe how artifacts store their batch norms.
    """

    kind: ForeignKind
    arch: Name | None  # of a state dict: a named architecture, or a factory of the user's
    arch_sha256: Sha256 | None  # of the factory's source and of the modules of its own that it imports
    mean: Normalisation | None  # by which pixels in [0, 1] were normalised, one number per channel
    std: Normalisation | None
    nhwc: StrictBool  # whether the network got (B, H, W, C) images

    @property
    def options(self) -> str:
        """Digits that identify what changes the network beside its file; empty if nothing does."""
        options = self.model_dump(mode="json", exclude={"kind"})
        if not any(options.values()):
            return ""
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        parts: list[str] = [self.kind]
        if self.arch is not None:
            parts.append(f"arch {self.arch}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                parts.append(f"{name} {','.join(f'{value:g}' for value in values)}")
        return ", ".join([*parts, "channels last"] if self.nhwc else parts)


def network_name(sha256: str, foreign: ForeignPart | None) -> str:
    """Return the beginning of the names of result files for a network, which differ if the networks do.

    Args:
        sha256: of its file.
        foreign: how the file was read; None for an artifact.
    """
    options = foreign.options if foreign is not None else ""
    return f"{sha256[:12]}__options-{options}" if options else sha256[:12]
