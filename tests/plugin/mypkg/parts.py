"""A network, a router and a degradation, each with a config of its own in conf/."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from daair.models.router import Routing


class Net(nn.Module):
    """Adds a correction to the image; `width` channels lie between its two convolutions."""

    def __init__(self, width: Annotated[int, Ge(1)] = 8) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images (B, 3, H, W)."""
        return x + self.last(torch.relu(self.first(x)))


class ByBrightness(nn.Module):
    """A router that looks at the brightness of the image: a linear layer turns it into a weight of each expert.

    Args:
        channels: Channels of the features, which it does not look at.
        count: Number of experts.
        gamma: Exponent of the mean brightness; below 1 tells dark images apart better.
    """

    def __init__(self, channels: int, count: int, gamma: Annotated[float, Interval(ge=0.1, le=10)] = 1.0) -> None:
        super().__init__()
        self.linear, self.gamma = nn.Linear(1, count), gamma

    def forward(self, features: Tensor, image: Tensor, labels: Tensor | None = None) -> Routing:
        """Route by the mean of `image` (B, 3, H, W) in [0, 1]."""
        brightness = image.float().mean(dim=(1, 2, 3)).clamp(0, 1) ** self.gamma
        weights = self.linear(brightness[:, None]).softmax(dim=1)
        gate, index = weights.max(dim=1, keepdim=True)
        gates = torch.zeros_like(weights).scatter(1, index, gate)  # the layer learns through them alone
        return Routing(index[:, 0], gates, gates.new_zeros(()))


def stripes(
    image: np.ndarray, rng: np.random.Generator, *, depth: Annotated[int, Interval(ge=1, le=255)] = 40
) -> np.ndarray:
    """Darken every other row.

    Args:
        image: Clean image, uint8, (H, W, 3).
        rng: Source of all randomness; it decides whether even or odd rows become darker.
        depth: How much darker the rows become, in grey values.
    """
    out = image.astype(np.int16)
    out[int(rng.integers(2)) :: 2] -= depth
    return out.clip(0, 255).astype(np.uint8)
