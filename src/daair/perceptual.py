"""LPIPS and DISTS, where their weights are on this machine; nothing here ever downloads.

Both are piq's, on VGG-16, lower is better. LPIPS: Zhang et al., CVPR 2018; DISTS: Ding et al., TPAMI 2020.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from daair.errors import UserError

PERCEPTUAL = ("lpips", "dists")

Distance = Callable[[NDArray, NDArray], float]
"""Of two images (H, W, 3) in [0, 1]."""


def missing(name: str) -> str | None:
    """Say in one line which files `lpips` or `dists` lacks and where they belong; None if they are there."""
    folder, wanted = Path(torch.hub.get_dir()) / "checkpoints", _files(name)
    absent = [f"{file} ({origin})" for file, origin in wanted.items() if not (folder / file).is_file()]
    if not absent:
        return None
    return f"{name}: not measured, since {folder} lacks {' and '.join(absent)}; put it there (nothing is downloaded)"


def load(name: str, device: torch.device | str = "cpu") -> Distance:
    """Load `lpips` or `dists`.

    Raises:
        UserError: Weights are missing or damaged.
    """
    import piq

    if reason := missing(name):
        raise UserError(reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # piq calls torchvision in a way that is about to change
            network = {"lpips": piq.LPIPS, "dists": piq.DISTS}[name]().to(device).eval()
    except Exception as error:  # whatever unpickling a damaged file raises
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        text = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{name}: weights in {folder} cannot be loaded ({text}); replace them") from None

    def distance(image: NDArray, reference: NDArray) -> float:
        tensors = [torch.from_numpy(np.ascontiguousarray(i.transpose(2, 0, 1)[None])) for i in (image, reference)]
        with torch.inference_mode():
            return network(*(t.float().to(device) for t in tensors)).item()

    return distance


def _files(name: str) -> dict[str, str]:
    """File names under torch.hub's checkpoints, and whose they are."""
    import piq
    from torchvision.models import VGG16_Weights

    own = {"lpips": piq.LPIPS, "dists": piq.DISTS}[name]._weights_url
    return {Path(own).name: "a release of piq", Path(VGG16_Weights.IMAGENET1K_V1.url).name: "torchvision's VGG-16"}
