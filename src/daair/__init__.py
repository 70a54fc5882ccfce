"""DaAIR Lab: degradation-aware all-in-one image restoration.

`daair.load(path)` turns a run's folder or a weights file into a ready `torch.nn.Module`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from torch import nn

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | PathLike[str], **options: Any) -> nn.Module:
    """Load a trained network; see `daair.engine.weights.load`, which says what `options` there are.

    Imported on use only, so that `import daair` (and with it every `--help`) stays free of torch.
    """
    from daair.engine.weights import load as load_weights

    return load_weights(path, **options)
