"""DaAIR Lab: degradation-aware all-in-one image restoration.

`daair.load(path)` turns a run's folder or a weights file into a ready `torch.nn.Module`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    import torch
    from torch import nn

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | PathLike[str], device: str | torch.device = "cpu") -> nn.Module:
    """The trained network in a run's folder or a weights file, in evaluation mode; see `daair.checkpoint.load`."""
    from daair import checkpoint  # on use only: `import daair`, and with it every `--help`, stays free of torch

    return checkpoint.load(path, device)
