"""Imports torchvision, also where its build does not match torch's.

The package index has one build of torchvision for Linux, which is linked against torch with CUDA. Beside the CPU
build of torch its compiled operators do not load, and `import torchvision` fails because it describes them without
asking whether they exist. The networks here use none of these operators; declaring the described ones lets the import
succeed.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from benchmark.errors import UserError

_DESCRIBED = ("nms", "qnms")  # operators that torchvision describes without asking
_declared: list[torch.library.Library] = []  # a library's operators live as long as it does


def import_torchvision(name: str, *, purpose: str) -> ModuleType:
    """Return a module of torchvision.

    Args:
        name: its dotted name, such as "torchvision.models".
        purpose: what needs it, to begin the message with.

    Raises:
        UserError: if torchvision is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{purpose} needs the package {error.name}, which is not installed; run: pip install -e '.[onnx]'"
        ) from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _declared:
            raise
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
        del sys.modules[loaded]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _DESCRIBED:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return importlib.import_module(name)
