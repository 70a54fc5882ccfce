"""DaAIR Lab: degradation-aware all-in-one image restoration.

`daair.load(path)` loads the trained network of a run's folder or a weights file; `daair.restore(model, picture)`
restores a picture with it; `daair.collate("runs/rank")` returns the results of a study's runs as a pandas data frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    import torch
    from torch import nn

    from daair.engine.restore import Picture

__version__ = "0.1.0"
__all__ = ["__version__", "collate", "load", "restore"]


def load(path: str | PathLike[str], device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> nn.Module:
    """Load the trained network in a run's folder or a weights file, in evaluation mode; see `daair.checkpoint.load`."""
    from daair import checkpoint  # imported here so that `import daair`, and so `--help`, does not import torch

    return checkpoint.load(path, device, trust)


def restore(model: nn.Module, picture: Picture, degradation: str | int | None = None) -> Picture:
    """Restore a PIL image, an array or a batch and return the same kind; see `daair.engine.restore.restore`."""
    from daair.engine.restore import restore

    return restore(model, picture, degradation)


def collate(path: str | PathLike[str]) -> pd.DataFrame:
    """Return a study's results as a data frame, a row per run, benchmark, protocol and image; see `daair.report.frame`.

    Args:
        path: The folder of a study, such as `runs/rank`, or the folder of all studies.

    Returns:
        The data frame; `.attrs["left_out"]` lists what could not be read, one text each.

    Raises:
        UserError: There is no run.
    """
    from daair.report.frame import read_path

    collated = read_path(path)
    frame = collated.frame
    frame.attrs["left_out"] = [str(one) for one in collated.left_out]
    return frame
