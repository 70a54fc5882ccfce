"""DaAIR Lab: degradation-aware all-in-one image restoration.

`daair.load(path)` turns a run's folder or a weights file into a ready `torch.nn.Module`; `daair.collate("runs/rank")`
turns the runs of a study into a pandas frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    import torch
    from torch import nn

__version__ = "0.1.0"
__all__ = ["__version__", "collate", "load"]


def load(path: str | PathLike[str], device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> nn.Module:
    """Load the trained network in a run's folder or a weights file, in evaluation mode; see `daair.checkpoint.load`."""
    from daair import checkpoint  # on use only: `import daair`, and with it every `--help`, stays free of torch

    return checkpoint.load(path, device, trust)


def collate(path: str | PathLike[str]) -> pd.DataFrame:
    """Return a study's runs as one tidy frame: a row per run, benchmark, protocol and image; see `daair.report.frame`.

    Args:
        path: the folder of a study, such as `runs/rank`, or the folder of all studies.

    Returns:
        The frame; `.attrs["left_out"]` lists what could not be read, one text each.

    Raises:
        UserError: there is no run.
    """
    from daair.report.frame import read_path

    collated = read_path(path)
    frame = collated.frame
    frame.attrs["left_out"] = [str(one) for one in collated.left_out]
    return frame
