"""A network, a router and a degradation, each with a config of its own in conf/."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from daair.models.router import Routing


class ToyNet(nn.Module):
    """Adds a correction by two convolutions to the image.

    Args:
        width: Channels in between.
    """

    def __init__(self, width: Annotated[int, Ge(1)] = 8) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, 3, H, W)."""
        return x + self.last(torch.relu(self.first(x)))


class ByBrightness(nn.Module):
    """Sends dark images to the first expert and bright ones to the last; it looks at the image, and learns nothing.

    Args:
        channels: Channels of the features.
        count: Number of experts.
        gamma: Exponent of the mean brightness; below 1 spreads the dark images over more experts.
    """

    def __init__(self, channels: int, count: int, gamma: Annotated[float, Ge(0.1), Le(10)] = 1.0) -> None:
        super().__init__()
        self.count, self.gamma = count, gamma

    def forward(self, features: Tensor, image: Tensor, labels: Tensor | None = None) -> Routing:
        """Route by the mean of `image` (B, 3, H, W) in [0, 1]."""
        brightness = image.float().mean(dim=(1, 2, 3)).clamp(0, 1) ** self.gamma
        index = (brightness * self.count).long().clamp(max=self.count - 1)
        gates = torch.zeros(len(index), self.count, device=image.device).scatter(1, index[:, None], 1.0)
        return Routing(index, gates, gates.new_zeros(()))


def stripes(image: np.ndarray, rng: np.random.Generator, *, depth: Annotated[int, Ge(1), Le(255)] = 40) -> np.ndarray:
    """Darken every other row.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness; it says whether even or odd rows are darkened.
        depth: How much darker the rows become, in grey values.
    """
    out = image.astype(np.int16)
    out[int(rng.integers(2)) :: 2] -= depth
    return out.clip(0, 255).astype(np.uint8)
