"""NAFNet: a U-shaped network without non-linear activations.

"Simple Baselines for Image Restoration", Chen, Chu, Zhang, Sun, ECCV 2022, arXiv 2204.04676. Written from the paper;
`from_published` converts the checkpoints of the authors' release.

Shape legend: B images, C channels of level 0, H x W pixels. Level l has C * 2^l channels at 1 / 2^l of the resolution.

    x -> 3x3 -> encoder 0 -> 1 -> ... -> middle -> ... -> decoder 1 -> 0 -> 3x3 -> + x
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from daair.models.layers import LayerNorm2d, Window, level_widths, local_means, pad_to_multiple

Positive = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]


def gate(x: Tensor) -> Tensor:
    """Multiply the first half of the channels by the second, (B, 2C, H, W) -> (B, C, H, W): the simple gate."""
    first, second = x.chunk(2, dim=1)
    return first * second


class Block(nn.Module):
    """x + beta * spatial part, then + gamma * channel part; both factors begin at zero, so a new block is the identity.

    Both parts expand to 2C channels, which the gate reduces to C.

    Args:
        channels: C.
        window: Side in pixels of the block's level of the windows for the means, after training; None = everything.
    """

    def __init__(self, channels: int, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = LayerNorm2d(channels), LayerNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Conv2d(channels, channels, 1)  # of channels, on their means
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        y = gate(self.conv2(self.conv1(self.norm1(x))))
        means = local_means(y, None if self.training else self.window)
        x = x + self.beta * self.conv3(y * self.attention(means))
        return x + self.gamma * self.conv5(gate(self.conv4(self.norm2(x))))


class NAFNet(nn.Module):
    """The NAFNet network, for images of any size (padded to a multiple of 2^levels, then cropped back).

    Args:
        channels: C, the width of level 0.
        encoder_blocks: Blocks of each encoder level, full resolution first; one number for each level.
        middle_blocks: Blocks at the lowest resolution.
        decoder_blocks: Blocks of each decoder level, full resolution first (the paper's lists begin with the lowest).
        window: Side of the windows, in pixels of the image, whose means weigh the channels after training; None = means
            over the whole image. See `daair.models.layers.local_means`.

    Raises:
        ValueError: Encoder and decoder have different numbers of levels; the message begins with the config key.
    """

    def __init__(
        self,
        channels: Positive = 32,
        encoder_blocks: Annotated[tuple[Count, ...], MinLen(1)] = (1, 1, 1, 28),
        middle_blocks: Count = 1,
        decoder_blocks: Annotated[tuple[Count, ...], MinLen(1)] = (1, 1, 1, 1),
        window: Window = None,
    ) -> None:
        super().__init__()
        widths = level_widths(channels, encoder_blocks, decoder_blocks)
        self.multiple = 2 ** len(encoder_blocks)

        def level(width: int, depth: int) -> nn.Sequential:
            side = None if window is None else max(1, window * channels // width)
            return nn.Sequential(*(Block(width, side) for _ in range(depth)))

        self.embed = nn.Conv2d(3, channels, 3, padding=1)
        self.encoder = nn.ModuleList(map(level, widths, encoder_blocks))
        self.down = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, stride=2) for width in widths[:-1])
        self.middle = level(widths[-1], middle_blocks)
        self.up = nn.ModuleList(nn.Conv2d(width, 2 * width, 1, bias=False) for width in widths[1:])
        self.decoder = nn.ModuleList(map(level, widths, decoder_blocks))
        self.out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore `x` (B, 3, H, W), values in [0, 1]; the result has its shape and dtype and is not clamped."""
        H, W = x.shape[-2:]
        feature = self.embed(pad_to_multiple(x, self.multiple))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            skips.append(blocks(feature))
            feature = down(skips[-1])
        feature = self.middle(feature)
        for blocks, up, skip in reversed(list(zip(self.decoder, self.up, skips, strict=True))):
            feature = blocks(nn.functional.pixel_shuffle(up(feature), 2) + skip)
        return x + self.out(feature)[..., :H, :W].to(x.dtype)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' state dict with the names used here; one that has these names is returned unchanged.

        The authors count the decoder's levels from the lowest resolution, this network from the highest.
        """
        if "intro.weight" not in state:
            return dict(state)
        levels = len({name.split(".")[1] for name in state if name.startswith("ups.")})
        renamed = {}
        for name, tensor in state.items():
            first, *rest = name.split(".")
            if first in ("ups", "decoders"):
                rest[0] = str(levels - 1 - int(rest[0]))
                if first == "ups":
                    rest.pop(1)  # the index of the convolution in its sequence with the pixel shuffle
                first = {"ups": "up", "decoders": "decoder"}[first]
            name = ".".join([_PUBLISHED.get(first, first), *rest])
            renamed[name.replace(".sca.1.", ".attention.")] = tensor
        return renamed


_PUBLISHED = {"intro": "embed", "ending": "out", "encoders": "encoder", "middle_blks": "middle", "downs": "down"}
