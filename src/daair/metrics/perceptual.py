"""LPIPS (Zhang et al., CVPR 2018) and DISTS (Ding et al., TPAMI 2020), as piq computes them with VGG-16.

They need weights on this machine; this module never downloads any.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from daair.errors import UserError
from daair.metrics.protocols import Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PiqNetwork:
    """A network of piq that measures the distance of two images.

    Attributes:
        name: Name of the metric.
        architecture: Name of the class in piq.
    """

    name: str
    architecture: str

    def missing(self) -> str | None:
        """Return one line that names the missing files of weights and their folder; None if none is missing."""
        folder = self._folder()
        absent = [f"{file} ({origin})" for file, origin in self.files().items() if not (folder / file).is_file()]
        if not absent:
            return None
        files = " and ".join(absent)
        return f"{self.name}: not measured, since {folder} lacks {files}; put it there (nothing is downloaded)"

    def load(self, device: "torch.device | str" = "cpu") -> Callable[[Protocol, NDArray, NDArray], float]:
        """Load the network and return the function that computes the distance.

        Raises:
            UserError: Weights are missing or damaged.
        """
        import piq
        import torch

        if reason := self.missing():
            raise UserError(reason)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # piq uses a deprecated argument of torchvision
                network = getattr(piq, self.architecture)().to(device).eval()
        except Exception as error:  # unpickling a damaged file may raise any error
            text = str(error).partition("\n")[0] or type(error).__name__
            text = f"{self.name}: weights in {self._folder()} cannot be loaded ({text}); replace them"
            raise UserError(text) from None

        def distance(protocol: Protocol, *images: NDArray) -> float:
            shown = [protocol.displayed(image).clip(0, 1) for image in images]  # the networks were trained on images
            shown = [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in shown]
            with torch.inference_mode():
                return network(*(torch.from_numpy(image).float().to(device) for image in shown)).item()

        return distance

    def files(self) -> dict[str, str]:
        """Return the sources of the weights by file name."""
        import piq
        from torchvision.models import VGG16_Weights

        own = Path(getattr(piq, self.architecture)._weights_url).name
        return {own: "a release of piq", Path(VGG16_Weights.IMAGENET1K_V1.url).name: "torchvision's VGG-16"}

    @staticmethod
    def _folder() -> Path:
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints"
